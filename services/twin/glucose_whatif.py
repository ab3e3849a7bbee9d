# ruff: noqa: N806  (symbols as in the papers)
"""What treatment plans would do: every plan from one state, with one chance, in two bodies.

1. the request is held against what the models describe and refused with a reason;
2. whose response: the person's own where the log shows one (a week with insulin and meals, and a
   slope of own corrections whose interval excludes 0), else people as they vary;
3. every plan, and doing nothing more, runs through 60 S2008 and 60 Hovorka members;
4. bands and chances are of all 120; a difference is taken member by member;
5. a plan whose effect has another sign in the other body is refused.

Bands are of the bodies alone: no regression and no adaptive interval, which know the past
but not what a dose does. What is said is what the sensor would read less its noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.twin import glucose_layout as at
from services.twin import glucose_second as both
from services.twin.glucose_answers import Reading
from services.twin.glucose_kernels import U2SS, inputs
from services.twin.glucose_outlook import notes_of, refusal
from services.twin.glucose_plan import NOTHING, Flows, Limits, Plan, check, flows
from services.twin.glucose_responses import own_response
from twinward.errors import Unready
from twinward.learning.response import Slope

VERSION = "whatif-s2008-hovorka-2"
STEP = 30  # min between what is shown
OLDEST = 30.0  # min, of the last reading
HIGHEST = 400.0  # mg/dL, beyond which neither body is described
WITHOUT_INSULIN = 360.0  # min
DAYS_LEAST = 7
COVERAGE = 0.9
NEGLIGIBLE = 2.0  # mg/dL of mean glucose: an effect this small has no sign [G]
Z90 = 1.6449
# How much further people stray from the middle than the bodies do: isolated corrections of T1D-UOM, each person
# judged with the factor of the others (docs/evidence/whatif-people.md).
PEOPLE_WIDER = 1.85
# By how much both ends of an effect's interval are wrong, as a factor: simulated people of seed 78 (bench/whatif.py).
EFFECT_WIDER = 1.2
LOW, HIGH, VERY_LOW, VERY_HIGH = 70.0, 180.0, 54.0, 250.0  # mg/dL (Battelino, Diabetes Care 42:1593, 2019)
OWN, TYPICAL = "this patient", "typical patient"
LABEL = "education and research; a published rule in our words, not advice for this patient"
TREAT_LOW = (
    "Glucose below 70 mg/dL in a person who is awake and can swallow: 15 to 20 g of glucose or other fast "
    "carbohydrate, measure again after 15 minutes, repeat while it is still low."
)
ADA = (
    "American Diabetes Association, Standards of Care in Diabetes 2024, section 6 (Glycemic Goals and "
    "Hypoglycemia), Diabetes Care 47(Suppl 1):S111"
)
HELD = (64, 97)  # of 100: docs/evidence/whatif.md
CAUTION = (
    f"on simulated people the interval of an effect held the true one in {HELD[0]} to {HELD[1]} of 100 cases, by kind "
    "of plan (90 is said); on real people only the bands could be judged"
)


class OutsideValidity(Unready):
    """The models do not describe what is asked."""

    reason = "OUTSIDE_VALIDITY"


@dataclass(frozen=True, slots=True)
class Number:
    value: float  # median, or a probability
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    minutes: int
    glucose: Number  # mg/dL
    effect: Number  # mg/dL, difference to the reference


@dataclass(frozen=True, slots=True)
class Course:
    """What a plan does; percent and mg/dL. `refusal` alone where nothing is said."""

    name: str
    steps: tuple[Step, ...] = ()
    in_range: Number | None = None
    lowest: Number | None = None
    below_70: Number | None = None
    below_54: Number | None = None
    above_250: Number | None = None
    effect: Number | None = None  # on mean glucose
    effect_in_range: Number | None = None
    reason: str = ""
    refusal: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    text: str
    citation: str
    label: str


@dataclass(frozen=True, slots=True)
class WhatIf:
    title: str
    why: tuple[str, ...]
    response: Slope | None
    courses: tuple[Course, ...]  # the reference first
    rules: tuple[Rule, ...]
    notes: tuple[str, ...]
    minutes: int
    last_reading: Reading
    model_version: str


@dataclass(frozen=True, slots=True)
class Body:
    """A twin's state, only looked at."""

    parts: at.Parts
    persons: at.Array
    base: at.Array
    basal: float
    key: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Start:
    """Both ensembles at the state's minute."""

    Z: at.Array
    P: at.Array
    H: at.Array
    X: at.Array
    rates: at.Array


def compare(body: Body, plans: Sequence[Plan], minutes: int, now_ms: int, limits: Limits, model_version: str) -> WhatIf:
    """Raises BadInput, OutsideValidity."""
    check(plans, minutes, limits)
    s = body.parts.scalars
    _within(s, now_ms)
    slope = own_response(body.parts)
    title, why = whose(float(body.parts.logbook[at.DAYS_BOTH]), slope)
    begun = _start(body, own=title == OWN)
    lead = max(now_ms // 60_000 - int(s[at.CURSOR]), 0)
    logged = _logged(body, lead + minutes)
    rate, rate_note = _rate(body, now_ms)
    before = float(s[at.NO_INSULIN])
    reference = _run(body, begun, lead, flows(NOTHING, logged, lead, rate, before))
    if np.median(reference, axis=(0, 1)).max() > HIGHEST:
        raise OutsideValidity(f"glucose is expected above {HIGHEST:.0f} mg/dL, outside what the models describe")
    courses = [course(NOTHING.name, reference, reference)]
    for plan in plans:
        flowing = flows(plan, logged, lead, rate, before)
        if flowing.without_min > WITHOUT_INSULIN:
            courses.append(_refused(plan, "more than 6 h without insulin, which the models do not describe"))
        else:
            courses.append(course(plan.name, _run(body, begun, lead, flowing), reference))
    return WhatIf(
        title,
        why,
        slope,
        tuple(courses),
        (Rule(TREAT_LOW, ADA, LABEL),) if s[at.LAST_G] < LOW else (),
        (*notes_of(s, now_ms), *rate_note, CAUTION),
        minutes,
        Reading(round(s[at.LAST_T] * 60_000), float(s[at.LAST_G]), "sensor"),
        f"{VERSION} on {model_version}",
    )


def _within(s: at.Array, now_ms: int) -> None:
    why = refusal(s, now_ms)
    if why:
        raise OutsideValidity(why)
    age = now_ms / 60_000 - s[at.LAST_T]
    if age > OLDEST:
        raise OutsideValidity(
            f"the last sensor reading is {age:.0f} min old; plans are compared from one of at most {OLDEST:.0f} min"
        )


def whose(days: float, slope: Slope | None) -> tuple[str, tuple[str, ...]]:
    """The title of an answer and what stands behind it."""
    told = [f"{days:.0f} days with logged insulin and meals ({DAYS_LEAST} are needed)"]
    if slope is None:
        told.append("too few isolated corrections to tell this patient's own response")
    else:
        told.append(
            f"own response {slope.slope:.2f} of the predicted ({slope.low:.2f} to {slope.high:.2f}, "
            f"{slope.n} isolated corrections)" + ("" if slope.excludes_none else ": no response is not excluded")
        )
    own = days >= DAYS_LEAST and slope is not None and slope.excludes_none
    return (OWN if own else TYPICAL), tuple(told)


def _start(body: Body, *, own: bool) -> Start:
    Z, P = body.parts.members, body.persons
    people = body.parts.population
    if own:
        Z, P = both.own(Z, P, body.base, body.basal, people)
    else:
        Z, P = both.typical(Z, P, body.base, body.basal, body.key, people)
    return Start(Z, P, *both.second(Z, P, body.base, body.basal, body.key))


def _logged(body: Body, n: int) -> Flows:
    s = body.parts.scalars.copy()
    above, grams = np.empty(n), np.empty(n)
    inputs(s, body.parts.slots, int(s[at.CURSOR]), above, grams)
    return Flows(above, grams, np.zeros(n), 0.0)


def _rate(body: Body, now_ms: int) -> tuple[float, tuple[str, ...]]:
    """The basal rate that runs, IU/min, and a note where it had to be assumed."""
    s = body.parts.scalars
    if now_ms / 60_000 < s[at.BASAL_UNTIL]:
        return float(s[at.BASAL_RATE]), ()
    if s[at.BASAL_USUAL] > 0:
        return float(s[at.BASAL_USUAL]), ()
    rate = float(np.median(body.persons[:, U2SS])) * float(body.persons[0, both.BW]) / both.PMOL_PER_UNIT
    return rate, (f"no basal rate is logged; {rate * 60:.1f} IU/h is assumed to run",)


def _run(body: Body, begun: Start, lead: int, flowing: Flows) -> at.Array:
    """(2, MEMBERS, n) paths of both bodies, 5 min apart."""
    start = int(body.parts.scalars[at.CURSOR])
    n = (len(flowing.above) - lead) // both.EVERY
    out = np.empty((2, at.MEMBERS, n))
    Z, X = begun.Z.copy(), begun.X.copy()
    given = flowing.above, flowing.grams, flowing.quick
    both.follow(Z, begun.P, start, lead, *given, *body.key, out[0])
    both.follow_second(X, begun.H, begun.rates, begun.Z, start, lead, *given, *body.key, out[1])
    return np.maximum(out, 0.0)


def course(name: str, paths: at.Array, reference: at.Array) -> Course:
    """What `paths` (2 bodies, members, 5-min steps) say, beside `reference` of the same members."""
    change = paths - reference
    first, second = np.median(change.mean(axis=2), axis=1).tolist()
    if first * second < 0 and min(abs(first), abs(second)) > NEGLIGIBLE:
        return Course(
            name,
            reason="MODELS_DISAGREE",
            refusal=f"the two body models differ on the direction: mean glucose {first:+.0f} mg/dL by S2008, "
            f"{second:+.0f} by Hovorka; nothing is said",
        )
    if np.median(paths, axis=(0, 1)).max() > HIGHEST:
        return Course(
            name, reason="OUTSIDE_VALIDITY",
            refusal=f"glucose is expected above {HIGHEST:.0f} mg/dL, outside what the models describe",
        )  # fmt: skip
    paths, reference = strayed(paths), strayed(reference)
    all_paths = paths.reshape(-1, paths.shape[2])
    inside = 100 * ((paths >= LOW) & (paths <= HIGH)).mean(axis=2)
    inside_then = 100 * ((reference >= LOW) & (reference <= HIGH)).mean(axis=2)
    effect = effect_band(change.mean(axis=2))
    unsure = ("whether mean glucose rises or falls is not certain",) if effect.low < 0 < effect.high else ()
    every = STEP // both.EVERY
    steps = tuple(
        Step((k + 1) * both.EVERY, band(all_paths[:, k]), effect_band(change[:, :, k]))
        for k in range(every - 1, paths.shape[2], every)
    )
    return Course(
        name,
        steps,
        band(inside),
        band(paths.min(axis=2)),
        chance(paths.min(axis=2) < LOW),
        chance(paths.min(axis=2) < VERY_LOW),
        chance(paths.max(axis=2) > VERY_HIGH),
        effect,
        band(inside - inside_then),
        notes=(*unsure, *_split(change, every)),
    )


def _split(change: at.Array, every: int) -> tuple[str, ...]:
    middle = np.median(change, axis=1)[:, every - 1 :: every]
    apart = (middle[0] * middle[1] < 0) & (np.abs(middle).min(axis=0) > NEGLIGIBLE)
    if not apart.any():
        return ()
    where = ", ".join(f"{STEP * (k + 1)}" for k in np.flatnonzero(apart))
    return (f"the two body models differ on the direction of the effect at minute {where}",)


def _refused(plan: Plan, why: str) -> Course:
    return Course(plan.name, reason="OUTSIDE_VALIDITY", refusal=why)


def band(values: at.Array) -> Number:
    low, middle, high = np.quantile(values, [0.5 - COVERAGE / 2, 0.5, 0.5 + COVERAGE / 2])
    return Number(float(middle), float(low), float(high))


def strayed(paths: at.Array) -> at.Array:
    """`paths` (2 bodies, members, n) as far about their middle as people are found to be; never below 0."""
    middle = np.median(paths, axis=(0, 1))
    return np.maximum(middle + PEOPLE_WIDER * (paths - middle), 0.0)


def effect_band(change: at.Array) -> Number:
    """Of (2 bodies, members): what either body alone allows, wider by a factor. Nobody knows which body is right, so
    that the mixture of both leaves out a patient who is all of one. An end keeps its sign."""
    low, high = (float(pick(np.quantile(change, q, axis=1)))
                 for pick, q in ((np.min, 0.5 - COVERAGE / 2), (np.max, 0.5 + COVERAGE / 2)))  # fmt: skip
    return Number(
        float(np.median(change)),
        low / EFFECT_WIDER if low > 0 else low * EFFECT_WIDER,
        high / EFFECT_WIDER if high < 0 else high * EFFECT_WIDER,
    )


def chance(happens: np.ndarray) -> Number:
    """Percent of (2 bodies, members); Wilson's interval (JASA 22:209, 1927), widened to what each body says."""
    n, share = happens.size, float(happens.mean())
    middle = (share + Z90**2 / (2 * n)) / (1 + Z90**2 / n)
    half = Z90 / (1 + Z90**2 / n) * float(np.sqrt(share * (1 - share) / n + Z90**2 / (4 * n * n)))
    each = happens.mean(axis=1)
    low, high = min(middle - half, float(each.min())), max(middle + half, float(each.max()))
    return Number(100 * share, 100 * max(min(low, share), 0.0), 100 * min(max(high, share), 1.0))
