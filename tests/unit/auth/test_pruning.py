"""What is over goes, in small portions; what runs or ended lately stays. Feeds have their entry."""

from __future__ import annotations

from uuid import NAMESPACE_OID, uuid5

from services.auth import feeds
from services.auth.__main__ import begin
from services.auth.pruning import KEPT_MS, KEYS, LEASES, Pruner
from tests.unit.auth.office import Office
from twinward.clock import utc
from twinward.ledger.kinds import Kind
from twinward.record import Category

DAY_MS = 86_400_000


def lease(office: Office, number: int, until_ms: int) -> None:
    office.sql(
        "insert into vault.lease values (%s, 'twin', %s, '{}', 'treatment', now(), %s, 0, 'x')",
        uuid5(NAMESPACE_OID, f"lease {number}"),
        uuid5(NAMESPACE_OID, "patient"),
        utc(until_ms),
    )


def test_leases_go_a_week_after_their_end(office: Office) -> None:
    now_ms = office.clock.now_ms()
    before = office.sql("select count(*) from vault.lease")[0][0]
    for number in range(7):
        lease(office, number, now_ms - KEPT_MS - (number + 1) * DAY_MS)
    lease(office, 7, now_ms - KEPT_MS + DAY_MS)
    lease(office, 8, now_ms + DAY_MS)
    pruner = Pruner(office.desk.pool, office.clock)
    assert pruner.prune(most=3) == (7, 0)
    assert office.sql("select count(*) from vault.lease")[0][0] == before + 2
    assert pruner.prune() == (0, 0)


def test_public_keys_go_with_their_set_once_their_months_are_over(office: Office) -> None:
    handle = office.patient(mrn="pruned-1")
    keys = "select count(*) from vault.public_key where handle = %s"
    assert office.sql(keys, handle)[0][0] > 0
    pruner = Pruner(office.desk.pool, office.clock)
    assert pruner.prune()[1] == 0
    office.clock.shift_ms = 120 * DAY_MS
    try:
        assert pruner.prune()[1] >= 1
        assert office.sql(keys, handle) == [(0,)]
        again = office.admission.admit("files", [office.applicant("pruned-1", (Category.LABS,))])[0]
        assert again.handle == handle
        assert office.sql(keys, handle)[0][0] > 0  # of the months that are now
    finally:
        office.clock.shift_ms = 0


def test_deletions_find_their_rows_by_index(office: Office) -> None:
    with office.desk.pool.connection() as connection:
        for statement, index in ((LEASES, b"lease_until"), (KEYS, b"public_key_set_until")):
            plan = connection.execute(b"explain " + statement.encode(), (utc(0), 10)).fetchall()
            assert any(index in line.encode() for (line,) in plan), plan


def test_feeds_set_up_with_the_node_get_their_entry_at_the_start_once(office: Office) -> None:
    office.sql("insert into vault.feed (name, approvals) values ('lab', '{identity,consent}'), ('bare', '{}')")
    begin(office.desk)
    found = dict(office.sql("select name, leaf from vault.feed"))
    kinds = office.kinds()
    assert {"lab", "bare", "files", "observations"} <= found.keys()
    assert {kinds[leaf] for leaf in found.values()} == {Kind.FEED_CHANGE}
    assert len(set(found.values())) == len(found)
    assert feeds.record(office.desk) == 0
    begin(office.desk)
    assert dict(office.sql("select name, leaf from vault.feed")) == found
