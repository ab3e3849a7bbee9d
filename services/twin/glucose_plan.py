"""Treatment plans: what they are, what they may hold, and which minutes they touch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.twin import glucose_layout as at
from services.twin.glucose_kernels import EATING_RATE
from twinward.errors import BadInput

LONGEST = 360  # min, with a bolus or carbohydrate
LONGEST_BASAL = 1440  # min, with changes of basal rate only
SHORTEST = 30
PLANS_MOST = 100
ACTIONS_MOST = 24
NAME_MOST = 60  # characters


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond these a plan is taken for a slip of the pen; totals of one plan."""

    bolus_iu: float = 25.0
    carbohydrate_g: float = 200.0
    basal_iu_per_h: float = 10.0  # change, to either side


USUAL = Limits()


@dataclass(frozen=True, slots=True)
class Bolus:
    minute: int
    units: float


@dataclass(frozen=True, slots=True)
class Meal:
    minute: int
    grams: float


@dataclass(frozen=True, slots=True)
class Fast:
    """Carbohydrate that need not be ground: tablets, juice."""

    minute: int
    grams: float


@dataclass(frozen=True, slots=True)
class Basal:
    minute: int
    change: float  # IU/h, added to the rate that runs
    minutes: int


Action = Bolus | Meal | Fast | Basal


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    actions: tuple[Action, ...] = ()


NOTHING = Plan("nothing more")


def check(plans: Sequence[Plan], minutes: int, limits: Limits) -> None:
    """Raises BadInput, with what is wrong of which plan."""
    if not 1 <= len(plans) <= PLANS_MOST:
        raise BadInput(f"give 1 to {PLANS_MOST} plans")
    slow = all(isinstance(action, Basal) for plan in plans for action in plan.actions)
    longest = LONGEST_BASAL if slow else LONGEST
    if not SHORTEST <= minutes <= longest:
        what = "plans that change the basal rate only" if slow else "plans with a bolus or carbohydrate"
        raise BadInput(f"{what} are followed for {SHORTEST} to {longest} minutes")
    for plan in plans:
        why = _refused(plan, minutes, limits)
        if why:
            raise BadInput(f"plan {plan.name[:NAME_MOST]!r}: {why}")


def _refused(plan: Plan, minutes: int, limits: Limits) -> str:
    if not plan.name or len(plan.name) > NAME_MOST:
        return f"a name has 1 to {NAME_MOST} characters"
    if len(plan.actions) > ACTIONS_MOST:
        return f"at most {ACTIONS_MOST} actions"
    for action in plan.actions:
        amount = action.units if isinstance(action, Bolus) else action.change if isinstance(action, Basal) else 0.0
        grams = action.grams if isinstance(action, Meal | Fast) else 0.0
        if not (math.isfinite(amount) and math.isfinite(grams)) or grams < 0:
            return "an amount is a finite number, and none is negative"
        if isinstance(action, Bolus) and amount < 0:
            return "a bolus is not negative"
        if not 0 <= action.minute < minutes:
            return f"an action lies within the {minutes} minutes looked at"
        if isinstance(action, Basal):
            if abs(amount) > limits.basal_iu_per_h:
                return f"the basal rate changes by at most {limits.basal_iu_per_h:g} IU/h"
            if action.minutes < 1 or action.minute + action.minutes > LONGEST_BASAL:
                return f"a change of the basal rate lasts 1 minute or more and ends within {LONGEST_BASAL} minutes"
    units = sum(action.units for action in plan.actions if isinstance(action, Bolus))
    grams = sum(action.grams for action in plan.actions if isinstance(action, Meal | Fast))
    if units > limits.bolus_iu:
        return f"boluses sum to {units:g} IU; at most {limits.bolus_iu:g} IU are looked at"
    if grams > limits.carbohydrate_g:
        return f"carbohydrates sum to {grams:g} g; at most {limits.carbohydrate_g:g} g are looked at"
    return ""


@dataclass(frozen=True, slots=True)
class Flows:
    """Per minute from the state on: insulin above the usual basal (IU/min), eaten and fast grams."""

    above: at.Array
    grams: at.Array
    quick: at.Array
    without_min: float  # longest time without insulin, what went before included


def flows(plan: Plan, logged: Flows, lead: int, rate: float, without_min: float) -> Flows:
    """`logged` flows with `plan` added; `lead` minutes pass before now.

    `rate` is the basal rate that runs (IU/min); no change takes more than that away.
    """
    n = len(logged.above)
    change, bolus, quick = np.zeros(n), np.zeros(n), logged.quick.copy()
    served = np.zeros(n)
    for action in plan.actions:
        first = lead + action.minute
        if isinstance(action, Bolus):
            bolus[first] += action.units
        elif isinstance(action, Meal):
            served[first] += action.grams
        elif isinstance(action, Fast):
            quick[first] += action.grams
        else:
            change[first : first + action.minutes] += action.change / 60.0
    change = np.maximum(change, -rate)
    dry = (rate + change <= 1e-9) & (bolus <= 0) if rate > 0 else np.zeros(n, bool)
    longest = spell = without_min
    for k in range(n):
        spell = spell + 1 if dry[k] else 0.0
        longest = max(longest, spell)
    return Flows(logged.above + change + bolus, _eaten(logged.grams, served), quick, longest)


def _eaten(logged: at.Array, served: at.Array) -> at.Array:
    """What is eaten per minute when `served` comes on the plate beside what is eaten already."""
    found, waiting = np.empty(len(logged)), 0.0
    for k in range(len(logged)):
        waiting += logged[k] + served[k]
        found[k] = min(EATING_RATE, waiting)
        waiting -= found[k]
    return found
