"""Reading the tail: rows that were sealed and not yet filed into blocks.

A row counts when a sealing program of this site signed the batch it came in, when it
is the one at its place in that batch, and when the chain over all rows of the patient
reaches the patient's state. The index of the tail names every row, leased or not, so
the chain can be checked by who may open a part of it only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg.rows import TupleRow

from twinward.errors import Incomplete, Tampered
from twinward.record import Handle
from twinward.vault import batches, contents, hpke, publickeys
from twinward.vault.associated import SCHEMA_TAIL, AssociatedData, padded
from twinward.vault.batches import Batch, TailRow
from twinward.vault.contents import Contents
from twinward.vault.lease import Lease
from twinward.vault.standing import Standing

Connection = psycopg.Connection[TupleRow]

_ROWS = """
select handle, seq, tag, version, received_month, n, receipt, place, blob from vault.tail
where handle = any(%b) and tag = any(%b) order by handle, seq"""
_BATCHES = """
select id, feed, instance, round(extract(epoch from at) * 1000)::bigint, accepted, dropped, duplicates, intake,
  quarantined, rows, root, signature
from ingest.receipt_batch where id = any(%b)"""
_INSTANCES = "select id, program, public_key, signature from vault.instance"
MOST_KEPT = 2_000  # batches whose signature was checked


def associated(site: str, row: TailRow, category: int) -> bytes:
    """What a tail row is bound to."""
    return AssociatedData(
        site=site,
        handle=row.handle,
        category=category,
        version=row.version,
        month=row.received_month,
        bucket=0,
        seq=row.seq,
        padded=row.n,
        schema=SCHEMA_TAIL,
    ).encode()


def open_row(site: str, row: TailRow, category: int, private: hpke.PrivateKey) -> Contents:
    """Raises Tampered, Malformed or TooLarge."""
    info = hpke.INFO_TAIL + associated(site, row, category)
    found = contents.decode(hpke.open_sealed(private, row.blob, info))
    if padded(found.items) != row.n:
        raise Tampered("a stored row holds another number of items than it says")
    return found


def visible_rows(connection: Connection, handles: Iterable[Handle], tags: Iterable[bytes]) -> list[TailRow]:
    """Tail rows of the patients and tags that live leases of this role show."""
    found = connection.execute(_ROWS, (list(handles), list(tags)), binary=True).fetchall()
    return [TailRow(*row) for row in found]


@dataclass
class TailProof:
    """Checks tail rows; keeps batches and instances whose signatures were checked."""

    site: str
    authority: Ed25519PublicKey
    _instances: dict[UUID, Ed25519PublicKey] = field(default_factory=dict)
    _batches: OrderedDict[int, Batch] = field(default_factory=OrderedDict)

    def batches(self, connection: Connection, ids: Iterable[int]) -> Mapping[int, Batch]:
        """The batches, signatures checked. Raises Tampered, Incomplete where one is gone."""
        wanted = set(ids)
        unknown = wanted - self._batches.keys()
        found = {number: self._batches[number] for number in wanted - unknown}
        if unknown:
            for row in connection.execute(_BATCHES, (list(unknown),), binary=True).fetchall():
                batch = self._checked(connection, row)
                found[batch.id] = self._batches[batch.id] = batch
        if wanted - found.keys():
            raise Incomplete("the signed record of an accepted batch is missing; restore it from a backup")
        while len(self._batches) > MOST_KEPT:
            self._batches.popitem(last=False)
        return found

    def _checked(self, connection: Connection, row: TupleRow) -> Batch:
        number, feed, instance, at_ms, accepted, dropped, duplicates, intake, quarantined, hashes, root, signature = row
        batch = Batch(
            site=self.site, id=number, feed=feed, instance=instance, at_ms=at_ms, accepted=accepted, dropped=dropped,
            duplicates=duplicates, intake=intake, quarantined=quarantined, rows=hashes,
        )  # fmt: skip
        if batch.instance not in self._instances:
            self._load_instances(connection)
        batches.verify(batch, root, signature, self._instances)
        return batch

    def _load_instances(self, connection: Connection) -> None:
        for number, program, public, signature in connection.execute(_INSTANCES, binary=True).fetchall():
            if number not in self._instances:
                self._instances[number] = publickeys.verify_instance(
                    self.authority, self.site, number, program, public, signature
                )

    def check(self, connection: Connection, of: Standing, rows: Sequence[TailRow]) -> dict[int, bytes]:
        """Checks `rows`, those of `of.handle` that this role sees, and the whole chain.

        Returns:
            For every seq from the head on: the chain up to and including it.

        Raises:
            Incomplete: a row of the patient, or one that is leased, is missing.
            Tampered: a row is not the accepted one, or the chain does not reach the state.
        """
        signed = self.batches(connection, {entry.receipt for entry in of.tail})
        batches.verified_rows(rows, signed)
        at, chain = of.filed
        early = [entry.seq for entry in of.tail if entry.seq < at]
        seqs = [entry.seq for entry in of.tail[len(early) :]]
        if early != list(range(at - len(early), at)) or seqs != list(range(at, of.next_seq)):
            raise Incomplete("accepted rows of this patient are missing; restore them from a backup")
        chains = {at - 1: chain}
        for entry in of.tail[len(early) :]:
            chain = batches.next_chain(chain, entry.seq, signed[entry.receipt].row_hash(entry.place))
            chains[entry.seq] = chain
        if chain != of.chain:
            raise Tampered("the chain over a patient's accepted rows is broken")
        return chains


@dataclass
class TailOpener:
    """Opens tail rows with the keys of one lease; each key pair is derived once."""

    site: str
    lease: Lease
    _pairs: dict[tuple[int, int, int], hpke.PrivateKey] = field(default_factory=dict)

    def open(self, row: TailRow) -> tuple[int, Contents]:
        """(category, contents). Raises Denied, Tampered, Malformed or TooLarge."""
        category = self.lease.category_of(row.tag)
        if category is None:
            raise Tampered("a stored row has a tag that its lease does not name")
        place = (category, row.version, row.received_month)
        if place not in self._pairs:
            self._pairs[place] = hpke.private_key(self.lease.seed_of_tail(*place))
        return category, open_row(self.site, row, category, self._pairs[place])
