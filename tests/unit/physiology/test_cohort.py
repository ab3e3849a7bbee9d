from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from twinward.errors import BadInput, Tampered
from twinward.physiology import cgm, cohort, hovorka, virtual
from twinward.physiology.meaning import HOVORKA_PARAMETERS, SENSOR_PARAMETERS, check


def test_the_committed_cohort_is_the_one_that_was_generated(tmp_path: Path) -> None:
    assert len(cohort.load().names) == 130
    for name in ("cohort.csv", "cohort.toml"):
        shutil.copy(cohort.FOLDER / name, tmp_path / name)
    assert cohort.load(tmp_path).names == cohort.load().names
    body = (tmp_path / "cohort.csv").read_text()
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "cohort.toml", tmp_path / "other" / "cohort.toml")
    (tmp_path / "other" / "cohort.csv").write_text(body.replace("adult-007", "adult-700"))
    with pytest.raises(Tampered):
        cohort.load(tmp_path / "other")


def test_people_who_cannot_exist_are_refused() -> None:
    people = cohort.load()
    assert cohort.refusal(people.parameters[0], float(people.basal[0])) == ""
    assert cohort.refusal(people.parameters[0], 60.0) == "basal glucose"
    heavy = people.parameters[0].copy()
    heavy[0] = 400.0
    assert cohort.refusal(heavy, 140.0) == "BW"


def test_the_middle_person_is_at_rest() -> None:
    p, basal = cohort.typical()
    assert cohort.refusal(p, basal) == ""


def test_sensor_noise_has_the_spread_that_its_equation_says() -> None:
    sensor = cgm.Sensor()
    chance = np.random.Generator(np.random.Philox(5))
    readings = sensor.read(np.full(40_000, 150.0), chance)[: 2880 // 1]
    flat = cgm.Sensor(a1=0.0, a2=0.0).read(np.full(200_000, 150.0), chance)
    assert flat.mean() == pytest.approx(0.942 * 150 + 6.38, abs=0.5)
    assert flat.std() == pytest.approx(cgm.Sensor().noise_sd(), rel=0.05)
    assert readings.min() >= cgm.LOW
    assert cgm.Sensor(phi1=1.9, phi2=-0.5).noise_sd() == float("inf")


def test_sensors_as_they_come_are_believable() -> None:
    chance = np.random.Generator(np.random.Philox(6))
    for _ in range(200):
        sensor = cgm.draw(chance)
        assert sensor.noise_sd() <= cgm.NOISE_SD_MOST
        check({name: getattr(sensor, name) for name in SENSOR_PARAMETERS}, SENSOR_PARAMETERS)
    check(dict(zip(hovorka.PARAMETERS, hovorka.TYPICAL, strict=True)), HOVORKA_PARAMETERS)


@pytest.mark.parametrize("kind", ["s2008", "hovorka"])
def test_a_virtual_life_is_a_function_of_its_arguments(kind: str) -> None:
    one, same, other = (virtual.live(3, 11, n, kind) for n in (1, 1, 2))
    assert np.array_equal(one.sensor, same.sensor)
    assert one.boluses == same.boluses
    assert not np.array_equal(one.sensor, other.sensor)
    assert len(one.sensor) == 3 * 288
    assert 40 <= one.sensor.min() <= one.sensor.max() <= 400
    assert 80 < one.truth.mean() < 260
    half = one.until(2000)
    assert len(half.sensor) == 400
    assert all(dose.minute < 2000 for dose in half.boluses)


def test_a_body_nobody_knows_is_refused() -> None:
    with pytest.raises(BadInput):
        virtual.live(1, 1, 1, "bergman")
    with pytest.raises(BadInput):
        virtual.live(0, 1, 1)
