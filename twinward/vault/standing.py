"""Where a patient's records stand: head, manifests, tail, read in one snapshot and checked.

What is believed, in this order: the authority's signature over the head; the lease,
whose root must be the head's unless the head is newer or follows on it; the manifests,
whose root must be the head's. The root before it counts only while tail rows that the
head already counts as filed are still there: then the compactor that asked for the
head has not committed (it may have died), and nothing is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg.rows import TupleRow

from twinward.errors import Incomplete, NotFound
from twinward.record import Handle
from twinward.vault import manifest
from twinward.vault.lease import Lease
from twinward.vault.manifest import EMPTY_ROOT, FIRST_CHAIN, BucketManifest, Group, Head

Connection = psycopg.Connection[TupleRow]

_STATES = """
select s.handle, s.next_seq, s.chain, h.root, h.previous, h.next_seq, h.chain, h.mac,
  round(extract(epoch from h.at) * 1000)::bigint
from vault.patient_state s left join vault.manifest_head h using (handle) where s.handle = any(%b)"""
_GROUPS = "select handle, tag, version, year, root from vault.manifest_group where handle = any(%b)"
_INDEX = "select handle, seq, tag, receipt, place from vault.tail_index(%b) order by seq"
_MANIFESTS = "select tag, version, bucket, blocks, n, commitments from vault.manifest where handle = %b"
_OF_GROUPS = """
select tag, version, bucket, blocks, n, commitments from vault.manifest where handle = %b
  and (tag, version) in (select * from unnest(%b::bytea[], %b::int[])) and bucket / 10000 = any(%b)"""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A tail row that is there, whether or not this role may read it."""

    seq: int
    tag: bytes
    receipt: int
    place: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one patient, in one snapshot of the database. The head's signature was checked."""

    handle: Handle
    next_seq: int
    chain: bytes
    head: Head | None
    groups: Mapping[Group, bytes]
    tail: Sequence[IndexEntry]  # by seq

    @property
    def filed(self) -> tuple[int, bytes]:
        """Tail rows below this seq are in blocks; the chain up to there."""
        return (1, FIRST_CHAIN) if self.head is None else (self.head.next_seq, self.head.chain)

    @property
    def uncommitted(self) -> bool:
        """The head was sealed for a run that did not commit (yet)."""
        return bool(self.tail) and self.tail[0].seq < self.filed[0]

    def accepted_roots(self, lease: Lease) -> frozenset[bytes]:
        """Handle roots that a reader with `lease` may believe.

        Raises:
            Incomplete: the head is older than the lease, or gone.
        """
        if self.head is None:
            if lease.manifest_root:
                raise Incomplete("a patient's manifest is missing; restore it from a backup")
            return frozenset({EMPTY_ROOT})
        newer = 0 < lease.issued_ms <= self.head.at_ms
        # A head that was being signed while the grant was decided follows on what the grant knew.
        follows = self.head.previous == lease.manifest_root
        if self.head.root != lease.manifest_root and not newer and not follows:
            raise Incomplete("stored records are older than the grant says; ask for a new grant, then restore a backup")
        return frozenset({self.head.root, self.head.previous} if self.uncommitted else {self.head.root})


def standings(
    connection: Connection, site: str, authority: Ed25519PublicKey, handles: Iterable[Handle]
) -> dict[Handle, Standing]:
    """Raises Tampered where a head is not the authority's. Patients that are not there are left out."""
    wanted = list(handles)
    with connection.pipeline():  # one round trip for the three
        of_groups = connection.execute(_GROUPS, (wanted,), binary=True)
        of_index = connection.execute(_INDEX, (wanted,), binary=True)
        of_states = connection.execute(_STATES, (wanted,), binary=True)
    groups: dict[Handle, dict[Group, bytes]] = {handle: {} for handle in wanted}
    for handle, tag, version, year, root in of_groups.fetchall():
        groups[handle][Group(tag, version, year)] = root
    tail: dict[Handle, list[IndexEntry]] = {handle: [] for handle in wanted}
    for handle, *entry in of_index.fetchall():
        tail[handle].append(IndexEntry(*entry))
    found = {}
    for handle, next_seq, chain, *stored in of_states.fetchall():
        head = _head(site, authority, handle, stored)
        found[handle] = Standing(handle, next_seq, chain, head, groups[handle], tail[handle])
    return found


def standing(connection: Connection, site: str, authority: Ed25519PublicKey, handle: Handle) -> Standing:
    """Of one patient. Raises NotFound, Tampered."""
    found = standings(connection, site, authority, (handle,)).get(handle)
    if found is None:
        raise NotFound("this patient is not known here")
    return found


def _head(site: str, authority: Ed25519PublicKey, handle: Handle, stored: Sequence[object]) -> Head | None:
    root, previous, next_seq, chain, signature, at_ms = stored
    if root is None:
        return None
    assert isinstance(next_seq, int)  # noqa: S101  not null in the schema
    assert isinstance(at_ms, int)  # noqa: S101
    head = Head(
        site=site,
        handle=handle,
        root=_bytes(root),
        previous=_bytes(previous),
        next_seq=next_seq,
        chain=_bytes(chain),
        at_ms=at_ms,
    )
    manifest.verify_head(authority, head, _bytes(signature))
    return head


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def committed(
    connection: Connection, of: Standing, lease: Lease, groups: Iterable[Group]
) -> dict[Group, list[BucketManifest]]:
    """The manifests of `groups`, proved against the head and the lease.

    Raises:
        Incomplete: something is missing or was put back.
    """
    wanted = list(groups)
    accepted = of.accepted_roots(lease)
    touched: dict[Group, list[BucketManifest]] = {group: [] for group in wanted}
    if wanted:
        tags, versions = [group.tag for group in wanted], [group.version for group in wanted]
        years = list({group.year for group in wanted})
        for row in connection.execute(_OF_GROUPS, (of.handle, tags, versions, years), binary=True).fetchall():
            one = BucketManifest(*row)
            if one.group in touched:
                touched[one.group].append(one)
    manifest.committed_groups(of.handle, accepted, of.groups, touched, lambda: everything(connection, of.handle))
    return touched


def everything(connection: Connection, handle: Handle) -> list[BucketManifest]:
    """All manifests of a patient, unproved."""
    return [BucketManifest(*row) for row in connection.execute(_MANIFESTS, (handle,), binary=True).fetchall()]
