"""A grant releases exactly what was decided, after its entry; everything else is denied, and that is an entry too."""

from __future__ import annotations

import psycopg
import pytest

from services.auth.desk import Patient
from tests.unit.auth.office import SYSTEM, Office, person
from twinward.clock import month_of
from twinward.errors import BadInput, ConsentDenied, Denied, NotFound
from twinward.ledger.kinds import Kind
from twinward.record import Category
from twinward.vault.keytree import Node, node_key


def test_a_clinician_of_the_care_team_gets_keys_and_a_lease_with_its_leaf(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    lease = office.ask(handle)
    assert office.kinds()[lease.leaf] == Kind.GRANT
    rows = office.sql("select role, handle, tags, purpose, leaf, actor from vault.lease where handle = %s", handle)
    assert rows == [("twin", handle, list(lease.tags.values()), "treatment", lease.leaf, "dr-1")]
    assert {node.category for node in lease.nodes} == {4, 5, 6, 10, 13}
    assert 890_000 < lease.until_ms - office.clock.now_ms() <= 900_000


def test_the_keys_are_the_ones_the_tree_derives(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    month = month_of(office.clock.now_ms())
    lease = office.ask(handle, categories=(Category.DEVICES,), first=month, last=month)
    epoch, wrapped = office.sql("select epoch, wrapped from vault.patient_key where handle = %s", handle)[0]
    key = office.desk.ring.provider.unwrap(handle.bytes, epoch, bytes(wrapped))
    node = Node(month // 100, month % 100, False)
    assert [one.key for one in lease.nodes] == [node_key(key, Category.DEVICES, 1, node)]


def test_whole_past_years_are_one_node_each(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    year = month_of(office.clock.now_ms()) // 100
    lease = office.ask(handle, categories=(Category.LABS,), first=(year - 3) * 100 + 1, last=(year - 1) * 100 + 12)
    assert [(one.year, one.whole_year) for one in lease.nodes] == [(year - n, True) for n in (3, 2, 1)]


@pytest.mark.parametrize(
    ("role", "purpose", "sub", "error"),
    [
        ("clinician", "treatment", "dr-2", Denied),  # not of the team
        ("learner", "treatment", "dr-1", Denied),  # not the role
        ("learner", "teaching", "dr-1", ConsentDenied),  # nobody consented
        ("researcher", "research", "dr-1", ConsentDenied),
        ("clinician", "upkeep", "dr-1", Denied),
        ("clinician", "world-domination", "dr-1", Denied),
    ],
)
def test_denials(office: Office, role: str, purpose: str, sub: str, error: type[Denied]) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    before = len(office.kinds())
    with pytest.raises(error) as caught:
        office.ask(handle, role, purpose, sub)
    assert str(handle) not in caught.value.public
    if purpose != "world-domination":
        assert office.kinds()[before:][-1] == Kind.DENY
    assert office.sql("select 1 from vault.lease where handle = %s", handle) == []


def test_teaching_and_research_follow_the_consent(office: Office) -> None:
    handle = office.patient()
    office.consent(handle, "teaching")
    assert office.ask(handle, "learner", "teaching", "l-1").until_ms - office.clock.now_ms() <= 60_000
    with pytest.raises(ConsentDenied):
        office.ask(handle, "researcher", "research", "r-1")


def test_sensitive_categories_need_a_consent_that_names_them(office: Office) -> None:
    handle = office.patient((*(Category.LABS, Category.PSYCHIATRY),))
    office.team(handle, "dr-1")
    both = (Category.LABS, Category.PSYCHIATRY)
    assert set(office.ask(handle, categories=both).tags) == {Category.LABS}
    with pytest.raises(Denied):
        office.ask(handle, categories=(Category.PSYCHIATRY,))
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}
    normal = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"}
    office.consent(handle, "treatment", securityLabel=[normal, label])
    assert set(office.ask(handle, categories=both).tags) == set(both)


@pytest.mark.parametrize("category", [Category.RAW, Category.INTAKE, Category.COHORT_INDEX])
def test_reserved_categories_go_to_nobody(office: Office, category: Category) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.consent(handle)
    with pytest.raises(Denied):
        office.ask(handle, categories=(category,))


def test_periods_of_a_consent_bound_the_months(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.consent(handle, "treatment", dataPeriod={"start": "2022-02-01", "end": "2022-04-30"})
    lease = office.ask(handle, categories=(Category.LABS,), first=202101, last=202312)
    assert [(one.year, one.month) for one in lease.nodes] == [(2022, 2), (2022, 3), (2022, 4)]


def test_expired_and_future_consents_permit_nothing(office: Office) -> None:
    for period in ({"end": "2025-12-31"}, {"start": "2099-01-01"}):
        handle = office.patient()
        office.consent(handle, "teaching", period=period)
        with pytest.raises(ConsentDenied):
            office.ask(handle, "learner", "teaching", "l-1")


def test_a_future_period_is_refused_with_five_minutes_of_skew(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    with pytest.raises(BadInput):
        office.ask(handle, first=209901, last=209912)
    with pytest.raises(BadInput):
        office.ask(handle, first=202513, last=202512)


def test_an_unknown_number_says_so_and_is_an_entry(office: Office) -> None:
    before = len(office.kinds())
    with pytest.raises(NotFound):
        office.ask(office.desk.new_id())
    assert office.kinds()[before:] == [Kind.DENY]


def test_the_exact_number_finds_the_patient_however_it_is_spaced(office: Office) -> None:
    handle = office.patient(mrn="ab 12 34")
    office.team(handle, "dr-1")
    assert office.ask(handle, patient=Patient(identifier=(SYSTEM, " AB1234 "))).handle == handle


def test_the_database_serves_a_lease_to_its_role_alone_and_only_while_it_runs(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    lease = office.ask(handle)
    tag = lease.tags[Category.DEVICES]
    office.sql(
        "insert into vault.block (handle, tag, version, bucket, seq, n, blob) values (%s, %s, 1, 20261100, 0, 1, 'x')",
        handle,
        tag,
    )
    count = "select count(*) from vault.block where handle = %s"
    assert office.sql(count, handle, role="twin") == [(1,)]
    assert office.sql(count, handle, role="twin_worker") == [(0,)]
    office.leases.give_back(person("clinician", through="twin"), [office.desk.new_id()])  # guessed: nothing happens
    assert office.sql(count, handle, role="twin") == [(1,)]
    from uuid import UUID

    office.leases.give_back(person("clinician", through="twin"), [UUID(bytes=lease.lease_id)])
    assert office.sql(count, handle, role="twin") == [(0,)]


def test_a_program_cannot_write_itself_a_lease(office: Office) -> None:
    handle = office.patient()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        office.sql(
            "insert into vault.lease values (gen_random_uuid(), 'twin', %s, '{}', 'x', now(), now(), 0, 'x')",
            handle,
            role="twin",
        )
