"""A state is a function of the rows that are true now: however they came, in one piece or many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

import pytest

from services.twin import living
from services.twin.eaten import Inputs
from services.twin.living import Living, View
from services.twin.model_inputs import inputs_of as inputs_of_rows
from twinward.errors import Tampered
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BOLUS, Measurement
from twinward.vault.rows import from_measurements

HANDLE = UUID(int=7)
LINEAGE = b"1" * 16
START = 1_790_812_800_000 - 6 * 3_600_000  # 2026-09-30T18:00Z: crosses a month
STEP = 300_000


def inputs_of(rows: Iterable[Measurement]) -> tuple[Inputs, list[tuple[int, float]]]:
    return inputs_of_rows(from_measurements(rows))


def view_of(rows: Iterable[Measurement], kg: float | None = 70.0, first_month: int = 0, **blocks: bytes) -> View:
    inputs, _ = inputs_of(rows)
    weights = [] if kg is None else [(0, kg)]
    return View(inputs, weights, 1, 1, first_month, {int(month[1:]): seen for month, seen in blocks.items()})


def day(readings: int = 150) -> list[Measurement]:
    rows = []
    for n in range(readings):
        at = START + n * STEP
        rows.append(
            Measurement(CGM_GLUCOSE, at, at, 120.0 + 30 * ((n % 40) / 20 - 1), "mg/dL", LINEAGE, source="feed, sensor")
        )
        if n % 50 == 20:
            rows.append(Measurement(CARBOHYDRATES, at, at, 40.0, "g", LINEAGE))
            rows.append(Measurement(INSULIN_BOLUS, at, at, 4.0, "[IU]", LINEAGE))
    return rows


def fed(rows: list[Measurement], pieces: int = 1) -> Living:
    one: Living | None = None
    for piece in range(1, pieces + 1):
        view = view_of(rows[: len(rows) * piece // pieces])
        if one is None:
            one = living.start(HANDLE, view)
        assert one is not None
        assert one.fits(view)
        for _ in one.eat(view.inputs):
            pass
    assert one is not None
    return one


def test_pieces_and_snapshots_make_no_difference() -> None:
    rows = day()
    whole = fed(rows)
    assert fed(rows, pieces=13).dump() == whole.dump()
    inputs, _ = inputs_of(rows)
    before = fed(rows[:80])
    again = living.load(HANDLE, before.dump())
    assert again is not None
    assert again.fits(view_of(rows[:80]))
    for _ in again.eat(inputs):
        pass
    assert again.dump() == whole.dump()
    assert again.source == "feed, sensor"


def test_the_ladder_on_the_way_is_made_of_true_states() -> None:
    rows = day()
    inputs, _ = inputs_of(rows)
    one = living.start(HANDLE, view_of(rows))
    assert one is not None
    rungs = list(one.eat(inputs))
    assert len(rungs) >= 12
    for plain in rungs:
        rung = living.load(HANDLE, plain)
        assert rung is not None
        eaten = [row for row in rows if row.effective_ms <= rung.through_ms]
        assert rung.twin.dump() == fed(eaten).twin.dump()


def test_late_and_corrected_rows_are_noticed() -> None:
    rows = day()
    one = fed(rows[:100])
    late = replace(rows[10], effective_ms=rows[10].effective_ms + 1)
    other = replace(rows[10], value=rows[10].value + 1)
    assert one.fits(view_of(rows))
    assert not one.fits(view_of([*rows, late]))
    assert not one.fits(view_of([*rows[:10], other, *rows[11:]]))
    assert not one.fits(view_of([*rows[:10], *rows[11:]]))
    assert not one.fits(view_of(rows, kg=71.0))


def test_months_that_are_not_opened_are_compared_by_their_blocks() -> None:
    rows = day()
    one = fed(rows)
    assert set(one.months) == {202609, 202610}
    one.blocks = {202609: b"a", 202610: b"b"}
    october = [row for row in rows if row.effective_ms >= 1_790_812_800_000]
    assert one.fits(view_of(october, first_month=202610, m202609=b"a", m202610=b"now"))
    assert not one.fits(view_of(october, first_month=202610, m202609=b"other", m202610=b"b"))
    assert not one.fits(view_of(october, first_month=202610, m202608=b"new", m202609=b"a"))


def test_no_twin_without_a_sensor_reading() -> None:
    assert living.start(HANDLE, view_of([row for row in day() if row.code != CGM_GLUCOSE])) is None
    assert living.start(HANDLE, view_of([])) is None


def test_other_bytes_are_no_snapshot() -> None:
    with pytest.raises(Tampered):
        living.load(HANDLE, b"\x93\x01\x02")
