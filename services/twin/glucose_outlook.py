"""From a state to an answer: horizons between the fitted ones, stale data, refusals, reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.twin import glucose_kernels as kernels
from services.twin import glucose_layout as at
from services.twin.glucose_answers import Contribution, Explanation, ParameterEstimate, Point
from services.twin.glucose_features import gather
from twinward.errors import BadInput
from twinward.learning.conformal import AIM

LONGEST = 120  # min ahead
OLDEST = 360  # min: with an older reading nothing is said
HIGHEST = 400.0  # mg/dL: beyond it ketones and water decide, which the model does not have
WITHOUT_INSULIN = 360.0  # min
STALE = 15.0  # min
TYPE_1 = (
    "the body model is a model of type 1 diabetes: it makes no insulin; "
    "in anyone else the regression carries the forecast"
)

NAMES = (
    "level", "trend", "time of day", "insulin on board", "carbohydrates on board", "physiology",
)  # fmt: skip
MEANINGS = (
    "where glucose stands against its usual",
    "how it moved in the last hour",
    "what usually happens at this hour, more so when glucose is high",
    "logged insulin above the usual basal rate that still acts",
    "logged carbohydrates that still arrive",
    "what the body model expects from here",
)
# Columns of the features; the first REGRESSION groups are regression, the last is physiology.
REGRESSION = 5
GROUPS = (
    ((0, 2), (at.BENDS + 2, at.BENDS + 4)),
    ((2, 13),),
    ((at.CLOCK, at.BENDS + 2),),
    ((13, 15),),
    ((15, 17),),
    ((at.SHARED, at.FEATURES),),
)
RANKS = [at.MEMBERS // 20, at.MEMBERS // 2, at.MEMBERS - 1 - at.MEMBERS // 20]  # 5th, 50th, 95th percentile


@dataclass(frozen=True, slots=True)
class Outlook:
    points: tuple[Point, ...]
    shares: at.Array  # (len(points), len(NAMES)) mg/dL


def refusal(s: at.Array, now_ms: int) -> str:
    """Why nothing is forecast; empty: nothing stands against it."""
    if not s[at.RING_N]:
        return "no sensor glucose to start from"
    age = now_ms / 60_000 - s[at.LAST_T]
    if age > OLDEST:
        return f"the last sensor reading is {age / 60:.0f} h old; nothing is forecast beyond {OLDEST // 60} h"
    if s[at.LAST_G] > HIGHEST:
        return f"glucose above {HIGHEST:.0f} mg/dL is outside what the model describes"
    if s[at.NO_INSULIN] >= WITHOUT_INSULIN:
        return "no insulin has been delivered for 6 h; the model does not describe what follows"
    return ""


def notes_of(s: at.Array, now_ms: int) -> list[str]:
    """What a reader of the forecast has to know."""
    told = []
    now = now_ms / 60_000
    if s[at.RING_N] and now - s[at.LAST_T] > STALE:
        told.append(f"the last sensor reading is {now - s[at.LAST_T]:.0f} min old; the interval is wider for it")
    if s[at.LAST_INSULIN] < 0:
        told.append("no insulin is logged; the usual basal rate is assumed")
        told.append(TYPE_1)
    elif now - s[at.LAST_INSULIN] > 360 and now >= s[at.BASAL_UNTIL]:
        told.append(f"no insulin is logged for {(now - s[at.LAST_INSULIN]) / 60:.0f} h; the usual basal is assumed")
    if s[at.LAST_CARBS] < 0:
        told.append("no meal is logged")
    if not s[at.OWN]:
        told.append("less than three days of data: the coefficients lean on a simulated cohort, not on the person")
    return told


def outlook(
    parts: at.Parts, persons: at.Array, base: at.Array, basal: float, key: tuple[int, int], minutes: Sequence[int],
    now_ms: int,
) -> Outlook:  # fmt: skip
    """Forecasts for `minutes` after `now_ms` from copies; the twin stays as it is."""
    if not minutes or min(minutes) < 1 or max(minutes) > LONGEST:
        raise BadInput(f"a forecast reaches from 1 to {LONGEST} minutes ahead")
    s = parts.scalars
    start = int(s[at.CURSOR])
    age = max(now_ms / 60_000 - s[at.LAST_T], 0.0)
    ends = [age + m for m in minutes]
    ensemble = _ensemble(parts, persons, base, basal, key, start, int(np.ceil(s[at.LAST_T] + max(ends))) - start)
    row = parts.pending[(int(s[at.PENDING_N]) - 1) % at.PENDING]
    if max(s[at.LAST_INSULIN], s[at.LAST_CARBS]) >= np.floor(s[at.LAST_T]):
        row = _again(parts, base, basal, start)  # something was logged since the forecast was issued
    answers = row[3 + at.SHARED :].reshape(3, at.ANSWER)[:, at.OWN_FEATURES :]
    shares = _shares(parts, row)
    points, told = [], []
    for m, end in zip(minutes, ends, strict=True):
        k = min(max(int(np.ceil((s[at.LAST_T] + end - start) / 5)) - 1, 0), ensemble.shape[1] - 1)
        physiology = np.sort(ensemble[:, k])[RANKS]
        middle, low, high = _between(s[at.LAST_G], answers, end)
        if end > LONGEST:  # older data: from the last fitted horizon on the body model leads
            low, high = (
                max(min(low, float(physiology[0])), kernels.LOWEST),
                min(max(high, float(physiology[2])), kernels.HIGHEST),
            )
        mix = _mix(shares, end)
        own, rest = abs(float(mix[REGRESSION:].sum())), abs(float(mix[:REGRESSION].sum()))
        share = own / (own + rest) if own + rest > 1e-9 else 0.0
        points.append(
            Point(m, now_ms + m * 60_000, middle, low, high, AIM, share, float(physiology[1]), float(physiology[0]),
                  float(physiology[2]))
        )  # fmt: skip
        told.append(mix)
    return Outlook(tuple(points), np.array(told))


def _ensemble(
    parts: at.Parts, persons: at.Array, base: at.Array, basal: float, key: tuple[int, int], start: int, n: int
) -> at.Array:
    """(MEMBERS, n // 5) what every member's sensor would read, 5 min apart from `start` on."""
    n = max(5 * -(-n // 5), 5)
    s, members, people = parts.scalars.copy(), parts.members.copy(), persons.copy()
    above, grams, out = np.empty(n), np.empty(n), np.empty((at.MEMBERS, n // 5))
    kernels.inputs(s, parts.slots, start, above, grams)
    kernels.carry(members, people, base, basal, start, above, grams, *key, kernels.FUTURE, 5, out, parts.drift)
    return out


def _again(parts: at.Parts, base: at.Array, basal: float, start: int) -> at.Array:
    """The forecast of the last reading with what was logged after it."""
    s, pending = parts.scalars.copy(), parts.pending.copy()
    kernels.announce(s, parts.slots, parts.ring, parts.members, base, basal, parts.knowing, pending)
    return np.asarray(pending[(int(s[at.PENDING_N]) - 1) % at.PENDING])


def _between(now: float, answers: at.Array, end: float) -> tuple[float, float, float]:
    """Median, low and high `end` minutes after the last reading, between the fitted horizons."""
    x = [0.0, *map(float, at.HORIZONS)]
    middle = float(np.interp(end, x, [now, *answers[:, 0]]))
    below = float(np.interp(end, x, [kernels.NOW_WIDTH, *(answers[:, 0] - answers[:, 1])]))
    above = float(np.interp(end, x, [kernels.NOW_WIDTH, *(answers[:, 2] - answers[:, 0])]))
    if end > LONGEST:
        below, above = below * np.sqrt(end / LONGEST), above * np.sqrt(end / LONGEST)
    return middle, max(middle - below, kernels.LOWEST), min(middle + above, kernels.HIGHEST)


def _shares(parts: at.Parts, row: at.Array) -> at.Array:
    """(3, len(NAMES)) mg/dL: what each group of features adds at each fitted horizon."""
    found, x = np.zeros((3, len(NAMES))), np.empty(at.FEATURES)
    for h in range(3):
        gather(row, h, x)
        found[h] = [sum(float(parts.beta[h, a:b] @ x[a:b]) for a, b in group) for group in GROUPS]
    return found


def _mix(shares: at.Array, end: float) -> at.Array:
    ends = (0.0, *map(float, at.HORIZONS))
    k = min(max(int(np.searchsorted(ends, end)), 1), 3)
    part = min((end - ends[k - 1]) / (ends[k] - ends[k - 1]), 1.0)
    before = shares[k - 2] if k > 1 else np.zeros(len(NAMES))
    return np.asarray(before + part * (shares[k - 1] - before))


def parameters(parts: at.Parts, basal: float) -> list[ParameterEstimate]:
    theta = parts.members[:, at.THETA : at.THETA + at.THETAS]
    told = (
        ("insulin_sensitivity", "how strongly insulin acts; 1 is the typical adult", 1.0, "{ratio}"),
        ("basal_glucose", "glucose at rest with the usual basal insulin", basal, "mg/dL"),
        ("meal_absorption", "how fast meals arrive; 1 is the typical adult", 1.0, "{ratio}"),
        ("insulin_absorption", "how fast injected insulin arrives; 1 is the typical adult", 1.0, "{ratio}"),
    )
    found = []
    for k, (name, meaning, scale, unit) in enumerate(told):
        low, middle, high = scale * np.exp(np.quantile(theta[:, k], [0.05, 0.5, 0.95]))
        ratio = float(theta[:, k].std(ddof=1) / parts.population[k, 1])
        found.append(ParameterEstimate(name, meaning, float(middle), float(low), float(high), unit, ratio))
    return found


def explain(
    parts: at.Parts, seen: Outlook | None, estimates: list[ParameterEstimate], notes: tuple[str, ...], version: str
) -> Explanation:
    s = parts.scalars
    inputs = (
        f"{int(s[at.READINGS])} sensor readings ({int(s[at.THINNED])} of them closer than 4 min and only counted)",
        f"{int(s[at.DOSES])} insulin entries, {int(s[at.MEALS])} meals, {int(s[at.FINGERS])} blood glucose values",
        f"{int(s[at.LEARNED])} outcomes behind the regression",
    )
    contributions: tuple[Contribution, ...] = ()
    if seen:
        contributions = tuple(
            Contribution(name, meaning, float(value))
            for name, meaning, value in zip(NAMES, MEANINGS, seen.shares[0], strict=True)
        )
    point = seen.points[0] if seen else None
    return Explanation(
        point, contributions, point.physiology_share if point else 0.0, tuple(estimates), inputs, notes, version
    )
