"""Hospital demand: how many come, how long they stay, whether beds, intensive care and nurses suffice.

    admissions   Poisson, rate(weekday, hour) = daily mean(weekday) x share(hour): the maximum likelihood of the
                 product form has the margins of the counts; days vary more than Poisson by `dispersion` >= 1
    stay         log-normal
    waiting      first come first served on c places, start = max(arrival, first free place)  (Kiefer-Wolfowitz)
    check        Erlang-C: P(wait) = B / (1 - rho (1 - B)),  mean wait = P(wait) / (c mu - lambda)

Everything is fitted on the site's own counts and stays; nothing is imported from another hospital. A twin's risk is
the hazard of a *first event in people free of it*, not of an admission: it may move only the share of the
admissions that the site itself names as such events (`NamedShare`).

Events are few and places interchangeable, so the recursion on one heap of free times is the whole simulation: no
simulation library is needed, and the same function is what Erlang-C checks. Units: hour, patient. For planning
and teaching; no claim about a single patient.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology.meaning import Meaning, check

Array: TypeAlias = NDArray[np.float64]
LEAST_DAYS = 28
LEAST_STAYS = 30
MEMORY = 0.05  # weight of the newest day in the level [G]
OWN = "fitted on the site's own records"

MEANINGS: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("share", "share of the admissions", "dimensionless", 0.0, 1.0, OWN),
        ("mu", "mean of ln(stay)", "dimensionless", -3.0, 9.0, OWN),
        ("sigma", "deviation of ln(stay)", "dimensionless", 0.0, 3.0, OWN),
        ("beds", "beds of a unit", "dimensionless", 1.0, 5000.0, "named by the site"),
        ("nurses", "nurses on duty", "dimensionless", 1.0, 5000.0, "named by the site"),
        ("patients_per_nurse", "patients one nurse looks after", "dimensionless", 0.25, 20.0, "named by the site"),
        ("coverage", "coverage of an interval", "dimensionless", 0.5, 0.999, "asked"),
    )
}


@dataclass(frozen=True, slots=True)
class Admissions:
    """`rate` (7, 24) admissions per hour, Monday first; `dispersion`: variance over mean of a day."""

    rate: Array
    dispersion: float
    days: int


@dataclass(frozen=True, slots=True)
class Stay:
    """ln(hours) ~ Normal(mu, sigma)."""

    mu: float
    sigma: float

    def mean(self) -> float:
        return math.exp(self.mu + self.sigma**2 / 2)

    def draw(self, count: int, chance: np.random.Generator) -> Array:
        return np.exp(chance.normal(self.mu, self.sigma, count))


@dataclass(frozen=True, slots=True)
class NamedShare:
    """What part of the admissions the site says are such events, and where it has that from."""

    name: str
    share: float
    source: str


@dataclass(frozen=True, slots=True)
class Unit:
    beds: int
    nurses: float
    patients_per_nurse: float

    def places(self) -> int:
        """Beds that have a nurse."""
        check(
            {"beds": self.beds, "nurses": self.nurses, "patients_per_nurse": self.patients_per_nurse},
            MEANINGS,
        )
        places = min(self.beds, math.floor(self.nurses * self.patients_per_nurse))
        if places < 1:
            raise BadInput("a unit needs nurses for at least one bed")
        return places


@dataclass(frozen=True, slots=True)
class Hospital:
    """`intensive_share` of the admissions go to intensive care first, and to the ward from there;
    a full ward does not keep them in intensive care [G]."""

    ward: Unit
    intensive: Unit
    intensive_share: float
    ward_stay: Stay
    intensive_stay: Stay


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Over replications, per hour of the horizon: lower, middle, upper (3, H); waits in hours."""

    ward: Array
    intensive: Array
    waiting_share: Array  # lower, middle, upper of the share of admissions that wait (3,)


def fit_admissions(counts: NDArray[np.int64], first_weekday: int) -> Admissions:
    """`counts` (days, 24) admissions per hour; `first_weekday` of row 0, Monday is 0.

    Raises:
        BadInput: fewer than LEAST_DAYS days, a negative count, another shape, a weekday never seen to admit.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != 24 or len(counts) < LEAST_DAYS:
        raise BadInput(f"counts are needed for 24 hours of at least {LEAST_DAYS} days")
    if not 0 <= first_weekday <= 6 or not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0:
        raise BadInput("counts are whole numbers that are not negative, weekdays 0 to 6")
    weekday = (first_weekday + np.arange(len(counts))) % 7
    daily = counts.sum(1)
    mean = np.array([daily[weekday == day].mean() for day in range(7)])
    if mean.min() <= 0:
        raise BadInput("a weekday without a single admission has no rate")
    hours = counts.sum(0) / counts.sum()
    pearson = float(((daily - mean[weekday]) ** 2 / mean[weekday]).sum()) / (len(counts) - 7)
    return Admissions(np.outer(mean, hours), max(pearson, 1.0), len(counts))


def fit_stay(hours: Array) -> Stay:
    """Raises:
    BadInput: fewer than LEAST_STAYS stays, or one that is not above zero.
    """
    hours = np.asarray(hours, float)
    if hours.ndim != 1 or len(hours) < LEAST_STAYS or not np.all(np.isfinite(hours)) or hours.min() <= 0:
        raise BadInput(f"at least {LEAST_STAYS} stays above zero are needed")
    logs = np.log(hours)
    stay = Stay(float(logs.mean()), float(logs.std(ddof=1)))
    check({"mu": stay.mu, "sigma": stay.sigma}, MEANINGS)
    return stay


def shifted(admissions: Admissions, named: NamedShare, hazard_now: float, hazard_reference: float) -> Admissions:
    """Admissions when the summed daily hazard of the twins is `hazard_now` and was `hazard_reference` while the
    counts were made (see `risk.prevent.daily_hazard`); only the named share moves.

    Raises:
        BadInput: a share outside 0..1 or without name and source, or a hazard that is none.
    """
    check({"share": named.share}, MEANINGS)
    if not named.name or not named.source:
        raise BadInput("the share needs a name and a source")
    if not (0 < hazard_reference < math.inf and 0 <= hazard_now < math.inf):
        raise BadInput("hazards are numbers that are not negative, the reference above zero")
    factor = 1 + named.share * (hazard_now / hazard_reference - 1)
    return Admissions(admissions.rate * factor, admissions.dispersion, admissions.days)


def interval(mean: float, dispersion: float, coverage: float = 0.9) -> tuple[int, int]:
    """Central interval of a count with that mean and variance `dispersion` x mean: Poisson at 1, else
    negative binomial.

    Raises:
        BadInput: a mean, dispersion or coverage out of range.
    """
    check({"coverage": coverage}, MEANINGS)
    if not (0 < mean < 1e5 and 1 <= dispersion < 1e3):
        raise BadInput("mean must lie in 0..1e5 and dispersion in 1..1e3")
    k = np.arange(1, 60 + math.ceil(mean + 15 * math.sqrt(mean * dispersion)))
    if dispersion < 1 + 1e-9:
        first, growth = -mean, np.log(mean / k)
    else:
        r = mean / (dispersion - 1)
        first, growth = -r * math.log(dispersion), np.log((k - 1 + r) / k * (1 - 1 / dispersion))
    below = np.cumsum(np.exp(np.concatenate([[first], first + np.cumsum(growth)])))
    tail = (1 - coverage) / 2
    return int(np.searchsorted(below, tail)), int(np.searchsorted(below, 1 - tail))


@dataclass(frozen=True, slots=True)
class Backtest:
    """One day ahead. `ratio`: our RMSE over that of the same-weekday mean; `coverage` of our 90 % interval."""

    days: int
    rmse: float
    rmse_weekday_mean: float
    ratio: float
    coverage: float


def backtest(daily: NDArray[np.int64], first_weekday: int, train: int = 56) -> Backtest:
    """Forecasts every day after the first `train` from the days before it alone: weekday mean x level, the
    level an exponential mean of counts over weekday means (MEMORY).

    Raises:
        BadInput: too few days, or a weekday that never admitted in the training days.
    """
    if train < LEAST_DAYS or len(daily) < train + 7:
        raise BadInput(f"at least {LEAST_DAYS} days to learn from and 7 to forecast are needed")
    weekday = (first_weekday + np.arange(len(daily))) % 7
    errors, plain, inside = [], [], []
    for day in range(train, len(daily)):
        past = daily[:day]
        mean = np.array([past[weekday[:day] == d].mean() for d in range(7)])
        if mean.min() <= 0:
            raise BadInput("a weekday without a single admission has no rate")
        surprise = past / mean[weekday[:day]]
        weight = (1 - MEMORY) ** np.arange(day - 1, -1, -1)
        level = float((weight * surprise).sum() / weight.sum())
        expected = mean[weekday[day]] * level
        fitted = mean[weekday[:day]]
        dispersion = max(float(((past - fitted) ** 2 / fitted).sum()) / (day - 7), 1.0)
        low, high = interval(expected, dispersion)
        errors.append(daily[day] - expected)
        plain.append(daily[day] - mean[weekday[day]])
        inside.append(low <= daily[day] <= high)
    ours, theirs = (float(np.sqrt(np.mean(np.square(e)))) for e in (errors, plain))
    return Backtest(len(errors), ours, theirs, ours / theirs, float(np.mean(inside)))


def arrivals(admissions: Admissions, first_weekday: int, days: int, chance: np.random.Generator) -> Array:
    """Hours after midnight of the first day, in order: exact for a rate that is constant within the hour.
    A day's own level is Gamma with the fitted dispersion."""
    found = []
    for day in range(days):
        rate = admissions.rate[(first_weekday + day) % 7]
        level = 1.0
        if admissions.dispersion > 1:
            shape = float(rate.sum()) / (admissions.dispersion - 1)
            level = chance.gamma(shape, 1 / shape)
        counts = chance.poisson(rate * level)
        found.append(np.repeat(np.arange(24.0), counts) + chance.random(int(counts.sum())) + 24 * day)
    return np.sort(np.concatenate(found)) if found else np.empty(0)


def starts(arriving: Array, serving: Array, places: int) -> Array:
    """When each of the arrivals (in order) gets one of `places`, first come first served.

    Raises:
        BadInput: arrivals out of order, a service that is negative, no place.
    """
    if places < 1 or len(arriving) != len(serving):
        raise BadInput("every arrival needs a service, and there must be a place")
    if len(arriving) and (np.any(np.diff(arriving) < 0) or serving.min() < 0):
        raise BadInput("arrivals must be in order and services not negative")
    free = [-math.inf] * places
    begun = np.empty(len(arriving))
    for k, (at, lasts) in enumerate(zip(arriving.tolist(), serving.tolist(), strict=True)):
        begun[k] = max(at, free[0])
        heapq.heapreplace(free, begun[k] + lasts)
    return begun


def erlang_c(places: int, load: float) -> float:
    """P(wait) of M/M/c at `load` = lambda / mu.

    Raises:
        BadInput: the queue would grow without end.
    """
    if not 0 <= load < places:
        raise BadInput("the load must be below the number of places")
    blocked = 1.0
    for k in range(1, places + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1 - load / places * (1 - blocked))


def _census(begun: Array, ended: Array, hours: Array) -> Array:
    """Patients present at each of `hours`."""
    return (np.searchsorted(np.sort(begun), hours, "right") - np.searchsorted(np.sort(ended), hours, "right")).astype(
        float
    )


def occupancy(
    admissions: Admissions,
    hospital: Hospital,
    first_weekday: int,
    days: int,
    chance: np.random.Generator,
    replications: int = 20,
    warm_days: int = 21,
    coverage: float = 0.9,
) -> Occupancy:
    """Beds in use per hour of the `days` after `warm_days` from an empty house, with intervals.

    Raises:
        BadInput: fewer than 20 replications, no days, or a hospital that cannot be.
    """
    check({"share": hospital.intensive_share, "coverage": coverage}, MEANINGS)
    if replications < 20 or days < 1 or warm_days < 0:
        raise BadInput("intervals need at least 20 replications of at least one day")
    ward_places, intensive_places = hospital.ward.places(), hospital.intensive.places()
    hours: Array = np.arange(24.0 * warm_days, 24.0 * (warm_days + days)) + 0.5
    ward, intensive, waited = [], [], []
    for stream in chance.spawn(replications):
        come = arrivals(admissions, first_weekday - warm_days, warm_days + days, stream)
        ill = stream.random(len(come)) < hospital.intensive_share
        care = hospital.intensive_stay.draw(int(ill.sum()), stream)
        begun_care = starts(come[ill], care, intensive_places)
        after = np.concatenate([come[~ill], begun_care + care])
        order = np.argsort(after, kind="stable")
        stay = hospital.ward_stay.draw(len(after), stream)
        begun = starts(after[order], stay, ward_places)
        ward.append(_census(begun, begun + stay, hours))
        intensive.append(_census(begun_care, begun_care + care, hours))
        late = (begun > after[order] + 1e-9).sum() + (begun_care > come[ill] + 1e-9).sum()
        waited.append(late / max(len(come), 1))
    ends = [(1 - coverage) / 2, 0.5, (1 + coverage) / 2]
    return Occupancy(np.quantile(ward, ends, 0), np.quantile(intensive, ends, 0), np.quantile(waited, ends))
