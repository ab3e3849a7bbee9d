"""Numbers of the metabolism beside the literature: the rows of bench/metabolism.py, types as there.

What is red there is named here, so that a row that turns red, or a red one that turns green unnoticed, fails.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest

from bench import metabolism as bench
from bench.glucose_models import Row
from twinward.physiology import metabolism_dka
from twinward.physiology.metabolism import Metabolism
from twinward.physiology.metabolism_glucose import SIGNS, signs, typical
from twinward.physiology.metabolism_meaning import VALUES

RED = {
    "health, 25 g by vein: rise after 5 min, mg/dL",
    "low, 10 g by mouth: rise in 30 min, mg/dL",
    "low, 20 g by mouth: rise in 45 min, mg/dL",
    "0.1 IU/kg/h alone: mean fall to 250 mg/dL, mg/dL/h",
    "the same, fastest hour of five, mg/dL/h",
    "the same: effect after 120 min over the greatest, %",
}


@pytest.mark.parametrize("section", [bench.lows, bench.brought_in, bench.treatment, bench.salts_and_kidney])
def test_rows_beside_the_literature(section: object) -> None:
    rows: list[Row] = section()  # type: ignore[operator]
    assert {row.what for row in rows if not row.green} == RED & {row.what for row in rows}


def test_the_kept_start_is_what_running_gives() -> None:
    """The derived start: the days without insulin again, to the last digits of the table (another machine: 1e-9)."""
    ran, kept = metabolism_dka.rows(metabolism_dka.develop()), metabolism_dka.kept_rows()
    assert [row[:2] for row in ran] == [row[:2] for row in kept]
    assert [row[2] for row in ran] == pytest.approx([row[2] for row in kept], rel=1e-9, abs=1e-12)
    with metabolism_dka.TABLE.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == len(kept)


def test_another_weight_is_run_and_comes_to_the_same_disease() -> None:
    one, usual = metabolism_dka.start(55.0), metabolism_dka.start(VALUES["weight"])
    found = one.laboratory(1.0, 25.0)
    assert found["glucose"] >= metabolism_dka.GLUCOSE
    assert found["ketones"] >= metabolism_dka.KETONES
    assert one.values["weight"] == 55.0
    assert usual.plasma_missing_ml > 500.0
    assert usual.slow["basal"] == usual.slow["drinking"] == 0.0


def test_a_kept_start_is_never_shared() -> None:
    first = Metabolism.start("dka")
    before = first.dump()
    first.give("insulin_iv", 8.0, "IU/h")
    first.advance(3600.0, *bench.BODY)
    assert Metabolism.start("dka").dump() == before != first.dump()


def test_without_insulin_glucose_stays_what_a_person_has() -> None:
    """1b.5: as printed S2008 made glucose out of nothing; here two more days end below 1,000 mg/dL."""
    one = Metabolism.start("dka")
    one.give("drinking", 1.5, "dimensionless")
    seen = []
    for _ in range(48):
        blood = 5300.0 + one.slow["plasma"]
        seen.append(one.advance(3600.0, 85.0, 5.0, blood, 1.0, 15.0).glucose)
    assert max(seen) < 1000.0


def test_signs_come_in_the_order_of_mitrakou() -> None:
    assert signs(90.0) == []
    assert [len(signs(G)) for G in (67.0, 57.0, 50.0, 45.0)] == [1, 2, 3, 4]
    assert [below for below, _ in SIGNS] == [68.0, 58.0, 51.0, 49.0]
    assert len(typical()) == 32


def test_the_adrenal_answer_is_felt_and_weaker_in_type_1() -> None:
    most = {}
    for kind in ("healthy", "t1d"):
        one = Metabolism.start(kind, 75.0)
        one.give("insulin_iv", 6.0, "IU/h")
        rows = [one.advance(60.0, *bench.BODY) for _ in range(150)]
        first = next(k for k, row in enumerate(rows) if row.sympathetic > 1e-6)
        assert rows[first - 1].glucose < 68.0 <= rows[first - 2].glucose
        low = np.array([row.glucose for row in rows])
        most[kind] = max(row.sympathetic for row in rows) / (68.0 - low.min())
    assert most["t1d"] < most["healthy"]
