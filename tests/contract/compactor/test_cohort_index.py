"""From a message to a cohort: real ingest, real auth behind its door, real compactor, the federation's own role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.compactor.run import Compaction
from tests.conftest import Database
from tests.contract.auth.running import Running, run
from tests.contract.ingest import ward as wards
from tests.contract.ingest.ward import MRN, Ward, observation
from tests.unit.auth.office import SITE
from twinward.clock import SystemChance, utc
from twinward.errors import Denied
from twinward.ledger.kinds import Kind
from twinward.link.client import with_person
from twinward.record import Category, Handle
from twinward.vault import manifest
from twinward.vault.cohortindex import CohortIndex, Span
from twinward.vault.cohortreader import CohortReader, Indexed
from twinward.vault.reader import Reader
from twinward.wire.codec.cohort import CohortCalls, StudyWish
from twinward.wire.codec.compaction import CompactionCalls, Use

GLUCOSE, SYSTOLIC = "loinc|2339-0", "loinc|8480-6"
STUDY, BUNDLE = b"s" * 32, b"b" * 32


@pytest.fixture(scope="module")
def auth(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run(tmp_path_factory.mktemp("auth"), postgres, sensitive_from_utc_h=0, sensitive_until_utc_h=24) as found:
        yield found


class House:
    """Everything but the processes."""

    def __init__(self, auth: Running, ward: Ward, database: Database) -> None:
        self.auth, self.ward, self.office = auth, ward, ward.office
        authority = Ed25519PublicKey.from_public_bytes((ward.office.folder / "pki/authority.pub").read_bytes())
        compactor = database.connect("compactor", autocommit=True)
        door = CompactionCalls(auth.program("compactor"))
        self.compaction = Compaction(compactor, door, SITE, authority, ward.office.clock, SystemChance())
        self.calls = CohortCalls(auth.program("federation"))
        self.federation = database.connect("federation", autocommit=True)
        place: dict[str, Any] = {"site": SITE, "authority": authority, "clock": ward.office.clock}
        self.indexes, self.reader = CohortReader(self.federation, **place), Reader(self.federation, **place)
        self.connections = (compactor, self.federation)

    def file(self) -> None:
        while (counts := self.compaction.run()).tail_rows:
            assert counts.refused == 0, counts.trouble

    def handle(self, mrn: str) -> Handle:
        idx = self.office.desk.ring.blind((MRN, mrn))
        ((handle,),) = self.office.sql("select handle from vault.blind_index where idx = encode(%s, 'hex')::uuid", idx)
        return Handle(str(handle))

    def approve(self, **more: Any) -> None:
        wish: dict[str, Any] = {
            "study": STUDY, "decision": "approve", "reason": "", "privacy": "NON-PRIVATE", "requester": "somebody",
            "bundle": BUNDLE, "categories": (Category.IDENTITY, Category.LABS, Category.CONDITIONS),
        }  # fmt: skip
        self.calls.decide(with_person(self.auth.token("data-steward")), StudyWish(**{**wish, **more}))

    def indexed(self) -> dict[Handle, Indexed]:
        found: dict[Handle, Indexed] = {}
        for page in self.calls.pages(STUDY):
            read = self.indexes.read(page.leases)
            assert not read.failed
            found.update(read.found)
            self.calls.report([Use(one.lease_id, read.found[one.handle].served) for one in page.leases])
            self.calls.give_back([one.lease_id for one in page.leases])
        return found

    def index(self, mrn: str) -> CohortIndex:
        found = self.indexed()[self.handle(mrn)].index
        assert found is not None
        return found


@pytest.fixture
def house(auth: Running, postgres: Database) -> Iterator[House]:
    with wards.opened(auth.office, postgres) as ward:
        opened = House(auth, ward, postgres)
        opened.approve()
        yield opened
        for connection in opened.connections:
            connection.close()


def patient(mrn: str, born: str = "1961-03-04", gender: str = "female", **more: Any) -> dict[str, Any]:
    return {**wards.patient(mrn), "birthDate": born, "gender": gender, **more}


def condition(number: str, mrn: str, code: str, onset: str = "", **more: Any) -> dict[str, Any]:
    found = {
        "resourceType": "Condition",
        "id": number,
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": code}]},
        "subject": {"reference": f"Patient/{mrn}"},
    }
    return {**found, **({"onsetDateTime": onset} if onset else {}), **more}


def coded(code: str, at: str) -> dict[str, Any]:
    return {"code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "effectiveDateTime": at}


def test_the_index_says_what_was_filed_and_nothing_sensitive(house: House) -> None:
    house.ward.put(
        patient("A"),
        observation("A-1", "A"),
        observation("A-2", "A", **coded("2339-0", "2026-04-05T06:07:08Z")),
        observation("A-3", "A", code={"coding": [{"system": "urn:own", "code": "X"}]}),  # unmapped: restricted
        condition("A-4", "A", "44054006", "2019-05-06"),
        condition("A-5", "A", "38341003"),
        condition("A-6", "A", "35489007"),  # depression
        condition("A-7", "A", "22298006", "2020-01-01", meta={"security": [{"system": MRN, "code": "R"}]}),
    )
    house.office.consent(house.handle("A"), "research")
    assert house.indexed()[house.handle("A")].index is None  # nothing is filed yet, and it says so
    assert house.indexed()[house.handle("A")].waiting > 0
    house.file()
    found = house.indexed()[house.handle("A")]
    assert (found.waiting, found.served) == (0, 1)
    assert found.index == CohortIndex(
        birth_year=1961,
        sex="female",
        conditions={
            "snomed|44054006": Span(201905, 201905, 1),
            "snomed|38341003": Span(0, 0, 1),
            "snomed|22298006": Span(202001, 202001, 1),
        },
        codes={GLUCOSE: Span(202601, 202604, 2)},
    )


def test_it_grows_with_what_comes_and_may_say_too_much_after_a_correction(house: House) -> None:
    house.ward.put(patient("B"), observation("B-1", "B"), condition("B-2", "B", "44054006", "2019-05-06"))
    house.office.consent(house.handle("B"), "research")
    house.file()
    changed = {**observation("B-1", "B", 99.0), "meta": {"versionId": "2"}, "status": "corrected"}
    house.ward.put(
        patient("B", born="1971-01-01", meta={"versionId": "2"}),
        changed,
        observation("B-3", "B", **coded("2339-0", "2020-02-02T02:02:02Z")),
        {**observation("B-4", "B"), "status": "entered-in-error"},
        condition("B-5", "B", "46635009", "2018-01-01", verificationStatus=_status("entered-in-error")),
    )
    house.file()
    found = house.index("B")
    assert (found.birth_year, found.sex) == (1971, "female")
    assert found.codes == {GLUCOSE: Span(202002, 202601, 3)}  # the corrected value counts twice
    assert set(found.conditions) == {"snomed|44054006"}
    assert found.may_have_code(GLUCOSE, 202001, 202003)
    assert not found.may_have_code(GLUCOSE, 202602)
    assert not found.may_have_code(SYSTOLIC)


def _status(code: str) -> dict[str, Any]:
    return {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": code}]}


def test_an_index_survives_a_new_key_version(house: House) -> None:
    house.ward.put(patient("C"), observation("C-1", "C"))
    house.office.consent(house.handle("C"), "research")
    house.file()
    house.office.consent(house.handle("C"), "research", "upkeep")  # changes what is on file: a new version
    house.ward.put(patient("C"), condition("C-2", "C", "44054006", "2019-05-06"))
    house.file()
    assert house.office.sql("select version from vault.patient_state where handle = %s", house.handle("C")) == [(2,)]
    found = house.index("C")
    assert found.whole
    assert (set(found.codes), set(found.conditions), found.birth_year) == ({GLUCOSE}, {"snomed|44054006"}, 1961)


def test_what_is_filed_while_a_study_looks_is_seen_under_every_key_version(house: House) -> None:
    house.ward.put(patient("K"), observation("K-1", "K"))
    house.office.consent(house.handle("K"), "research")
    house.office.consent(house.handle("K"), "research", "upkeep")  # a new version while the old one waits in the tail
    house.ward.put(patient("K"), condition("K-2", "K", "44054006", "2019-05-06"))
    leases = [one for page in house.calls.pages(STUDY) for one in page.leases if one.handle == house.handle("K")]
    house.file()
    read = house.indexes.read(leases)
    assert not read.failed
    index = read.found[house.handle("K")].index
    assert index is not None
    assert (set(index.codes), set(index.conditions)) == ({GLUCOSE}, {"snomed|44054006"})


def test_a_patient_filed_before_there_were_indexes_may_have_anything(house: House) -> None:
    house.ward.put(patient("D"), observation("D-1", "D"))
    handle = house.handle("D")
    house.office.consent(handle, "research")
    house.file()
    tag = house.office.desk.ring.tag(handle, Category.COHORT_INDEX)
    for table in ("block", "manifest", "manifest_group"):  # as it was: heads of then knew of no index
        house.office.sql(f"delete from vault.{table} where tag = %s", tag)  # noqa: S608
    _resealed(house, handle)
    assert house.indexed()[handle].index is None
    house.ward.put(patient("D"), observation("D-2", "D", **coded("8480-6", "2026-05-05T05:05:05Z")))
    house.file()
    found = house.index("D")
    assert not found.whole
    assert found.may_have_code("loinc|1-8")


def _resealed(house: House, handle: Handle) -> None:
    """A head over what is stored now, as auth would have signed it."""
    rows = house.office.sql(
        "select tag, version, bucket, blocks, n, commitments from vault.manifest where handle = %s", handle
    )
    buckets = [manifest.BucketManifest(bytes(t), v, b, blocks, n, bytes(c)) for t, v, b, blocks, n, c in rows]
    root = manifest.handle_root(handle, manifest.group_roots(handle, buckets))
    ((next_seq, chain),) = house.office.sql("select next_seq, chain from vault.manifest_head where handle = %s", handle)
    now_ms = house.office.clock.now_ms()
    head = manifest.Head(
        site=SITE, handle=handle, root=root, previous=root, next_seq=next_seq, chain=bytes(chain), at_ms=now_ms
    )
    house.office.sql(
        "update vault.manifest_head set root = %s, previous = %s, mac = %s, at = %s where handle = %s",
        root, root, manifest.sign_head(house.office.desk.ring.authority, head), utc(now_ms), handle,
    )  # fmt: skip


def test_damage_to_one_index_is_told_and_the_others_are_read(house: House) -> None:
    for mrn in ("E", "F"):
        house.ward.put(patient(mrn), observation(f"{mrn}-1", mrn))
        house.office.consent(house.handle(mrn), "research")
    house.file()
    bad, good = house.handle("E"), house.handle("F")
    house.office.sql("delete from vault.block where tag = %s", house.office.desk.ring.tag(bad, Category.COHORT_INDEX))
    leases = [one for page in house.calls.pages(STUDY) for one in page.leases if one.handle in (bad, good)]
    read = house.indexes.read(leases)
    assert {handle: error.reason for handle, error in read.failed.items()} == {bad: "INCOMPLETE"}
    assert read.found[good].index is not None
    house.calls.give_back([one.lease_id for one in leases])
    ended = house.indexes.read(leases)
    assert {error.reason for error in ended.failed.values()} == {"LEASE_ENDED"}
    house.office.consent(bad, "research", kind="deny")  # out of the way of the other tests


def test_a_study_from_decision_to_round_over_the_wire(house: House) -> None:
    house.ward.put(patient("G"), observation("G-1", "G"), condition("G-2", "G", "44054006", "2019-05-06"))
    house.ward.put(patient("H"), observation("H-1", "H"))
    g, h = house.handle("G"), house.handle("H")
    house.office.consent(g, "research")
    house.file()
    (decided,) = house.calls.decisions([STUDY])
    assert (decided.decision, decided.bundle) == ("approve", BUNDLE)
    assert g in house.indexed()
    assert h not in house.indexed()
    leases = house.calls.read(STUDY, [g, h])
    assert [one.handle for one in leases] == [g]
    reading = house.reader.read(leases[0], documents=True)
    assert reading.rows.value.tolist() == [120.0]
    assert sorted(one.resource for one in reading.documents) == ["Condition", "Observation", "Patient"]
    entry = house.calls.enter_round(STUDY, 1, "counts", [g, h])
    assert entry.withdrawn == (h,)
    assert house.office.kinds()[entry.leaf] == Kind.FED_ROUND
    assert house.calls.record("site_join", {"coordinator": "north.demo"}) == entry.leaf + 1
    with pytest.raises(Denied):
        house.calls.decide(with_person(house.auth.token("clinician")), StudyWish(STUDY, "refuse", "", "", "x", b""))
    house.approve(decision="refuse")
    with pytest.raises(Denied):
        house.calls.screen(STUDY)
