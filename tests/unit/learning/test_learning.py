"""Chance, filter, regression and intervals, each against what is known about it."""

from __future__ import annotations

import numpy as np
import pytest

from twinward.learning import conformal
from twinward.learning.chance import key_of, normals, philox
from twinward.learning.ensemble import inflate, jitter, observe
from twinward.learning.regression import predict, solve, take


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(
    key: tuple[int, int], counter: tuple[int, int, int, int], expected: tuple[int, ...]
) -> None:
    """Random123 1.14, kat_vectors, philox4x32 10 rounds."""
    out = np.zeros(4, np.uint64)
    philox(key[0], key[1], counter[0], counter[1], counter[2], counter[3], out)
    assert tuple(int(word) for word in out) == expected


def test_draws_are_normal_and_belong_to_their_key() -> None:
    words, out = np.empty(4, np.uint64), np.empty(4)
    key = key_of(b"twin", b"version")
    drawn = []
    for minute in range(2000):
        for member in range(5):
            normals(*key, minute, member, 0, words, out)
            drawn.append(out.copy())
    z = np.array(drawn).ravel()
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.05, abs=0.005)
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.02
    assert key_of(b"twin", b"version") != key_of(b"twinversion", b"")
    again = np.empty(4)
    normals(*key, 1999, 4, 0, words, again)
    assert np.array_equal(again, out)
    normals(*key_of(b"twin", b"other"), 1999, 4, 0, words, again)
    assert not np.array_equal(again, out)


def test_filter_finds_the_kalman_answer_in_the_linear_gaussian_case() -> None:
    """Prior N(0, S), one observation of the first column: posterior known in closed form."""
    chance = np.random.Generator(np.random.Philox(3))
    S = np.array([[4.0, 1.5, 0.0], [1.5, 2.0, 0.0], [0.0, 0.0, 1.0]])
    Z = chance.multivariate_normal(np.zeros(3), S, 60_000)
    variance, y = 1.0, 2.5
    observe(Z, np.array([1.0, 1.0, 0.0]), Z[:, 0].copy(), y, variance, chance.standard_normal(60_000))
    gain = S[:, 0] / (S[0, 0] + variance)
    assert Z.mean(0)[:2] == pytest.approx(gain[:2] * y, abs=0.03)
    assert np.cov(Z.T)[:2, :2] == pytest.approx((S - np.outer(gain, S[0]))[:2, :2], abs=0.05)
    assert Z[:, 2].std() == pytest.approx(1, abs=0.02)  # a column that takes no part stays


def test_jitter_keeps_mean_and_variance_and_inflation_spreads() -> None:
    chance = np.random.Generator(np.random.Philox(4))
    Z = chance.normal(2.0, 0.5, (20_000, 2))
    jitter(Z, 0, 1, 0.95, chance.standard_normal((20_000, 1)))
    assert Z[:, 0].mean() == pytest.approx(2.0, abs=0.02)
    assert Z[:, 0].std() == pytest.approx(0.5, rel=0.02)
    inflate(Z, 1, 2, 1.5)
    assert Z[:, 1].std() == pytest.approx(0.75, rel=0.02)
    assert Z[:, 1].mean() == pytest.approx(2.0, abs=0.02)


def test_regression_is_ridge_towards_the_prior() -> None:
    chance = np.random.Generator(np.random.Philox(8))
    X, truth = chance.standard_normal((400, 5)), np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    y = X @ truth + 0.1 * chance.standard_normal(400)
    A, b, beta = np.zeros((5, 5)), np.zeros(5), np.empty(5)
    for row, target in zip(X, y, strict=True):
        take(A, b, row, target)
    penalty, prior = np.full(5, 20.0), np.full(5, 0.7)
    solve(A, b, penalty, prior, beta)
    expected = np.linalg.solve(X.T @ X + np.diag(penalty), X.T @ y + penalty * prior)
    assert beta == pytest.approx(expected, rel=1e-10)
    assert predict(beta, X[0]) == pytest.approx(X[0] @ beta)
    solve(np.zeros((5, 5)), np.zeros(5), penalty, prior, beta)
    assert beta == pytest.approx(prior)


def covered(shift: float, scale: float) -> tuple[float, float, float]:
    """Overall, low and high coverage of a forecast that errs by scale and, halfway, by shift; sigma knows neither."""
    chance = np.random.Generator(np.random.Philox(9))
    factors, steering = np.array([2.5, 2.5, 0.0]), np.array([0.12, 1.5, 54.0, 4.0])
    hits: list[tuple[float, bool]] = []
    for k in range(12_000):
        middle = float(chance.uniform(60, 260))
        y = middle + scale * chance.standard_normal() + (shift if k > 6000 else 0.0)
        low = middle - conformal.below(middle, 16.0, factors, steering, 180.0)
        high = middle + conformal.above(16.0, factors)
        if k % 6000 > 1500:
            hits.append((y, low <= y <= high))
        conformal.learn(factors, steering, middle, 16.0, low, high, y, 70.0, 180.0)

    def rate(chosen: list[bool]) -> float:
        return float(np.mean(chosen))

    return (
        rate([hit for _, hit in hits]),
        rate([hit for y, hit in hits if y < 70]),
        rate([hit for y, hit in hits if y > 180]),
    )


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 15.0), (0.0, 35.0), (12.0, 20.0), (-15.0, 20.0)])
def test_intervals_keep_their_promise_after_a_shift_and_in_the_outer_bands(shift: float, scale: float) -> None:
    overall, low, high = covered(shift, scale)
    assert 0.86 <= overall <= 0.96
    assert low >= 0.80
    assert high >= 0.80


def test_an_interval_is_never_lopsided_and_reaches_its_floor_without_a_jump() -> None:
    steering = np.array([0.12, 1.5, 54.0, 4.0])
    for pair in ((1.0, 6.0), (6.0, 1.0), (2.5, 2.5)):
        factors = np.array([*pair, 0.0])
        for middle in np.linspace(40, 400, 400):
            below = conformal.below(middle, 15.0, factors, steering, 180.0)
            assert 1 / 2.5 - 1e-12 <= below / conformal.above(15.0, factors) <= 2.5 + 1e-12
    factors = np.array([2.0, 2.0, 0.0])
    ends = [m - conformal.below(m, 15.0, factors, steering, 180.0) for m in np.arange(40.0, 200.0, 0.5)]
    assert np.abs(np.diff(ends)).max() < 0.5 * (1 + conformal.RAMP) + 1e-9
    assert 100 - conformal.below(100.0, 15.0, factors, steering, 180.0) == pytest.approx(54.0)
