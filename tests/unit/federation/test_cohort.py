"""From a study to a table, over a real store: sealed rows, sealed indexes, row-level security, the real compactor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from services.federation.cohort import Cohort, Cohorts
from services.federation.query import Unanswerable, place_of, root_of
from services.federation.study import Cohort as Who
from services.federation.study import Column, Study
from services.federation.study_words import categories
from tests.conftest import Database
from tests.unit.federation.ward import study
from tests.unit.vault.store import NOW_MS, Store, batch, receipt
from twinward.errors import Tampered, Unavailable
from twinward.record import Category, Document, Handle, Measurement
from twinward.vault.acceptance import SealedPart
from twinward.vault.lease import Lease
from twinward.wire.codec.cohort import CohortPage
from twinward.wire.codec.compaction import Use

DAY_MS = 86_400_000
PRESSURE, GLUCOSE = "loinc|8480-6", "loinc|2345-7"
HYPERTENSION, CORONARY = "snomed|38341003", "snomed|53741008"
FILED = (Category.VITALS, Category.LABS, Category.CONDITIONS, Category.IDENTITY)
PAGE = 4


@dataclass
class Grants:
    """auth's part: leases of the issuer's keys, for whoever did not withdraw; pages in the order of handles."""

    store: Store
    handles: list[Handle]
    asked: Study | None = None
    withdrawn: set[Handle] = field(default_factory=set)
    pages_given: int = 0
    read_handles: list[Handle] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    given_back: list[bytes] = field(default_factory=list)
    used: list[Use] = field(default_factory=list)
    end_on_read: bool = False  # a withdrawal in the moment between the grant and the reading

    def pages(self, sha256: bytes) -> Iterator[CohortPage]:
        ordered = sorted(self.handles)
        for first in range(0, len(ordered), PAGE):
            part = [handle for handle in ordered[first:][:PAGE] if handle not in self.withdrawn]
            self.pages_given += 1
            yield CohortPage([self._lease(handle, (Category.COHORT_INDEX,)) for handle in part], 0, b"")

    def read(self, sha256: bytes, handles: Sequence[Handle]) -> list[Lease]:
        assert self.asked is not None
        self.read_handles += handles
        leases = [self._lease(one, categories(self.asked)) for one in handles if one not in self.withdrawn]
        if self.end_on_read and leases:
            self.store.issuer.end(leases[0])
        return leases

    def report(self, uses: Sequence[Use]) -> None:
        self.used += uses

    def give_back(self, lease_ids: Sequence[bytes]) -> None:
        self.given_back += lease_ids

    def _lease(self, handle: Handle, wanted: Sequence[int]) -> Lease:
        lease = self.store.issuer.lease(handle, "federation", wanted, seconds=60, purpose="research")
        self.leases.append(lease)
        return lease


@pytest.fixture(scope="module")
def store(postgres: Database) -> Iterator[Store]:
    opened = Store.open(postgres)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pool(postgres: Database) -> Iterator[ConnectionPool[psycopg.Connection[tuple[Any, ...]]]]:
    with ConnectionPool(
        postgres.dsn("federation"), kwargs={"autocommit": True}, min_size=1, max_size=1, open=True
    ) as opened:
        yield opened


@dataclass
class Hospital:
    store: Store
    pool: ConnectionPool[psycopg.Connection[tuple[Any, ...]]]
    numbers: int = 0
    last_condition: bytes = b""

    def __post_init__(self) -> None:
        self.grants = Grants(self.store, [])

    def admit(
        self, *rows: tuple[str, float, int], birth: str = "1970-05-05", sex: str = "female", ill: Sequence[str] = (),
        file: bool = True,
    ) -> Handle:  # fmt: skip
        """A patient with rows (code, value, days ago)."""
        handle = self.store.patient(FILED).handle
        self.grants.handles.append(handle)
        units = {PRESSURE: (Category.VITALS, "mm[Hg]"), GLUCOSE: (Category.LABS, "mg/dL")}
        parts = [
            SealedPart(handle, units[code][0], [self._measured(code, value, units[code][1], ago)], [])
            for code, value, ago in rows
        ]
        person = {"resourceType": "Patient", "birthDate": birth, "gender": sex}
        parts.append(SealedPart(handle, Category.IDENTITY, [], [self._document("Patient", person)]))
        texts = [self._document("Condition", _condition(code)) for code in ill]
        if texts:
            self.last_condition = texts[-1].lineage
            parts.append(SealedPart(handle, Category.CONDITIONS, [], texts))
        self.store.writer().write(batch(parts))
        if file:
            self.store.settle()
            self.store.release()
        return handle

    def _measured(self, code: str, value: float, unit: str, ago: int) -> Measurement:
        return Measurement(code, NOW_MS - ago * DAY_MS, NOW_MS, value, unit, self._lineage(), source="f")

    def _document(self, kind: str, body: dict[str, Any]) -> Document:
        return Document(kind, NOW_MS - DAY_MS, NOW_MS, self._lineage(), json.dumps(body).encode(), source="f")

    def _lineage(self) -> bytes:
        self.numbers += 1
        return self.numbers.to_bytes(16, "big")

    def build(self, asked: Study, wait: Any = lambda seconds: None) -> Cohort:
        self.grants.asked = asked
        cohorts = Cohorts(
            self.grants, self.pool, self.store.issuer.site, self.store.issuer.authority_public, self.store.clock, wait
        )
        return cohorts.build(bytes(32), asked)


def _condition(code: str, status: str = "confirmed") -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
    return {
        "resourceType": "Condition",
        "verificationStatus": {"coding": [{"system": system, "code": status}]},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": code.partition("|")[2]}]},
    }


@pytest.fixture
def hospital(store: Store, pool: Any) -> Hospital:
    return Hospital(store, pool)


def asked(**changed: Any) -> Study:
    made: dict[str, Any] = {"columns": (Column("pressure", PRESSURE),), "outcome": None}
    return study(**made | changed)


def test_a_table_of_what_was_stored(hospital: Hospital) -> None:
    ill = hospital.admit((PRESSURE, 150.0, 3), (PRESSURE, 140.0, 9), (GLUCOSE, 90.08, 2), ill=[CORONARY])
    well = hospital.admit((PRESSURE, 120.0, 3), (GLUCOSE, 180.16, 2), birth="1990", sex="male")
    hospital.admit((PRESSURE, 130.0, 1))  # without the other value: dropped
    cohort = hospital.build(
        asked(
            columns=(
                Column("pressure", PRESSURE), Column("sugar", GLUCOSE, unit="mmol/L"), Column("age", "patient|age"),
                Column("female", "patient|female"),
            ),
            outcome=Column("coronary", f"condition|{CORONARY}", take="present"),
            seed=5,
        )
    )  # fmt: skip
    assert cohort.handles == tuple(sorted((ill, well)))
    expected = {ill: [150.0, 5.0, 56.0, 1.0], well: [120.0, 10.0, 36.0, 0.0]}
    for handle, row in zip(cohort.handles, cohort.table.x.tolist(), strict=True):
        assert row == pytest.approx(expected[handle])
    assert cohort.table.y is not None
    assert dict(zip(cohort.handles, cohort.table.y.tolist(), strict=True)) == {ill: 1.0, well: 0.0}
    assert cohort.table.place.tolist() == [place_of(handle, 5) for handle in cohort.handles]


def test_only_those_found_are_read_and_everything_is_given_back(hospital: Hospital) -> None:
    for number in range(PAGE + 2):
        hospital.admit((PRESSURE, 100.0 + number, 2), ill=[HYPERTENSION] if number % 2 else [])
    cohort = hospital.build(asked(cohort=Who(conditions=(HYPERTENSION,))))
    grants = hospital.grants
    assert grants.pages_given == 2
    assert sorted(grants.read_handles) == list(cohort.handles)
    assert len(cohort.handles) == 3
    assert sorted(grants.given_back) == sorted(lease.lease_id for lease in grants.leases)
    assert {use.lease_id for use in grants.used} == {lease.lease_id for lease in grants.leases}
    assert all(use.rows > 0 for use in grants.used)


def test_codes_and_ages_choose(hospital: Hospital) -> None:
    inside = hospital.admit((PRESSURE, 120.0, 3), (GLUCOSE, 90.0, 3), birth="1960")
    hospital.admit((PRESSURE, 120.0, 3), birth="1960")  # no glucose
    hospital.admit((PRESSURE, 120.0, 3), (GLUCOSE, 90.0, 3), birth="2010")
    hospital.admit((PRESSURE, 120.0, 3), (GLUCOSE, 90.0, 400), birth="1960")  # not in the period
    who = Who(codes=(GLUCOSE,), age_from=40, first_month=202611, last_month=202611)
    assert hospital.build(asked(cohort=who)).handles == (inside,)
    assert hospital.grants.read_handles == [inside], "the index left the others out"


def test_a_condition_entered_in_error_is_none_though_the_index_still_names_it(hospital: Hospital) -> None:
    column = Column("coronary", f"condition|{CORONARY}", take="present")
    right, wrong = (hospital.admit((PRESSURE, 120.0, 3), ill=[CORONARY]) for _ in range(2))
    lineage = hospital.last_condition
    again = Document("Condition", NOW_MS - DAY_MS, NOW_MS + 1, lineage, b"", source="f")
    body = json.dumps(_condition(CORONARY, "entered-in-error")).encode()
    part = SealedPart(wrong, Category.CONDITIONS, [], [replace(again, body=body)])
    hospital.store.writer().write(batch([part], [receipt(bytes(16), lineage, wrong, Category.CONDITIONS)]))
    hospital.store.settle()
    hospital.store.release()
    cohort = hospital.build(asked(columns=(Column("pressure", PRESSURE), column)))
    found = dict(zip(cohort.handles, cohort.table.x[:, 1].tolist(), strict=True))
    assert found == {right: 1.0, wrong: 0.0}


def test_conditions_alone(hospital: Hospital) -> None:
    ill, well = hospital.admit(ill=[CORONARY]), hospital.admit()
    column = Column("coronary", f"condition|{CORONARY}", take="present")
    cohort = hospital.build(asked(columns=(column, Column("age", "patient|age"))))
    assert dict(zip(cohort.handles, cohort.table.x[:, 0].tolist(), strict=True)) == {ill: 1.0, well: 0.0}


def test_who_withdrew_is_not_in_it(hospital: Hospital) -> None:
    gone, here = (hospital.admit((PRESSURE, 120.0, 3)) for _ in range(2))
    hospital.grants.withdrawn.add(gone)
    assert hospital.build(asked()).handles == (here,)


def test_who_withdraws_between_grant_and_reading_is_not_in_it(hospital: Hospital) -> None:
    handles = [hospital.admit((PRESSURE, 120.0, 3)) for _ in range(3)]
    hospital.grants.end_on_read = True
    cohort = hospital.build(asked())
    assert cohort.handles == tuple(sorted(handles)[1:])
    assert root_of(cohort.handles) != root_of(sorted(handles))


def test_what_waits_unfiled_is_filed_first(hospital: Hospital) -> None:
    handle = hospital.admit((PRESSURE, 120.0, 3), file=False)
    waits: list[float] = []

    def compact(seconds: float) -> None:
        waits.append(seconds)
        hospital.store.settle()
        hospital.store.release()

    assert hospital.build(asked(), compact).handles == (handle,)
    assert waits


def test_without_a_compactor_the_answer_is_that_it_cannot_be_had_now(hospital: Hospital) -> None:
    hospital.admit((PRESSURE, 120.0, 3), file=False)

    def pass_by(seconds: float) -> None:
        hospital.store.clock.ms += int(seconds * 1000)

    with pytest.raises(Unavailable, match="compactor"):
        hospital.build(asked(), pass_by)
    leases = {lease.lease_id for lease in hospital.grants.leases}
    assert leases == set(hospital.grants.given_back), "no lease is kept"
    hospital.store.settle()
    hospital.store.release()


def test_patients_who_wait_for_the_night_are_asked_for_by_name(hospital: Hospital, postgres: Database) -> None:
    handle = hospital.admit((PRESSURE, 120.0, 3), file=False)
    with psycopg.connect(postgres.dsn("compactor"), autocommit=True) as line:
        line.execute("listen compact")

        def hear(seconds: float) -> None:
            hospital.store.clock.ms += int(seconds * 1000)
            if str(handle) in {notice.payload for notice in line.notifies(timeout=0.01)}:
                hospital.store.settle()
                hospital.store.release()

        assert hospital.build(asked(), hear).handles == (handle,)


def test_an_edited_block_is_no_answer(hospital: Hospital) -> None:
    handle = hospital.admit((PRESSURE, 120.0, 3))
    hospital.store.owner.execute("update vault.block set n = n + 1 where handle = %s", (handle,))
    with pytest.raises(Tampered):
        hospital.build(asked())
    assert {lease.lease_id for lease in hospital.grants.leases} == set(hospital.grants.given_back)


def test_a_question_the_data_cannot_answer(hospital: Hospital) -> None:
    hospital.admit((PRESSURE, 120.0, 3))
    with pytest.raises(Unanswerable):
        hospital.build(asked(columns=(Column("sugar", GLUCOSE, missing="refuse"),)))
    assert {lease.lease_id for lease in hospital.grants.leases} == set(hospital.grants.given_back)


def test_nobody(hospital: Hospital) -> None:
    cohort = hospital.build(asked())
    assert cohort.handles == ()
    assert cohort.table.x.shape == (0, 1)
