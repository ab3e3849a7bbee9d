"""Consents that change: what is set counts, what is withdrawn ends at once, what a stranger says never widens."""

from __future__ import annotations

import threading
from uuid import UUID

import psycopg
import pytest

from services.auth.desk import Patient
from services.auth.upkeep import Denial
from tests.unit.auth.office import PURPOSES, Office, consent, person, program
from twinward.errors import ConsentDenied, Denied, Malformed, NotFound
from twinward.ledger.kinds import Kind
from twinward.record import Category, Handle
from twinward.vault.lease import Lease

STEWARD = person("data-steward", "operations", "st-1")


def upkeep(office: Office, handle: Handle) -> tuple[list[Lease], list[Denial]]:
    return office.upkeep.grant(program("twin-worker"), [handle], None)


def test_a_withdrawal_ends_leases_and_no_key_goes_out_after_it(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.consent(handle, "upkeep", "teaching")
    held, kept = office.ask(handle), upkeep(office, handle)[0][0]
    tag = held.tags[Category.DEVICES]
    office.sql("insert into vault.block values (%s, %s, 1, 20261100, 0, 1, 'x')", handle, tag)
    count = "select count(*) from vault.block where handle = %s"
    assert office.sql(count, handle, role="twin") == office.sql(count, handle, role="twin_worker") == [(1,)]
    with psycopg.connect(office.database.dsn("twin"), autocommit=True) as listener:
        listener.execute("listen lease_revoked")
        done = office.consents.withdraw(STEWARD, Patient(handle=handle), [], "the patient asked")
        heard = {note.payload for note in listener.notifies(timeout=2, stop_after=2)}
    assert heard == {str(UUID(bytes=held.lease_id)), str(UUID(bytes=kept.lease_id))}
    assert done.leases_ended == 2
    assert office.kinds()[done.leaf] == Kind.CONSENT_CHANGE
    assert office.sql(count, handle, role="twin") == office.sql(count, handle, role="twin_worker") == [(0,)]
    with pytest.raises(ConsentDenied):
        office.ask(handle)
    assert upkeep(office, handle)[0] == []
    assert office.sql("select seq from twin.pending where handle = %s", handle) == [(0,)]


def test_a_withdrawal_raises_the_version_and_replaces_the_public_keys(office: Office) -> None:
    handle = office.patient()
    before = office.sql("select version, month, tag, public_key from vault.public_key where handle = %s", handle)
    done = office.consents.withdraw(STEWARD, Patient(handle=handle), ["research"], "")
    after = office.sql("select version, month, tag, public_key from vault.public_key where handle = %s", handle)
    assert done.version == 2
    assert office.sql("select version from vault.patient_state where handle = %s", handle) == [(2,)]
    assert {row[0] for row in before} == {1}
    assert {row[0] for row in after} == {2}
    assert {row[1:3] for row in before} == {row[1:3] for row in after}
    assert not {row[3] for row in before} & {row[3] for row in after}


def test_a_purpose_withdrawn_leaves_the_others(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.consent(handle, "upkeep", "teaching")
    office.consents.withdraw(STEWARD, Patient(handle=handle), ["teaching"], "")
    with pytest.raises(ConsentDenied):
        office.ask(handle, "learner", "teaching", "l-1")
    assert len(upkeep(office, handle)[0]) == 1
    assert office.ask(handle).handle == handle


def test_a_steward_records_that_the_patient_permits_again(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.consents.withdraw(STEWARD, Patient(handle=handle), [], "")
    office.clock.shift_ms += 1000
    office.consent(handle, "teaching")
    assert office.ask(handle, "learner", "teaching", "l-1").version >= 2
    with pytest.raises(ConsentDenied):  # what was not permitted again stays withdrawn
        office.ask(handle)


def test_upkeep_needs_an_explicit_permit(office: Office) -> None:
    handle = office.patient()
    before = len(office.kinds())
    leases, denials = upkeep(office, handle)
    assert (leases, denials[0].reason) == ([], "no-consent")
    again = upkeep(office, handle)[1]
    assert again == denials  # the same refusal the same day is no second entry
    assert office.kinds()[before:] == [Kind.DENY]
    office.consent(handle, "upkeep")
    leases, denials = upkeep(office, handle)
    assert denials == []
    assert set(leases[0].tags) == {4, 5, 6, 10, 13}
    assert office.kinds()[leases[0].leaf] == Kind.UPKEEP


def test_upkeep_never_holds_sensitive_records_even_where_the_patient_permits(office: Office) -> None:
    handle = office.patient((Category.LABS, Category.PSYCHIATRY))
    office.consent(handle)
    assert Category.PSYCHIATRY not in upkeep(office, handle)[0][0].tags


def test_upkeep_of_a_living_twin_opens_this_month_and_the_one_before(office: Office) -> None:
    handle = office.patient()
    office.consent(handle, "upkeep")
    first = upkeep(office, handle)[0][0]
    assert any(node.whole_year for node in first.nodes)  # no twin yet: it is built from what there is
    office.sql("insert into twin.position values (%s, 1, 202611, 'x', now())", handle)
    office.sql("update twin.position set month = extract(year from now()) * 100 + extract(month from now())")
    nodes = upkeep(office, handle)[0][0].nodes
    assert len({(node.year, node.month) for node in nodes}) == 2
    replayed = office.upkeep.grant(program("twin-worker"), [handle], (202001, 202012))[0][0]
    assert (2020, True) in {(node.year, node.whole_year) for node in replayed.nodes}


def test_a_cohort_gets_one_leaf_a_patient(office: Office) -> None:
    handles = [office.patient() for _ in range(5)]
    for handle in handles[:3]:
        office.consent(handle, "upkeep")
    leases, denials = office.upkeep.grant(program("twin-worker"), [*handles, handles[0], office.desk.new_id()], None)
    assert {lease.handle for lease in leases} == set(handles[:3])
    assert len({lease.leaf for lease in leases}) == 3
    assert sorted(one.reason for one in denials) == ["no-consent", "no-consent", "unknown-patient"]


def test_forged_care_teams_and_consents_of_an_unapproved_feed_change_no_decision(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.team(handle, "intruder", feed="observations")
    office.say("observations", handle, {**_permit(), "id": "forged"})
    assert office.ask(handle).handle == handle
    with pytest.raises(Denied):
        office.ask(handle, sub="intruder")
    for role, purpose in (("learner", "teaching"), ("researcher", "research")):
        with pytest.raises(ConsentDenied):
            office.ask(handle, role, purpose, "x")
    assert upkeep(office, handle)[0] == []
    outcomes = office.sql(
        "select outcome from vault.intake_consent where feed = 'observations' and handle = %s", handle
    )
    assert sorted(outcome for (outcome,) in outcomes) == ["feed-not-approved", "unverified"]


def test_an_unapproved_feed_narrows_at_once_until_a_steward_looks(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.say("observations", handle, {**_permit(), "provision": {"type": "deny"}})
    with pytest.raises(ConsentDenied):
        office.ask(handle)


def test_a_steward_verifies_what_a_feed_claimed(office: Office) -> None:
    handle = office.patient()
    office.say("observations", handle, _permit())
    assert upkeep(office, handle)[0] == []
    import orjson

    office.consents.set(STEWARD, Patient(handle=handle), orjson.dumps(_permit()))
    assert len(upkeep(office, handle)[0]) == 1
    assert [s.verified for s in office.consents.show(STEWARD, Patient(handle=handle)).statements] == [True]


def test_an_approved_feed_replaces_its_own_consent_and_ends_it(office: Office) -> None:
    handle = office.patient()
    office.say("files", handle, _permit())
    assert len(upkeep(office, handle)[0]) == 1
    office.say("files", handle, {**_permit(), "status": "inactive"})
    assert upkeep(office, handle)[0] == []
    assert len(office.consents.show(STEWARD, Patient(handle=handle)).statements) == 1


def test_who_leaves_the_care_team_reads_nothing_more(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1", "dr-2")
    lease = office.ask(handle, sub="dr-2")
    office.team(handle, "dr-1")
    with pytest.raises(Denied):
        office.ask(handle, sub="dr-2")
    until = office.sql("select until <= now() + interval '1 hour' from vault.lease where id = %s", _id(lease))
    assert until == [(True,)]


def test_broken_rows_are_refused_as_an_entry_and_stop_nobody(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.say("files", handle, {"resourceType": "Consent", "status": "perhaps"})
    office.sql(
        "insert into vault.intake_consent (handle, feed, kind, received, blob) "
        "values (%s, 'files', 'consent', now(), 'junk')",
        handle,
    )
    assert office.ask(handle).handle == handle
    rows = office.sql("select outcome from vault.intake_consent where handle = %s and kind = 'consent'", handle)
    assert sorted(outcome for (outcome,) in rows) == ["does-not-open", "malformed"]


def test_consents_lie_sealed(office: Office) -> None:
    handle = office.patient()
    office.say("files", handle, {**_permit(), "id": "CANARY-7c1e"})
    upkeep(office, handle)
    for table in ("vault.consent", "vault.intake_consent", "ledger.body"):
        rows = office.sql("select t::text from " + table + " t")  # noqa: S608
        assert rows
        assert not [row for row in rows if "CANARY" in row[0] or b"CANARY".hex() in row[0]]


def test_show_says_what_holds_and_is_an_entry(office: Office) -> None:
    handle = office.patient()
    office.consent(handle, "teaching")
    before = len(office.kinds())
    shown = office.consents.show(STEWARD, Patient(handle=handle))
    assert len(office.kinds()) == before + 1
    assert shown.effective["teaching"].startswith("permit")
    assert shown.effective["treatment"].startswith("permit")
    assert shown.effective["research"].startswith("deny")
    with pytest.raises(Denied):
        office.consents.show(person("clinician", sub="dr-9"), Patient(handle=handle))


def test_what_is_no_consent_changes_nothing(office: Office) -> None:
    handle = office.patient()
    with pytest.raises(Malformed):
        office.consents.set(STEWARD, Patient(handle=handle), b"{}")
    with pytest.raises(NotFound):
        office.consents.set(STEWARD, Patient(handle=office.desk.new_id()), consent("teaching"))
    assert office.sql("select 1 from vault.consent where handle = %s", handle) == []


def test_no_grant_is_decided_on_a_consent_that_has_just_gone(office: Office) -> None:
    """Readers and a withdrawal race; whoever gets a lease got it before the withdrawal's leaf."""
    handle = office.patient()
    office.team(handle, "dr-1")
    leaves: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                leaves.append(office.ask(handle).leaf)
            except ConsentDenied:
                return

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    while len(leaves) < 20:
        stop.wait(0.01)
    withdrawn = office.consents.withdraw(STEWARD, Patient(handle=handle), [], "").leaf
    for reader in readers:
        reader.join(20)
    stop.set()
    assert leaves
    assert max(leaves) < withdrawn
    live = office.sql("select count(*) from vault.lease where handle = %s and until > clock_timestamp()", handle)
    assert live == [(0,)]


def _permit() -> dict[str, object]:
    purposes = [{"system": PURPOSES, "code": code} for code in ("upkeep", "teaching", "research")]
    provision = {"type": "permit", "purpose": purposes}
    return {"resourceType": "Consent", "id": "c1", "status": "active", "provision": provision}


def _id(lease: Lease) -> UUID:
    return UUID(bytes=lease.lease_id)
