"""Leases in use, compaction, lists of patients, the auditor's reading, and the caps."""

from __future__ import annotations

import hashlib
from uuid import UUID

import orjson
import pytest

from services.auth.audit import Audit, Search
from services.auth.caps import Caps
from services.auth.compaction import Change, Months, Unit
from services.auth.desk import Patient
from services.auth.entries import EntryReader
from tests.unit.auth.office import SYSTEM, Office, Shifted, person, program
from twinward.clock import month_of
from twinward.errors import BadInput, Busy, Conflict, Incomplete, LeaseEnded, NotFound
from twinward.ledger.kinds import Kind
from twinward.record import Category, Handle
from twinward.vault import keytree
from twinward.vault.lease import Lease
from twinward.vault.manifest import BucketManifest

COMPACTOR = program("compactor")


def tail(office: Office, handle: Handle, category: int, seq: int = 1, version: int = 1) -> bytes:
    """A row in the tail, as ingest leaves it (its content does not matter here)."""
    tag = office.desk.ring.tag(handle, category)
    office.sql(
        "insert into vault.tail values (%s, %s, %s, %s, %s, 1, 1, 0, 'x')",
        handle,
        seq,
        tag,
        version,
        month_of(office.clock.now_ms()),
    )
    return tag


def key_of(office: Office, handle: Handle) -> bytes:
    epoch, wrapped = office.sql("select epoch, wrapped from vault.patient_key where handle = %s", handle)[0]
    return office.desk.ring.provider.unwrap(handle.bytes, epoch, bytes(wrapped))


def test_upkeep_holds_the_tail_keys_of_months_that_have_tail(office: Office) -> None:
    handle = office.patient()
    office.consent(handle, "upkeep")  # raises the version: no; it is the first document
    tail(office, handle, Category.DEVICES)
    lease = office.upkeep.grant(program("twin-worker"), [handle], None)[0][0]
    month = month_of(office.clock.now_ms())
    expected = keytree.tail_seed(key_of(office, handle), Category.DEVICES, 1, month)
    assert lease.seed_of_tail(Category.DEVICES, 1, month) == expected
    assert {one.category for one in lease.tails} == {4, 5, 6, 10}


def test_compaction_gives_tail_keys_then_months_under_one_leaf(office: Office) -> None:
    handle, empty = office.patient(), office.patient()
    tag = tail(office, handle, Category.LABS)
    none = office.desk.ring.tag(empty, Category.LABS)
    leases = office.compaction.grant(COMPACTOR, [Unit(empty, none), Unit(handle, tag)]).leases
    assert [lease.handle for lease in leases] == [handle]
    lease = leases[0]
    assert office.kinds()[lease.leaf] == Kind.COMPACT
    # Beside the tail keys, only the key of the cohort index.
    assert [(node.category, node.version, node.year) for node in lease.nodes] == [(Category.COHORT_INDEX, 1, 0)]
    before = len(office.kinds())
    extended = office.compaction.extend([Months(UUID(bytes=lease.lease_id), (202201, 0, 202201))])
    assert len(office.kinds()) == before
    key = key_of(office, handle)
    assert [node.key for node in extended[0][1]] == [
        keytree.node_key(key, Category.LABS, 1, keytree.Node(2022, 1, False)),
        keytree.node_key(key, Category.LABS, 1, keytree.Node(0, 0, False)),
    ]


def test_compaction_goes_on_where_the_patient_denies_everything(office: Office) -> None:
    handle = office.patient()
    office.consent(handle, kind="deny")
    tag = tail(office, handle, Category.LABS, version=2)
    assert len(office.compaction.grant(COMPACTOR, [Unit(handle, tag)]).leases) == 1


def test_a_guessed_or_ended_lease_extends_nothing(office: Office) -> None:
    handle = office.patient()
    lease = office.compaction.grant(COMPACTOR, [Unit(handle, tail(office, handle, Category.LABS))]).leases[0]
    with pytest.raises(LeaseEnded):
        office.compaction.extend([Months(office.desk.new_id(), (202201,))])
    office.leases.give_back(COMPACTOR, [UUID(bytes=lease.lease_id)])
    with pytest.raises(LeaseEnded):
        office.compaction.extend([Months(UUID(bytes=lease.lease_id), (202201,))])
    with pytest.raises(BadInput):
        office.compaction.extend([Months(UUID(bytes=lease.lease_id), (202213,))])


def change(lease: Lease, tag: bytes, next_seq: int, *buckets: int) -> Change:
    made = tuple(BucketManifest(tag, 1, one, 1, 1, hashlib.sha256(b"%d" % one).digest()) for one in buckets)
    return Change(UUID(bytes=lease.lease_id), lease.handle, next_seq, bytes(32), made)


def commit(office: Office, done: Change) -> None:
    """What the compactor commits after the seal."""
    for one in done.buckets:
        office.sql(
            "insert into vault.manifest values (%s, %s, %s, %s, %s, %s, %s)",
            done.handle,
            one.tag,
            one.version,
            one.bucket,
            one.blocks,
            one.n,
            one.commitments,
        )


def test_manifest_heads_follow_each_other_and_a_grant_carries_the_root(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    tag = tail(office, handle, Category.LABS)
    lease = office.compaction.grant(COMPACTOR, [Unit(handle, tag)]).leases[0]
    first = change(lease, tag, 2, 20220100)
    seal = office.compaction.seal(COMPACTOR, [first])[0]
    # The compactor died before its commit: the next seal starts from what is really there.
    again = office.compaction.seal(COMPACTOR, [first])[0]
    assert again.root == seal.root
    commit(office, first)
    second = office.compaction.seal(COMPACTOR, [change(lease, tag, 3, 20220200)])[0]
    granted = office.ask(handle)
    assert (granted.manifest_root, granted.manifest_previous) == (second.root, seal.root)
    assert office.sql("select count(*) from vault.manifest_group where handle = %s", handle) == [(1,)]


def test_a_manifest_row_that_vanished_is_noticed_by_the_next_seal(office: Office) -> None:
    handle = office.patient()
    tag = tail(office, handle, Category.LABS)
    lease = office.compaction.grant(COMPACTOR, [Unit(handle, tag)]).leases[0]
    for seq, bucket in ((2, 20220100), (3, 20220200)):
        done = change(lease, tag, seq, bucket)
        office.compaction.seal(COMPACTOR, [done])
        commit(office, done)
    office.sql("delete from vault.manifest where handle = %s and bucket = 20220100", handle)
    with pytest.raises(Incomplete):
        office.compaction.seal(COMPACTOR, [change(lease, tag, 4, 20220300)])


def test_a_seal_needs_a_lease_for_its_patient_and_tags(office: Office) -> None:
    handle, other = office.patient(), office.patient()
    tag = tail(office, handle, Category.LABS)
    lease = office.compaction.grant(COMPACTOR, [Unit(handle, tag)]).leases[0]
    foreign = office.desk.ring.tag(handle, Category.MEDS)
    with pytest.raises(LeaseEnded):
        office.compaction.seal(COMPACTOR, [change(lease, foreign, 2, 20220100)])
    wrong = Change(UUID(bytes=lease.lease_id), other, 2, bytes(32), ())
    with pytest.raises(LeaseEnded):
        office.compaction.seal(COMPACTOR, [wrong])
    with pytest.raises(Conflict):
        office.compaction.seal(COMPACTOR, [change(lease, tag, 2, 20220100)] * 2)


def test_use_is_reported_by_whoever_holds_the_lease(office: Office) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    lease = UUID(bytes=office.ask(handle).lease_id)
    leaf = office.leases.report(program("twin"), {lease: 7})
    assert office.kinds()[leaf] == Kind.USE_REPORT
    for name, wrong in (("twin-worker", lease), ("twin", office.desk.new_id())):
        with pytest.raises(LeaseEnded):
            office.leases.report(program(name), {wrong: 1})


def test_lists_show_the_own_care_team_page_by_page_and_a_leaf_for_each(office: Office) -> None:
    handles = sorted(office.patient() for _ in range(5))
    for handle in handles:
        office.team(handle, "dr-lists")
    office.ask(handles[0], sub="dr-lists")
    caller = person("clinician", sub="dr-lists", through="twin")
    before = len(office.kinds())
    shown, token = [], ""
    while True:
        page, token = office.listing.find(caller, None, 2, token)
        shown += page
        if not token:
            break
    assert [one.handle for one in shown] == handles
    assert office.kinds()[before:] == [Kind.GRANT] * 5
    with pytest.raises(BadInput):
        office.listing.find(caller, None, 2, "x'; drop table vault.lease; --")


def test_an_exact_number_shows_a_patient_only_to_whom_it_may(office: Office) -> None:
    handle = office.patient(mrn="L-1")
    office.team(handle, "dr-1")
    office.ask(handle)
    mine = office.listing.find(person("clinician", through="twin"), (SYSTEM, "L-1"), 0, "")[0]
    assert [one.handle for one in mine] == [handle]
    for number in ("L-1", "never-heard"):
        other = person("clinician", sub="dr-2", through="twin")
        assert office.listing.find(other, (SYSTEM, number), 0, "") == ([], "")


def test_the_auditor_reads_bodies_and_the_reading_is_an_entry(office: Office) -> None:
    handle = office.patient(mrn="A-1")
    office.team(handle, "dr-audit")
    lease = office.ask(handle, sub="dr-audit", reason="ward round")
    sequencer = office.desk.sequencer
    audit = Audit(office.desk, EntryReader(sequencer.site, sequencer.terms, sequencer.keys))
    auditor = person("auditor", "audit", "au-1")

    def find(**more: object) -> list[dict[str, object]]:
        asked = {"patient": None, "actor": "", "kind": "", "since_ms": 0, "page_size": 0, "page_token": ""} | more
        page = audit.find(auditor, Search(**asked))  # type: ignore[arg-type]
        assert office.kinds()[page.leaf] == Kind.AUDIT_READ
        assert all(one.state == "valid" for one in page.entries)
        return [orjson.loads(one.body) for one in page.entries]

    body = find(patient=Patient(identifier=(SYSTEM, "A-1")), kind="grant")[0]
    assert {name: body[name] for name in ("actor", "roles", "purpose", "decision", "act", "why", "idp_class")} == {
        "actor": "dr-audit",
        "roles": ["clinician"],
        "purpose": "treatment",
        "decision": "permit",
        "act": "forecast",
        "why": "ward round",
        "idp_class": "external",
    }
    assert body["patient"] == str(handle)
    assert body["lease"] == str(UUID(bytes=lease.lease_id))
    assert body["policy"] == office.desk.policies.sha256
    assert body["policy_ids"] == ["treatment-by-care-team"]
    assert [one["kind"] for one in find(actor="dr-audit")] == ["grant"]
    assert find(patient=Patient(handle=handle))[0]["kind"] == "audit_read"
    first = audit.find(auditor, Search(None, "", "", 0, 3, ""))
    following = audit.find(auditor, Search(None, "", "", 0, 3, first.next_token))
    assert following.entries[0].index < first.entries[-1].index
    with pytest.raises(NotFound):
        find(patient=Patient(identifier=(SYSTEM, "never-heard")))
    with pytest.raises(BadInput):
        find(kind="gossip")


def test_a_certificate_asks_for_so_many_patients_a_minute_and_no_more() -> None:
    clock = Shifted()
    clock.shift_ms = -clock.now_ms() % 60_000
    caps = Caps(clock)
    handles = [Handle(int=number) for number in range(502)]
    caps.count(b"one", handles[:500])
    caps.count(b"one", handles[:500])  # the same ones again are no more patients
    with pytest.raises(Busy):
        caps.count(b"one", handles[500:501])
    caps.count(b"two", handles[500:501])
    caps.count(b"one", handles, most=1000)
    clock.shift_ms += 60_000
    caps.count(b"one", handles[500:501])
