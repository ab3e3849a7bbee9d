"""What identification promises: gradients that are gradients, intervals that hold, refusal of what is not known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from bench import recovery
from services.twin import glucose_kernels
from twinward.errors import BadInput, Unready
from twinward.learning import identify


@cache
def found(count: int) -> tuple[list[identify.Identified], np.ndarray]:
    people = [recovery.matched(1, k, 6) for k in range(count)]
    return [identify.identify(block) for block, _ in people], np.array([truth for _, truth in people])


def test_the_prior_is_the_twins() -> None:
    assert glucose_kernels.PRIOR_SD.tolist() == identify.PRIOR_SD[: identify.THETAS].tolist()


def test_without_noise_the_truth_comes_back() -> None:
    block, truth = recovery.matched(1, 3, 6)
    v = identify.PRIOR_MEAN.copy()
    v[:4], v[4] = truth, 0.1
    level = np.empty(len(block.sensor))
    base, basal = identify.population(block.weight)
    identify.expect(base, basal, v, block.grams, block.above, level)
    t = np.arange(len(level)) * 5 / 1440
    exact = replace(block, sensor=(v[5] + v[7] * t + v[8] * t**2) * level + v[6])
    one = identify.identify(exact)
    assert one.theta == pytest.approx(truth, abs=0.05)
    assert np.abs((one.theta - truth) / one.sd).max() < 1.0


def test_the_jacobian_does_not_depend_on_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    block, _ = recovery.matched(1, 2, 5)
    fit = identify.Whitened(block, *identify.population(block.weight), np.arange(2, len(block.sensor)))
    v = identify.PRIOR_MEAN + 0.1 * identify.PRIOR_SD
    J = fit.jacobian(v)
    monkeypatch.setattr(identify, "STEP", 2e-4)
    fine = fit.jacobian(v)
    assert np.abs(J - fine).max(0) == pytest.approx(np.zeros(identify.SIZE), abs=0.02 * np.abs(fine).max())
    moved = v.copy()
    moved[identify.DRIFT] += 1e-3
    assert fit.residuals(moved) - fit.residuals(v) == pytest.approx(1e-3 * J[:, identify.DRIFT], abs=1e-9)


def test_stated_intervals_hold_where_the_model_is_true() -> None:
    """90 % intervals of 12 people: at least 8 contain SI (chance of fewer below 0.5 %); evidence has 40."""
    people, truth = found(12)
    z = np.array([(one.theta - true) / one.sd for one, true in zip(people, truth, strict=True)])
    inside = (np.abs(z) < 1.6449).sum(0)
    assert (inside >= 8).all(), inside
    assert (np.abs(z) < 4).all()


def test_a_slow_gut_is_not_taken_for_many_carbohydrates() -> None:
    """From one start this person's fit ends elsewhere, 30 deviations away."""
    block, truth = recovery.matched(2, 22, 7)
    one = identify.identify(block)
    assert np.abs((one.theta - truth) / one.sd).max() < 3


def test_the_spectrum_says_what_the_posterior_says() -> None:
    for one in found(12)[0]:
        assert (np.diff(one.spectrum) <= 0).all()
        scaled = one.directions @ np.diag(1 / (1 + one.spectrum)) @ one.directions.T
        expected = identify.PRIOR_SD[:4] * np.sqrt(np.diag(scaled))
        assert one.sd == pytest.approx(expected, rel=1e-6)
        assert one.spectrum[0] > 100 * one.spectrum[-1]  # one direction is told well, the last hardly


def test_what_the_model_does_not_know_is_counted_in() -> None:
    one = found(12)[0][0]
    theta, sd = one.own
    assert (sd > one.sd).all()
    assert (sd < identify.PRIOR_SD[:4]).all()
    assert (np.abs(theta) <= np.abs(one.theta)).all()
    assert one.personal == ("SI",)  # the only one of four that a week tells, as it stands
    median, low, high = one.value("SI")
    assert low < median < high


def test_the_rest_is_not_called_personal() -> None:
    one = found(12)[0][0]
    with pytest.raises(Unready, match="not personal"):
        one.value("Gb")
    for name in ("kp2", "carbohydrates", "Vg"):
        with pytest.raises(BadInput, match="population"):
            one.value(name)


def test_too_little_is_refused() -> None:
    block, _ = recovery.matched(1, 0, 6)
    sensor = block.sensor.copy()
    sensor[400:] = np.nan
    with pytest.raises(Unready, match="days of usable readings"):
        identify.identify(replace(block, sensor=sensor))
    with pytest.raises(BadInput):
        identify.identify(replace(block, grams=block.grams[:-1]))
    with pytest.raises(BadInput):
        identify.identify(replace(block, grams=-block.grams))
    with pytest.raises(BadInput):
        identify.identify(replace(block, above=np.full_like(block.above, np.nan)))
    with pytest.raises(BadInput):
        identify.identify(replace(block, weight=7.0))


def test_same_data_same_bits() -> None:
    block, _ = recovery.matched(1, 4, 5)
    block = replace(block, sensor=np.r_[np.nan, block.sensor[1:]])
    with pytest.raises(Unready):  # five days less the settling time are not five days
        identify.identify(block)
    block, _ = recovery.matched(1, 0, 6)
    assert identify.identify(block).theta.tobytes() == found(12)[0][0].theta.tobytes()
