"""One run: tail becomes blocks.

Order, and what a kill at each place leaves:
1. leases with tail keys (a leaf). Killed: the leases end by themselves.
2. One snapshot: tail rows read and checked (signed batches, chain), opened, sorted.
3. Block keys of the months found, under the same leases.
4. Open blocks merged, the cohort index with them, everything sealed; nothing written yet.
5. Auth signs the new heads. Killed: `previous` in the head is still the truth,
   and the tail rows are still there to show it.
6. Blocks in, tail rows out, manifests, counts: one transaction. Killed before its
   commit: nothing happened. After: everything did.
7. Use reported, leases given back.

A patient's rows are filed in order of seq over all categories, so that the head can
say "everything below is filed". A patient whose tail does not prove itself is left
alone and counted; the others go on, and come first for a while (`aside.py`). Whom
auth defers, because something sensitive waits, is left for the night (`deferred.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg.rows import TupleRow

from services.compactor import filing, indexing, shelves
from services.compactor.aside import Aside
from services.compactor.deferred import Deferred
from services.compactor.door import AuthDoor
from services.compactor.filing import Arrival, Filed
from twinward.clock import Chance, Clock
from twinward.errors import BadInput, Denied, Incomplete, Tampered, TwinwardError, Unavailable
from twinward.record import Category, Handle
from twinward.vault import cohortindex, standing
from twinward.vault.batches import TailRow
from twinward.vault.blocks import Shelf
from twinward.vault.lease import Lease, NodeKey
from twinward.vault.standing import Standing
from twinward.vault.tail import TailOpener, TailProof, visible_rows
from twinward.wire.codec.compaction import Change, Granted, Months, Unit, Use

Connection = psycopg.Connection[TupleRow]

LOCK = 0x7477_636F_6D70  # "twcomp"
MOST_UNITS = 200
LISTED = 1_000  # of the backlog
MOST_MONTHS = 2_000  # of one Extend
MOST_ROWS = 5_000  # of one patient in one run

# An anti-join, because the list of those who wait may be longer than a comparison each would bear.
_BACKLOG = """
select handle, tail_rows from vault.tail_backlog(%b) b
where not exists (select from unnest(%b::uuid[]) as w (handle) where w.handle = b.handle)
order by tail_rows desc limit %b"""


@dataclass(frozen=True, slots=True)
class Counts:
    """True counts of one run."""

    patients: int = 0
    units: int = 0
    tail_rows: int = 0
    items: int = 0
    superseded: int = 0
    blocks: int = 0
    refused: int = 0  # patients whose tail or blocks did not prove themselves
    put_aside: int = 0  # patients nothing could be filed for, for whatever reason
    deferred: int = 0  # patients who wait for the night, and are not asked for before
    trouble: TwinwardError | None = None  # the last refusal


@dataclass
class _Patient:
    """What a run knows of one patient."""

    standing: Standing
    leases: dict[bytes, Lease]  # by tag
    rows: list[TailRow] = field(default_factory=list)
    chains: Mapping[int, bytes] = field(default_factory=dict)
    arrived: dict[Shelf, Arrival] = field(default_factory=dict)
    filed: list[Filed] = field(default_factory=list)

    @property
    def last_seq(self) -> int:
        return self.rows[-1].seq

    def key_of(self, shelf: Shelf) -> bytes:
        return self.leases[shelf.tag].key_of_month(shelf.category, shelf.version, shelf.month)

    def change(self) -> Change:
        first = next(iter(self.leases.values()))
        buckets = tuple(one.manifest for one in self.filed)
        return Change(first.lease_id, first.handle, self.last_seq + 1, self.chains[self.last_seq], buckets)


@dataclass
class Compaction:
    """Of one connection in autocommit mode, with role `compactor`."""

    connection: Connection
    door: AuthDoor
    site: str
    authority: Ed25519PublicKey
    clock: Clock
    chance: Chance
    most_units: int = MOST_UNITS
    most_rows: int = 20_000
    _proof: TailProof = field(init=False)
    _aside: Aside = field(init=False)
    _deferred: Deferred = field(init=False)
    _alone: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._proof = TailProof(self.site, self.authority)
        self._aside = Aside(self.clock)
        self._deferred = Deferred(self.clock)

    @property
    def deferred(self) -> int:
        """How many patients wait for the night."""
        return len(self._deferred)

    def alone(self) -> bool:
        """Whether this database connection is the one compactor. Two would ask auth to sign heads that exclude each
        other; the lock ends with the session, so after a kill also its last commit is through."""
        if not self._alone:
            row = self.connection.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
            self._alone = row is not None and bool(row[0])
        return self._alone

    def run(self, least_rows: int = 1, asked: Sequence[Handle] = ()) -> Counts:
        """Files what waits, up to the limits of one run. No units: nothing waited, or another compactor works.

        Args:
            asked: only these patients, in order: readers wait for them.

        Raises:
            Unavailable: auth or the database does not answer; nothing was changed, or everything was.
        """
        try:
            if not self.alone():
                return Counts()
            wanted = [one for one in asked if not self._aside.waits(one)] if asked else self._backlog(least_rows)
            units = self._units(wanted)
            if not units:
                return Counts()
            granted, refusals = self._grant(units, asked)
            try:
                return self._run(granted, {unit.handle for unit in units}, refusals)
            finally:
                if granted.leases:
                    self.door.give_back([lease.lease_id for lease in granted.leases])
        except psycopg.OperationalError as error:
            raise Unavailable("the store does not answer; try again", detail=type(error).__name__) from None

    def _backlog(self, least_rows: int) -> list[Handle]:
        """The patients with most tail, without those who wait."""
        waiting = [*self._aside.waiting(), *self._deferred.waiting()]
        most = LISTED + len(waiting) * len(Category)
        backlog = self.connection.execute(_BACKLOG, (most, waiting, LISTED)).fetchall()
        handles: dict[Handle, int] = {}
        for handle, n in backlog:
            if n >= least_rows and sum(handles.values()) < self.most_rows:
                handles[handle] = handles.get(handle, 0) + n
        return list(handles)

    def _units(self, handles: Sequence[Handle]) -> list[Unit]:
        """All units of the first patients, as many as one run takes."""
        if not handles:
            return []
        found = self.connection.execute(
            "select distinct handle, tag from vault.tail_index(%b)", (list(handles),), binary=True
        ).fetchall()
        tags: dict[Handle, list[Unit]] = {}
        for handle, tag in found:
            tags.setdefault(handle, []).append(Unit(handle, tag))
        units: list[Unit] = []
        for handle in handles:
            if len(units) + len(tags.get(handle, [])) <= self.most_units:
                units += tags.get(handle, [])
        return units

    def _grant(self, units: Sequence[Unit], asked: Collection[Handle]) -> tuple[Granted, list[TwinwardError]]:
        """Step 1; where auth refuses all for one patient's sake, that one is found and left out."""
        try:
            return self.door.grant(units, asked), []
        except (Tampered, BadInput, Denied) as refusal:
            handles = list(dict.fromkeys(unit.handle for unit in units))
            if len(handles) == 1:
                return Granted(), [refusal]
        first = set(handles[: len(handles) // 2])
        halves = ([u for u in units if u.handle in first], [u for u in units if u.handle not in first])
        (one, its), (other, others) = (self._grant(half, asked) for half in halves)
        return Granted([*one.leases, *other.leases], {**one.deferred, **other.deferred}), its + others

    def _run(self, granted: Granted, wanted: set[Handle], refusals: list[TwinwardError]) -> Counts:
        uses: dict[bytes, int] = {}
        filed: set[Handle] = set()
        with self.connection.transaction():
            self.connection.execute("set transaction isolation level repeatable read")
            patients, more = self._read(granted.leases)
            refusals += more
            for patient in patients:
                for row in patient.rows:
                    lease_id = patient.leases[row.tag].lease_id
                    uses[lease_id] = uses.get(lease_id, 0) + 1
            patients, more = self._file(patients)
            refusals += more
            patients, more = self._seal(patients)
            refusals += more
            counts = self._write(patients) if patients else Counts()
            filed = {patient.standing.handle for patient in patients}
        self._deferred.forget(filed)
        later = self._deferred.put(granted.deferred)
        self._aside.forget(filed | later)
        left = wanted - filed - later
        self._aside.put(left)
        if uses:
            self.door.report([Use(lease_id, rows) for lease_id, rows in uses.items()])
        return replace(
            counts,
            refused=len(refusals),
            put_aside=len(left),
            deferred=len(later),
            trouble=refusals[-1] if refusals else None,
        )

    def _read(self, leases: Sequence[Lease]) -> tuple[list[_Patient], list[TwinwardError]]:
        """Step 2: patients whose tail proves itself, opened."""
        by_handle: dict[Handle, dict[bytes, Lease]] = {}
        for lease in leases:
            for tag in lease.tags.values():
                by_handle.setdefault(lease.handle, {})[tag] = lease
        stands = standing.standings(self.connection, self.site, self.authority, by_handle)
        tags = {tag for found in by_handle.values() for tag in found}
        rows: dict[Handle, list[TailRow]] = {}
        for row in visible_rows(self.connection, by_handle, tags):
            rows.setdefault(row.handle, []).append(row)
        patients, refusals = [], []
        for handle, found in by_handle.items():
            try:
                if handle not in stands:
                    raise Incomplete("a patient's state is gone; restore it from a backup")
                patient = _Patient(stands[handle], found)
                self._open(patient, rows.get(handle, []))
                if patient.rows:
                    patients.append(patient)
            except TwinwardError as refusal:
                refusals.append(refusal)
        return patients, refusals

    def _open(self, patient: _Patient, visible: Sequence[TailRow]) -> None:
        stands = patient.standing
        patient.chains = self._proof.check(self.connection, stands, visible)
        rows = {row.seq: row for row in visible}
        for entry in stands.tail[:MOST_ROWS]:
            if entry.tag not in patient.leases:
                break  # filed in order: what comes after waits until this one is leased
            if entry.seq not in rows:
                raise Incomplete("a leased row is not served; the lease ended, or the row is damaged")
            patient.rows.append(rows[entry.seq])
        if patient.rows and patient.last_seq + 1 < stands.filed[0]:
            raise BadInput("a run that stopped half-way must be done again with all its units")
        openers = {tag: TailOpener(self.site, lease) for tag, lease in patient.leases.items()}
        opened = []
        for row in patient.rows:
            category, contents = openers[row.tag].open(row)
            opened.append((Shelf(self.site, row.handle, category, row.tag, row.version, 0), contents))
        patient.arrived = filing.arrivals(opened)

    def _file(self, patients: Sequence[_Patient]) -> tuple[list[_Patient], list[TwinwardError]]:
        """Steps 3 and 4: block keys, open blocks, new blocks."""
        self._extend(patients)
        done, refusals = [], []
        for patient in patients:
            try:
                self._merge(patient)
                done.append(patient)
            except TwinwardError as refusal:
                refusals.append(refusal)
        return done, refusals

    def _seal(self, patients: list[_Patient]) -> tuple[list[_Patient], list[TwinwardError]]:
        """Step 5; those whom auth refuses are left alone, the others go on."""
        if not patients:
            return [], []
        try:
            self.door.seal([patient.change() for patient in patients])
        except (Tampered, BadInput, Denied) as refusal:
            if len(patients) == 1:
                return [], [refusal]
        else:
            return patients, []
        halves = (patients[: len(patients) // 2], patients[len(patients) // 2 :])
        done = [self._seal(half) for half in halves]
        return [one for sealed, _ in done for one in sealed], [one for _, refused in done for one in refused]

    def _extend(self, patients: Sequence[_Patient]) -> None:
        wanted: list[Months] = []
        for patient in patients:
            for tag, months in filing.months_of(patient.arrived).items():
                lease_id = patient.leases[tag].lease_id
                wanted += [Months(lease_id, months[at : at + 500]) for at in range(0, len(months), 500)]
        nodes: dict[bytes, list[NodeKey]] = {}
        for part in _portions(wanted):
            for lease_id, found in self.door.extend(part).items():
                nodes.setdefault(lease_id, []).extend(found)
        for patient in patients:
            for tag, lease in patient.leases.items():
                patient.leases[tag] = replace(lease, nodes=(*lease.nodes, *nodes.get(lease.lease_id, ())))

    def _merge(self, patient: _Patient) -> None:
        first = next(iter(patient.leases.values()))
        additions = indexing.additions(patient.arrived, first)
        every = [*patient.arrived, *additions]
        groups = {shelf.manifest((), 0).group for shelf in every}
        manifests = standing.committed(self.connection, patient.standing, first, groups)
        known = {(one.tag, one.version, one.bucket): one for found in manifests.values() for one in found}
        stored = shelves.stored(self.connection, patient.standing.handle, every)
        for shelf, arrival in patient.arrived.items():
            old = known.get((shelf.tag, shelf.version, shelf.bucket))
            patient.filed.append(
                filing.file(shelf, patient.key_of(shelf), arrival, stored.get(shelf, ()), old, self.chance)
            )
        for shelf, new in additions.items():
            if shelf not in stored and shelves.any_filed(self.connection, shelf):
                new = cohortindex.begun_late(new)
            old = known.get((shelf.tag, shelf.version, shelf.bucket))
            now_ms = self.clock.now_ms()
            index = indexing.file(shelf, patient.key_of(shelf), new, stored.get(shelf, ()), old, now_ms, self.chance)
            if index is not None:
                patient.filed.append(index)

    def _write(self, patients: Sequence[_Patient]) -> Counts:
        """Step 6, all but the commit."""
        filed = [one for patient in patients for one in patient.filed]
        rows = [row for patient in patients for row in patient.rows]
        shelves.replace_blocks(self.connection, filed)
        shelves.delete_tail(self.connection, rows)
        shelves.put_manifests(self.connection, filed)
        counts = Counts(
            patients=len(patients),
            units=len({(row.handle, row.tag) for row in rows}),
            tail_rows=len(rows),
            items=sum(arrival.items for patient in patients for arrival in patient.arrived.values()),
            superseded=sum(one.superseded for one in filed),
            blocks=sum(len(one.added) for one in filed if one.shelf.category != Category.COHORT_INDEX),
        )
        shelves.note_run(self.connection, self.clock.now_ms(), counts)
        return counts


def _portions(wanted: Sequence[Months]) -> Iterable[list[Months]]:
    """In order, each with at most MOST_MONTHS months."""
    portion: list[Months] = []
    for one in wanted:
        if portion and sum(len(other.months) for other in portion) + len(one.months) > MOST_MONTHS:
            yield portion
            portion = []
        portion.append(one)
    if portion:
        yield portion
