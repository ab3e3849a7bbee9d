"""Measurements as columns, and their two stored forms.

`records/1`, one fixed-width record a row, is quick for the few rows of one batch:
ingest writes it into the tail. `rows/1`, column by column, is small and decodes at
once: the compactor writes it into blocks of about 500 rows.

Lineage is a keyed hash and does not compress: 16 bytes a row, unless rows share
one. It stands outside the compressed part.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from twinward.errors import BadInput, Malformed, TooLarge
from twinward.record import Measurement, Precision, Status
from twinward.vault import columns, packing
from twinward.vault.packing import Scan

MOST_ROWS = 1 << 20  # of one opened record
MOST_RECORDS = 8192  # of one tail row: their texts fit 16-bit places
SUPERSEDED = "twinward|superseded"  # a marker: rows of this lineage received earlier are history

Int64 = npt.NDArray[np.int64]
Uint32 = npt.NDArray[np.uint32]
Uint8 = npt.NDArray[np.uint8]

_HEAD = struct.Struct("<BI")
_RECORD = struct.Struct("<qqdIIHHHHBB16s")
RECORD = np.dtype(
    [
        ("effective_ms", "<i8"),
        ("received_ms", "<i8"),
        ("value", "<f8"),
        ("duration_s", "<u4"),
        ("flags", "<u4"),
        ("code", "<u2"),
        ("unit", "<u2"),
        ("text", "<u2"),
        ("source", "<u2"),
        ("status", "u1"),
        ("precision", "u1"),
        ("lineage", "u1", (16,)),
    ]
)
FORMAT = 1
_SMALL = struct.Struct("<H")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n measurements, one array a field, shape (n,); `code`, `unit`, `text` and `source` are places
    in their tables. Units and meaning as in `twinward.record.Measurement`."""

    effective_ms: Int64
    received_ms: Int64
    value: npt.NDArray[np.float64]
    duration_s: Int64
    flags: Uint32
    status: Uint8
    precision: Uint8
    lineage: Uint8  # shape (n, 16)
    code: Uint32
    unit: Uint32
    text: Uint32
    source: Uint32
    codes: tuple[str, ...]
    units: tuple[str, ...]
    texts: tuple[str, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.effective_ms)

    def take(self, which: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Rows:
        """The chosen rows, by place, mask or slice."""
        return replace(self, **{name: getattr(self, name)[which] for name in ARRAYS})

    def with_code(self, code: str) -> Rows:
        """Rows of one code."""
        wanted = [place for place, name in enumerate(self.codes) if name == code]
        return self.take(np.isin(self.code, wanted))

    def sorted(self) -> Rows:
        """By effective time, then time received; rows that tie keep their order."""
        if np.all(self.effective_ms[1:] > self.effective_ms[:-1]):
            return self
        return self.take(np.lexsort((self.received_ms, self.effective_ms)))

    def measurements(self) -> list[Measurement]:
        """Row by row, as the nouns of the house."""
        lineage = self.lineage.tobytes()
        statuses, precisions = tuple(Status), tuple(Precision)
        fields = (self.code, self.effective_ms, self.received_ms, self.value, self.unit, self.text, self.duration_s)
        more = (self.status, self.precision, self.flags, self.source)
        return [
            Measurement(
                self.codes[code],
                effective,
                received,
                value,
                self.units[unit],
                lineage[at * 16 : at * 16 + 16],
                self.texts[text],
                duration,
                statuses[status],
                precisions[precision],
                flags,
                self.sources[source],
            )
            for at, (code, effective, received, value, unit, text, duration, status, precision, flags, source) in (
                enumerate(zip(*(one.tolist() for one in (*fields, *more)), strict=True))
            )
        ]


ARRAYS = (
    "effective_ms", "received_ms", "value", "duration_s", "flags", "status", "precision", "lineage",
    "code", "unit", "text", "source",
)  # fmt: skip
TABLES = (("code", "codes"), ("unit", "units"), ("text", "texts"), ("source", "sources"))


def no_rows() -> Rows:
    return _from_records(np.empty(0, dtype=RECORD), ())


def from_measurements(measurements: Iterable[Measurement]) -> Rows:
    """Raises BadInput for a row that no record can hold."""
    rows = list(measurements)
    parts = [decode_records(encode_records(rows[at : at + MOST_RECORDS])) for at in range(0, len(rows), MOST_RECORDS)]
    return concat(parts)


def concat(parts: Sequence[Rows]) -> Rows:
    """All rows, part after part; tables are joined."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return no_rows()
    made: dict[str, object] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS[:8]}
    for index, table in TABLES:
        made[index], made[table] = _joined([(getattr(part, index), getattr(part, table)) for part in parts])
    return Rows(**made)  # type: ignore[arg-type]


def _joined(parts: Sequence[tuple[Uint32, tuple[str, ...]]]) -> tuple[Uint32, tuple[str, ...]]:
    if all(table == parts[0][1] for _, table in parts):
        return np.concatenate([index for index, _ in parts]), parts[0][1]
    places: dict[str, int] = {}
    moved = []
    for index, table in parts:
        new = np.fromiter((places.setdefault(text, len(places)) for text in table), dtype=np.uint32, count=len(table))
        moved.append(new[index] if len(table) else index)
    return np.concatenate(moved), tuple(places)


# records/1 ---------------------------------------------------------------------


def encode_records(measurements: Sequence[Measurement]) -> bytes:
    """u8 1 || u32 n || u16 texts || (u16 length || text) each || n records of 58 bytes.

    Raises:
        BadInput: over 8,192 rows, a lineage that is not 16 bytes, a text over 65,535 bytes, or a
            number out of range.
    """
    if len(measurements) > MOST_RECORDS:
        raise BadInput(f"a tail row holds at most {MOST_RECORDS} measurements")
    places: dict[str, int] = {}
    place = places.setdefault
    try:
        records = [
            _RECORD.pack(
                one.effective_ms,
                one.received_ms,
                one.value,
                one.duration_s,
                one.flags,
                place(one.code, len(places)),
                place(one.unit, len(places)),
                place(one.text, len(places)),
                place(one.source, len(places)),
                one.status,
                one.precision,
                _lineage(one.lineage),
            )
            for one in measurements
        ]
        texts = [text.encode() for text in places]
        table = [_SMALL.pack(len(text)) + text for text in texts]
    except (struct.error, UnicodeEncodeError):
        raise BadInput("a measurement has a number out of range or a text over 65,535 bytes") from None
    return b"".join((_HEAD.pack(FORMAT, len(records)), _SMALL.pack(len(table)), *table, *records))


def _lineage(lineage: bytes) -> bytes:
    if len(lineage) != 16:
        raise BadInput("a lineage has 16 bytes")
    return lineage


def decode_records(data: bytes | memoryview) -> Rows:
    """Undoes `encode_records`. Raises Malformed."""
    scan = Scan(data)
    form, n = scan.read(_HEAD)
    if form != FORMAT or n > MOST_RECORDS:
        raise Malformed("rows are written in a form we do not know")
    (count,) = scan.read(_SMALL)
    try:
        table = tuple(str(scan.take(scan.read(_SMALL)[0]), "utf-8") for _ in range(count))
    except UnicodeDecodeError:
        raise Malformed("rows hold bytes that are no text") from None
    records = np.frombuffer(scan.take(n * RECORD.itemsize), dtype=RECORD)
    scan.end()
    if n and max(int(records[name].max()) for name, _ in TABLES) >= count:
        raise Malformed("a row points outside its dictionary")
    return _checked(_from_records(records, table))


def _from_records(records: npt.NDArray[np.void], table: tuple[str, ...]) -> Rows:
    return Rows(
        records["effective_ms"].astype(np.int64),
        records["received_ms"].astype(np.int64),
        records["value"].astype(np.float64),
        records["duration_s"].astype(np.int64),
        records["flags"].astype(np.uint32),
        records["status"].copy(),
        records["precision"].copy(),
        records["lineage"].copy(),
        records["code"].astype(np.uint32),
        records["unit"].astype(np.uint32),
        records["text"].astype(np.uint32),
        records["source"].astype(np.uint32),
        table,
        table,
        table,
        table,
    )


# rows/1 --------------------------------------------------------------------------


def encode_block(rows: Rows, level: int = 6) -> bytes:
    """u8 1 || u32 n || u32 length of the packed columns || packed columns || lineages.

    Columns in order: effective, received, value, duration, flags, status, precision, code, unit,
    text, source, and the place of each row's lineage. Lineages: 16 bytes each, every one once.
    """
    if not 0 < len(rows) <= MOST_ROWS:
        raise BadInput("a block holds at least one row and at most 2^20")
    lineages, places = _lineages(rows.lineage)
    body = b"".join(
        (
            columns.put_ints(rows.effective_ms),
            columns.put_ints(rows.received_ms),
            columns.put_floats(np.ascontiguousarray(rows.value)),
            *(
                columns.put_ints(one.astype(np.int64))
                for one in (rows.duration_s, rows.flags, rows.status, rows.precision)
            ),
            *(columns.put_texts(getattr(rows, table), getattr(rows, index)) for index, table in TABLES),
            columns.put_ints(places),
        )
    )
    packed = packing.pack(body, level)
    return _HEAD.pack(FORMAT, len(rows)) + struct.pack("<II", len(packed), len(lineages)) + packed + lineages.tobytes()


def _lineages(lineage: Uint8) -> tuple[Uint8, Int64]:
    """Every lineage once, in order of first sight, and the place of each row."""
    keys = np.ascontiguousarray(lineage).view("V16").reshape(-1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return lineage[first[order]], rank[inverse.reshape(-1)]


def decode_block(data: bytes | memoryview) -> Rows:
    """Undoes `encode_block`. Raises Malformed or TooLarge."""
    return decode_blocks([data])[0]


def decode_blocks(every: Sequence[bytes | memoryview]) -> tuple[Rows, list[int]]:
    """The rows of several blocks, one after the other, and how many each has.

    Raises:
        Malformed, TooLarge: one of them was not written by `encode_block`.
    """
    opened = [_opened(data) for data in every]
    counts = [n for n, _, _ in opened]
    total = sum(counts)
    if total > MOST_ROWS:
        raise TooLarge("more than 2^20 rows were asked for at once; ask for fewer months")
    filling = _Filling.of(total)
    at = 0
    for n, scan, lineages in opened:
        filling.take(slice(at, at + n), scan, lineages)
        at += n
    return filling.rows(), counts


def _opened(data: bytes | memoryview) -> tuple[int, Scan, Uint8]:
    outer = Scan(data)
    form, n = outer.read(_HEAD)
    if form != FORMAT or not 0 < n <= MOST_ROWS:
        raise Malformed("a block is written in a form we do not know")
    length, distinct = outer.read(_TWO)
    scan = Scan(packing.unpack(outer.take(length)))
    lineages = np.frombuffer(outer.take(16 * distinct), dtype=np.uint8).reshape(distinct, 16)
    outer.end()
    return n, scan, lineages


@dataclass(frozen=True, slots=True)
class _Filling:
    """Columns that blocks are decoded into; `spare` is room for numbers on their way."""

    arrays: dict[str, npt.NDArray[Any]]
    tables: dict[str, dict[str, int]]
    spare: Int64

    @classmethod
    def of(cls, n: int) -> _Filling:
        arrays = {name: np.empty((n, *shape), dtype=kind) for name, kind, shape in _KINDS}
        return cls(arrays, {table: {} for _, table in TABLES}, np.empty(n, dtype=np.int64))

    def take(self, where: slice, scan: Scan, lineages: Uint8) -> None:
        spare = self.spare[where]
        columns.get_ints(scan, self.arrays["effective_ms"][where])
        columns.get_ints(scan, self.arrays["received_ms"][where])
        columns.get_floats(scan, self.arrays["value"][where], spare)
        for name, most in _SMALL_NUMBERS:
            columns.get_small(scan, spare, most)
            self.arrays[name][where] = spare
        for index, table in TABLES:
            columns.get_texts(scan, self.arrays[index][where], self.tables[table], spare)
        columns.get_places(scan, spare, len(lineages))
        np.take(lineages, spare, axis=0, out=self.arrays["lineage"][where])
        scan.end()

    def rows(self) -> Rows:
        fields: dict[str, Any] = {**self.arrays, **{table: tuple(texts) for table, texts in self.tables.items()}}
        return Rows(**fields)


_TWO = struct.Struct("<II")
_SMALL_NUMBERS = (
    ("duration_s", (1 << 32) - 1),
    ("flags", (1 << 32) - 1),
    ("status", len(Status) - 1),
    ("precision", len(Precision) - 1),
)
_KINDS: tuple[tuple[str, type[np.generic], tuple[int, ...]], ...] = (
    ("effective_ms", np.int64, ()), ("received_ms", np.int64, ()), ("value", np.float64, ()),
    ("duration_s", np.int64, ()), ("flags", np.uint32, ()), ("status", np.uint8, ()), ("precision", np.uint8, ()),
    ("lineage", np.uint8, (16,)), ("code", np.uint32, ()), ("unit", np.uint32, ()), ("text", np.uint32, ()),
    ("source", np.uint32, ()),
)  # fmt: skip


def _checked(rows: Rows) -> Rows:
    if len(rows) and (int(rows.status.max()) >= len(Status) or int(rows.precision.max()) >= len(Precision)):
        raise Malformed("a row has a status or precision we do not know")
    return rows
