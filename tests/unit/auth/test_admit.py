"""New patients come from approved feeds only; what ingest gets is signed and opens nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.auth.admit import Admitted, Applicant, admit_info
from services.auth.sets import wanted_months
from tests.unit.auth.office import SITE, SYSTEM, Office, person, program
from twinward.errors import TooLarge
from twinward.record import Category, Handle
from twinward.vault import hpke, keytree, publickeys
from twinward.vault.identifiers import Admission, blind


def sealed(office: Office, *numbers: tuple[str, str], categories: tuple[int, ...] = (5,)) -> Applicant:
    plain = Admission(numbers, categories).encode()
    return Applicant(hpke.seal(office.admit_key, plain, admit_info(SITE)), None, ())


def test_a_new_patient_gets_handle_index_and_signed_keys(office: Office) -> None:
    found = office.admission.admit("files", [office.applicant("N-1", (4, 5))])[0]
    assert found.handle is not None
    assert office.sql("select handle from vault.feed_index where idx = %s", UUID(bytes=found.feed_index)) == [
        (found.handle,)
    ]
    key = (office.folder / "secrets/feed_idx.key").read_bytes()
    assert found.feed_index == blind(key, (SYSTEM, "N-1"))
    rows = office.sql(
        """select k.tag, k.month, (extract(epoch from k.valid_from) * 1000)::bigint,
          (extract(epoch from k.valid_until) * 1000)::bigint, k.public_key, k.version,
          (extract(epoch from s.valid_until) * 1000)::bigint, s.signature
        from vault.public_key k join vault.public_key_set s on s.id = k.set_id where k.handle = %s""",
        found.handle,
    )
    by_tag = {office.desk.ring.tag(found.handle, number): number for number in (4, 5)}
    entries = tuple(publickeys.entry(by_tag[bytes(r[0])], r[1], r[2], r[3], bytes(r[4])) for r in rows)
    assert {(one.category, one.month) for one in entries} == {
        (number, month) for number in (4, 5) for month in wanted_months(office.clock.now_ms())
    }
    signed = publickeys.KeySet(SITE, found.handle, 1, rows[0][6], entries)
    authority = Ed25519PublicKey.from_public_bytes((office.folder / "pki/authority.pub").read_bytes())
    publickeys.verify_set(authority, signed, bytes(rows[0][7]))
    epoch, wrapped = office.sql("select epoch, wrapped from vault.patient_key where handle = %s", found.handle)[0]
    dek = office.desk.ring.provider.unwrap(found.handle.bytes, epoch, bytes(wrapped))
    blob = hpke.seal(hpke.public_key(bytes(rows[0][4])), b"reading", b"info")
    seed = keytree.tail_seed(dek, by_tag[bytes(rows[0][0])], 1, rows[0][1])
    assert hpke.open_sealed(hpke.private_key(seed), blob, b"info") == b"reading"


def test_an_unapproved_feed_names_no_new_patient(office: Office) -> None:
    before = office.sql("select count(*) from vault.patient_state")
    for feed in ("observations", "nobody-knows"):
        assert office.admission.admit(feed, [office.applicant("N-2")])[0] == Admitted(None, "feed-not-approved", b"", 0)
    assert office.sql("select count(*) from vault.patient_state") == before


def test_an_unapproved_feed_finds_a_known_patient_and_adds_no_number(office: Office) -> None:
    handle = office.patient(mrn="N-3")
    both = sealed(office, (SYSTEM, "N-3"), (SYSTEM, "N-3-other"))
    assert office.admission.admit("observations", [both])[0].handle == handle
    found = office.admission.admit("observations", [office.applicant("N-3-other")])[0]
    assert found.refused == "feed-not-approved"


def test_the_same_number_is_the_same_patient_also_within_one_call_and_in_a_race(office: Office) -> None:
    twice = office.admission.admit("files", [office.applicant("N-4"), office.applicant(" n-4 ")])
    assert twice[0].handle == twice[1].handle
    found: list[Handle | None] = []

    def admit() -> None:
        answers = office.admission.admit("files", [office.applicant(f"R-{n}", (4, 5, 10)) for n in range(20)])
        found.extend(one.handle for one in answers)

    threads = [threading.Thread(target=admit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 80
    assert len(set(found)) == 20


def test_numbers_of_two_patients_are_refused(office: Office) -> None:
    office.patient(mrn="N-5")
    office.patient(mrn="N-6")
    found = office.admission.admit("files", [sealed(office, (SYSTEM, "N-5"), (SYSTEM, "N-6"))])[0]
    assert (found.handle, found.refused) == (None, "two-patients")


def test_a_further_category_adds_its_keys_alone(office: Office) -> None:
    handle = office.patient((5,), mrn="N-7")
    count = "select count(*), count(distinct set_id) from vault.public_key where handle = %s"
    had = office.sql(count, handle)[0]
    again = office.admission.admit("files", [Applicant(b"", handle, (5,))])[0]
    assert again.handle == handle
    assert office.sql(count, handle)[0] == had
    office.admission.admit("observations", [Applicant(b"", handle, (5, 10))])
    assert office.sql(count, handle)[0] == (had[0] * 2, 2)


def test_a_month_later_there_are_keys_of_the_new_months(office: Office) -> None:
    handle = office.patient((5,), mrn="N-8")
    office.clock.shift_ms += 35 * 24 * 3_600_000
    try:
        office.admission.admit("files", [Applicant(b"", handle, (5,))])
        wanted = set(wanted_months(office.clock.now_ms()))
    finally:
        office.clock.shift_ms -= 35 * 24 * 3_600_000
    assert wanted <= {m for (m,) in office.sql("select month from vault.public_key where handle = %s", handle)}


def test_the_erased_the_unknown_and_the_broken_are_refused_each_alone(office: Office) -> None:
    erased = office.patient(mrn="N-9")
    office.sql("update vault.patient_state set erased = true where handle = %s", erased)
    good = office.applicant("N-10")
    applicants = [
        office.applicant("N-9"),
        Applicant(b"", office.desk.new_id(), (5,)),
        replace(good, sealed=good.sealed[:-1] + bytes([good.sealed[-1] ^ 1])),
        sealed(office, (SYSTEM, "\x00")),
        sealed(office, (SYSTEM, "N-11"), categories=(4711,)),
        Applicant(b"", None, (5,)),
        good,
    ]
    answers = office.admission.admit("files", applicants)
    assert [one.refused for one in answers] == [
        "erased",
        "unknown-handle",
        "does-not-open",
        "malformed",
        "malformed",
        "no-identifier",
        "",
    ]


def test_too_many_at_once_are_refused(office: Office) -> None:
    with pytest.raises(TooLarge):
        office.admission.admit("files", [Applicant(b"", None, ())] * 501)


def test_only_raw_of_the_reserved_categories_is_written(office: Office) -> None:
    handle = office.patient((Category.RAW, Category.INTAKE, Category.COHORT_INDEX))
    tags = {bytes(tag) for (tag,) in office.sql("select tag from vault.public_key where handle = %s", handle)}
    assert tags == {office.desk.ring.tag(handle, Category.RAW)}


def test_intake_keys_go_to_the_filer_for_what_waits(office: Office) -> None:
    office.sql(
        "insert into ingest.intake (feed, received, reason, kind, key_id, items, blob) "
        "values ('files', now(), 'new', 'intake', 1, 1, 'x')"
    )
    number = office.sql("select max(id) from ingest.intake")[0][0]
    granted = office.intake.grant(program("ingest-filer"), [number])
    assert set(granted.seeds) == {1}
    public = (office.folder / "pki/intake/1.pub").read_bytes()
    assert hpke.public_bytes(granted.seeds[1]) == public
    assert office.sql("select role, leaf from vault.lease where id = %s", granted.lease_id) == [("filer", granted.leaf)]
    from twinward.errors import Denied, NotFound

    with pytest.raises(NotFound):
        office.intake.grant(program("ingest-filer"), [number + 1000])
    with pytest.raises(Denied):
        office.intake.grant(person("clinician"), [number])
