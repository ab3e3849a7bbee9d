"""From a study to a table: find the patients, read them, forget the keys.

For each page of patients whose consent permits research (at most 500):

1. `GrantCohort screen`: one leaf a patient, keys of the sealed index alone
2. what waits unfiled is filed: the index speaks of blocks only
3. the index is read and the study's conditions are applied
4. use is reported, leases are given back

and for those that were found, a hundred at a time: `GrantCohort read`, rows through the library's reader, one row of
the table each, use reported, leases given back. What the index knows is where to look; what counts was read.

Nothing decrypted touches a disk. Cost: one read of an index a patient of the hospital, one of the study's categories
and months a patient of the cohort; memory is one patient's rows and the table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg_pool import ConnectionPool

from services.federation.query import Facts, Question, TableBuilder, Unanswerable, age_in
from services.federation.study import Study
from services.federation.study_words import categories
from services.federation.table import Table
from twinward.clock import Clock, utc
from twinward.errors import LeaseEnded, TwinwardError, Unavailable
from twinward.record import Category, Handle
from twinward.vault.cohortindex import CohortIndex, of_arrival
from twinward.vault.cohortreader import CohortReader
from twinward.vault.lease import Lease
from twinward.vault.reader import Connection, Reader
from twinward.vault.rows import Rows, no_rows
from twinward.wire.codec.cohort import CohortPage
from twinward.wire.codec.compaction import Use

Pool = ConnectionPool[Connection]

BATCH = 100  # patients read under one decision: well within a lease's minute
MOST_PATIENTS = 100_000  # of a cohort
SETTLE_S = 10.0  # that the compactor may take to file anything of what waited
SETTLE_STEP_S = 0.05
NAMED, NAMED_LOOKS = 32, 4  # so many patients are asked for by name at once, every so many looks

_WAITING = "select handle, seq from vault.tail_index(%s::uuid[])"
FEMALE = {"female": 1.0, "male": 0.0}


class Grants(Protocol):
    """auth."""

    def pages(self, study: bytes) -> Iterator[CohortPage]: ...
    def read(self, study: bytes, handles: Sequence[Handle]) -> list[Lease]: ...
    def report(self, uses: Sequence[Use]) -> None: ...
    def give_back(self, lease_ids: Sequence[bytes]) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """A study's table and whose rows it has, in order."""

    table: Table
    handles: tuple[Handle, ...]


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Of one hospital. `wait` sleeps for the seconds it is given."""

    grants: Grants
    pool: Pool
    site: str
    authority: Ed25519PublicKey
    clock: Clock
    wait: Callable[[float], object]

    def build(self, sha256: bytes, study: Study) -> Cohort:
        """
        Raises:
            Unanswerable: the data cannot answer the question as it is asked.
            Denied: the study is not approved here.
            Unavailable: auth, the store or the compactor did not answer in time.
            Tampered: something stored is not what was stored.
        """
        question = Question(study)
        try:
            with self.pool.connection() as connection:
                reader = Reader(connection, site=self.site, authority=self.authority, clock=self.clock)
                work = _Building(self, question, sha256, connection, reader)
                found = work.find()
                table, handles = work.read(found)
        except psycopg.Error as error:
            raise Unavailable("the store does not answer; try again", detail=type(error).__name__) from None
        return Cohort(table, handles)


@dataclass
class _Building:
    """One building of a table, on one connection."""

    of: Cohorts
    question: Question
    sha256: bytes
    connection: Connection
    reader: Reader
    _used: list[Use] = field(default_factory=list)

    def find(self) -> dict[Handle, Facts]:
        """Whom the index lets into the cohort."""
        found: dict[Handle, Facts] = {}
        for page in self.of.grants.pages(self.sha256):
            with self._held(page.leases):
                self._settle([lease.handle for lease in page.leases])
                for lease, index in self._indexes(page.leases):
                    facts = facts_of(self.question, index, self._last_year())
                    if self._possible(index) and self.question.wants(facts):
                        found[lease.handle] = facts
            if len(found) > MOST_PATIENTS:
                raise Unanswerable
        return found

    def read(self, found: Mapping[Handle, Facts]) -> tuple[Table, tuple[Handle, ...]]:
        builder = TableBuilder(self.question)
        handles = sorted(found)
        if not categories(self.question.study):  # age and sex alone: the index was all there is to read
            for handle in handles:
                builder.add(handle, found[handle], no_rows())
            return builder.table()
        for first in range(0, len(handles), BATCH):
            leases = self.of.grants.read(self.sha256, handles[first:][:BATCH])
            with self._held(leases):
                for lease in leases:
                    self._add(builder, lease, found[lease.handle])
        return builder.table()

    def _add(self, builder: TableBuilder, lease: Lease, facts: Facts) -> None:
        try:
            facts = self._with_conditions(lease, facts)
            if not self.question.wants(facts):
                return
            rows = self._rows(lease)
        except LeaseEnded:
            self._over(lease)  # withdrawn in this moment: no part of it
            return
        builder.add(lease.handle, facts, rows)

    def _rows(self, lease: Lease) -> Rows:
        wanted = self.question.measured & lease.tags.keys()
        if not wanted:
            return no_rows()
        reading = self.reader.read(lease, categories=wanted)
        self._used.append(Use(lease.lease_id, reading.served))
        return reading.rows

    def _with_conditions(self, lease: Lease, facts: Facts) -> Facts:
        """Conditions as the record says, where it was granted: the index may name one that was entered in error, and
        never leaves one out that it should know.

        A period opens only its own months, and a condition may be older: then both count."""
        if Category.CONDITIONS not in lease.tags or (facts.sure and not facts.conditions):
            return replace(facts, sure=True)
        reading = self.reader.read(lease, categories=[Category.CONDITIONS], measurements=False, documents=True)
        self._used.append(Use(lease.lease_id, reading.served))
        read = of_arrival(Category.CONDITIONS, (), reading.documents).conditions.keys() & self.question.conditions
        period = self.question.period
        whole = period.start_ms is None and period.end_ms is None
        return replace(facts, conditions=frozenset(read if whole else read | facts.conditions), sure=True)

    def _indexes(self, leases: Sequence[Lease]) -> Iterator[tuple[Lease, CohortIndex]]:
        """A page at once: a few round trips instead of some for every patient."""
        of = self.of
        page = CohortReader(self.connection, site=of.site, authority=of.authority, clock=of.clock).read(leases)
        for lease in leases:
            failed = page.failed.get(lease.handle)
            if isinstance(failed, LeaseEnded):
                self._over(lease)
                yield lease, CohortIndex()  # of nobody: fits no cohort but the one of everybody, who are read next
                continue
            if failed is not None:
                raise failed
            indexed = page.found[lease.handle]
            self._used.append(Use(lease.lease_id, indexed.served))
            yield lease, indexed.index or CohortIndex(whole=False)

    def _over(self, lease: Lease) -> None:
        """A lease that ended before its time was revoked. Raises Unavailable where its time was over."""
        if self.of.clock.now_ms() >= lease.until_ms:
            raise Unavailable("reading a cohort took longer than its leases hold; try again")

    def _possible(self, index: CohortIndex) -> bool:
        """Whether the records that must exist may exist."""
        cohort = self.question.study.cohort
        return all(index.may_have_code(code, cohort.first_month, cohort.last_month) for code in self.question.codes)

    def _last_year(self) -> int:
        last = self.question.study.cohort.last_month
        return last // 100 if last is not None else utc(self.of.clock.now_ms()).year

    def _settle(self, handles: Sequence[Handle]) -> None:
        """Until nothing that waits unfiled now waits any more. What arrives meanwhile belongs to a later study.

        A sweep files what is ordinary at once; patients who would wait for the night are asked for by name, a few at
        a time, because the compactor files few at a time (docs/decisions/0007).

        Raises:
            Unavailable: the compactor does not get on.
        """
        waiting = self._waiting(handles)
        if not waiting:
            return
        self.connection.execute("select pg_notify('compact', '')")
        looks, moved = 0, self.of.clock.monotonic()
        while waiting:
            if self.of.clock.monotonic() - moved >= SETTLE_S:
                raise Unavailable("records of the cohort wait for the compactor; see `twinward node status`")
            self.of.wait(SETTLE_STEP_S)
            left = waiting & self._waiting({handle for handle, _ in waiting})
            if len(left) < len(waiting):
                moved = self.of.clock.monotonic()
            waiting, looks = left, looks + 1
            if looks % NAMED_LOOKS == 0:
                for handle in sorted({handle for handle, _ in waiting})[:NAMED]:
                    self.reader.ask_for(handle)

    def _waiting(self, handles: Collection[Handle]) -> set[tuple[Handle, int]]:
        return {(row[0], int(row[1])) for row in self.connection.execute(_WAITING, (list(handles),)).fetchall()}

    @contextmanager
    def _held(self, leases: Sequence[Lease]) -> Iterator[None]:
        """Reports what was read and gives the leases back, whatever happens."""
        self._used.clear()
        try:
            yield
        except BaseException:
            with suppress(TwinwardError):
                self._return(leases)
            raise
        self._return(leases)

    def _return(self, leases: Sequence[Lease]) -> None:
        rows: dict[bytes, int] = {}
        for use in self._used:
            rows[use.lease_id] = rows.get(use.lease_id, 0) + use.rows
        self._used.clear()
        if rows:
            self.of.grants.report([Use(lease_id, n) for lease_id, n in rows.items()])
        if leases:
            self.of.grants.give_back([lease.lease_id for lease in leases])


def facts_of(question: Question, index: CohortIndex, last_year: int) -> Facts:
    """What the index says of the patient, as far as the study asks."""
    last = question.study.cohort.last_month
    conditions = {
        code
        for code in question.conditions
        if (span := index.conditions.get(code)) is not None and (last is None or span.first <= last)
    }
    return Facts(
        age_in(last_year, index.birth_year), FEMALE.get(index.sex, float("nan")), frozenset(conditions), index.whole
    )
