"""Plain growth is taken without reading the month again; whatever is not plain still says what it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.twin.footing import ROOM, Seen
from services.twin.retention import DAY_MS, HOUR_MS
from tests.unit.twin.house import CATEGORIES, STEP, House, house, rows_from
from tests.unit.vault.store import NOW_MS, batch, document, reading
from twinward.errors import Incomplete, LeaseEnded, Tampered, Unavailable
from twinward.record import Category, Handle, Status
from twinward.vault.acceptance import SealedPart


def started(of: House, seed: int, readings: int = 30) -> Handle:
    handle = of.store.patient(CATEGORIES).handle
    of.send(handle, rows_from(NOW_MS - DAY_MS, readings, seed))
    of.bring_up(handle)
    return handle


def full_readings(of: House, handle: Handle) -> int:
    before = of.keeper.full_readings
    of.bring_up(handle)
    return of.keeper.full_readings - before


def test_one_by_one_is_what_at_once_is_and_reads_nothing_again(of: House) -> None:
    handle = of.store.patient(CATEGORIES).handle
    rows = rows_from(NOW_MS - DAY_MS, 50, seed=1)
    of.send(handle, rows[:30])
    of.bring_up(handle)
    once = of.keeper.full_readings
    for row in rows[30:]:
        of.send(handle, [row])
        of.bring_up(handle)
    grown = of.bring_up(handle)
    assert of.keeper.full_readings == once
    again = house(of.store, of.pool).bring_up(handle)
    assert again.twin.readings == grown.twin.readings == 50
    assert again.twin.dump() == grown.twin.dump()
    assert again.months == grown.months


def test_many_patients_in_one_question_and_one_that_hides_nothing_from_the_others(of: House) -> None:
    handles = [started(of, seed) for seed in range(2, 6)]
    for seed, handle in enumerate(handles, 2):
        of.send(handle, rows_from(NOW_MS - HOUR_MS, 2, seed + 50))
    of.store.owner.execute("update vault.tail set n = n * 2 where handle = %s and seq = 2", (handles[1],))
    found = of.keeper.grown(handles)
    assert set(found) == {handles[0], handles[2], handles[3]}
    before = of.keeper.full_readings
    for handle in (handles[0], handles[2], handles[3]):
        of.keeper.bring_up(handle, save=False, grown=found[handle])
    assert of.keeper.full_readings == before
    with pytest.raises(Tampered):
        of.bring_up(handles[1])


def test_rows_of_unleased_categories_between_do_not_stop_it(of: House) -> None:
    handle = of.store.patient((*CATEGORIES, Category.IDENTITY)).handle
    of.send(handle, rows_from(NOW_MS - DAY_MS, 30, seed=7))
    of.bring_up(handle)
    rows = rows_from(NOW_MS - HOUR_MS, 2, seed=57)
    of.send(handle, rows[:1])
    of.store.writer().write(batch([SealedPart(handle, Category.IDENTITY, (), (document(NOW_MS, b"d" * 16, b"{}"),))]))
    of.send(handle, rows[1:])
    assert full_readings(of, handle) == 0
    assert of.bring_up(handle).twin.readings == 32


@pytest.mark.parametrize("what", ["late", "corrected", "withdrawn", "moved", "weight"])
def test_what_is_not_plain_is_read_in_full(of: House, what: str) -> None:
    handle = of.store.patient(CATEGORIES).handle
    rows = rows_from(NOW_MS - DAY_MS, 30, seed=hash_of(what))
    of.send(handle, [*rows[:10], *rows[11:]])
    of.bring_up(handle)
    newer = {
        "late": rows[10],
        "corrected": reading(rows[5].effective_ms, 300.0, rows[5].lineage, received_ms=NOW_MS + 1),
        "withdrawn": replace(rows[5], received_ms=NOW_MS + 1, status=Status.ENTERED_IN_ERROR),
        "moved": replace(rows[5], received_ms=NOW_MS + 1, effective_ms=rows[-1].effective_ms + STEP),
        "weight": replace(
            rows[29], effective_ms=NOW_MS, code="loinc|29463-7", unit="kg", value=80.0, lineage=b"w" * 16
        ),
    }[what]
    of.send(handle, [newer])
    assert full_readings(of, handle) > 0
    again = house(of.store, of.pool).bring_up(handle)
    assert again.twin.dump() == of.bring_up(handle).twin.dump()


def hash_of(word: str) -> int:
    return 100 + sum(word.encode())


def test_every_lease_begins_with_a_full_reading(of: House) -> None:
    handle = started(of, seed=8)
    of.send(handle, rows_from(NOW_MS - 2 * HOUR_MS, 1, seed=58))
    assert full_readings(of, handle) == 0
    of.leases.forget(handle)
    of.send(handle, rows_from(NOW_MS - HOUR_MS, 1, seed=59))
    assert full_readings(of, handle) > 0


def test_an_ended_lease_serves_no_new_row(of: House) -> None:
    handle = started(of, seed=9)
    of.store.issuer.end(of.leases.lease(handle))
    of.send(handle, rows_from(NOW_MS - HOUR_MS, 1, seed=60))
    assert of.keeper.grown([handle]) == {}
    with pytest.raises((LeaseEnded, Incomplete, Unavailable)):
        of.keeper.bring_up(handle, save=False)


TAMPERED = {
    "an eaten row altered": "update vault.tail set blob = set_byte(blob, 1200, get_byte(blob, 1200) # 1) "
    "where handle = %(handle)s and seq = 1",
    "an eaten row removed": "delete from vault.tail where handle = %(handle)s and seq = 1",
    "a chain exchanged": "update vault.patient_state set chain = sha256('x') where handle = %(handle)s",
    "a new row removed": "delete from vault.tail where handle = %(handle)s and seq = 3",
    "a new row altered": "update vault.tail set blob = set_byte(blob, 1200, get_byte(blob, 1200) # 1) "
    "where handle = %(handle)s and seq = 3",
    "a batch forged": "update ingest.receipt_batch set signature = set_byte(signature, 0, get_byte(signature, 0) # 1) "
    "where id = (select receipt from vault.tail where handle = %(handle)s and seq = 3)",
    "a batch gone": "delete from ingest.receipt_batch "
    "where id = (select receipt from vault.tail where handle = %(handle)s and seq = 3)",
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_ends_the_next_full_reading(of: House, what: str) -> None:
    """An eaten row's fate is found when the lease is renewed, a new row's at once."""
    handle = started(of, seed=hash_of(what))
    of.send(handle, rows_from(NOW_MS - 3 * HOUR_MS, 1, seed=hash_of(what) + 1000))
    of.bring_up(handle)
    of.send(handle, rows_from(NOW_MS - 2 * HOUR_MS, 1, seed=hash_of(what) + 2000))
    of.store.owner.execute(TAMPERED[what], {"handle": handle})
    if "eaten" in what:
        assert full_readings(of, handle) == 0
        of.leases.forget(handle)
        of.send(handle, rows_from(NOW_MS - HOUR_MS, 1, seed=hash_of(what) + 3000))
    assert of.keeper.grown([handle]) == {}
    with pytest.raises((Tampered, Incomplete)):
        of.bring_up(handle)


def test_a_filter_never_forgets_and_seldom_confuses() -> None:
    rng = np.random.default_rng(5)
    known, more = rng.bytes(16 * 3000), rng.integers(0, 256, (ROOM, 16), dtype=np.uint8)
    seen = Seen(known)
    seen.add(more)
    assert seen.room == 0
    rows = np.frombuffer(known, dtype=np.uint8).reshape(-1, 16)
    assert all(seen.knows_any(rows[at : at + 1]) for at in range(0, 3000, 7))
    assert all(seen.knows_any(more[at : at + 1]) for at in range(0, ROOM, 3))
    strangers = rng.integers(0, 256, (4000, 16), dtype=np.uint8)
    assert sum(seen.knows_any(strangers[at : at + 1]) for at in range(4000)) < 40
