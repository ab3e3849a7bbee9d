"""The contract of ingest.md 2, line by line, on real keys and a real database."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import psycopg
import pytest

from services.ingest import books
from services.ingest.mapping import Column, Mapping
from tests.contract.ingest.ward import MRN, Ward, observation, patient
from twinward.errors import BadInput, Busy, Conflict, Malformed, Unavailable
from twinward.record import Category
from twinward.vault.tags import tag


def test_a_message_is_stored_sealed_and_counted(ward: Ward) -> None:
    answer = ward.put(patient("7"), observation("o1", "7"), {"resourceType": "Organization", "name": "x"})
    assert answer.counts == {"stored": 2, "rejected": 1}
    assert answer.observations == 1
    stored = ward.stored()
    assert [(category, one.resource) for _, category, one in stored.documents] == [
        (Category.IDENTITY, "Patient"),
        (Category.LABS, "Observation"),
    ]
    ((_, _, row),) = stored.measurements
    assert (row.value, row.unit) == (120.0, "mg/dL")
    assert ward.counts()["accepted"] == stored.items == 3
    assert ward.office.sql("select count(*) from twin.pending") == [(1,)]


def test_the_second_time_adds_nothing(ward: Ward) -> None:
    message = [patient("7"), observation("o1", "7"), {"resourceType": "Observation", "bad": 1}]
    ward.put(*message)
    before = ward.stored().essence()
    again = ward.put(*message)
    assert again.counts == {"duplicate": 3}
    assert ward.stored().essence() == before
    assert len(ward.waiting()) == 1


def test_the_same_resource_twice_in_one_message_is_stored_once(ward: Ward) -> None:
    answer = ward.put(patient("7"), observation("o1", "7"), observation("o1", "7"))
    assert answer.counts == {"stored": 2, "duplicate": 1}
    assert ward.counts()["duplicates"] == 1


def test_a_new_version_is_a_correction_and_the_old_one_stays_as_history(ward: Ward) -> None:
    ward.put(patient("7"), observation("o1", "7", 120))
    answer = ward.put(observation("o1", "7", 130, status="corrected"))
    assert answer.counts == {"corrected": 1}
    rows = [row for _, _, row in ward.stored().measurements]
    assert [row.value for row in rows] == [120, 130]
    assert rows[0].lineage == rows[1].lineage
    assert rows[0].received_ms < rows[1].received_ms


def test_the_feeds_own_version_with_other_content_is_quarantined(ward: Ward) -> None:
    ward.put(patient("7"), observation("o1", "7", 120, meta={"versionId": "1"}))
    answer = ward.put(observation("o1", "7", 130, meta={"versionId": "1"}))
    assert answer.counts == {"quarantined": 1}
    assert answer.problems[0].reason == "version-reused"
    again = ward.put(observation("o1", "7", 130, meta={"versionId": "1"}))
    assert again.counts == {"duplicate": 1}
    assert len(ward.waiting()) == 1
    assert len(ward.stored().measurements) == 1


def test_a_version_about_somebody_else_is_quarantined(ward: Ward) -> None:
    ward.put(patient("7"), patient("8"), observation("o1", "7"))
    answer = ward.put(observation("o1", "8", 130))
    assert [one.reason for one in answer.problems] == ["subject-changed"]
    assert ward.put(observation("o1", "8", 130)).counts == {"duplicate": 1}
    assert len(ward.stored().measurements) == 1


def test_an_idempotency_key_replays_its_answer(ward: Ward) -> None:
    first = ward.put(patient("7"), key="k-1")
    again = ward.put(patient("7"), key="k-1")
    assert again.replayed
    assert not first.replayed
    assert (again.receipt, again.counts) == (first.receipt, first.counts)
    with pytest.raises(Conflict):
        ward.put(patient("8"), key="k-1")
    assert ward.put(patient("8"), key="k-2").counts == {"stored": 1}


def test_one_bad_entry_goes_to_quarantine_and_the_others_are_stored(ward: Ward) -> None:
    answer = ward.put(patient("7"), observation("o1", "7", status="great"), observation("o2", "7"))
    assert answer.counts == {"stored": 2, "quarantined": 1}
    assert [(one.index, one.reason) for one in answer.problems] == [(1, "invalid-Observation")]
    assert ward.waiting() == [("quarantine", "waiting", "invalid-Observation")]
    assert ward.counts()["quarantined"] == 1


def test_unknown_codes_and_units_are_stored_and_listed(ward: Ward) -> None:
    local = {"coding": [{"system": "urn:lab", "code": "GLUC"}]}
    gallons = {"value": 5, "unit": "gallons"}
    ward.put(patient("7"), observation("o1", "7", code=local), observation("o2", "7", valueQuantity=gallons))
    ward.put(observation("o3", "7", code=local))
    listed = ward.office.sql("select system, code, unit, count from ingest.unmapped order by count desc")
    assert listed == [("urn:lab", "GLUC", "mg/dL", 2), ("loinc", "2339-0", "gallons", 1)]
    assert {category for _, category, _ in ward.stored().measurements} == {Category.RESTRICTED, Category.LABS}


def test_an_unknown_reference_waits_until_its_patient_is_known(ward: Ward) -> None:
    answer = ward.put(observation("o1", "7"))
    assert answer.counts == {"intake": 1}
    assert ward.file().filed == 0
    assert ward.put(patient("7")).reasons[0].reason == "behind-intake"
    assert ward.file().filed == 2
    assert {state for _, state, _ in ward.waiting()} == {"filed"}
    assert len(ward.stored().measurements) == 1
    assert ward.put(observation("o1", "7")).counts == {"duplicate": 1}


def test_auth_down_while_data_arrive_and_filed_later(ward: Ward) -> None:
    ward.auth.down = True
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": "urn:uuid:1", "resource": patient("7")},
            {"resource": observation("o1", "", subject={"reference": "urn:uuid:1"})},
        ],
    }
    answer = ward.put(bundle)
    assert answer.counts == {"intake": 2}
    assert [one.reason for one in answer.reasons] == ["auth-unavailable"] * 2
    assert ward.put(bundle).counts == {"duplicate": 2}
    with pytest.raises(Unavailable):
        ward.file()
    assert ward.stored().items == 0
    ward.auth.down = False
    done = ward.file()
    assert (done.filed, done.left) == (1, 0)
    assert ward.stored().items == 3
    assert ward.put(bundle).counts == {"duplicate": 2}
    assert ward.stored().items == 3


def test_later_items_of_a_patient_wait_behind_earlier_ones(ward: Ward) -> None:
    ward.put(patient("7"))
    handle = ward.office.sql("select handle from vault.patient_state")[0][0]
    ward.office.sql("delete from vault.public_key_set where handle = %s", handle)
    ward.committer._lay_down()  # the next pen has not seen the keys that are gone
    ward.auth.down = True
    assert ward.put(observation("o1", "7", 100)).reasons[0].reason == "no-keys"
    assert ward.put(observation("o1", "7", 110)).reasons[0].reason == "behind-intake"
    ward.auth.down = False
    assert ward.put(observation("o1", "7", 120)).reasons[0].reason == "behind-intake"
    while ward.file().filed:
        pass
    assert {state for _, state, _ in ward.waiting()} == {"filed"}
    rows = [row for _, _, row in ward.stored().measurements]
    assert [row.value for row in sorted(rows, key=lambda row: row.received_ms)] == [100, 110, 120]


def test_a_forged_care_team_and_identity_on_a_feed_without_approval(ward: Ward) -> None:
    ward.put(patient("7"))
    team = {
        "resourceType": "CareTeam",
        "id": "t",
        "status": "active",
        "subject": {"identifier": {"system": MRN, "value": "7"}},
        "participant": [{"member": {"reference": "Practitioner/mallory"}}],
    }
    answer = ward.put(team, patient("9"), feed="observations")
    assert [one.reason for one in answer.problems] == ["feed-not-approved"] * 2
    assert ward.office.sql("select count(*) from vault.intake_consent") == [(0,)]
    assert ward.office.sql("select count(*) from vault.patient_state") == [(1,)]
    assert ward.office.sql("select count(*) from vault.care_team") == [(0,)]
    # A bare clinical fact about a known patient is what such a feed is for.
    fact = observation("o1", "", subject={"identifier": {"system": MRN, "value": "7"}})
    assert ward.put(fact, feed="observations").counts == {"stored": 1}
    stranger = observation("o2", "", subject={"identifier": {"system": MRN, "value": "404"}})
    assert ward.put(stranger, feed="observations").counts == {"intake": 1}
    assert ward.office.sql("select count(*) from vault.patient_state") == [(1,)]


def test_an_approved_care_team_and_consent_go_sealed_to_auth(ward: Ward) -> None:
    team = {
        "resourceType": "CareTeam",
        "id": "t",
        "status": "active",
        "subject": {"reference": "Patient/7"},
        "participant": [{"member": {"reference": "Practitioner/dr-1"}}],
    }
    consent = {
        "resourceType": "Consent",
        "id": "c",
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"code": "59284-0"}]}],
        "policyRule": {"coding": [{"code": "OPTIN"}]},
        "patient": {"reference": "Patient/7"},
        "provision": {"type": "permit"},
    }
    assert ward.put(patient("7"), team, consent).counts == {"stored": 3}
    kinds = ward.office.sql("select kind from vault.intake_consent order by id")
    assert kinds == [("care_team",), ("consent",)]
    assert ward.put(patient("7"), team, consent).counts == {"duplicate": 3}
    assert len(ward.stored().documents) == 1  # the Patient alone: consent and care team are auth's


def test_a_refused_tag_is_dropped_and_counted(ward: Ward) -> None:
    ward.put(patient("7"))
    handle = ward.office.sql("select handle from vault.patient_state")[0][0]
    ward.office.sql("update vault.patient_state set refused_tags = %s", [tag(ward.tag_key, handle, Category.LABS)])
    answer = ward.put(observation("o1", "7"))
    assert answer.counts == {"dropped": 1}
    assert answer.problems[0].reason == "consent-denies-collection"
    assert ward.stored().measurements == []
    assert ward.counts()["dropped"] == 2  # the reading and its document
    ward.office.sql("update vault.patient_state set erased = true")
    assert ward.put(patient("7"), observation("o2", "7")).counts == {"duplicate": 1, "dropped": 1}


def test_numbers_of_two_patients_are_never_joined(ward: Ward) -> None:
    ward.put(patient("7"), patient("8"))
    both = patient("7", "z")
    both["identifier"].append({"system": MRN, "value": "8"})
    answer = ward.put(both)
    assert [one.reason for one in answer.problems] == ["two-patients"]
    assert ward.waiting()[-1] == ("quarantine", "waiting", "two-patients")


def test_redrive_after_a_feed_was_approved(ward: Ward) -> None:
    ward.put(patient("9"), feed="observations")
    assert ward.waiting() == [("quarantine", "waiting", "feed-not-approved")]
    assert ward.file().filed == 0
    ward.office.approve("observations", "identity")
    ward.acceptor._feeds_at = -1e9
    try:
        with ward.pool.connection() as connection:
            assert books.redrive(connection, "other") == 0
            assert books.redrive(connection, "feed-not-approved") == 1
        assert ward.file().filed == 1
        assert len(ward.stored().documents) == 1
    finally:
        ward.office.approve("observations")
        ward.acceptor._feeds_at = -1e9


def test_what_stays_bad_goes_back_to_quarantine(ward: Ward) -> None:
    ward.put(patient("7"), observation("o1", "7", status="great"))
    ward.office.sql("update ingest.intake set kind = 'intake', reason = 'redrive'")
    done = ward.file()
    assert (done.filed, done.quarantined) == (0, 1)
    assert ward.waiting() == [("quarantine", "waiting", "invalid-Observation")]
    ward.office.sql(
        "update ingest.intake set kind = 'intake', reason = 'redrive',"
        " blob = set_byte(blob, 1200, get_byte(blob, 1200) # 1)"
    )
    ward.file()
    assert ward.waiting() == [("quarantine", "waiting", "does-not-open")]


def test_series_are_stored_and_overlap_supersedes_nothing(ward: Ward) -> None:
    mapping = Mapping("t", (Column("g", "glucose", "mmol/L"), Column("b", "bolus", "U")), "", "UTC")
    one = b"t,g,b\n2026-01-02T10:00:00,5.5,\n2026-01-02T10:05:00,5.6,2\n"
    answer = ward.acceptor.series("files", "", one, mapping, (MRN, "7"))
    assert answer.counts == {"stored": 3}
    assert answer.observations == 3
    assert ward.acceptor.series("files", "", one, mapping, (MRN, "7")).counts == {"duplicate": 3}
    stored = ward.stored()
    assert {category for _, category, _ in stored.measurements} == {Category.DEVICES, Category.MEDS}
    assert ward.counts()["accepted"] == stored.items == 5


def test_series_arrive_while_auth_is_down(ward: Ward) -> None:
    mapping = Mapping("t", (Column("g", "glucose", "mmol/L"),), "", "UTC", "p", MRN)
    ward.auth.down = True
    rows = b"p,t,g\n7,2026-01-02T10:00:00,5.5\n8,2026-01-02T10:00:00,6\n8,never,6\n"
    assert ward.acceptor.series("files", "", rows, mapping, None).counts == {"intake": 2, "quarantined": 1}
    ward.auth.down = False
    assert ward.file().filed == 2
    assert sorted(row.value for _, _, row in ward.stored().measurements) == pytest.approx([99.088, 108.096])
    assert ward.acceptor.series("files", "", rows, mapping, None).counts == {"duplicate": 3}


def test_many_senders_at_once_store_everything_once(ward: Ward) -> None:
    ward.put(*[patient(str(number)) for number in range(4)])
    results: list[dict[str, int]] = []
    failures: list[BaseException] = []

    def send(sender: int) -> None:
        try:
            for number in range(10):
                # Every reading is sent by two senders.
                answer = ward.put(observation(f"o-{sender // 2}-{number}", str(number % 4)))
                results.append(answer.counts)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures
    assert sum(counts.get("stored", 0) for counts in results) == 40
    assert sum(counts.get("duplicate", 0) for counts in results) == 40
    assert len(ward.stored().measurements) == 40


def test_database_gone_is_said_and_nothing_is_acknowledged(ward: Ward) -> None:
    ward.put(patient("7"))
    ward.office.sql("alter table vault.tail rename to tail_gone")
    try:
        with pytest.raises(psycopg.errors.UndefinedTable):
            ward.put(observation("o1", "7"))
    finally:
        ward.office.sql("alter table vault.tail_gone rename to tail")
    ward.office.sql("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'ingest'")
    assert ward.put(observation("o1", "7")).counts == {"stored": 1}
    assert len(ward.stored().measurements) == 1


def test_a_full_disk_is_said_and_nothing_is_acknowledged(ward: Ward) -> None:
    ward.put(patient("7"))
    before = ward.stored().items
    ward.office.sql(
        "create function ingest.full() returns trigger language plpgsql as "
        "$$ begin raise exception 'no space left on device' using errcode = '53100'; end $$"
    )
    ward.office.sql("create trigger full_disk before insert on ingest.receipt_batch execute function ingest.full()")
    try:
        with pytest.raises(Unavailable, match="no space left"):
            ward.put(observation("o1", "7"))
    finally:
        ward.office.sql("drop trigger full_disk on ingest.receipt_batch")
        ward.office.sql("drop function ingest.full()")
    assert ward.stored().items == before
    assert ward.put(observation("o1", "7")).counts == {"stored": 1}


def test_back_pressure(ward: Ward) -> None:
    with ward.acceptor._budget.hold(96 * 1024 * 1024), pytest.raises(Busy):
        ward.put(patient("7"))
    assert ward.put(patient("7")).counts == {"stored": 1}


@pytest.mark.parametrize(
    ("feed", "payload", "error"),
    [("nobody", b"{}", BadInput), ("files", b"", Malformed), ("files", b"\x00\x01", Malformed)],
)
def test_refused_whole(ward: Ward, feed: str, payload: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        ward.acceptor.fhir(feed, "", payload)
    assert ward.counts()["accepted"] == 0


def test_any_order_gives_the_same_record(ward: Ward) -> None:
    everything: list[dict[str, Any]] = [patient("7"), patient("8")]
    everything += [observation(f"o{number}", str(7 + number % 2), 100 + number) for number in range(8)]
    everything += everything[3:6]  # duplicates
    orders = [everything, everything[::-1], everything[5:] + everything[:5]]
    found = []
    for order in orders:
        ward.clear()
        for one in order:
            ward.put(one)
        while ward.file().filed:
            pass
        found.append(ward.stored().essence())
    assert found[0] == found[1] == found[2]
    assert found[0].total() == 2 + 16


def test_a_body_is_stored_byte_for_byte(ward: Ward) -> None:
    raw = orjson.dumps(observation("o1", "7")).replace(b"120.0", b"120.10") + b" "
    ward.put(patient("7"), raw)
    assert raw.strip() in {one.body.strip() for _, _, one in ward.stored().documents}


def test_answers_that_are_over_go_in_portions(ward: Ward) -> None:
    with ward.pool.connection() as connection:
        connection.execute("delete from ingest.answer")
        books.keep_answers(connection, [(bytes([number] * 16), b"h", b"a") for number in range(5)], 1_000)
        books.keep_answers(connection, [(bytes([9] * 16), b"h", b"a")], 2_000)
        assert [books.forget_answers(connection, 2_000, most=3) for _ in range(3)] == [3, 2, 0]
        assert books.answer(connection, bytes([9] * 16)) == (b"h", b"a")
