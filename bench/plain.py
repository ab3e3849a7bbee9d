"""The comparison: the same measurements as plain rows, without keys or row-level security."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import psycopg
from psycopg.rows import TupleRow

from twinward.record import Handle, Measurement

COLUMNS = ("effective", "received", "value", "code", "unit", "text", "source", "lineage", "duration", "status",
           "precision", "flags")  # fmt: skip
_TABLE = """
create unlogged table if not exists public.plain (
  handle uuid not null, effective timestamptz not null, code text not null, lineage uuid not null,
  received timestamptz not null, value float8 not null, unit text not null, text text not null, source text not null,
  duration integer not null, status smallint not null, precision smallint not null, flags integer not null,
  primary key (handle, effective, code, lineage))"""
_NUMBERS = "(extract(epoch from effective) * 1000)::bigint, (extract(epoch from received) * 1000)::bigint"


class Plain:
    """`ways` are two readings of one patient into NumPy columns; compare with the faster one."""

    def __init__(self, connection: psycopg.Connection[TupleRow]) -> None:
        self._connection = connection
        connection.execute(_TABLE)

    def store(self, rows: Sequence[Measurement], handle: Handle) -> None:
        with (
            self._connection.cursor() as cursor,
            cursor.copy(
                "copy public.plain (handle, effective, code, lineage, received, value, unit, text, source, duration, "
                "status, precision, flags) from stdin"
            ) as copy,
        ):
            for one in rows:
                copy.write_row(
                    (
                        handle,
                        np.datetime64(one.effective_ms, "ms").astype(str) + "Z",
                        one.code,
                        one.lineage.hex(),
                        np.datetime64(one.received_ms, "ms").astype(str) + "Z",
                        one.value,
                        one.unit,
                        one.text,
                        one.source,
                        one.duration_s,
                        int(one.status),
                        int(one.precision),
                        one.flags,
                    )
                )

    @property
    def ways(self) -> tuple[Callable[[Handle], object], ...]:
        return self.by_rows, self.by_arrays

    def by_rows(self, handle: Handle) -> list[object]:
        """Binary cursor, row by row."""
        found = self._connection.execute(
            f"""select {_NUMBERS}, value, code, unit, text, source, lineage, duration, status, precision, flags
                from public.plain where handle = %s order by effective""",  # noqa: S608
            (handle,),
            binary=True,
        ).fetchall()
        return _columns(list(zip(*found, strict=True)))

    def by_arrays(self, handle: Handle) -> list[object]:
        """One row of arrays."""
        found = self._connection.execute(
            """select array_agg((extract(epoch from effective) * 1000)::bigint), array_agg((extract(epoch from received)
                 * 1000)::bigint), array_agg(value), array_agg(code), array_agg(unit), array_agg(text),
                 array_agg(source), array_agg(lineage), array_agg(duration), array_agg(status), array_agg(precision),
                 array_agg(flags)
               from (select * from public.plain where handle = %s order by effective) as one""",
            (handle,),
            binary=True,
        ).fetchone()
        assert found is not None
        return _columns(found)


def _columns(found: Sequence[Sequence[object]]) -> list[object]:
    """The columns of twinward.vault.rows.Rows: numbers, dictionaries with places, lineages as bytes."""
    numbers = [np.array(found[at], dtype=kind) for at, kind in ((0, "i8"), (1, "i8"), (2, "f8"))]
    made: list[object] = list(numbers)
    for at in range(3, 7):
        table: dict[object, int] = {}
        made.append(np.array([table.setdefault(one, len(table)) for one in found[at]], dtype="u4"))
        made.append(tuple(table))
    made.append(np.frombuffer(b"".join([one.bytes for one in found[7]]), dtype=np.uint8).reshape(-1, 16))  # type: ignore[attr-defined]
    made += [np.array(found[at], dtype=kind) for at, kind in ((8, "i8"), (9, "u1"), (10, "u1"), (11, "u4"))]
    return made
