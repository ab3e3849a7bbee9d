"""What was accepted of many patients since each was last read, in one question.

A full reading (reader.py) checks everything that a patient has: head, manifests, blocks,
and the chain over the whole tail. Who has done that, and still holds the lease it was done
under, need not do it again for one more row: it kept how far it came (`Verified`), and the
chain goes on from there. Each new row must be the one at its place in a signed batch, and
the chain over the new rows must end where the patient's state says.

What is not plain growth is *left out* of the answer, never guessed at: rows filed into
blocks meanwhile, rows that the lease has no key for, an ended lease, a row, batch or chain
that is not what was accepted. The full reading that then has to follow names the reason
(docs/decisions/0010).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg.rows import TupleRow

from twinward.clock import Clock
from twinward.errors import TwinwardError, Unavailable
from twinward.record import Handle
from twinward.vault import batches, rows
from twinward.vault.batches import Batch, TailRow
from twinward.vault.rows import Rows
from twinward.vault.standing import IndexEntry
from twinward.vault.tail import TailOpener, TailProof

Connection = psycopg.Connection[TupleRow]

# One statement, so one snapshot: a state and the rows that it counts. Row-level security
# serves the rows; the state of a patient is not secret to the roles that read.
_NEW = """
select s.handle, s.next_seq, s.chain, t.seq, t.tag, t.version, t.received_month, t.n, t.receipt, t.place, t.blob
from unnest(%b::uuid[], %b::bigint[]) as w (handle, after)
join vault.patient_state s on s.handle = w.handle and not s.erased
left join vault.tail t on t.handle = w.handle and t.seq > w.after
order by s.handle, t.seq"""
_INDEX = "select handle, seq, tag, receipt, place from vault.tail_index(%b) order by seq"


@dataclass(frozen=True, slots=True)
class Verified:
    """Everything accepted of a patient up to `seq` was checked under this lease."""

    seq: int
    chain: bytes  # over the rows up to and including `seq`
    lease_id: bytes


@dataclass(frozen=True, slots=True)
class Grown:
    """Plain growth of one patient since `since`; `rows` are as accepted, nothing resolved."""

    since: Verified
    now: Verified
    rows: Rows
    served: int  # database rows


Asked = Mapping[Handle, tuple[Verified, TailOpener]]


@dataclass(frozen=True, slots=True)
class _Stored:
    next_seq: int
    chain: bytes
    tail: Sequence[TailRow]  # what row-level security shows
    index: Sequence[IndexEntry] = ()  # every new row, leased or not


def grown(
    connection: Connection, proof: TailProof, clock: Clock, asked: Asked, categories: Iterable[int]
) -> dict[Handle, Grown]:
    """Of each patient whose new rows are plain growth; the others are to be read in full.

    Args:
        asked: per patient how far it was checked, and an opener with the lease of that check.
        categories: whose rows are wanted.

    Raises:
        Unavailable: the database does not answer.
    """
    now_ms, wanted = clock.now_ms(), frozenset(int(one) for one in categories)
    live = {
        handle: (since, opener)
        for handle, (since, opener) in asked.items()
        if now_ms < opener.lease.until_ms and opener.lease.lease_id == since.lease_id
    }
    if not live:
        return {}
    try:
        stored = _stored(connection, {handle: since for handle, (since, _) in live.items()})
        whole = _whole(connection, {handle: since for handle, (since, _) in live.items()}, stored)
        signed = _signed(connection, proof, whole)
    except psycopg.OperationalError as error:
        raise Unavailable("the store does not answer; try again", detail=type(error).__name__) from None
    found = {}
    for handle, one in whole.items():
        since, opener = live[handle]
        with suppress(TwinwardError):  # what does not hold is left to the full reading, which says why
            grew = _opened(one, since, opener, signed, wanted)
            if grew is not None:
                found[handle] = grew
    return found


def _stored(connection: Connection, since: Mapping[Handle, Verified]) -> dict[Handle, _Stored]:
    answer = connection.execute(_NEW, (list(since), [one.seq for one in since.values()]), binary=True)
    found: dict[Handle, _Stored] = {}
    tails: dict[Handle, list[TailRow]] = {}
    for handle, next_seq, chain, seq, *rest in answer.fetchall():
        tail = tails.setdefault(handle, [])
        if handle not in found:
            found[handle] = _Stored(next_seq, chain, tail)
        if seq is not None:
            tail.append(TailRow(handle, seq, *rest))
    return found


def _whole(
    connection: Connection, since: Mapping[Handle, Verified], stored: Mapping[Handle, _Stored]
) -> dict[Handle, _Stored]:
    """Those of `stored` where no row between was filed or is missing; rows that are not leased
    to us are named by the index of the tail."""
    found, hidden = {}, []
    for handle, one in stored.items():
        seqs = range(since[handle].seq + 1, one.next_seq)
        if [row.seq for row in one.tail] == list(seqs):
            found[handle] = replace(one, index=tuple(IndexEntry(r.seq, r.tag, r.receipt, r.place) for r in one.tail))
        elif len(one.tail) < len(seqs):
            hidden.append(handle)
    named: dict[Handle, list[IndexEntry]] = {}
    if hidden:
        for handle, *entry in connection.execute(_INDEX, (hidden,), binary=True).fetchall():
            named.setdefault(handle, []).append(IndexEntry(*entry))
    for handle in hidden:
        one, seqs = stored[handle], range(since[handle].seq + 1, stored[handle].next_seq)
        index = [entry for entry in named.get(handle, ()) if entry.seq in seqs]
        if [entry.seq for entry in index] == list(seqs):
            found[handle] = replace(one, index=tuple(index))
    return found


def _signed(connection: Connection, proof: TailProof, whole: Mapping[Handle, _Stored]) -> dict[int, Batch]:
    """Batches whose signature holds; one that does not must not hold up the other patients."""
    wanted = {entry.receipt for one in whole.values() for entry in one.index}
    try:
        return dict(proof.batches(connection, wanted))
    except TwinwardError:
        signed: dict[int, Batch] = {}
        for receipt in wanted:
            with suppress(TwinwardError):
                signed.update(proof.batches(connection, (receipt,)))
        return signed


def _opened(
    stored: _Stored, since: Verified, opener: TailOpener, signed: Mapping[int, Batch], wanted: frozenset[int]
) -> Grown | None:
    batches.verified_rows(stored.tail, signed)
    leased = {tag for category, tag in opener.lease.tags.items() if category in wanted}
    if {entry.seq for entry in stored.index if entry.tag in leased} != {row.seq for row in stored.tail}:
        return None
    chain = since.chain
    for entry in stored.index:
        batch = signed.get(entry.receipt)
        if batch is None:
            return None
        chain = batches.next_chain(chain, entry.seq, batch.row_hash(entry.place))
    if chain != stored.chain:
        return None
    parts = [opener.open(row)[1].rows for row in stored.tail]
    now = Verified(stored.next_seq - 1, chain, since.lease_id)
    return Grown(since, now, rows.concat(parts) if parts else rows.no_rows(), len(stored.tail))
