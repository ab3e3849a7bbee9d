"""What the compactor reads and writes in PostgreSQL, through row-level security."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import psycopg
from psycopg.rows import TupleRow

from services.compactor.filing import Filed
from twinward.clock import utc
from twinward.errors import Conflict
from twinward.record import Handle
from twinward.vault import sealing
from twinward.vault.batches import TailRow
from twinward.vault.blocks import DOCUMENT_SEQ, Block, Shelf

Connection = psycopg.Connection[TupleRow]

# Of each bucket and kind the last block whole: it is the open one. Of the others the header.
_STORED = """
select tag, version, bucket, seq, n,
  case when seq = max(seq) over (partition by tag, version, bucket, seq >= %b) then blob
  else substring(blob for %b) end
from vault.block where handle = %b
  and (tag, version, bucket) in (select * from unnest(%b::bytea[], %b::int[], %b::int[]))
order by tag, version, bucket, seq"""
_FILED = "select exists (select from vault.manifest where handle = %b and version = %b)"
_GONE = "rows that this run was to file are no longer there; the lease ended, or another compactor runs"


class Counted(Protocol):
    @property
    def units(self) -> int: ...
    @property
    def tail_rows(self) -> int: ...
    @property
    def items(self) -> int: ...
    @property
    def superseded(self) -> int: ...
    @property
    def blocks(self) -> int: ...


def stored(connection: Connection, handle: Handle, of: Collection[Shelf]) -> dict[Shelf, list[Block]]:
    """Blocks of the shelves in order of seq; shelves without any are left out."""
    places = {(shelf.tag, shelf.version, shelf.bucket): shelf for shelf in of}
    found: dict[Shelf, list[Block]] = {}
    rows = connection.execute(
        _STORED,
        (
            DOCUMENT_SEQ,
            sealing.HEADER_BYTES + sealing.TAG_BYTES,
            handle,
            [tag for tag, _, _ in places],
            [version for _, version, _ in places],
            [bucket for _, _, bucket in places],
        ),
        binary=True,
    ).fetchall()
    for tag, version, bucket, seq, n, blob in rows:
        found.setdefault(places[tag, version, bucket], []).append(Block(seq, n, blob))
    return found


def any_filed(connection: Connection, of: Shelf) -> bool:
    """Whether anything at all of the shelf's patient and key version is in blocks."""
    row = connection.execute(_FILED, (of.handle, of.version)).fetchone()
    return row is not None and bool(row[0])


def replace_blocks(connection: Connection, filed: Sequence[Filed]) -> None:
    """Raises Conflict where a block to be replaced is no longer there."""
    removed = [(one.shelf, seq) for one in filed for seq in one.removed]
    if removed:
        done = connection.execute(
            """delete from vault.block b using unnest(%b::uuid[], %b::bytea[], %b::int[], %b::int[], %b::int[])
                 as u (handle, tag, version, bucket, seq)
               where b.handle = u.handle and b.tag = u.tag and b.version = u.version and b.bucket = u.bucket
                 and b.seq = u.seq""",
            (*_places(shelf for shelf, _ in removed), [seq for _, seq in removed]),
        )
        _expect(done.rowcount, len(removed))
    added = [(one.shelf, block) for one in filed for block in one.added]
    connection.execute(
        """insert into vault.block (handle, tag, version, bucket, seq, n, blob)
           select * from unnest(%b::uuid[], %b::bytea[], %b::int[], %b::int[], %b::int[], %b::int[], %b::bytea[])""",
        (
            *_places(shelf for shelf, _ in added),
            [block.seq for _, block in added],
            [block.n for _, block in added],
            [block.blob for _, block in added],
        ),
    )


def delete_tail(connection: Connection, rows: Sequence[TailRow]) -> None:
    """Raises Conflict where one of them is no longer there."""
    done = connection.execute(
        """delete from vault.tail t using unnest(%b::uuid[], %b::bigint[]) as u (handle, seq)
           where t.handle = u.handle and t.seq = u.seq""",
        ([row.handle for row in rows], [row.seq for row in rows]),
    )
    _expect(done.rowcount, len(rows))


def put_manifests(connection: Connection, filed: Sequence[Filed]) -> None:
    made = [one.manifest for one in filed]
    connection.execute(
        """insert into vault.manifest (handle, tag, version, bucket, blocks, n, commitments)
           select * from unnest(%b::uuid[], %b::bytea[], %b::int[], %b::int[], %b::int[], %b::int[], %b::bytea[])
           on conflict (handle, tag, version, bucket) do update
             set blocks = excluded.blocks, n = excluded.n, commitments = excluded.commitments""",
        (
            *_places(one.shelf for one in filed),
            [one.blocks for one in made],
            [one.n for one in made],
            [one.commitments for one in made],
        ),
    )


def note_run(connection: Connection, now_ms: int, counts: Counted) -> None:
    connection.execute(
        """insert into vault.compaction_run (at, units, tail_rows, items, superseded, blocks)
           values (%s, %s, %s, %s, %s, %s)""",
        (utc(now_ms), counts.units, counts.tail_rows, counts.items, counts.superseded, counts.blocks),
    )


def _places(of: Iterable[Shelf]) -> tuple[list[Handle], list[bytes], list[int], list[int]]:
    every = list(of)
    return (
        [shelf.handle for shelf in every],
        [shelf.tag for shelf in every],
        [shelf.version for shelf in every],
        [shelf.bucket for shelf in every],
    )


def _expect(done: int, wanted: int) -> None:
    if done != wanted:
        raise Conflict(_GONE)
