"""The page of published values names every row, its tests exist, and the files behind it say what it says."""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

import numpy as np
import pytest

from bench import boosting, rows, skill, skill_cgmacros, skill_limits, skill_shanghai, whatif_people
from services.twin import glucose_whatif as whatif
from twinward.learning import identify
from twinward.record import CARBOHYDRATES, INSULIN_BASAL_DOSE, INSULIN_BOLUS, Measurement

ROOT = Path(__file__).resolve().parents[1]


def test_every_row_of_the_table_is_there_once() -> None:
    assert [case.number for case in rows.CASES] == list(range(1, 15))
    told = re.findall(r"^\| (\d+) \|", (rows.EVIDENCE / "rows.md").read_text(), re.MULTILINE)
    assert [int(number) for number in told] == list(range(1, 15))


def test_make_evidence_writes_every_page() -> None:
    target = re.search(r"^evidence:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target is not None
    names = re.search(r"for name in ([^;]+);", target[1])
    assert names is not None
    writes = {file.stem for file in (ROOT / "bench").glob("*.py") if '"--write"' in file.read_text()}
    assert set(names[1].replace("\\", "").split()) == writes


@pytest.mark.parametrize("named", sorted({test for case in rows.CASES for test in case.tests}))
def test_every_named_test_exists(named: str) -> None:
    file, _, name = named.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_pages_are_what_the_files_say() -> None:
    today = rows.everything()
    with (rows.EVIDENCE / "rows.csv").open(newline="") as file:
        committed = [tuple(line.values()) for line in csv.DictReader(file)]
    assert committed == [
        tuple(map(str, (r.number, r.what, r.ours, r.published, r.kind, r.colour, r.file))) for r in today
    ]
    assert (rows.EVIDENCE / "rows.md").read_text() == rows.page(today)
    assert all(any(row.number == case.number for row in today) for case in rows.CASES)


def test_the_list_of_remembered_numbers_is_current() -> None:
    assert (rows.EVIDENCE / "unchecked.md").read_text() == rows.unchecked()
    assert {one.table for one in rows.remembered()} >= {"circulation.csv", "doses.csv", "slow_pressure", "virus"}


def test_only_readings_are_taken_from_a_filled_series() -> None:
    chance = np.random.Generator(np.random.Philox(5))
    at = np.arange(7, 400, 15)
    minutes = np.arange(7, at[-1] + 1)
    values = np.interp(minutes, at, 120 + 8 * chance.standard_normal(len(at)).cumsum())
    assert minutes[skill_cgmacros.readings(minutes, values, 15)].tolist() == at.tolist()


def test_a_diet_and_a_dose_in_words() -> None:
    assert skill_shanghai.carbohydrates("Rice 100 g\nEgg 50 g\nApple 200 g") == pytest.approx(27 + 26)
    assert skill_shanghai.carbohydrates("data not available") == 0.0
    assert skill_shanghai.doses("insulin aspart 70/30, 10 IU") == [(INSULIN_BOLUS, 3.0), (INSULIN_BASAL_DOSE, 7.0)]
    assert skill_shanghai.doses("insulin\xa0glargine, 6 IU") == [(INSULIN_BASAL_DOSE, 6.0)]
    assert skill_shanghai.doses("Novolin R, 5 IU") == [(INSULIN_BOLUS, 5.0)]


def test_boosting_finds_what_no_line_can() -> None:
    chance = np.random.Generator(np.random.Philox(6))
    X = chance.standard_normal((1500, 4))
    y = np.where(X[:, 0] * X[:, 1] > 0, 10.0, -10.0) + chance.standard_normal(1500)
    said = boosting.fit(X[:1000], y[:1000]).predict(X[1000:])
    assert np.sqrt(np.mean((said - y[1000:]) ** 2)) < 0.6 * y.std()


def test_an_alarm_in_time_is_counted_and_a_false_one_too() -> None:
    t = 5.0 * np.arange(200)
    g = np.full(200, 120.0)
    g[100:110] = 60.0
    said = np.full(200, 110.0)
    said[94:100] = 65.0  # half an hour before
    said[20] = 65.0  # for nothing
    empty = np.zeros(0)
    found = skill_limits.alarms(skill.Trace(t, g, empty, empty, empty, empty, 0.0), said, np.ones(200, bool))
    k = int(np.flatnonzero(skill_limits.LEVELS == 70)[0])
    assert (found.episodes, found.warned[k], found.false[k], found.lead[k]) == (1, 1.0, 1.0, [30.0])


def test_a_correction_beside_a_meal_is_none_even_where_nobody_weighed_it() -> None:
    def row(code: str, minute: int, value: float) -> Measurement:
        return Measurement(code, minute * 60_000, minute * 60_000, value, "", b"")

    log = [row(INSULIN_BOLUS, 0, 2.0), row(INSULIN_BOLUS, 500, 3.0), row(CARBOHYDRATES, 560, 0.0)]
    assert [one.value for one in whatif_people.isolated(log)] == [2.0]


def test_slopes_of_people_who_agree_have_nothing_between_them() -> None:
    mean, half, between = whatif_people.pooled([(0.6, 0.2, 1.0, 12), (0.7, 0.3, 1.1, 12), (0.65, 0.2, 1.1, 12)])
    assert mean == pytest.approx(0.65, abs=0.02)
    assert between == 0.0
    assert half > 0.1


def test_a_stated_sensitivity_is_less_sure_than_one_that_believes_its_model() -> None:
    one = identify.Identified(
        np.array([0.9, 0.0, 0.1, 0.0]), np.full(4, 0.1), np.zeros(5), np.zeros(4), np.eye(4), (1.2, -0.4, 3.0), 7.0
    )
    assert one.stated[1][0] > one.own[1][0]
    assert one.stated[1][1:].tolist() == one.own[1][1:].tolist()
    middle, low, high = one.interval("SI")
    assert low < 1.0 < middle < high


def test_an_effect_is_what_either_body_allows_and_paths_stray_as_people_do() -> None:
    change = np.stack([np.linspace(-20, -10, 60), np.linspace(-80, -40, 60)])
    told = whatif.effect_band(change)
    assert told.low < -78 < -11 < told.high < 0
    paths = 120 + np.linspace(-10, 10, 60)[None, :, None] * np.ones((2, 1, 6))
    assert np.ptp(whatif.strayed(paths)) == pytest.approx(whatif.PEOPLE_WIDER * np.ptp(paths))
    assert whatif.strayed(paths * 0).min() == 0.0
