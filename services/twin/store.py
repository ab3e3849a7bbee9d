"""What the twin programs read and write in PostgreSQL: the queue, the places, the snapshots.

Order of writes of the worker, and why:
1. a `pending` row is deleted and committed *before* anything is read, so that
   ingest never waits for a twin; a row that arrives meanwhile makes a new one;
2. rows are read, the state goes on in memory;
3. now and then a snapshot and the twin's place commit together.
A worker that dies between 1 and 3 loses nothing: at its start every patient
whose place is behind `patient_state` is looked at again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
from psycopg_pool import ConnectionPool

from services.twin import migration
from services.twin.retention import Kept
from twinward.errors import TwinwardError, Unavailable
from twinward.record import Handle

if TYPE_CHECKING:
    from services.twin.glucose_prior import Prior

Connection = psycopg.Connection[tuple[object, ...]]
Pool = ConnectionPool[Connection]

EVERY_SHARE = range(64)
# Locked until the commit: whoever wants the share waits for what is being written.
_STILL_MINE = "select share from twin.claim where share = twin.share_of(%s) and worker = %s for share"


@dataclass(frozen=True, slots=True)
class SealedSnapshot:
    """One row of twin.snapshot."""

    handle: Handle
    tag: bytes
    month: int  # of the model-state key: year * 100 + month
    version: int
    seq: int
    state_ms: int
    kind: str
    blob: bytes

    @property
    def kept(self) -> Kept:
        return Kept(self.state_ms, self.seq, self.kind)


def down(error: psycopg.Error) -> TwinwardError:
    """The database does not answer, or not as it must."""
    return Unavailable(
        "the store does not answer; try again, and look at `twinward node status` if it goes on",
        detail=f"{type(error).__name__} {error.sqlstate or ''}",
    )


@contextmanager
def connected(pool: Pool) -> Iterator[Connection]:
    """One transaction.

    Raises:
        Unavailable: on database trouble, also of what is done in it.
    """
    try:
        with pool.connection() as connection:
            yield connection
    except psycopg.Error as error:
        raise down(error) from error


class TwinStore:
    """Of the worker. Every method is one transaction and raises Unavailable on database trouble."""

    def __init__(self, pool: Pool, me: UUID | None = None) -> None:
        """`me`: the worker that writes, whose claims are then looked at (claims.py); None: it is the only one."""
        self._pool, self._me = pool, me

    def take_pending(self, most: int, shares: Iterable[int] = EVERY_SHARE) -> dict[Handle, int]:
        """Takes up to `most` patients of `shares` off the queue: handle -> newest sequence number."""
        sql = """
            delete from twin.pending where handle in (
              select handle from twin.pending where twin.share_of(handle) = any (%s) limit %s for update skip locked)
            returning handle, seq"""
        return {_uuid(handle): _int(seq) for handle, seq in self._rows(sql, (list(shares), most))}

    def behind(self, shares: Iterable[int] = EVERY_SHARE, made: str = "") -> dict[Handle, int]:
        """Patients of `shares` whose twin's place is behind what is stored, or who have none, or whose state was
        made with anything but `made` (model and prior; empty: not looked at)."""
        sql = """
            select s.handle, s.next_seq - 1 from vault.patient_state s left join twin.position p using (handle)
            where not s.erased and s.next_seq > 1
              and (p.seq is null or p.seq < s.next_seq - 1 or (%s <> '' and p.made <> %s))
              and twin.share_of(s.handle) = any (%s)"""
        return {_uuid(handle): _int(seq) for handle, seq in self._rows(sql, (made, made, list(shares)))}

    def prior(self) -> Prior:
        """The population prior in force."""
        from services.twin import prior_store  # with the models behind it: the jobs program waits without them

        with connected(self._pool) as connection:
            return prior_store.in_force(connection)

    def stored_seq(self, handle: Handle) -> int:
        """The newest sequence number committed for the patient; 0 before the first."""
        found = self._rows("select next_seq - 1 from vault.patient_state where handle = %s", (handle,))
        return _int(found[0][0]) if found else 0

    def ladder(self, handle: Handle) -> list[Kept]:
        """The patient's snapshots that a live lease shows, newest first."""
        sql = "select state_ms, seq, kind from twin.snapshot where handle = %s order by state_ms desc, seq desc"
        return [Kept(_int(at), _int(seq), str(kind)) for at, seq, kind in self._rows(sql, (handle,))]

    def snapshot(self, handle: Handle, kept: Kept) -> SealedSnapshot | None:
        sql = """
            select tag, month, version, seq, state_ms, kind, blob from twin.snapshot
            where handle = %s and state_ms = %s and seq = %s"""
        found = self._rows(sql, (handle, kept.state_ms, kept.seq))
        return _snapshot(handle, found[0]) if found else None

    def write(
        self,
        new: Sequence[SealedSnapshot],
        gone: Iterable[Kept],
        made: str = "",
        told: Sequence[migration.Told] = (),
    ) -> None:
        """Stores `new` (oldest first), deletes `gone` and moves the twin's place to the
        last of `new`, with what it was `made` with and what is `told` of it, all or nothing. The place never goes back.

        Raises:
            Unavailable: also where another worker has the patient's share by now.
        """
        newest = new[-1]
        insert = """
            insert into twin.snapshot (handle, tag, month, version, seq, state_ms, kind, blob)
            values (%s, %s, %s, %s, %s, %s, %s, %s)"""
        rows = [(s.handle, s.tag, s.month, s.version, s.seq, s.state_ms, s.kind, s.blob) for s in new]
        dead = [(newest.handle, one.state_ms, one.seq) for one in gone]
        with connected(self._pool) as connection, connection.cursor() as cursor:
            if self._me is not None and not cursor.execute(_STILL_MINE, (newest.handle, self._me)).fetchone():
                raise Unavailable("another worker keeps this twin by now; ask again in a moment")
            if dead:
                cursor.executemany("delete from twin.snapshot where handle = %s and state_ms = %s and seq = %s", dead)
            cursor.executemany(insert, rows)
            cursor.execute(
                """
                insert into twin.position (handle, seq, month, snapshot_hash, at, made)
                values (%s, %s, %s, %s, clock_timestamp(), %s)
                on conflict (handle) do update set seq = excluded.seq, month = excluded.month,
                  snapshot_hash = excluded.snapshot_hash, at = excluded.at, made = excluded.made
                where excluded.seq >= twin.position.seq""",
                (newest.handle, newest.seq, newest.month, hashlib.sha256(newest.blob).digest(), made),
            )
            migration.write(cursor, newest.handle, told)

    def _rows(self, sql: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        with connected(self._pool) as connection:
            return connection.execute(sql.encode(), values).fetchall()


class SnapshotReader:
    """Of the door: the newest snapshot of a patient, through row-level security."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def newest(self, handle: Handle) -> tuple[SealedSnapshot | None, bool]:
        """The snapshot the twin's place names, and whether there is such a place at all.

        A place whose snapshot is not served means that no lease runs for this
        program, or that the row is not what the worker wrote.
        """
        sql = """
            select p.snapshot_hash, s.tag, s.month, s.version, s.seq, s.state_ms, s.kind, s.blob
            from twin.position p left join twin.snapshot s on s.handle = p.handle and s.seq = p.seq
            where p.handle = %s order by s.state_ms desc"""
        with connected(self._pool) as connection:
            found = connection.execute(sql, (handle,)).fetchall()
        for wanted, *row in found:
            if row[-1] is not None and hashlib.sha256(_bytes(row[-1])).digest() == _bytes(wanted):
                return _snapshot(handle, row), True
        return None, bool(found)


def _snapshot(handle: Handle, row: Sequence[object]) -> SealedSnapshot:
    tag, month, version, seq, state_ms, kind, blob = row
    return SealedSnapshot(
        handle, _bytes(tag), _int(month), _int(version), _int(seq), _int(state_ms), str(kind), _bytes(blob)
    )


def _int(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101  the column is not null and a number
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes | memoryview)  # noqa: S101  the column is not null bytea
    return bytes(value)


def _uuid(value: object) -> UUID:
    assert isinstance(value, UUID)  # noqa: S101  the column is not null uuid
    return value
