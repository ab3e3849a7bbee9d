"""A study opens nothing before its approval, after its end, or of a patient whose consent does not say so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.auth import caps, cohort
from services.auth.audit import Audit, Search
from services.auth.cohort import Cohorts
from services.auth.consent import Statement
from services.auth.decision import Asked, decide
from services.auth.desk import Patient
from services.auth.entries import EntryReader
from services.auth.facts import Facts
from services.auth.permits import Permits
from services.auth.rounds import Rounds
from services.auth.studies import DAY_MS, Decided, Decision
from tests.unit.auth.fhir_consents import consents
from tests.unit.auth.office import Office, Shifted, consent, person, program
from tests.unit.auth.test_consent import statement
from twinward.clock import month_of, utc
from twinward.errors import BadInput, Busy, Denied, Malformed, TooLarge, TwinwardError
from twinward.ledger.kinds import Kind
from twinward.record import Category, Handle
from twinward.vault.keytree import Node, node_key

FEDERATION, STEWARD = program("federation"), person("data-steward", sub="steward-1", through="federation")
BUNDLE = hashlib.sha256(b"bundle").digest()
READS = (Category.IDENTITY, Category.LABS, Category.VITALS)


def study(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def wish(name: str, **more: Any) -> Decision:
    stated: dict[str, Any] = {
        "study": study(name), "decision": "approve", "reason": "useful", "privacy": "NON-PRIVATE",
        "requester": "researcher-7", "categories": READS, "first_month": 202001, "last_month": None,
        "expires_ms": 0, "bundle": BUNDLE,
    }  # fmt: skip
    return Decision(**{**stated, **more})


def approve(office: Office, name: str, **more: Any) -> int:
    return office.studies.decide(STEWARD, wish(name, **more))[0]


def patients(office: Office, n: int, *purposes: str) -> list[Handle]:
    made = [office.patient(READS) for _ in range(n)]
    for handle in made:
        if purposes:
            office.consent(handle, *purposes)
    return made


def screened(office: Office, name: str) -> set[Handle]:
    found: set[Handle] = set()
    after: Handle | None = None
    while True:
        page = office.cohorts.screen(FEDERATION, study(name), after)
        found |= {lease.handle for lease in page.leases}
        after = page.next_after
        if after is None:
            return found


@pytest.fixture
def later(office: Office) -> Iterator[Shifted]:
    """The clock, put back afterwards."""
    yield office.clock
    office.clock.shift_ms = 0


def body_of(office: Office, leaf: int) -> dict[str, Any]:
    sequencer = office.desk.sequencer
    audit = Audit(office.desk, EntryReader(sequencer.site, sequencer.terms, sequencer.keys))
    page = audit.find(person("auditor"), Search(None, "", "", 0, 500, str(leaf + 1)))
    return orjson.loads(page.entries[0].body)


# Decisions ----------------------------------------------------------------------------


def test_an_approval_is_a_row_and_a_leaf_and_ends_in_90_days(office: Office) -> None:
    leaf, expires_ms = office.studies.decide(STEWARD, wish("one"))
    assert office.kinds()[leaf] == Kind.STUDY_APPROVAL
    assert abs(expires_ms - office.clock.now_ms() - 90 * DAY_MS) < 60_000
    (found,) = office.studies.decisions([study("one")])
    assert (found.leaf, found.decision, found.bundle, found.expires_ms) == (leaf, "approve", BUNDLE, expires_ms)
    said = body_of(office, leaf)
    assert (said["study"], said["privacy"], said["actor"]) == (study("one").hex(), "NON-PRIVATE", "steward-1")


def test_who_wrote_it_does_not_decide_and_the_attempt_is_an_entry(office: Office) -> None:
    with pytest.raises(Denied, match="another data steward"):
        approve(office, "own", requester="steward-1")
    assert office.kinds()[-1] == Kind.DENY
    assert office.studies.decisions([study("own")]) == []


def test_the_last_decision_counts_and_all_are_kept(office: Office) -> None:
    for decision in ("approve", "refuse", "approve", "refuse"):
        approve(office, "twice", decision=decision)
    (found,) = office.studies.decisions([study("twice")])
    assert found.decision == "refuse"
    assert found in office.studies.decisions([])
    assert office.sql("select count(*) from vault.study_decision where study = %s", study("twice")) == [(4,)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"study": b"short"},
        {"decision": "maybe"},
        {"privacy": ""},
        {"privacy": "x" * 41},
        {"reason": "x" * 201},
        {"reason": "nul \0"},
        {"requester": "two\nlines"},
        {"requester": ""},
        {"bundle": b""},
        {"categories": ()},
        {"categories": (Category.RAW,)},
        {"categories": (Category.COHORT_INDEX,)},
        {"categories": (9999,)},
        {"first_month": 202013},
        {"first_month": 202405, "last_month": 202404},
        {"expires_ms": 1},
        {"expires_ms": 1 << 50},
    ],
)
def test_a_decision_that_makes_no_sense_is_none(office: Office, wrong: dict[str, Any]) -> None:
    before = len(office.kinds())
    with pytest.raises(BadInput):
        approve(office, "wrong", **wrong)
    assert len(office.kinds()) == before


# Cohorts ------------------------------------------------------------------------------


def attempts(office: Office, name: str, handle: Handle) -> list[Any]:
    return [
        lambda: office.cohorts.screen(FEDERATION, study(name), None),
        lambda: office.cohorts.read(FEDERATION, study(name), [handle]),
        lambda: office.rounds.enter(FEDERATION, study(name), 1, "counts", [handle]),
    ]


def refused(office: Office, name: str, handle: Handle) -> None:
    for attempt in attempts(office, name, handle):
        with pytest.raises(Denied) as caught:
            attempt()
        assert str(handle) not in caught.value.public
    assert office.sql("select 1 from vault.lease where handle = %s and until > now()", handle) == []


def test_nothing_before_approval_after_refusal_or_after_its_end(office: Office, later: Shifted) -> None:
    (handle,) = patients(office, 1, "research")
    refused(office, "late", handle)
    assert office.kinds()[-1] == Kind.DENY
    before = len(office.kinds())
    refused(office, "late", handle)
    assert len(office.kinds()) == before  # asking again is no news
    approve(office, "late")
    for attempt in attempts(office, "late", handle):
        attempt()
    running = "select actor from vault.lease where handle = %s and until > clock_timestamp()"
    approve(office, "other")
    office.cohorts.read(FEDERATION, study("other"), [handle])
    approve(office, "late", decision="refuse")  # ends the leases that run, those of no other study
    assert office.sql(running, handle) == [(f"study:{study('other').hex()}",)]
    approve(office, "other", decision="refuse")
    refused(office, "late", handle)
    approve(office, "late", expires_ms=office.clock.now_ms() + 2 * DAY_MS)
    assert handle in screened(office, "late")
    later.shift_ms = 2 * DAY_MS + 1
    with pytest.raises(Denied, match="has ended"):
        office.cohorts.screen(FEDERATION, study("late"), None)


def test_only_who_consents_to_research_is_screened_one_leaf_each(office: Office) -> None:
    yes, no, silent = patients(office, 2, "research"), patients(office, 1, "teaching"), patients(office, 1)
    sealed = patients(office, 1, "research")[0]
    office.consents.withdraw(person("data-steward"), Patient(handle=sealed), ["research"], "")
    approve(office, "screen")
    before = len(office.kinds())
    page = office.cohorts.screen(FEDERATION, study("screen"), None)
    found = {lease.handle: lease for lease in page.leases}
    assert set(yes) <= found.keys()
    assert not found.keys() & {*no, *silent, sealed}
    assert page.denied >= 3
    assert office.kinds()[before:] == [Kind.SCREEN] * len(page.leases)
    lease = found[yes[0]]
    assert set(lease.tags) == {Category.COHORT_INDEX}
    assert [(node.category, node.year, node.month) for node in lease.nodes] == [(Category.COHORT_INDEX, 0, 0)]
    epoch, wrapped = office.sql("select epoch, wrapped from vault.patient_key where handle = %s", yes[0])[0]
    key = office.desk.ring.provider.unwrap(yes[0].bytes, epoch, bytes(wrapped))
    assert lease.nodes[0].key == node_key(key, Category.COHORT_INDEX, 1, Node(0, 0, False))
    said = body_of(office, lease.leaf)
    assert (said["patient"], said["study"], said["purpose"]) == (str(yes[0]), study("screen").hex(), "research")
    assert said["policy_ids"] == ["study-consented"]
    rows = office.sql("select role, tags, purpose from vault.lease where id = %s", UUID(bytes=lease.lease_id))
    assert rows == [("federation", list(lease.tags.values()), "research")]


def test_pages_come_in_order_of_handles_and_meet_everybody_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = patients(office, 7, "research")
    approve(office, "pages")
    whole = screened(office, "pages")
    monkeypatch.setattr(cohort, "MOST", 3)
    seen: list[Handle] = []
    after: Handle | None = None
    while True:
        page = office.cohorts.screen(FEDERATION, study("pages"), after)
        seen += [lease.handle for lease in page.leases]
        assert len(page.leases) + page.denied <= 3
        if page.next_after is None:
            break
        after = page.next_after
    assert seen == sorted(seen)
    assert set(seen) == whole >= set(made)
    with pytest.raises(TooLarge):
        office.cohorts.read(FEDERATION, study("pages"), made[:4])


def test_reading_gets_the_approved_categories_and_months(office: Office) -> None:
    yes, no = patients(office, 1, "research")[0], patients(office, 1)[0]
    filed(office, yes, Category.LABS, 2021)
    approve(office, "read", categories=(Category.LABS,), first_month=202203, last_month=202204)
    page = office.cohorts.read(FEDERATION, study("read"), [yes, no, office.desk.new_id()])
    (lease,) = page.leases
    assert (lease.handle, page.denied) == (yes, 2)
    assert office.kinds()[lease.leaf] == Kind.GRANT
    assert set(lease.tags) == {Category.LABS}
    assert [(node.year, node.month) for node in lease.nodes] == [(0, 0), (2022, 3), (2022, 4)]
    assert lease.until_ms - lease.issued_ms == 60_000


def test_keys_go_back_to_the_first_year_that_is_filed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = patients(office, 2, "research")
    year = month_of(office.clock.now_ms()) // 100
    filed(office, old, Category.LABS, year - 3)
    approve(office, "back", categories=(Category.LABS, Category.VITALS), first_month=None)
    found = {lease.handle: lease.nodes for lease in office.cohorts.read(FEDERATION, study("back"), [old, new]).leases}
    labs, vitals = ({one.year for one in found[old] if one.category == of} for of in (Category.LABS, Category.VITALS))
    assert labs == {0, year - 3, year - 2, year - 1, year}
    assert vitals == {one.year for one in found[new]} == {0, year}
    monkeypatch.setattr(cohort, "MOST_NODES", len(found[old]))
    before = len(office.kinds())
    with pytest.raises(TooLarge):
        office.cohorts.read(FEDERATION, study("back"), [old, new])
    assert len(office.kinds()) == before
    assert len(office.cohorts.read(FEDERATION, study("back"), [old]).leases) == 1


def test_the_cap_grows_with_the_site(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "FLOOR", 0)
    approve(office, "cap")
    patients(office, 2, "research")
    cohorts = Cohorts(office.desk, Permits(office.desk))
    stranger = replace(FEDERATION, certificate_sha256=b"t" * 32)
    every = [handle for (handle,) in office.sql("select handle from vault.patient_state")]
    assert cohorts.read(stranger, study("cap"), every).denied < len(every)
    patients(office, 1)
    with pytest.raises(Busy):
        cohorts.read(stranger, study("cap"), [office.desk.new_id() for _ in range(2)])


def filed(office: Office, handle: Handle, category: Category, year: int) -> None:
    tag = office.desk.ring.tag(handle, category)
    office.sql("insert into vault.manifest_group values (%s, %s, 1, %s, %s)", handle, tag, year, bytes(32))


def test_sensitive_categories_need_a_consent_that_names_them(office: Office) -> None:
    plain, named = patients(office, 2, "research")
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}
    normal = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"}
    office.consent(named, "research", securityLabel=[normal, label])
    approve(office, "sensitive", categories=(Category.LABS, Category.PSYCHIATRY))
    page = office.cohorts.read(FEDERATION, study("sensitive"), [plain, named])
    assert [lease.handle for lease in page.leases] == [named]


def test_a_withdrawal_drops_out_of_screening_reading_and_the_round(office: Office) -> None:
    stays, goes = patients(office, 2, "research")
    approve(office, "leave")
    assert {stays, goes} <= screened(office, "leave")
    assert len(office.cohorts.read(FEDERATION, study("leave"), [stays, goes]).leases) == 2
    entered = office.rounds.enter(FEDERATION, study("leave"), 1, "irls", [goes, stays])
    both = sorted((stays, goes))
    assert entered.withdrawn == ()
    assert entered.root == hashlib.sha256(both[0].bytes + both[1].bytes).digest()
    office.consents.withdraw(person("data-steward"), Patient(handle=goes), ["research"], "")
    assert office.sql("select 1 from vault.lease where handle = %s and until > clock_timestamp()", goes) == []
    entered = office.rounds.enter(FEDERATION, study("leave"), 2, "irls", [stays, goes])
    assert entered.withdrawn == (goes,)
    assert entered.root == hashlib.sha256(stays.bytes).digest()
    said = body_of(office, entered.leaf)
    assert (said["round"], said["step"], said["patients"], said["withdrawn"]) == (2, "irls", 1, 1)
    assert str(goes) not in orjson.dumps(said).decode()
    assert goes not in screened(office, "leave")
    assert [one.handle for one in office.cohorts.read(FEDERATION, study("leave"), [stays, goes]).leases] == [stays]


def test_a_feeds_deny_that_waits_counts_in_the_round(office: Office) -> None:
    (handle,) = patients(office, 1, "research")
    approve(office, "feed")
    office.cohorts.read(FEDERATION, study("feed"), [handle])
    deny = {"resourceType": "Consent", "id": "x", "status": "active", "provision": {"type": "deny"}}
    office.say("observations", handle, deny)
    assert office.rounds.enter(FEDERATION, study("feed"), 1, "counts", [handle]).withdrawn == (handle,)


def test_a_consent_that_ends_by_time_alone_ends_in_the_round(office: Office, later: Shifted) -> None:
    (handle,) = patients(office, 1)
    end = office.clock.now_ms() + 3 * DAY_MS
    office.consent(handle, "research", period={"end": utc(end).strftime("%Y-%m-%dT%H:%M:%SZ")})
    approve(office, "time")
    office.cohorts.read(FEDERATION, study("time"), [handle])
    assert office.rounds.enter(FEDERATION, study("time"), 1, "counts", [handle]).withdrawn == ()
    later.shift_ms = 3 * DAY_MS + 2_000
    assert office.rounds.enter(FEDERATION, study("time"), 2, "counts", [handle]).withdrawn == (handle,)


def test_what_is_remembered_equals_what_is_decided_anew(office: Office) -> None:
    """A round of a program that remembers and of one that was just started say the same."""
    made = patients(office, 3, "research") + patients(office, 2)
    approve(office, "memory")
    office.cohorts.read(FEDERATION, study("memory"), made)
    for turn in range(3):
        fresh = Permits(office.desk)
        anew = Rounds(office.desk, office.cohorts, fresh)
        old = office.rounds.enter(FEDERATION, study("memory"), turn, "counts", made)
        new = anew.enter(FEDERATION, study("memory"), turn, "counts", made)
        assert (old.root, old.withdrawn) == (new.root, new.withdrawn)
        office.consent(made[turn], "research", kind="deny" if turn != 1 else "permit")


def test_a_round_after_reading_decides_nobody_anew(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    made = patients(office, 2, "research") + patients(office, 1)
    approve(office, "warm")
    office.cohorts.read(FEDERATION, study("warm"), made)
    decided: list[Handle] = []
    real = Permits.decide

    def counted(self: Permits, facts: Facts, asked: Asked, approval: Decided | None = None) -> tuple[Any, bytes]:
        decided.append(facts.handle)
        return real(self, facts, asked, approval)

    monkeypatch.setattr(Permits, "decide", counted)
    assert office.rounds.enter(FEDERATION, study("warm"), 1, "counts", made).withdrawn == (made[2],)
    assert decided == []
    office.consent(made[0], "research")  # says the same, and is another version
    assert office.rounds.enter(FEDERATION, study("warm"), 2, "counts", made).withdrawn == (made[2],)
    assert decided == [made[0]]


def test_rounds_that_make_no_sense(office: Office) -> None:
    approve(office, "round")
    for step in ("", "two words", "x" * 41):
        with pytest.raises(BadInput):
            office.rounds.enter(FEDERATION, study("round"), 1, step, [])
    with pytest.raises(BadInput):
        office.rounds.enter(FEDERATION, b"no hash", 1, "counts", [])
    assert office.rounds.enter(FEDERATION, study("round"), 1, "counts", []).root == hashlib.sha256(b"").digest()


def test_row_level_security_shows_the_federation_nothing_without_a_lease(office: Office) -> None:
    (handle,) = patients(office, 1, "research")
    approve(office, "rows")
    tag = office.desk.ring.tag(handle, Category.LABS)
    index = office.desk.ring.tag(handle, Category.COHORT_INDEX)
    for own in (tag, index):
        office.sql("insert into vault.block values (%s, %s, 1, 0, 1, 1, 'x')", handle, own)
    count = "select count(*) from vault.block where handle = %s"
    assert office.sql(count, handle, role="federation") == [(0,)]
    assert office.sql("select count(*) from vault.lease where handle = %s", handle, role="federation") == [(0,)]
    page = office.cohorts.screen(FEDERATION, study("rows"), None)
    assert office.sql(count, handle, role="federation") == [(1,)]  # the index alone
    assert office.sql(count, handle, role="twin") == [(0,)]
    office.leases.report(FEDERATION, {UUID(bytes=one.lease_id): 1 for one in page.leases})
    office.leases.give_back(FEDERATION, [UUID(bytes=one.lease_id) for one in page.leases])
    assert office.sql(count, handle, role="federation") == [(0,)]
    for forbidden in ("delete from vault.block", "select blob from vault.tail", "select * from vault.consent"):
        with pytest.raises(Exception, match="permission denied"):
            office.sql(forbidden, role="federation")


# A deny never widens --------------------------------------------------------------------


APPROVED = Decided(
    bytes(32), 0, 0, "approve", "", "NON-PRIVATE", "", (Category.LABS, Category.PSYCHIATRY), 202201, None, 1 << 50, b""
)


def admitted(office: Office, statements: list[Statement]) -> tuple[bool, bool]:
    """Whether the patient is screened, and read."""
    now_ms = office.clock.now_ms()
    asked = (cohort.screened(FEDERATION, now_ms), cohort.wished(FEDERATION, APPROVED, now_ms))
    found = [decide(office.desk.policies, one, statements, care_team=False, erased=False) for one in asked]
    return found[0].allowed and not found[0].reason, found[1].allowed and not found[1].reason


@settings(max_examples=80, deadline=None)
@given(st.lists(consents(), max_size=2), consents(), st.booleans())
def test_adding_a_deny_never_widens_a_cohort(
    office: Office, known: list[dict[str, Any]], added: dict[str, Any], plain: bool
) -> None:
    everything = orjson.loads(consent("research"))
    before = [statement(one, at) for at, one in enumerate([*known, *([everything] if plain else [])])]
    added["provision"]["type"] = "deny"
    added["provision"].pop("provision", None)
    after = [*before, statement(added, 9)]
    for was, now in zip(admitted(office, before), admitted(office, after), strict=True):
        assert was or not now


# Recorded acts ----------------------------------------------------------------------------


def test_programs_record_the_acts_that_are_theirs(office: Office) -> None:
    told = {"site": "st-anne.demo", "study": study("acts").hex(), "sites": ["a", "b"], "round": 3, "actor": "me"}
    leaf = office.acts.record(program("coordinator"), "fed_round", orjson.dumps(told))
    assert office.kinds()[leaf] == Kind.FED_ROUND
    said = body_of(office, leaf)
    assert (said["round"], said["sites"], said["actor"]) == (3, ["a", "b"], "coordinator")
    assert said["said"] == {"site": "st-anne.demo", "actor": "me"}
    allowed = {("federation", "site_join"), ("coordinator", "study_approval"), ("superlink", "config_change")}
    for name, kind in allowed:
        office.acts.record(program(name), kind, b"{}")
    for name, kind in {("federation", "fed_round"), ("federation", "grant"), ("superlink", "site_join")}:
        with pytest.raises(Denied):
            office.acts.record(program(name), kind, b"{}")
    with pytest.raises(Malformed):
        office.acts.record(program("coordinator"), "no_kind", b"{}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"Name":1}',
        b'{"x1":1}',
        b'{"a":1.5}',
        b'{"a":null}',
        b'{"a":{"b":1}}',
        b'{"a":[[1]]}',
        b'{"a":"' + b"x" * 201 + b'"}',
        b'{"a":9007199254740993}',
        b'{"a":"' + b"x" * 2048 + b'"}',
        b'{"' + b"a" * 33 + b'":1}',
        b'{"a":"\xff"}',
    ],
)
def test_a_body_that_is_none_is_refused_and_recorded_nowhere(office: Office, body: bytes) -> None:
    before = len(office.kinds())
    with pytest.raises(BadInput):
        office.acts.record(program("coordinator"), "config_change", body)
    assert len(office.kinds()) == before


def test_the_entries_of_a_study_are_found_by_its_hash(office: Office) -> None:
    (handle,) = patients(office, 1, "research")
    leaf = approve(office, "found")
    office.cohorts.read(FEDERATION, study("found"), [handle])
    office.rounds.enter(FEDERATION, study("found"), 1, "counts", [handle])
    sequencer = office.desk.sequencer
    audit = Audit(office.desk, EntryReader(sequencer.site, sequencer.terms, sequencer.keys))
    page = audit.find(person("auditor"), Search(None, "", "", 0, 500, "", study("found")))
    assert [one.kind for one in page.entries] == [Kind.FED_ROUND, Kind.GRANT, Kind.STUDY_APPROVAL]
    assert page.entries[-1].index == leaf


def test_a_typed_refusal_is_all_that_any_bytes_get(office: Office) -> None:
    for data in (b"", b"x", bytes(31), bytes(33)):
        for call in (
            lambda d=data: office.cohorts.screen(FEDERATION, d, None),
            lambda d=data: office.studies.decisions([d]),
        ):
            with pytest.raises(TwinwardError):
                call()
