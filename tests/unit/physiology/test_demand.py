"""Admissions, stays, places: what is fitted comes back, and queues obey Erlang."""

from __future__ import annotations

import numpy as np
import pytest

from twinward.errors import BadInput
from twinward.physiology import demand
from twinward.physiology.risk import prevent

WEEK = 40 * np.array([1.15, 1.1, 1.05, 1.0, 1.05, 0.8, 0.85])
HOURS = 1 + 0.6 * np.sin((np.arange(24) - 8) / 24 * 2 * np.pi)
HOURS = HOURS / HOURS.sum()


def site(days: int, seed: int, drift: float = 0.0) -> np.ndarray:
    """Counts (days, 24), Monday first; `drift`: how far the level wanders over a year."""
    level = np.exp(drift * np.sin(np.arange(days) / 365 * 2 * np.pi))
    chance = np.random.default_rng(seed)
    return chance.poisson(np.array([WEEK[day % 7] * level[day] * HOURS for day in range(days)]))


def hospital(beds: int = 240) -> demand.Hospital:
    return demand.Hospital(
        demand.Unit(beds, beds / 5, 5), demand.Unit(24, 24, 1), 0.12, demand.Stay(np.log(72), 0.9),
        demand.Stay(np.log(48), 0.8),
    )  # fmt: skip


def test_rates_come_back_from_counts() -> None:
    fitted = demand.fit_admissions(site(728, 1), 0)
    assert fitted.rate.sum(1) == pytest.approx(WEEK, rel=0.05)
    assert fitted.rate.sum(0) / fitted.rate.sum() == pytest.approx(HOURS, abs=0.004)
    assert 1 <= fitted.dispersion < 1.15
    counts = site(364, 2)
    moved = demand.fit_admissions(counts[3:], 3)
    assert np.argmin(moved.rate.sum(1)) == np.argmin(demand.fit_admissions(counts, 0).rate.sum(1))


def test_the_fit_has_the_margins_of_the_counts() -> None:
    """The law of the product form's maximum likelihood, over whole weeks."""
    counts = site(70, 3)
    fitted = demand.fit_admissions(counts, 0)
    assert 10 * fitted.rate.sum(1) == pytest.approx(counts.sum(1).reshape(10, 7).sum(0))
    assert 10 * fitted.rate.sum(0) == pytest.approx(counts.sum(0))


def test_stays_come_back() -> None:
    stay = demand.Stay(np.log(72), 0.9)
    drawn = stay.draw(20_000, np.random.default_rng(4))
    fitted = demand.fit_stay(drawn)
    assert (fitted.mu, fitted.sigma) == pytest.approx((stay.mu, stay.sigma), abs=0.02)
    assert fitted.mean() == pytest.approx(drawn.mean(), rel=0.03)


def test_drawn_admissions_have_the_fitted_rate_and_spread() -> None:
    admissions = demand.Admissions(np.outer(WEEK, HOURS), 2.0, 365)
    come = demand.arrivals(admissions, 0, 700, np.random.default_rng(5))
    assert np.all(np.diff(come) >= 0)
    daily = np.bincount((come // 24).astype(int), minlength=700).reshape(100, 7)
    assert daily.mean(0) == pytest.approx(WEEK, rel=0.06)
    assert (daily.var(0, ddof=1) / daily.mean(0)).mean() == pytest.approx(2.0, abs=0.35)


@pytest.mark.parametrize(("mean", "dispersion"), [(3.0, 1.0), (40.0, 1.0), (40.0, 2.0), (900.0, 4.0)])
def test_intervals_hold_what_they_say(mean: float, dispersion: float) -> None:
    low, high = demand.interval(mean, dispersion)
    chance = np.random.default_rng(6)
    level = mean if dispersion == 1 else chance.gamma(mean / (dispersion - 1), dispersion - 1, 40_000)
    drawn = chance.poisson(level, 40_000)
    inside = np.mean((drawn >= low) & (drawn <= high))
    assert 0.89 <= inside < 0.97


def test_a_wandering_level_is_followed_and_a_steady_one_costs_little() -> None:
    """One day ahead against the same-weekday mean."""
    wandering = demand.backtest(site(400, 7, 0.2).sum(1), 0)
    steady = demand.backtest(site(400, 7).sum(1), 0)
    assert wandering.ratio < 0.9
    assert 1.0 <= steady.ratio < 1.03
    for test in (wandering, steady):
        assert test.days == 344
        assert 0.85 <= test.coverage <= 0.96


def test_erlang_c_is_the_published_number() -> None:
    """M/M/10 at 90 %: .6687; one server waits with probability rho."""
    assert demand.erlang_c(10, 9.0) == pytest.approx(0.6687, abs=5e-5)
    assert demand.erlang_c(1, 0.3) == pytest.approx(0.3)
    with pytest.raises(BadInput):
        demand.erlang_c(10, 10.0)


def test_the_queue_waits_as_erlang_c_says() -> None:
    """M/M/10 at 70 %, 20 replications of 6,000 with 1,000 dropped: 99 % interval (t, 19 degrees) holds both."""
    shares, waits = [], []
    for chance in np.random.default_rng(7).spawn(20):
        come = np.cumsum(chance.exponential(1 / 7, 6000))
        begun = demand.starts(come, chance.exponential(1, 6000), 10)
        late = (begun - come)[1000:]
        shares.append(np.mean(late > 0))
        waits.append(np.mean(late))
    exact = demand.erlang_c(10, 7.0)
    for found, expected in ((shares, exact), (waits, exact / (10 - 7))):
        half = 2.861 * np.std(found, ddof=1) / np.sqrt(20)
        assert abs(np.mean(found) - expected) < half


def test_with_room_for_all_occupancy_is_littles_law() -> None:
    """Mean patients present = arrivals per hour x mean stay."""
    admissions = demand.fit_admissions(site(364, 8), 0)
    found = demand.occupancy(admissions, hospital(900), 0, 14, np.random.default_rng(9), warm_days=42)
    per_hour = admissions.rate.sum() / 168
    assert found.ward[1].mean() == pytest.approx(per_hour * hospital().ward_stay.mean(), rel=0.06)
    assert found.intensive[1].mean() == pytest.approx(per_hour * 0.12 * hospital().intensive_stay.mean(), rel=0.12)
    assert found.ward.shape == (3, 336)
    assert np.all(found.ward[0] <= found.ward[1])
    assert np.all(found.ward[1] <= found.ward[2])


def test_fewer_nurses_are_fewer_places_and_more_waiting() -> None:
    admissions = demand.fit_admissions(site(364, 8), 0)
    few = demand.Hospital(
        demand.Unit(240, 34, 5), hospital().intensive, 0.12, hospital().ward_stay, hospital().intensive_stay
    )
    assert few.ward.places() == 170
    short = demand.occupancy(admissions, few, 0, 7, np.random.default_rng(10))
    ample = demand.occupancy(admissions, hospital(), 0, 7, np.random.default_rng(10))
    assert short.ward.max() <= 170
    assert short.waiting_share[1] > ample.waiting_share[1]
    again = demand.occupancy(admissions, hospital(), 0, 7, np.random.default_rng(10))
    assert again.ward.tobytes() == ample.ward.tobytes()


def test_a_risk_moves_only_the_named_share() -> None:
    admissions = demand.fit_admissions(site(56, 11), 0)
    now = 1000 * prevent.daily_hazard(0.12)
    before = 1000 * prevent.daily_hazard(0.10)
    named = demand.NamedShare("first cardiovascular events", 0.06, "the site's discharge codes")
    moved = demand.shifted(admissions, named, now, before)
    assert moved.rate == pytest.approx(admissions.rate * (1 + 0.06 * (now / before - 1)))
    nothing = demand.NamedShare("none", 0.0, "the site")
    assert np.array_equal(demand.shifted(admissions, nothing, now, before).rate, admissions.rate)
    for wrong in (
        demand.NamedShare("events", 1.2, "the site"),
        demand.NamedShare("", 0.1, "the site"),
        demand.NamedShare("events", 0.1, ""),
    ):
        with pytest.raises(BadInput):
            demand.shifted(admissions, wrong, now, before)
    with pytest.raises(BadInput, match="hazards"):
        demand.shifted(admissions, named, now, 0.0)


def test_too_little_or_broken_data_is_refused() -> None:
    counts = site(35, 12)
    for wrong, weekday in ((counts[:27], 0), (counts[:, :23], 0), (counts - 100, 0), (counts, 7), (counts * 0, 0)):
        with pytest.raises(BadInput):
            demand.fit_admissions(wrong, weekday)
    for hours in (np.ones(29), np.zeros(40), np.full(40, np.nan)):
        with pytest.raises(BadInput):
            demand.fit_stay(hours)
    with pytest.raises(BadInput):
        demand.backtest(counts.sum(1), 0)
    with pytest.raises(BadInput):
        demand.starts(np.array([1.0, 0.5]), np.ones(2), 1)
    with pytest.raises(BadInput, match="nurses"):
        demand.Unit(10, 1, 0.5).places()
    with pytest.raises(BadInput, match="20 replications"):
        demand.occupancy(demand.fit_admissions(counts, 0), hospital(), 0, 1, np.random.default_rng(1), 19)
    for mean, dispersion in ((0.0, 1.0), (10.0, 0.5), (float("nan"), 1.0)):
        with pytest.raises(BadInput):
            demand.interval(mean, dispersion)
