"""Patients with sensitive tail get no compaction keys by day, unless a reader asks or a row is a day old."""

from __future__ import annotations

import pytest

from services.auth.compaction import Compaction, Granted, Unit
from services.auth.night import DAY_MS, HOUR_MS, Night
from tests.unit.auth.office import Office, program
from twinward.clock import month_of, utc
from twinward.errors import BadInput
from twinward.record import SENSITIVE, Category, Handle

COMPACTOR = program("compactor")
NEVER = Night(0, 0)
MIDNIGHT_MS = 1_795_305_600_000  # 2026-11-22T00:00Z


@pytest.mark.parametrize(
    ("night", "hours"),
    [
        (Night(1, 4), {1, 2, 3}),
        (Night(22, 2), {22, 23, 0, 1}),
        (Night(23, 24), {23}),
        (Night(0, 24), set(range(24))),
        (NEVER, set()),
    ],
)
def test_the_hours_of_a_night(night: Night, hours: set[int]) -> None:
    for hour in range(24):
        for minute_ms in (0, HOUR_MS - 1):
            now_ms = MIDNIGHT_MS + hour * HOUR_MS + minute_ms
            assert night.holds(now_ms) == (hour in hours)
            following = night.next_ms(now_ms)
            if hours:
                assert following is not None
                assert now_ms < following <= now_ms + DAY_MS
                assert following % DAY_MS == night.from_utc_h * HOUR_MS
            else:
                assert following is None


@pytest.mark.parametrize("hours", [(24, 4), (-1, 4), (1, 25)])
def test_hours_that_no_day_has_are_refused(hours: tuple[int, int]) -> None:
    with pytest.raises(BadInput):
        Night(*hours)


def by_day(office: Office) -> Night:
    """A night that begins in two or three hours, whenever the test runs."""
    hour = office.clock.now_ms() // HOUR_MS
    return Night((hour + 3) % 24, (hour + 4) % 24)


class Tail:
    """Rows in the tail and their batches, as ingest leaves them (their content does not matter here)."""

    def __init__(self, office: Office) -> None:
        self.office, self.handle, self.seq, self.units = office, office.patient(), 0, list[Unit]()

    def row(self, category: Category, age_ms: int = 0) -> Unit:
        now_ms = self.office.clock.now_ms()
        (batch,) = self.office.sql(
            "insert into ingest.receipt_batch select nextval('ingest.receipt_batch_id'), 'files', "
            "'00000000-0000-4000-8000-000000000000', %s, 0, 0, 0, 0, 0, '', '', '' returning id",
            utc(now_ms - age_ms),
        )
        self.seq += 1
        unit = Unit(self.handle, self.office.desk.ring.tag(self.handle, category))
        self.office.sql(
            "insert into vault.tail values (%s, %s, %s, 1, %s, 1, %s, 0, 'x')",
            self.handle, self.seq, unit.tag, month_of(now_ms), batch[0],
        )  # fmt: skip
        self.units.append(unit)
        return unit


def ask(office: Office, night: Night, *tails: Tail, asked: tuple[Handle, ...] = ()) -> Granted:
    return Compaction(office.desk, night).grant(COMPACTOR, [unit for one in tails for unit in one.units], asked)


@pytest.mark.parametrize("category", sorted(SENSITIVE))
def test_a_sensitive_row_holds_its_patient_until_the_night_and_nobody_else(office: Office, category: Category) -> None:
    secret, ordinary = Tail(office), Tail(office)
    for one in (secret, ordinary):
        one.row(Category.LABS)
        one.row(Category.MEDS)
    secret.row(category)
    night, before = by_day(office), office.kinds()
    granted = ask(office, night, secret, ordinary)
    assert [lease.handle for lease in granted.leases] == [ordinary.handle] * 2
    assert granted.deferred == {secret.handle: night.next_ms(office.clock.now_ms())}
    assert len(office.kinds()) == len(before) + 1
    assert office.sql("select count(*) from vault.lease where handle = %s", secret.handle) == [(0,)]


def test_deferring_alone_writes_no_leaf(office: Office) -> None:
    tail = Tail(office)
    tail.row(Category.HIV)
    before = office.kinds()
    granted = ask(office, by_day(office), tail)
    assert (granted.leases, set(granted.deferred)) == ([], {tail.handle})
    assert office.kinds() == before


def test_the_ordinary_rows_of_a_patient_are_no_way_around(office: Office) -> None:
    tail = Tail(office)
    plain = tail.row(Category.LABS)
    tail.row(Category.PSYCHIATRY)
    granted = Compaction(office.desk, by_day(office)).grant(COMPACTOR, [plain])
    assert (granted.leases, set(granted.deferred)) == ([], {tail.handle})


def test_whom_a_reader_asks_for_is_served_by_day(office: Office) -> None:
    wanted, other = Tail(office), Tail(office)
    for one in (wanted, other):
        one.row(Category.LABS)
        one.row(Category.RESTRICTED)
    granted = ask(office, by_day(office), wanted, other, asked=(wanted.handle,))
    assert [lease.handle for lease in granted.leases] == [wanted.handle] * 2
    assert set(granted.deferred) == {other.handle}


def test_at_night_everybody_is_served(office: Office) -> None:
    tail = Tail(office)
    tail.row(Category.VIOLENCE)
    assert len(ask(office, Night(0, 24), tail).leases) == 1


def test_a_day_is_the_longest_wait(office: Office) -> None:
    """The oldest row counts, sensitive or not."""
    old, young = Tail(office), Tail(office)
    old.row(Category.LABS, age_ms=DAY_MS)
    old.row(Category.RESTRICTED)
    young.row(Category.RESTRICTED, age_ms=DAY_MS - HOUR_MS)
    granted = ask(office, NEVER, old, young)
    assert [lease.handle for lease in granted.leases] == [old.handle] * 2
    (until_ms,) = granted.deferred.values()
    assert HOUR_MS - 60_000 < until_ms - office.clock.now_ms() <= HOUR_MS
    sooner = ask(office, by_day(office), young)
    assert sooner.deferred == {young.handle: until_ms}  # before the night


def test_a_row_whose_batch_is_gone_is_left_to_the_compactor_to_refuse(office: Office) -> None:
    tail = Tail(office)
    tail.row(Category.RESTRICTED)
    office.sql("delete from ingest.receipt_batch where id = (select max(id) from ingest.receipt_batch)")
    assert len(ask(office, by_day(office), tail).leases) == 1
