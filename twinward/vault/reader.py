"""Reading one patient under a lease: blocks, and the tail where the lease opens it.

One snapshot of the database a reading, in this order:
1. the head, the groups and the index of the tail, checked (standing.py);
2. the manifests of every year that the lease covers, proved against the head;
3. the blocks, through row-level security; each bucket must be what its manifest
   says, so a deleted, exchanged or replayed block answers Incomplete;
4. blocks opened and their times checked against the bucket;
5. the tail rows of leased categories, where the lease has tail keys;
6. corrections resolved by lineage, then by time received.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn
from uuid import UUID

import numpy as np
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg import IsolationLevel
from psycopg.rows import TupleRow

from twinward.clock import Clock
from twinward.errors import Incomplete, LeaseEnded, Unavailable
from twinward.record import Document, Handle
from twinward.vault import blocks, buckets, corrections, rows, sealing, standing
from twinward.vault.blocks import Block, Shelf
from twinward.vault.keytree import LAST_MONTH
from twinward.vault.lease import Lease
from twinward.vault.manifest import BucketManifest, Group
from twinward.vault.rows import Rows
from twinward.vault.standing import Standing
from twinward.vault.tail import TailOpener, TailProof, visible_rows

Connection = psycopg.Connection[TupleRow]

# Headers only of what is not asked for: commitments are needed of every block.
_BLOCKS = """
select b.tag, b.version, b.bucket, b.seq, b.n,
  case when (b.seq >= %b) = any(%b) then b.blob else substring(b.blob for %b) end
from unnest(%b::bytea[], %b::int[], %b::int[], %b::int[]) as w (tag, version, low, high)
join vault.block b on b.handle = %b and b.tag = w.tag and b.version = w.version and b.bucket between w.low and w.high
order by b.tag, b.version, b.bucket, b.seq"""
_LIVE = "select exists (select from vault.lease where id = %b and until > clock_timestamp())"


@dataclass(frozen=True, slots=True)
class Span:
    """Buckets of one category and key version that a lease covers."""

    category: int
    tag: bytes
    version: int
    low: int
    high: int

    def touches(self, group: Group) -> bool:
        """Whether buckets of the group may lie in the span."""
        years = self.low // 10000 <= group.year <= self.high // 10000
        return years and (group.tag, group.version) == (self.tag, self.version)

    def holds(self, one: BucketManifest) -> bool:
        return self.low <= one.bucket <= self.high and (one.tag, one.version) == (self.tag, self.version)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was stored at one moment, as far as the lease covers it."""

    rows: Rows  # by effective time
    documents: list[Document]
    next_seq: int  # of the patient: everything accepted below is in here, or not covered, or `waiting`
    served: int  # database rows that were read under the lease: what a use report counts
    waiting: int  # tail rows of leased categories that this lease cannot open: ask for compaction
    chain: bytes = b""  # over every accepted row below `next_seq`; empty where this reading did not check it


@dataclass
class _Found:
    rows: list[Rows] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    served: int = 0
    waiting: int = 0
    chain: bytes = b""


class Reader:
    """Of one connection with its program's own role, and one thread. Keeps no key."""

    def __init__(self, connection: Connection, *, site: str, authority: Ed25519PublicKey, clock: Clock) -> None:
        self._connection = connection
        self._site = site
        self._authority = authority
        self._clock = clock
        self._proof = TailProof(site, authority)

    def rows(self, lease: Lease, *, history: bool = False) -> Rows:
        """Measurements that the lease covers; see `read`."""
        return self.read(lease, documents=False, history=history).rows

    def documents(self, lease: Lease, *, history: bool = False) -> list[Document]:
        """Documents that the lease covers; see `read`."""
        return self.read(lease, measurements=False, documents=True, history=history).documents

    def read(
        self,
        lease: Lease,
        *,
        categories: Iterable[int] | None = None,
        first_month: int = 0,
        last_month: int = LAST_MONTH,
        measurements: bool = True,
        documents: bool = False,
        history: bool = False,
    ) -> Reading:
        """What is stored of the lease's patient.

        Args:
            categories: fewer than the lease has; None: all of it.
            first_month, last_month: as year * 100 + month; records without clinical time are
                read where first_month is 0.
            history: also what was superseded or entered in error, with the markers.

        Raises:
            LeaseEnded: the lease is over or was revoked.
            Incomplete: something that was stored is missing or was put back.
            Tampered: something stored is not what was stored.
            Unavailable: the database does not answer.
        """
        lease.check(self._clock.now_ms())
        chosen = set(lease.tags) if categories is None else {int(one) for one in categories}
        spans = [span for span in spans_of(lease, first_month, last_month) if span.category in chosen]
        kinds = [kind for kind, want in ((False, measurements), (True, documents)) if want]
        try:
            with self._snapshot():
                stands = standing.standing(self._connection, self._site, self._authority, lease.handle)
                found = _Found()
                self._read_blocks(lease, stands, spans, found, kinds)
                self._read_tail(lease, stands, spans, found)
        except psycopg.OperationalError as error:
            raise Unavailable("the store does not answer; try again", detail=type(error).__name__) from None
        every = rows.concat(found.rows) if measurements else rows.no_rows()
        kept = every if history else corrections.current(every)
        texts = found.documents if documents else []
        return Reading(
            kept.sorted(),
            sorted(texts if history else corrections.current_documents(texts), key=lambda one: one.effective_ms),
            stands.next_seq,
            found.served,
            found.waiting,
            found.chain,
        )

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One view of the database; the connection is afterwards as it was."""
        before = self._connection.isolation_level
        self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
        try:
            with self._connection.transaction():
                yield
        finally:
            if not self._connection.closed:
                self._connection.isolation_level = before

    # Blocks ----------------------------------------------------------------------

    def _read_blocks(
        self, lease: Lease, stands: Standing, spans: Sequence[Span], found: _Found, kinds: Sequence[bool]
    ) -> None:
        groups = [group for group in stands.groups if any(span.touches(group) for span in spans)]
        with self._connection.pipeline():  # one round trip for both
            sent = self._send_for_blocks(lease, spans, kinds)
            manifests = standing.committed(self._connection, stands, lease, groups)
        wanted = {
            (one.tag, one.version, one.bucket): one
            for group in groups
            for one in manifests[group]
            if any(span.holds(one) for span in spans)
        }
        shelves = self._shelves(lease, sent.fetchall())
        if shelves.keys() != wanted.keys():
            self._missing(lease)
        keys = _KeyRing(lease)
        of_rows: list[tuple[Shelf, bytes, Block]] = []
        for place, (shelf, stored) in shelves.items():
            if shelf.manifest(stored, wanted[place].n) != wanted[place]:
                self._missing(lease)
            found.served += len(stored)
            for block in stored:
                if block.seq < blocks.DOCUMENT_SEQ and False in kinds:
                    of_rows.append((shelf, keys.of(shelf), block))
                elif block.seq >= blocks.DOCUMENT_SEQ and True in kinds:
                    found.documents += blocks.open_documents(shelf, keys.of(shelf), block)
        if of_rows:
            found.rows.append(blocks.open_all_rows(of_rows))
        items = sum(len(part) for part in found.rows) + len(found.documents)
        if len(kinds) == 2 and items != sum(one.n for one in wanted.values()):
            self._missing(lease)

    def _send_for_blocks(self, lease: Lease, spans: Sequence[Span], kinds: Sequence[bool]) -> psycopg.Cursor[TupleRow]:
        return self._connection.execute(
            _BLOCKS,
            (
                blocks.DOCUMENT_SEQ,
                list(kinds),
                sealing.HEADER_BYTES + sealing.TAG_BYTES,
                [span.tag for span in spans],
                [span.version for span in spans],
                [span.low for span in spans],
                [span.high for span in spans],
                lease.handle,
            ),
            binary=True,
        )

    def _shelves(
        self, lease: Lease, stored: Sequence[TupleRow]
    ) -> dict[tuple[bytes, int, int], tuple[Shelf, list[Block]]]:
        category = {own: number for number, own in lease.tags.items()}
        found: dict[tuple[bytes, int, int], tuple[Shelf, list[Block]]] = {}
        for tag, version, bucket, seq, n, blob in stored:
            place = (tag, version, bucket)
            if place not in found:
                found[place] = Shelf(self._site, lease.handle, category[tag], tag, version, bucket), []
            found[place][1].append(Block(seq, n, blob))
        return found

    def _missing(self, lease: Lease) -> NoReturn:
        """Raises LeaseEnded where row-level security explains it, else Incomplete."""
        row = self._connection.execute(_LIVE, (UUID(bytes=lease.lease_id),)).fetchone()
        if row is None or not row[0]:
            raise LeaseEnded("the lease ended while records were read; ask for a new grant")
        raise Incomplete("stored records of this patient are not complete; restore them from a backup")

    # Tail ------------------------------------------------------------------------

    def _read_tail(self, lease: Lease, stands: Standing, spans: Sequence[Span], found: _Found) -> None:
        if stands.filed == (stands.next_seq, stands.chain):
            found.chain = stands.chain  # the signed head says so
        tags = {span.tag for span in spans}
        pending = [entry for entry in stands.tail if entry.tag in tags]
        if not lease.tails or not pending:
            found.waiting = len(pending)
            return
        visible = visible_rows(self._connection, (lease.handle,), tags)
        if {row.seq for row in visible} != {entry.seq for entry in pending}:
            self._missing(lease)
        self._proof.check(self._connection, stands, visible)
        found.chain = stands.chain
        openable = {(tail.category, tail.version, tail.year * 100 + tail.month) for tail in lease.tails}
        opener = TailOpener(self._site, lease)
        for row in visible:
            category = lease.category_of(row.tag)
            if (category, row.version, row.received_month) not in openable:
                found.waiting += 1
                continue
            category, held = opener.open(row)
            found.served += 1
            covered = [span for span in spans if span.category == category and span.version == row.version]
            found.rows.append(_covered_rows(category, held.rows, covered))
            found.documents += [one for one in held.documents if _covers(covered, category, one)]

    # Waiting for the compactor -----------------------------------------------------

    def settled(self, lease: Lease, wait: Callable[[float], object], most_s: float = 1.0) -> bool:
        """Asks for compaction and waits until no leased tail row is left, at most `most_s` seconds.

        `wait` sleeps for the seconds it is given. False where rows still wait.
        """
        deadline = self._clock.monotonic() + most_s
        tags = list(lease.tags.values())
        while True:
            row = self._connection.execute(
                "select count(*) from vault.tail_index(%b::uuid[]) where tag = any(%b)", ([lease.handle], tags)
            ).fetchone()
            if row is None or row[0] == 0:
                return True
            if self._clock.monotonic() >= deadline:
                return False
            self.ask_for(lease.handle)
            wait(0.05)

    def ask_for(self, handle: Handle) -> None:
        """Has the compactor file this patient now, whatever else waits (docs/decisions/0007)."""
        with self._connection.transaction():
            self._connection.execute("select pg_notify('compact', %b::text)", (str(handle),))


@dataclass
class _KeyRing:
    """Month keys of one reading, each derived once."""

    lease: Lease
    _keys: dict[tuple[int, int, int], bytes] = field(default_factory=dict)

    def of(self, shelf: Shelf) -> bytes:
        place = (shelf.category, shelf.version, shelf.month)
        if place not in self._keys:
            self._keys[place] = self.lease.key_of_month(*place)
        return self._keys[place]


def spans_of(lease: Lease, first_month: int, last_month: int) -> list[Span]:
    """What the lease's nodes cover of the months, in as few spans as there are."""
    places: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for key in lease.nodes:
        month = key.year * 100 + key.month
        low, high = max(month + key.whole_year, first_month), min(month + 12 * key.whole_year, last_month)
        if low <= high and key.category in lease.tags:
            places.setdefault((key.category, key.version), []).append((low, high))
    spans = []
    for (category, version), found in places.items():
        for low, high in _joined(sorted(set(found))):
            spans.append(Span(category, lease.tags[category], version, *buckets.span_of(low, high)))
    return spans


def _joined(months: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of months; neighbours (within a year, and across its end) and overlaps become one."""
    joined: list[tuple[int, int]] = []
    for low, high in months:
        last = joined[-1][1] if joined else -1
        if joined and low <= (last + 1 if last % 100 < 12 else last + 89) and last:
            joined[-1] = (joined[-1][0], max(last, high))
        else:
            joined.append((low, high))
    return joined


def _covered_rows(category: int, of: Rows, spans: Sequence[Span]) -> Rows:
    """Rows whose bucket the lease covers: tail keys follow the month of receipt and open more."""
    filed = buckets.buckets_of(category, of.effective_ms, of.precision)
    keep = np.zeros(len(of), dtype=np.bool_)
    for span in spans:
        keep |= (filed >= span.low) & (filed <= span.high)
    return of.take(keep)


def _covers(spans: Sequence[Span], category: int, one: Document) -> bool:
    bucket = buckets.bucket_of(category, one.effective_ms, one.precision)
    return any(span.low <= bucket <= span.high for span in spans)
