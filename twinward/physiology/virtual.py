"""Virtual people with type 1 diabetes: a body, days of meals and doses, a sensor, a diary.

The diary is not the truth: carbohydrates are miscounted, some meals are eaten without a
word and some doses forgotten, sensitivity has a daily rhythm and better and worse days. The body is S2008 with a
member of our cohort, or Hovorka 2004 where a forecast must not meet its own equations.
All numbers about behaviour are [G].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import cgm, cohort, hovorka
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology.glucose_state import State
from twinward.physiology.population import Person, person

Array = NDArray[np.float64]

MEALS = ((450.0, 45.0, 0.95), (750.0, 65.0, 0.95), (960.0, 18.0, 0.5), (1140.0, 75.0, 0.97))  # minute, g, how often
UNLOGGED = 0.12  # of meals
MISCOUNT = 0.2  # SD of the logarithm
FORGOTTEN = 0.06  # of boluses
RESCUE_BELOW = 65.0  # mg/dL: 16 g of sugar, logged half of the time
TARGET = 120.0  # mg/dL
RHYTHM = 0.2  # of insulin sensitivity
DAY_SD = 0.15


@dataclass(frozen=True, slots=True)
class Dose:
    minute: int
    units: float


@dataclass(frozen=True, slots=True)
class Meal:
    minute: int
    grams: float


@dataclass(frozen=True, slots=True)
class Life:
    """What one person left behind; minutes count from the first midnight."""

    name: str  # of the body
    weight: float  # kg
    basal_rate: float  # U/h
    sensor: Array  # (n,) mg/dL every 5 min, first at minute 5
    truth: Array  # (n,) interstitial glucose, mg/dL
    boluses: tuple[Dose, ...]
    meals: tuple[Meal, ...]  # as logged

    def until(self, minutes: int) -> Life:
        """The same life up to that minute."""
        return replace(
            self,
            sensor=self.sensor[: minutes // 5],
            truth=self.truth[: minutes // 5],
            boluses=tuple(dose for dose in self.boluses if dose.minute < minutes),
            meals=tuple(meal for meal in self.meals if meal.minute < minutes),
        )


class _Body:
    """One of the two models, a step of any length at a time."""

    def __init__(self, chance: np.random.Generator, kind: str, person: Person | None = None) -> None:
        self.kind = kind
        if kind == "s2008":
            if person is None:
                people = cohort.load().group("adult")
                k = int(chance.integers(len(people.names)))
                self.name, self.p, self.basal = people.names[k], people.parameters[k].copy(), float(people.basal[k])
            else:
                self.name, self.p, self.basal = f"{person.seed}:{person.index}", person.parameters.copy(), person.basal
            self.x = np.zeros(13)
            s2008.rest(self.p, self.basal, self.x)
            self.rate, self.weight = s2008.basal_rate(self.p), float(self.p[s2008.BW])
            self.memory = np.zeros(3)
        elif kind == "hovorka":
            self.p = hovorka.TYPICAL * np.exp(hovorka.SPREAD * chance.standard_normal(16))
            self.basal = float(chance.normal(135.0, 12.0))
            self.x, self.rate = hovorka.rest(self.p, self.basal)
            self.name, self.weight = "hovorka", float(self.p[hovorka.BW])
        else:
            raise BadInput("a virtual body is s2008 or hovorka")

    def step(self, grams: Array, units: Array, sensitivity: Array) -> float:
        """Sensor-site glucose (mg/dL) at the end of minutes with these inputs."""
        out = np.empty(len(grams))
        if self.kind == "hovorka":
            hovorka.simulate(self.p, self.x, grams, units, sensitivity, out)
        else:
            p = self.p.copy()
            p[s2008.VMX] *= sensitivity[0]
            p[s2008.KP3] *= sensitivity[0]
            p[s2008.KP1] += self.p[s2008.IB] * (p[s2008.KP3] - self.p[s2008.KP3])
            s2008.simulate(p, self.x, self.memory, grams, units, 1, out)
        return float(out[-1])

    def grams_per_unit(self) -> float:
        """The ratio with which 60 g end where they began after five hours, by bisection."""
        low, high = 2.0, 60.0
        for _ in range(18):
            middle = np.sqrt(low * high)
            grams, units = np.zeros(300), np.full(300, self.rate)
            grams[:12] = 5.0
            units[0] += 60.0 / middle
            kept = self.x.copy()
            memory = self.memory.copy() if self.kind == "s2008" else None
            end = self.step(grams, units, np.ones(300))
            self.x[:] = kept
            if memory is not None:
                self.memory[:] = memory
            low, high = (low, middle) if end > self.basal else (middle, high)
        return float(np.sqrt(low * high))


def live(days: int, seed: int, number: int, kind: str = "s2008") -> Life:
    """Days of person `number` of the series `seed`; the same arguments, the same life.

    Raises:
        BadInput: `kind` is neither s2008 nor hovorka, or days is not positive.
    """
    if days < 1:
        raise BadInput("a virtual life lasts at least a day")
    chance = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    body = _Body(chance, kind)
    truth, meals, boluses = _lived(body, days, chance, days * 288)
    return Life(
        body.name,
        body.weight,
        body.rate * 60,
        cgm.wear(truth, chance),
        truth,
        tuple(boluses),
        tuple(sorted(meals, key=lambda meal: meal.minute)),
    )


def _lived(body: _Body, days: int, chance: np.random.Generator, stop: int) -> tuple[Array, list[Meal], list[Dose]]:
    """The first `stop` steps of 5 min of these days, lived by `body`: (stop,) mg/dL at the sensor's site, the diary."""
    ratio = body.grams_per_unit()
    eating, meals, boluses = _days(days, ratio, chance)
    minutes = days * 1440
    units = np.full(minutes, body.rate)
    for dose in boluses:
        units[dose.minute] += dose.units
    phase = chance.uniform(0, 2 * np.pi)
    good = np.repeat(np.exp(DAY_SD * chance.standard_normal(days)), 1440)
    sensitivity = good * (1 + RHYTHM * np.sin(2 * np.pi * np.arange(minutes) / 1440 + phase))
    truth = np.empty(stop)
    waiting, rested = 0.0, 0
    for k in range(stop):
        part = slice(5 * k, 5 * k + 5)
        if k > rested and k and truth[k - 1] < RESCUE_BELOW:
            waiting, rested = 16.0, k + 6
            if chance.random() < 0.5:
                meals.append(Meal(5 * k, 16.0))
        if waiting:
            eating[part] += waiting / 5
            waiting = 0.0
        truth[k] = body.step(eating[part], units[part], sensitivity[part])
    return truth, meals, boluses


@dataclass(frozen=True, slots=True)
class Moment:
    """A virtual person in the midst of a day."""

    person: Person
    minute: int  # since the first midnight
    glucose: float  # plasma, mg/dL
    state: State  # of S2008 with options, as `glucose_options` runs it
    meals: tuple[Meal, ...]  # so far, as logged
    boluses: tuple[Dose, ...]


@cache
def moment(seed: int, index: int, hours: float) -> Moment:
    """Person `index` of the prior's series `seed` after `hours` of their diary; the same arguments, the same moment.

    Raises:
        BadInput: no such person, or hours that are not 1 to 336 in steps of 5 min.
    """
    steps = round(hours * 12) if np.isfinite(hours) else 0
    if not 12 <= steps <= 336 * 12 or abs(steps / 12 - hours) > 1e-6:
        raise BadInput("a virtual person has lived 1 to 336 hours, in steps of five minutes")
    one = person(seed, index)
    chance = np.random.Generator(np.random.Philox(key=np.array([seed, 5_000_000 + index], np.uint64)))
    body = _Body(chance, "s2008", one)
    _, meals, boluses = _lived(body, -(-steps // 288), chance, steps)
    minute = 5 * steps
    x = np.zeros(options.WIDE)
    x[: options.BODY] = body.x
    state = State(options.MODEL, minute, np.append(one.parameters, one.basal), x, body.memory.copy())
    return Moment(
        one, minute, float(body.x[s2008.GP] / one.parameters[s2008.VG]), state,
        tuple(sorted((meal for meal in meals if meal.minute < minute), key=lambda meal: meal.minute)),
        tuple(dose for dose in boluses if dose.minute < minute),
    )  # fmt: skip


def _days(days: int, ratio: float, chance: np.random.Generator) -> tuple[Array, list[Meal], list[Dose]]:
    """What is eaten (g/min), what the diary says of it, and the doses for what the diary says."""
    eating = np.zeros(days * 1440)
    meals: list[Meal] = []
    boluses: list[Dose] = []
    for day in range(days):
        for usual, grams, often in MEALS:
            skipped, unlogged, forgotten = chance.random(3) >= (often, 1 - UNLOGGED, 1 - FORGOTTEN)
            minute = int(np.clip(day * 1440 + usual + 25 * chance.standard_normal(), 0, len(eating) - 30))
            eaten = float(np.clip(grams * np.exp(0.25 * chance.standard_normal()), 5, 110))
            counted = float(np.round(eaten * np.exp(MISCOUNT * chance.standard_normal())))
            if skipped:
                continue
            for k in range(int(np.ceil(eaten / s2008.EATING_RATE))):
                eating[minute + k] += min(s2008.EATING_RATE, eaten - k * s2008.EATING_RATE)
            if unlogged:
                continue
            meals.append(Meal(minute, counted))
            if not forgotten:
                boluses.append(Dose(max(minute - 5, 0), round(counted / ratio, 1)))
    return eating, meals, boluses


@cache
def several(count: int, days: int, seed: int, kind: str = "s2008") -> tuple[Life, ...]:
    return tuple(live(days, seed, number, kind) for number in range(count))
