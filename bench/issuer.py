"""A hospital's authority in one process: real key tree, real signatures, real rows.

Makes what auth makes (patients, signed public keys, leases with sub-keys, manifest
heads) without deciding anything and without a ledger, so that the store can be
measured and tested alone. Benchmarks and tests only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg.rows import TupleRow

from twinward.clock import Chance, Clock, month_of, utc
from twinward.errors import NotFound
from twinward.record import Category, Handle
from twinward.vault import hpke, keytree, manifest, publickeys
from twinward.vault.acceptance import Instance, IntakeKeys
from twinward.vault.keytree import Node, Period
from twinward.vault.lease import Lease, NodeKey, TailKey
from twinward.vault.manifest import FIRST_CHAIN, BucketManifest, Group, Head, Resealed
from twinward.vault.tags import tag
from twinward.vault.writer import TailWriter
from twinward.wire.codec.compaction import Change, Granted, Months, Unit, Use

Connection = psycopg.Connection[TupleRow]
DAY_MS = 86_400_000
EVER = Period(200001, 202612, undated=True)


@dataclass(frozen=True, slots=True)
class Patient:
    handle: Handle
    dek: bytes = field(repr=False)
    version: int = 1


@dataclass
class Issuer:
    """`connection` has the role of auth, `owner` the owner's; both autocommit."""

    connection: Connection
    owner: Connection
    clock: Clock
    chance: Chance
    site: str = "st-anne-demo"
    patients: dict[Handle, Patient] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    deferred: dict[Handle, int] = field(default_factory=dict)  # until when (ms) compaction waits, unless asked for

    def __post_init__(self) -> None:
        self.authority = Ed25519PrivateKey.from_private_bytes(self.chance.bytes(32))
        self.tag_key = self.chance.bytes(32)
        self.intake_seed, self.admit_seed = self.chance.bytes(96), self.chance.bytes(96)
        self.instance = Instance(
            UUID(bytes=self.chance.bytes(16), version=4), Ed25519PrivateKey.from_private_bytes(self.chance.bytes(32))
        )
        public = self.instance.key.public_key().public_bytes_raw()
        signature = publickeys.sign_instance(self.authority, self.site, self.instance.id, "ingest", public)
        self.owner.execute(
            "insert into vault.instance (id, program, public_key, signature, since) values (%s, %s, %s, %s, now())",
            (self.instance.id, "ingest", public, signature),
        )

    @property
    def authority_public(self) -> Ed25519PublicKey:
        return self.authority.public_key()

    @property
    def intake_keys(self) -> IntakeKeys:
        public = [hpke.public_key(hpke.public_bytes(seed)) for seed in (self.intake_seed, self.admit_seed)]
        return IntakeKeys(1, *public)

    def writer(self, connection: Connection) -> TailWriter:
        """`connection` has the role of ingest."""
        return TailWriter(
            connection,
            site=self.site,
            instance=self.instance,
            tag_key=self.tag_key,
            authority=self.authority_public,
            intake=self.intake_keys,
            clock=self.clock,
            chance=self.chance,
        )

    def tag(self, handle: Handle, category: int) -> bytes:
        return tag(self.tag_key, handle, category)

    # Patients ----------------------------------------------------------------------

    def enrol(self, n: int, categories: Collection[int]) -> list[Patient]:
        """n new patients with public keys of this month."""
        made = [Patient(UUID(bytes=self.chance.bytes(16), version=4), self.chance.bytes(32)) for _ in range(n)]
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(
                "insert into vault.patient_state (handle, chain) values (%s, %s)",
                [(patient.handle, FIRST_CHAIN) for patient in made],
            )
            for patient in made:
                self.patients[patient.handle] = patient
                self.publish(patient, categories)
        return made

    def publish(self, patient: Patient, categories: Collection[int], month: int | None = None) -> None:
        """A signed set of public keys for one month of receipt."""
        month = month_of(self.clock.now_ms()) if month is None else month
        from_ms, until_ms = self.clock.now_ms() - 40 * DAY_MS, self.clock.now_ms() + 40 * DAY_MS
        public = {
            category: hpke.public_bytes(keytree.tail_seed(patient.dek, category, patient.version, month))
            for category in categories
        }
        entries = tuple(publickeys.entry(one, month, from_ms, until_ms, key) for one, key in public.items())
        keys = publickeys.KeySet(self.site, patient.handle, patient.version, until_ms, entries)
        signature = publickeys.sign_set(self.authority, keys)
        row = self.connection.execute(
            """insert into vault.public_key_set (handle, version, valid_until, signature)
               values (%s, %s, %s, %s) returning id""",
            (patient.handle, patient.version, utc(until_ms), signature),
        ).fetchone()
        assert row is not None
        for category, key in public.items():
            self.connection.execute(
                "insert into vault.public_key values (%s, %s, %s, %s, %s, %s, %s, %s)",
                (row[0], patient.handle, self.tag(patient.handle, category), patient.version, month, utc(from_ms),
                 utc(until_ms), key),
            )  # fmt: skip

    def withdraw(self, handle: Handle, categories: Collection[int]) -> Patient:
        """Raises the patient's key version and replaces the public keys, in one transaction."""
        old = self.patients[handle]
        new = Patient(handle, old.dek, old.version + 1)
        self.patients[handle] = new
        with self.connection.transaction():
            self.connection.execute(
                "update vault.patient_state set version = %s where handle = %s", (new.version, handle)
            )
            self.connection.execute("delete from vault.public_key_set where handle = %s", (handle,))
            self.publish(new, categories)
        return new

    # Leases ------------------------------------------------------------------------

    def lease(
        self,
        handle: Handle,
        role: str,
        categories: Collection[int],
        period: Period = EVER,
        *,
        tails: bool = False,
        seconds: int = 900,
        purpose: str = "treatment",
    ) -> Lease:
        """A lease with nodes for exactly the categories and months, of every version so far."""
        patient, now_ms = self.patients[handle], self.clock.now_ms()
        versions = range(1, patient.version + 1)
        nodes = tuple(
            self._node(patient, category, version, node)
            for category in categories
            for version in versions
            for node in keytree.covering_nodes(period, now_ms)
        )
        return self._leased(patient, role, categories, nodes, tails=tails, seconds=seconds, purpose=purpose)

    def _node(self, patient: Patient, category: int, version: int, node: Node) -> NodeKey:
        key = keytree.node_key(patient.dek, category, version, node)
        return NodeKey(int(category), version, node.year, node.month, node.whole_year, key)

    def _leased(
        self,
        patient: Patient,
        role: str,
        categories: Collection[int],
        nodes: tuple[NodeKey, ...],
        *,
        tails: bool,
        seconds: int,
        purpose: str,
    ) -> Lease:
        now_ms = self.clock.now_ms()
        lease_id = UUID(bytes=self.chance.bytes(16), version=4)
        tags = {int(category): self.tag(patient.handle, category) for category in categories}
        head = self.connection.execute(
            "select root, previous from vault.manifest_head where handle = %s", (patient.handle,)
        ).fetchone()
        found = self._tails(patient, tags) if tails else ()
        self.connection.execute(
            """insert into vault.lease (id, role, handle, tags, purpose, issued, until, leaf, actor)
               values (%s, %s, %s, %s, %s, now(), now() + %s * interval '1 second', 0, 'bench')""",
            (lease_id, role, patient.handle, list(tags.values()), purpose, seconds),
        )
        return Lease(
            lease_id=lease_id.bytes,
            handle=patient.handle,
            until_ms=now_ms + seconds * 1000,
            purpose=purpose,
            tags=tags,
            nodes=nodes,
            tails=found,
            manifest_root=head[0] if head else b"",
            manifest_previous=head[1] or b"" if head else b"",
            leaf=0,
            version=patient.version,
            issued_ms=now_ms,
        )

    def _tails(self, patient: Patient, tags: Mapping[int, bytes]) -> tuple[TailKey, ...]:
        category = {own: number for number, own in tags.items()}
        rows = self.connection.execute(
            "select distinct tag, version, received_month from vault.tail where handle = %s", (patient.handle,)
        ).fetchall()
        return tuple(
            TailKey(
                category[own],
                version,
                month // 100,
                month % 100,
                keytree.tail_seed(patient.dek, category[own], version, month),
            )
            for own, version, month in rows
            if own in category
        )

    def end(self, lease: Lease) -> None:
        """Revokes a lease."""
        self.connection.execute("delete from vault.lease where id = %s", (UUID(bytes=lease.lease_id),))

    # What the compactor asks (services.compactor.door.AuthDoor) ------------------------

    def grant(self, units: Sequence[Unit], asked: Collection[Handle]) -> Granted:
        now_ms, handles = self.clock.now_ms(), {unit.handle for unit in units}
        later = {
            handle: until_ms
            for handle, until_ms in self.deferred.items()
            if handle in handles and handle not in asked and now_ms < until_ms
        }
        return Granted([self._compaction(unit) for unit in units if unit.handle not in later], later)

    def _compaction(self, unit: Unit) -> Lease:
        patient = self.patients[unit.handle]
        category = next((one for one in Category if self.tag(unit.handle, one) == unit.tag), None)
        if category is None:
            raise NotFound("a unit's tag is of no category")
        index = tuple(
            self._node(patient, Category.COHORT_INDEX, version, Node(0, 0, False))
            for version in range(1, patient.version + 1)
        )
        both = (category, Category.COHORT_INDEX)
        return self._leased(patient, "compactor", both, index, tails=True, seconds=60, purpose="operations")

    def extend(self, wanted: Sequence[Months]) -> dict[bytes, tuple[NodeKey, ...]]:
        found: dict[bytes, tuple[NodeKey, ...]] = {}
        for one in wanted:
            row = self.connection.execute(
                "select handle, tags from vault.lease where id = %s", (UUID(bytes=one.lease_id),)
            ).fetchone()
            assert row is not None
            patient = self.patients[row[0]]
            category = next(number for number in Category if self.tag(patient.handle, number) == bytes(row[1][0]))
            found[one.lease_id] = found.get(one.lease_id, ()) + tuple(
                self._node(patient, category, version, Node(month // 100, month % 100, False))
                for version in range(1, patient.version + 1)
                for month in one.months
            )
        return found

    def seal(self, changes: Sequence[Change]) -> None:
        with self.connection.transaction():
            for change in changes:
                self._seal(change)

    def _seal(self, change: Change) -> None:
        handle = change.handle
        rows = self.connection.execute(
            "select tag, version, bucket, blocks, n, commitments from vault.manifest where handle = %s", (handle,)
        ).fetchall()
        resealed = manifest.reseal(
            self.head(handle),
            self._groups(handle),
            [BucketManifest(*row) for row in rows],
            change.buckets,
            site=self.site,
            handle=handle,
            next_seq=change.next_seq,
            chain=change.chain,
            at_ms=self.clock.now_ms(),
        )
        self._store(resealed)

    def head(self, handle: Handle) -> Head | None:
        row = self.connection.execute(
            """select root, previous, next_seq, chain, round(extract(epoch from at) * 1000)::bigint
               from vault.manifest_head where handle = %s""",
            (handle,),
        ).fetchone()
        if row is None:
            return None
        root, previous, next_seq, chain, at_ms = row
        return Head(
            site=self.site, handle=handle, root=root, previous=previous or b"", next_seq=next_seq, chain=chain,
            at_ms=at_ms,
        )  # fmt: skip

    def _groups(self, handle: Handle) -> dict[Group, bytes]:
        rows = self.connection.execute(
            "select tag, version, year, root from vault.manifest_group where handle = %s", (handle,)
        ).fetchall()
        return {Group(own, version, year): root for own, version, year, root in rows}

    def _store(self, resealed: Resealed) -> None:
        head = resealed.head
        self.connection.execute(
            """insert into vault.manifest_head (handle, root, mac, next_seq, chain, previous, at)
               values (%s, %s, %s, %s, %s, %s, %s)
               on conflict (handle) do update set root = excluded.root, mac = excluded.mac, at = excluded.at,
                 next_seq = excluded.next_seq, chain = excluded.chain, previous = excluded.previous""",
            (head.handle, head.root, manifest.sign_head(self.authority, head), head.next_seq, head.chain,
             head.previous, utc(head.at_ms)),
        )  # fmt: skip
        for group, root in resealed.changed.items():
            self.connection.execute(
                """insert into vault.manifest_group (handle, tag, version, year, root) values (%s, %s, %s, %s, %s)
                   on conflict (handle, tag, version, year) do update set root = excluded.root""",
                (head.handle, group.tag, group.version, group.year, root),
            )
        for group in resealed.gone:
            self.connection.execute(
                "delete from vault.manifest_group where handle = %s and tag = %s and version = %s and year = %s",
                (head.handle, group.tag, group.version, group.year),
            )

    def report(self, uses: Sequence[Use]) -> None:
        self.uses += uses

    def give_back(self, lease_ids: Sequence[bytes]) -> None:
        ids = [UUID(bytes=one) for one in lease_ids]
        self.connection.execute("delete from vault.lease where id = any(%s)", (ids,))
