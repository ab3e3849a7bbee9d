"""The ledger's truth: its rows in PostgreSQL, all of one group in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import psycopg

from twinward.errors import Incomplete, Tampered, Unready
from twinward.ledger import checkpoint as checkpoints
from twinward.ledger.checkpoint import Checkpoint
from twinward.ledger.note import Signer, Verifier
from twinward.ledger.tree import Edge

Connection = psycopg.Connection[Any]
Statement = tuple[str, Sequence[object]]

# Without these a committed entry can be lost in a power cut while the key it was
# written for is already with somebody.
_DURABLE = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}


@dataclass(frozen=True, slots=True)
class Head:
    edge: Edge
    note: str  # signed checkpoint
    fence: int


@dataclass(frozen=True, slots=True)
class Row:
    """One leaf as it is stored."""

    kind: int
    time_s: int
    entry: bytes
    audit_key: int
    sealed: bytes
    terms: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """What one transaction writes: `rows` become entries first, first + 1, ..."""

    first: int
    rows: Sequence[Row]
    edge: Edge  # after them
    note: str
    writes: Sequence[Statement]


class Fenced(Exception):
    """Another auth has taken the ledger over."""


def prepare(connection: Connection) -> None:
    """Settings of the committer's connection: nobody's lock may hold the whole ledger up."""
    connection.prepare_threshold = 2
    connection.execute("select set_config('lock_timeout', '2s', false), set_config('statement_timeout', '10s', false)")


def require_durable(connection: Connection) -> None:
    """Raises Unready where the database may lose what it has confirmed."""
    for setting, good in _DURABLE.items():
        row = connection.execute("select current_setting(%s)", [setting]).fetchone()
        if row is None or row[0] not in good:
            raise Unready(
                f"the database runs with {setting} = {row and row[0]}: set it to on; "
                "auth does not start where a confirmed ledger entry can be lost"
            )


def take_fence(connection: Connection, origin: str, signer: Signer) -> Head:
    """The head, under a fencing number of our own; whoever held the ledger before writes no more.

    Raises:
        Tampered, Malformed: the head does not hold together.
    """
    empty = Edge()
    note = checkpoints.sign(Checkpoint(origin, 0, empty.root()), signer).encode()
    connection.execute(
        "insert into ledger.head (size, root, edge, note, fence) values (0, %s, %s, %s, 0) on conflict do nothing",
        [empty.root(), empty.encode(), note],
    )
    connection.execute("update ledger.head set fence = fence + 1")
    head = read_head(connection, signer.verifier)
    connection.commit()
    return head


def read_head(connection: Connection, verifier: Verifier) -> Head:
    """The head row, checked: its edge leads to its root, its note states both, its last entry is there."""
    row = connection.execute("select size, root, edge, note, fence from ledger.head").fetchone()
    if row is None:
        raise Incomplete("the ledger's head row is missing from the database")
    size, root, data, note, fence = row
    edge = Edge.decode(bytes(data))
    stated = checkpoints.open_note(note, verifier)
    if (edge.size, edge.root()) != (size, bytes(root)) or (stated.size, stated.root) != (size, bytes(root)):
        raise Tampered("the ledger's head in the database does not hold together: size, root, edge and note differ")
    last = connection.execute("select max(idx) from ledger.entry").fetchone()
    have = 0 if last is None or last[0] is None else last[0] + 1
    if have != size:
        raise Tampered(f"the ledger's head says {size} entries and the database holds {have}")
    return Head(edge, note, fence)


def last_time_s(connection: Connection, size: int) -> int:
    """Coarse time of the last entry; 0 in an empty ledger."""
    row = connection.execute("select at from ledger.entry where idx = %s", [size - 1]).fetchone()
    return 0 if row is None else int(row[0])


def entries(connection: Connection, first: int, end: int) -> list[bytes]:
    """Tree entries [first, end). Raises Incomplete where one is missing."""
    rows = (
        connection.cursor(binary=True)
        .execute("select entry from ledger.entry where idx >= %s and idx < %s order by idx", [first, end])
        .fetchall()
    )
    if len(rows) != end - first:
        raise Incomplete(f"the database holds {len(rows)} of the ledger entries {first} to {end - 1}")
    return [row[0] for row in rows]


def write(connection: Connection, group: Group, fence: int) -> None:
    """All of `group` in the transaction that is open on `connection`; the caller commits.

    Sent in pipeline mode: one round trip for everything.

    Raises:
        Fenced: the head is no longer ours.
        psycopg.Error: as the database says.
    """
    rows, first = group.rows, group.first
    indexed = [(term, first + place) for place, row in enumerate(rows) for term in row.terms]
    with connection.pipeline():
        # The head first: its row lock keeps a second auth out until we commit.
        head = connection.execute(
            "update ledger.head set size = %s, root = %s, edge = %s, note = %s where size = %s and fence = %s",
            [group.edge.size, group.edge.root(), group.edge.encode(), group.note, first, fence],
        )
        connection.execute(
            """insert into ledger.entry (idx, kind, at, entry)
               select %s::bigint + n - 1, kind, at, entry
               from unnest(%s::int[], %s::bigint[], %b::bytea[]) with ordinality as u (kind, at, entry, n)""",
            [first, [row.kind for row in rows], [row.time_s for row in rows], [row.entry for row in rows]],
        )
        connection.execute(
            """insert into ledger.body (idx, audit_key, sealed)
               select %s::bigint + n - 1, audit_key, sealed
               from unnest(%s::bigint[], %b::bytea[]) with ordinality as u (audit_key, sealed, n)""",
            [first, [row.audit_key for row in rows], [row.sealed for row in rows]],
        )
        connection.execute(
            """insert into ledger.term (term, idx)
               select term, idx from unnest(%b::bytea[], %s::bigint[]) as u (term, idx)""",
            [[term for term, _ in indexed], [index for _, index in indexed]],
        )
        cursor = connection.cursor()
        # Neighbours of one text go as one batch: their order stays, the text is read once.
        for statement, same in groupby(group.writes, key=lambda write: write[0]):
            cursor.executemany(statement.encode(), [parameters for _, parameters in same])
    if head.rowcount != 1:
        raise Fenced
