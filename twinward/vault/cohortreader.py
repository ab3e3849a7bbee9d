"""The cohort indexes of many patients at once: four round trips a page instead of four a patient.

The same proofs as reader.py, patient by patient, over one snapshot of the database:
1. heads, groups and the index of the tail, of all (standing.py);
2. manifests and blocks of all index buckets;
3. each patient's manifests proved against its head and lease, its block against its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg import IsolationLevel
from psycopg.rows import TupleRow

from twinward.clock import Clock
from twinward.errors import Incomplete, LeaseEnded, Tampered, TwinwardError, Unavailable
from twinward.record import Category, Document, Handle
from twinward.vault import blocks, cohortindex, manifest, standing
from twinward.vault.blocks import Block, Shelf
from twinward.vault.cohortindex import CohortIndex
from twinward.vault.lease import Lease
from twinward.vault.manifest import BucketManifest, Group
from twinward.vault.standing import Standing

Connection = psycopg.Connection[TupleRow]

# By (handle, tag): the planner must not look at all buckets of a tag-less patient.
_MANIFESTS = """
select m.handle, m.tag, m.version, m.bucket, m.blocks, m.n, m.commitments
from unnest(%b::uuid[], %b::bytea[]) as w (handle, tag)
join vault.manifest m on m.handle = w.handle and m.tag = w.tag"""
_BLOCKS = """
select b.handle, b.tag, b.version, b.bucket, b.seq, b.n, b.blob
from unnest(%b::uuid[], %b::bytea[]) as w (handle, tag)
join vault.block b on b.handle = w.handle and b.tag = w.tag order by b.seq"""
_LIVE = "select id from vault.lease where id = any(%b) and until > clock_timestamp()"


@dataclass(frozen=True, slots=True)
class Indexed:
    """What a patient's index says. `waiting` rows of the tail are not in it: have them filed first (Reader.ask_for)."""

    index: CohortIndex | None  # None: nothing was filed yet, or before there were indexes
    waiting: int
    served: int  # database rows, for the use report


@dataclass(frozen=True, slots=True)
class Page:
    found: Mapping[Handle, Indexed]
    failed: Mapping[Handle, TwinwardError]  # LeaseEnded, Incomplete, Tampered: the others are read all the same


class CohortReader:
    """Of one connection with its program's own role, and one thread. Keeps no key."""

    def __init__(self, connection: Connection, *, site: str, authority: Ed25519PublicKey, clock: Clock) -> None:
        self._connection = connection
        self._site = site
        self._authority = authority
        self._clock = clock

    def read(self, leases: Sequence[Lease]) -> Page:
        """The indexes under leases of `screen`, one a patient.

        Raises:
            LeaseEnded: one of them is over by our own clock.
            Unavailable: the database does not answer.
        """
        now_ms = self._clock.now_ms()
        for lease in leases:
            lease.check(now_ms)
        before = self._connection.isolation_level
        self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
        try:
            with self._connection.transaction():
                return self._read(leases)
        except psycopg.OperationalError as error:
            raise Unavailable("the store does not answer; try again", detail=type(error).__name__) from None
        finally:
            if not self._connection.closed:
                self._connection.isolation_level = before

    def _read(self, leases: Sequence[Lease]) -> Page:
        handles = [lease.handle for lease in leases]
        tags = [lease.tags[Category.COHORT_INDEX] for lease in leases]
        found: dict[Handle, Indexed] = {}
        failed: dict[Handle, TwinwardError] = {}
        stands = self._standings(handles, failed)
        with self._connection.pipeline():  # one round trip for the three
            of_manifests = self._connection.execute(_MANIFESTS, (handles, tags), binary=True)
            of_blocks = self._connection.execute(_BLOCKS, (handles, tags), binary=True)
            of_leases = self._connection.execute(_LIVE, ([UUID(bytes=lease.lease_id) for lease in leases],))
        manifests: dict[Handle, list[BucketManifest]] = {}
        for handle, *row in of_manifests.fetchall():
            manifests.setdefault(handle, []).append(BucketManifest(*row))
        stored: dict[Handle, dict[tuple[int, int], list[Block]]] = {}
        for handle, _, version, bucket, seq, n, blob in of_blocks.fetchall():
            stored.setdefault(handle, {}).setdefault((version, bucket), []).append(Block(seq, n, blob))
        live = {row[0].bytes for row in of_leases.fetchall()}
        for lease in leases:
            if lease.handle in failed:
                continue
            try:
                if lease.lease_id not in live or lease.handle not in stands:
                    raise LeaseEnded("the lease ended while records were read; ask for a new grant")
                found[lease.handle] = self._one(
                    lease, stands[lease.handle], manifests.get(lease.handle, []), stored.get(lease.handle, {})
                )
            except TwinwardError as error:
                failed[lease.handle] = error
        return Page(found, failed)

    def _standings(self, handles: Sequence[Handle], failed: dict[Handle, TwinwardError]) -> dict[Handle, Standing]:
        """Of all at once; one by one where a head is not the authority's, so that the others are read."""
        place = (self._connection, self._site, self._authority)
        try:
            return standing.standings(*place, handles)
        except Tampered:
            found: dict[Handle, Standing] = {}
            for handle in handles:
                try:
                    found |= standing.standings(*place, (handle,))
                except Tampered as error:
                    failed[handle] = error
            return found

    def _one(
        self,
        lease: Lease,
        stands: Standing,
        named: Sequence[BucketManifest],
        stored: Mapping[tuple[int, int], Sequence[Block]],
    ) -> Indexed:
        tag = lease.tags[Category.COHORT_INDEX]
        versions = {node.version for node in lease.nodes}
        touched: dict[Group, list[BucketManifest]] = {
            group: [] for group in stands.groups if group.tag == tag and group.version in versions
        }
        stored = {place: held for place, held in stored.items() if place[0] in versions}
        self._prove(lease, stands, touched, named)
        wanted = {(one.version, one.bucket): one for members in touched.values() for one in members}
        if wanted.keys() != stored.keys():
            raise Incomplete("stored records of this patient are not complete; restore them from a backup")
        documents: list[Document] = []
        for (version, bucket), held in stored.items():
            shelf = Shelf(self._site, lease.handle, Category.COHORT_INDEX, tag, version, bucket)
            if shelf.manifest(held, wanted[version, bucket].n) != wanted[version, bucket]:
                raise Incomplete("stored records of this patient are not complete; restore them from a backup")
            key = lease.key_of_month(Category.COHORT_INDEX, version, shelf.month)
            for block in held:
                documents += blocks.open_documents(shelf, key, block)
        served = sum(map(len, stored.values()))
        return Indexed(cohortindex.from_documents(documents), len(stands.tail), served)

    def _prove(
        self,
        lease: Lease,
        stands: Standing,
        touched: dict[Group, list[BucketManifest]],
        named: Sequence[BucketManifest],
    ) -> None:
        """Puts the manifests into `touched`, proved. Raises Incomplete."""
        for one in named:
            if one.group in touched:
                touched[one.group].append(one)
        manifest.committed_groups(
            stands.handle,
            stands.accepted_roots(lease),
            stands.groups,
            touched,
            lambda: standing.everything(self._connection, stands.handle),
        )
