"""Living states on the real store: followed, replayed, kept small, forgotten when a lease ends."""

from __future__ import annotations

import pytest

from services.twin import living
from services.twin.keeper import opened_from
from services.twin.retention import DAY_MS, HOUR_MS
from services.twin.sealed import StoredInputs
from services.twin.store import Pool
from tests.unit.twin.house import CATEGORIES, House, house, rows_from
from tests.unit.vault.store import NOW_MS, Store, reading
from twinward.clock import month_of
from twinward.errors import ConsentDenied, Unavailable
from twinward.vault.keytree import Period


def test_in_pieces_late_and_corrected_is_what_in_order_is(of: House) -> None:
    late, straight = of.store.patient(CATEGORIES).handle, of.store.patient(CATEGORIES).handle
    rows = rows_from(NOW_MS - DAY_MS, 120)
    of.send(late, rows[:40])
    of.bring_up(late)
    of.send(late, rows[60:])
    of.bring_up(late)
    wrong = reading(rows[70].effective_ms, 300.0, rows[70].lineage, received_ms=NOW_MS + 1)
    of.send(late, [*rows[40:60], wrong])
    replayed = of.bring_up(late)
    assert of.keeper.replays == 1
    right = reading(rows[70].effective_ms, rows[70].value, rows[70].lineage, received_ms=NOW_MS + 2)
    of.send(late, [right])
    corrected = of.bring_up(late)
    assert of.keeper.replays == 2
    assert replayed.twin.dump() != corrected.twin.dump()
    of.send(straight, rows)
    in_order = of.bring_up(straight)
    # The same rows of another patient differ by their noise, which is keyed by the patient.
    assert in_order.months == corrected.months
    assert in_order.through_ms == corrected.through_ms
    stored = StoredInputs(of.pool, of.store.issuer.site, of.store.issuer.authority_public, of.store.clock)
    view = stored.view(of.leases.lease(late), 0)
    fresh = living.start(late, view)
    assert fresh is not None
    for _ in fresh.eat(view.inputs):
        pass
    assert fresh.twin.dump() == corrected.twin.dump()


def test_compaction_under_a_state_changes_nothing(of: House) -> None:
    handle = of.store.patient(CATEGORIES).handle
    rows = rows_from(NOW_MS - DAY_MS, 60, seed=2)
    of.send(handle, rows[:30])
    before = of.bring_up(handle).twin.dump()
    of.store.settle()
    of.keeper.drop(handle)
    of.leases.forget(handle)
    assert of.bring_up(handle).twin.dump() == before
    of.send(handle, rows[30:])
    of.store.settle()
    of.leases.forget(handle)  # a lease as auth would give it now, with the manifest's new root
    assert of.bring_up(handle).twin.readings == 60
    assert of.keeper.replays == 0


def test_rows_that_a_lease_cannot_open_are_asked_for_by_their_patient(of: House) -> None:
    """Without the wish they might wait for the night."""
    handle = of.store.patient(CATEGORIES).handle
    of.send(handle, rows_from(NOW_MS - HOUR_MS, 2, seed=8))
    stored = StoredInputs(of.pool, of.store.issuer.site, of.store.issuer.authority_public, of.store.clock)
    shut = of.store.issuer.lease(handle, "twin_worker", CATEGORIES, Period(month_of(NOW_MS), month_of(NOW_MS), False))
    with of.store.database.connect("compactor", autocommit=True) as heard:
        heard.execute("listen compact")
        with pytest.raises(Unavailable):
            stored.view(shut, 0)
        assert [one.payload for one in heard.notifies(timeout=10, stop_after=1)] == [str(handle)]


def test_snapshots_come_every_twelve_readings_and_on_demand(of: House) -> None:
    handle = of.store.patient(CATEGORIES).handle
    rows = rows_from(NOW_MS - 6 * HOUR_MS, 40, seed=3)
    of.send(handle, rows[:1])
    of.bring_up(handle)
    assert of.stored(handle).through_ms == rows[0].effective_ms
    for row in rows[1:12]:
        of.send(handle, [row])
        of.bring_up(handle)
    assert of.stored(handle).twin.readings == 1
    of.send(handle, [rows[12]])
    of.bring_up(handle)
    assert of.stored(handle).twin.readings == 13
    of.send(handle, [rows[13]])
    of.bring_up(handle, save=True)
    assert of.stored(handle).twin.readings == 14
    count = len(of.twins.ladder(handle))
    of.bring_up(handle, save=True)
    assert len(of.twins.ladder(handle)) == count


def test_a_restart_goes_on_from_the_snapshot(of: House) -> None:
    handle = of.store.patient(CATEGORIES).handle
    rows = rows_from(NOW_MS - DAY_MS, 100, seed=4)
    of.send(handle, rows[:90])
    of.bring_up(handle)
    of.send(handle, rows[90:])
    expected = of.bring_up(handle).twin.dump()
    again = house(of.store, of.pool)
    assert handle in again.twins.behind()
    assert again.bring_up(handle, save=True).twin.dump() == expected
    assert again.keeper.replays == 0
    assert handle not in again.twins.behind()


def test_memory_is_bounded_and_what_left_comes_back(store: Store, pool: Pool) -> None:
    of = house(store, pool, live_most=2)
    handles = [store.patient(CATEGORIES).handle for _ in range(4)]
    dumps = {}
    for seed, handle in enumerate(handles):
        of.send(handle, rows_from(NOW_MS - 3 * HOUR_MS, 20, seed=10 + seed))
        dumps[handle] = of.bring_up(handle).twin.dump()
    assert of.keeper.live == 2
    for handle in handles:
        assert of.bring_up(handle).twin.dump() == dumps[handle]
    assert of.keeper.live == 2


def test_a_refused_patient_has_no_state_and_a_dropped_one_none_left(of: House) -> None:
    handle, other = of.store.patient(CATEGORIES).handle, of.store.patient(CATEGORIES).handle
    of.desk.refuse = {other}
    of.send(handle, rows_from(NOW_MS - HOUR_MS, 5, seed=20))
    of.send(other, rows_from(NOW_MS - HOUR_MS, 5, seed=21))
    of.bring_up(handle)
    with pytest.raises(ConsentDenied):
        of.bring_up(other)
    assert of.keeper.live == 1
    of.keeper.drop(handle)
    assert of.keeper.live == 0


def test_row_level_security_ends_with_the_lease(of: House) -> None:
    handle = of.store.patient(CATEGORIES).handle
    of.send(handle, rows_from(NOW_MS - HOUR_MS, 5, seed=22))
    of.bring_up(handle)
    assert of.twins.ladder(handle)
    of.store.issuer.end(of.leases.lease(handle))
    assert of.twins.ladder(handle) == []


def test_older_rows_are_replayed_under_a_decision_of_its_own(of: House) -> None:
    """Late rows of a month that the lease does not open, filed into blocks meanwhile."""
    handle = of.store.patient(CATEGORIES).handle
    rows = rows_from(NOW_MS - 80 * DAY_MS, 30, seed=30)
    now = rows_from(NOW_MS - 3 * HOUR_MS, 10, seed=31)
    of.desk.wide = True
    of.send(handle, [*rows[:10], *rows[20:], *now])
    of.bring_up(handle)
    of.store.settle()
    of.desk.wide = False
    for _ in range(2):  # filing moved the old rows into blocks: looked at once, then written down
        of.keeper.drop(handle)
        of.leases.forget(handle)
        narrow = of.bring_up(handle)
    assert opened_from(of.leases.lease(handle)) == month_of(NOW_MS) - 1
    assert narrow.twin.readings == 30
    assert len([replay for _, replay in of.desk.asked if replay is not None]) == 1
    of.send(handle, rows[10:20])
    of.store.settle()
    of.leases.forget(handle)
    whole = of.bring_up(handle)
    assert whole.twin.readings == 40
    replays = [replay for _, replay in of.desk.asked if replay is not None]
    assert len(replays) == 2
    assert replays[-1][0] == month_of(rows[0].effective_ms)


def test_the_queue_gives_each_patient_once(of: House) -> None:
    handle = of.store.patient(CATEGORIES).handle
    while of.twins.take_pending(500):
        pass
    of.send(handle, rows_from(NOW_MS - HOUR_MS, 2, seed=40))
    of.send(handle, rows_from(NOW_MS, 2, seed=41))
    assert of.twins.take_pending(500) == {handle: of.twins.stored_seq(handle)}
    assert of.twins.take_pending(500) == {}
