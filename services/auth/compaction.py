"""Keys for turning tail into blocks, and the manifests that come of it.

Order of a run, and what a crash at each place leaves:
1. `grant`: leaf and leases; the compactor reads and opens the tail. Patients with
   sensitive tail are left for the night (`night.py`): no key, so no leaf.
2. `extend`: block keys of the months it found; same lease, same leaf.
3. `seal`: auth signs the head *before* the compactor commits. A compactor that
   dies here leaves a head whose `previous` is what is really stored.
4. The compactor commits blocks, manifests and the deletion of the tail rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from services.auth import months
from services.auth.consent import Answer
from services.auth.desk import INSERT_LEASE, ROLES, Desk, asker_of
from services.auth.facts import Connection, Facts, connection_of
from services.auth.leaf import Body
from services.auth.night import Night, deferred
from services.auth.policy import Slice
from services.auth.sequencer import Proposal
from services.auth.upkeep import PATIENTS, TailPlace, tail_places
from twinward.clock import utc
from twinward.errors import BadInput, Conflict, LeaseEnded, TooLarge
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Category, Handle, Purpose
from twinward.vault import manifest
from twinward.vault.keytree import is_month
from twinward.vault.lease import Lease, NodeKey
from twinward.vault.manifest import BucketManifest, Group, Head

COMPACTION_S = 60
MOST_UNITS = 200
MOST_MONTHS = 3_000

_LEASES = """
select id, handle, tags from vault.lease where id = any (%s) and role = 'compactor' and until > clock_timestamp()"""
_HEADS = "select root, previous, next_seq, chain, mac, at from vault.manifest_head where handle = %s"
_GROUPS = "select tag, version, year, root from vault.manifest_group where handle = %s"
_MANIFESTS = "select tag, version, bucket, blocks, n, commitments from vault.manifest where handle = %s"
_PUT_HEAD = """
insert into vault.manifest_head (handle, root, mac, next_seq, chain, previous, at) values (%s, %s, %s, %s, %s, %s, %s)
on conflict (handle) do update set root = excluded.root, mac = excluded.mac, next_seq = excluded.next_seq,
  chain = excluded.chain, previous = excluded.previous, at = excluded.at"""
_PUT_GROUPS = """
insert into vault.manifest_group (handle, tag, version, year, root)
select %s, g.tag, g.version, g.year, g.root
from unnest(%s::bytea[], %s::int[], %s::smallint[], %s::bytea[]) as g (tag, version, year, root)
on conflict (handle, tag, version, year) do update set root = excluded.root"""
_DROP_GROUPS = """
delete from vault.manifest_group m using unnest(%s::bytea[], %s::int[], %s::smallint[]) as g (tag, version, year)
where m.handle = %s and m.tag = g.tag and m.version = g.version and m.year = g.year"""


@dataclass(frozen=True, slots=True)
class Unit:
    handle: Handle
    tag: bytes


@dataclass(frozen=True, slots=True)
class Granted:
    leases: list[Lease] = field(default_factory=list)
    deferred: Mapping[Handle, int] = field(default_factory=dict)  # not before this moment (ms), unless asked for


@dataclass(frozen=True, slots=True)
class Months:
    """Months (year * 100 + month, 0 undated) that one lease's tail rows turned out to be of."""

    lease_id: UUID
    months: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    lease_id: UUID
    handle: Handle
    next_seq: int
    chain: bytes
    buckets: tuple[BucketManifest, ...]


@dataclass(frozen=True, slots=True)
class Seal:
    handle: Handle
    root: bytes
    signature: bytes


class Compaction:
    def __init__(self, desk: Desk, night: Night) -> None:
        self._desk = desk
        self._night = night

    def grant(self, caller: Caller, units: Sequence[Unit], asked: Collection[Handle] = ()) -> Granted:
        """One lease for every unit that has tail and may be compacted now, in the units' order.

        Args:
            asked: patients whom a reader waits for: they are filed by day as well.

        Raises:
            TooLarge, Busy, Unavailable: nothing was released.
        """
        if len(units) > MOST_UNITS:
            raise TooLarge(f"one run has {MOST_UNITS} units at most; ask for the rest apart")
        desk, handles = self._desk, list(dict.fromkeys(unit.handle for unit in units))
        with desk.deciding(handles) as known:
            with connection_of(desk.pool) as connection:
                places = tail_places(connection, handles)
                row = connection.execute(PATIENTS).fetchone()
                facts = {one.handle: one for one in known.facts if self._permitted(caller, one)}
                waiting = {handle: places[handle] for handle in facts if handle in places}
                until = deferred(connection, desk.ring, self._night, waiting, asked, known.now_ms)
            desk.caps.count(caller.certificate_sha256, handles, most=row[0] if row else 0)
            made: list[tuple[Lease, list[object]]] = []
            for unit in dict.fromkeys(units):
                found = [place for place in waiting.get(unit.handle, []) if place.tag == unit.tag]
                if unit.handle not in until and found:
                    versions = {place.version for place in waiting[unit.handle]}
                    made.append(self._lease(facts[unit.handle], unit.tag, found, versions, known.now_ms))
            return Granted(self._recorded(caller, made, known.now_ms) if made else [], until)

    def _recorded(self, caller: Caller, made: Sequence[tuple[Lease, list[object]]], now_ms: int) -> list[Lease]:
        """The leases, once they and their one leaf are durable."""
        desk, actor = self._desk, asker_of(caller).name
        body = {
            **desk.who(caller),
            **_run(lease.handle for lease, _ in made),
            "act": "compact",
            "decision": "permit",
            "policy": desk.policies.sha256,
            "units": len(made),
            "lease_s": COMPACTION_S,
            "now": now_ms,
        }
        writes = lambda leaf: [(INSERT_LEASE, (*row, leaf, actor)) for _, row in made]  # noqa: E731
        leaf = desk.record([Proposal(Kind.COMPACT, body, writes=writes)])[0]
        return [replace(lease, leaf=leaf) for lease, _ in made]

    def _permitted(self, caller: Caller, facts: Facts) -> bool:
        one = Slice.of(Category.RAW, Answer.SILENT, care_team=False, erased=facts.erased)
        return self._desk.policies.rule(asker_of(caller), "compact", Purpose.OPERATIONS, [one])[one].allowed

    def _lease(
        self, facts: Facts, tag: bytes, places: Sequence[TailPlace], versions: Collection[int], now_ms: int
    ) -> tuple[Lease, list[object]]:
        """Tail keys of the unit, and the key of the cohort index of each of `versions`: the patient's, in the tail."""
        desk, lease_id = self._desk, self._desk.new_id()
        category = desk.ring.category_of(facts.handle, tag)
        if category is None:
            raise BadInput("a unit's tag is of no category of its patient; ask for what tail_backlog lists")
        key = desk.ring.unwrap(facts)
        until_ms = now_ms + COMPACTION_S * 1000
        index = desk.ring.tag(facts.handle, Category.COHORT_INDEX)
        lease = Lease(
            lease_id=lease_id.bytes,
            handle=facts.handle,
            until_ms=until_ms,
            purpose=Purpose.OPERATIONS.value,
            tags={int(category): tag, int(Category.COHORT_INDEX): index},
            nodes=tuple(desk.ring.months(key, Category.COHORT_INDEX, sorted(versions), [months.UNDATED])),
            tails=tuple(
                desk.ring.tail(key, category, one.version, one.month)
                for one in sorted(places, key=lambda place: (place.version, place.month))
            ),
            manifest_root=facts.manifest_root,
            manifest_previous=facts.manifest_previous,
            leaf=0,
            version=facts.version,
            issued_ms=now_ms,
        )
        row = [
            lease_id, ROLES["compactor"], facts.handle, [tag, index], Purpose.OPERATIONS.value,
            utc(now_ms), utc(until_ms),
        ]  # fmt: skip
        return lease, row

    def extend(self, wanted: Sequence[Months]) -> list[tuple[UUID, list[NodeKey]]]:
        """Block keys of months under leases that run; nothing new is decided, so no leaf.

        Raises:
            LeaseEnded: a lease is over or is no compaction lease.
            BadInput, TooLarge: months that are none, or too many.
        """
        if sum(len(one.months) for one in wanted) > MOST_MONTHS:
            raise TooLarge(f"one call extends by {MOST_MONTHS} months at most; ask for the rest apart")
        if any(month and not is_month(month) for one in wanted for month in one.months):
            raise BadInput("a month has a number from 1 to 12; 0000-00 is for records without time")
        desk = self._desk
        ids = [one.lease_id for one in wanted]
        with connection_of(desk.pool) as connection:
            leases = self._leases(connection, ids)
            handles = list({handle for handle, _ in leases.values()})
            places = tail_places(connection, handles)
        found = []
        with desk.deciding(handles) as known:
            facts = {one.handle: one for one in known.facts}
            for one in wanted:
                handle, (tag, *_) = leases[one.lease_id]
                category = desk.ring.category_of(handle, tag)
                versions = sorted({place.version for place in places.get(handle, []) if place.tag == tag})
                if category is None or handle not in facts:
                    raise LeaseEnded("this lease's patient is no longer there")
                key = desk.ring.unwrap(facts[handle])
                found.append((one.lease_id, desk.ring.months(key, category, versions, one.months)))
        return found

    def _leases(self, connection: Connection, ids: Sequence[UUID]) -> dict[UUID, tuple[Handle, tuple[bytes, ...]]]:
        """Lease -> patient and tags, the unit's own first."""
        rows = connection.execute(_LEASES, (list(ids),), binary=True).fetchall()
        found = {lease_id: (handle, tuple(map(bytes, tags))) for lease_id, handle, tags in rows}
        if set(ids) - found.keys():
            raise LeaseEnded("a compaction lease is over, unknown or of somebody else; ask for a new one")
        return found

    def seal(self, caller: Caller, changes: Sequence[Change]) -> list[Seal]:
        """Signs the manifest heads of what the compactor is about to commit; one leaf.

        Raises:
            LeaseEnded: a change is not covered by a lease that runs.
            Incomplete, Tampered: what is stored is not what the last head says.
            Conflict: a patient twice in one call.
        """
        desk = self._desk
        if len({change.handle for change in changes}) != len(changes):
            raise Conflict("one call seals a patient once; join its buckets")
        now_ms = desk.clock.now_ms()
        seals: list[Seal] = []
        writes: list[tuple[str, Sequence[object]]] = []
        with connection_of(desk.pool) as connection:
            leases = self._leases(connection, [change.lease_id for change in changes])
            for change in changes:
                self._covered(connection, change, leases[change.lease_id])
                resealed = self._resealed(connection, change, now_ms)
                signature = manifest.sign_head(desk.ring.authority, resealed.head)
                seals.append(Seal(change.handle, resealed.head.root, signature))
                writes += _writes(resealed, signature)
        body = {
            **desk.who(caller),
            **_run(change.handle for change in changes),
            "act": "compact",
            "buckets": sum(len(change.buckets) for change in changes),
            "now": now_ms,
        }
        if changes:
            desk.record([Proposal(Kind.MANIFEST, body, writes=lambda _leaf: writes)])
        return seals

    def _covered(self, connection: Connection, change: Change, lease: tuple[Handle, tuple[bytes, ...]]) -> None:
        """Every bucket's tag must be leased: one call may carry all units of a patient."""
        if lease[0] != change.handle:
            raise LeaseEnded("a compaction lease is of another patient; ask for a new one")
        wanted = {bucket.tag for bucket in change.buckets}
        if wanted <= set(lease[1]):
            return
        rows = connection.execute(
            "select tags from vault.lease where handle = %s and role = 'compactor' and until > clock_timestamp()",
            (change.handle,),
        ).fetchall()
        if not wanted <= {bytes(tag) for (tags,) in rows for tag in tags}:
            raise LeaseEnded("a bucket is not covered by a compaction lease that runs; ask for a new one")

    def _resealed(self, connection: Connection, change: Change, now_ms: int) -> manifest.Resealed:
        ring, handle = self._desk.ring, change.handle
        everything = _everything(connection, handle)
        head = self._head(connection, handle)
        if head is not None:
            public = ring.authority.public_key()
            stored = connection.execute("select mac from vault.manifest_head where handle = %s", (handle,)).fetchone()
            manifest.verify_head(public, head, bytes(stored[0]) if stored else b"")
        groups = {
            Group(bytes(tag), version, year): bytes(root)
            for tag, version, year, root in connection.execute(_GROUPS, (handle,), binary=True).fetchall()
        }
        return manifest.reseal(
            head, groups, everything(), change.buckets,
            site=ring.site, handle=handle, next_seq=change.next_seq, chain=change.chain, at_ms=now_ms,
        )  # fmt: skip

    def _head(self, connection: Connection, handle: Handle) -> Head | None:
        row = connection.execute(_HEADS, (handle,), binary=True).fetchone()
        if row is None:
            return None
        root, previous, next_seq, chain, _, at = row
        return Head(
            site=self._desk.ring.site,
            handle=handle,
            root=bytes(root),
            previous=bytes(previous or b""),
            next_seq=next_seq,
            chain=bytes(chain),
            at_ms=round(at.timestamp() * 1000),
        )


def _everything(connection: Connection, handle: Handle) -> Callable[[], list[BucketManifest]]:
    """All committed manifests of a patient, read once and only if somebody asks."""
    held: list[list[BucketManifest]] = []

    def read() -> list[BucketManifest]:
        if not held:
            rows = connection.execute(_MANIFESTS, (handle,), binary=True).fetchall()
            held.append([BucketManifest(bytes(tag), v, b, blocks, n, bytes(c)) for tag, v, b, blocks, n, c in rows])
        return held[0]

    return read


def _writes(resealed: manifest.Resealed, signature: bytes) -> list[tuple[str, Sequence[object]]]:
    head = resealed.head
    found: list[tuple[str, Sequence[object]]] = [
        (
            _PUT_HEAD,
            (head.handle, head.root, signature, head.next_seq, head.chain, head.previous, utc(head.at_ms)),
        )
    ]
    if resealed.changed:
        found.append((_PUT_GROUPS, (head.handle, *_columns(resealed.changed), list(resealed.changed.values()))))
    if resealed.gone:
        found.append((_DROP_GROUPS, (*_columns(resealed.gone), head.handle)))
    return found


def _columns(groups: Iterable[Group]) -> tuple[list[bytes], list[int], list[int]]:
    ordered = list(groups)
    return [one.tag for one in ordered], [one.version for one in ordered], [one.year for one in ordered]


def _run(handles: Iterable[Handle]) -> Body:
    """A run's patients: their number and SHA-256 over their handles in order."""
    ordered = sorted({handle.bytes for handle in handles})
    return {"patients": len(ordered), "root": hashlib.sha256(b"".join(ordered)).hexdigest()}
