"""Is this dose one that people give? Ranges by route and indication, interactions, contraindications.

Answers are ok, unknown, warning or refuse, each with a sentence, its source and tag. What is not in the
tables (drug, route, unit, indication, another drug being taken, a fact nobody gave) is `unknown`, never
ok; `ok` says only that the dose lies within what these tables know. Labels and guidelines: [S] where read
at the maker, an agency or a compendium that prints the label, [M] where from memory or a loose copy (the site
is named); limits above which we refuse are ours [G] unless a label gives one. Adults only. Education and research;
not a medical device: no substitute for the label or a pharmacist.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib.resources import files
from math import isfinite

from twinward.errors import BadInput


class Verdict(IntEnum):
    """The worst wins. Unknown lies below a warning: a warning already says not to go on unseen."""

    OK = 0
    UNKNOWN = 1
    WARNING = 2
    REFUSE = 3


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    sentence: str
    tag: str  # S, M, G; empty where nothing is known
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    findings: tuple[Finding, ...]  # worst first
    not_considered: tuple[str, ...]  # conditions that no row of this drug speaks of

    @property
    def verdict(self) -> Verdict:
        return self.findings[0].verdict

    def __str__(self) -> str:
        return "; ".join(
            f"{f.verdict.name.lower()}: {f.sentence} ({f.source or 'no source here'})" for f in self.findings
        )


@dataclass(frozen=True, slots=True)
class Order:
    """`unit` as written: mg, ug/kg/min, U/h, mg/day ... An amount without a time is one dose."""

    drug: str
    value: float
    unit: str
    route: str
    indication: str | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """None means that nobody said; an empty set means that somebody said there is none. eGFR in mL/min/1.73 m2."""

    weight: float | None = None
    age: float | None = None
    egfr: float | None = None
    conditions: frozenset[str] | None = None
    taking: frozenset[str] | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("weight", 0.3, 400), ("age", 0, 130), ("egfr", 0, 250)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # also false for NaN
                raise BadInput(f"{name} must lie in {low}..{high}")


@dataclass(frozen=True, slots=True)
class Unit:
    """value x factor is ug (or mU), per kg and per minute or day as said."""

    activity: bool  # units of activity, not mass
    factor: float
    per_kg: bool
    time: str  # "" one dose, "rate" per minute, "day"


MASS = {"ng": 1e-3, "ug": 1.0, "mcg": 1.0, "µg": 1.0, "μg": 1.0, "mg": 1e3, "g": 1e6}  # both micro signs
ACTIVITY = {"mU": 1.0, "U": 1e3, "IU": 1e3, "unit": 1e3, "units": 1e3, "Units": 1e3}
TIMES = {"min": ("rate", 1.0), "minute": ("rate", 1.0), "h": ("rate", 1 / 60), "hr": ("rate", 1 / 60),
         "hour": ("rate", 1 / 60), "day": ("day", 1.0), "d": ("day", 1.0)}  # fmt: skip


def unit(written: str) -> Unit | None:
    """What a unit means; None where that is not certain (case counts: mU is not MU)."""
    parts = re.split(r"\s*/\s*", written.strip())
    amount, rest = parts[0], parts[1:]
    if amount not in MASS and amount not in ACTIVITY:
        return None
    per_kg = bool(rest) and rest[0] == "kg"
    rest = rest[1:] if per_kg else rest
    if len(rest) > 1 or (rest and rest[0] not in TIMES):
        return None
    time, per = TIMES[rest[0]] if rest else ("", 1.0)
    return Unit(amount in ACTIVITY, (MASS | ACTIVITY)[amount] * per, per_kg, time)


@dataclass(frozen=True, slots=True)
class Range:
    """One row of doses.csv; low, high and refuse in `unit`."""

    drug: str
    route: str
    indication: str
    unit: str
    low: float
    high: float
    refuse: float
    tag: str
    source: str
    refuse_tag: str
    refuse_source: str


@dataclass(frozen=True, slots=True)
class Caution:
    """One row of cautions.csv. `kind` egfr: below `key`; condition or with: `key` (and the condition `also`)."""

    drug: str
    kind: str
    key: str
    also: str
    verdict: str
    sentence: str
    tag: str
    source: str


def _rows(name: str) -> list[dict[str, str]]:
    text = files("twinward.physiology").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def ranges() -> tuple[Range, ...]:
    numbers = ("low", "high", "refuse")
    return tuple(
        Range(**{k: (float(v) if k in numbers else v) for k, v in row.items()})  # type: ignore[arg-type]
        for row in _rows("doses.csv")
    )


@cache
def cautions() -> tuple[Caution, ...]:
    return tuple(Caution(**row) for row in _rows("cautions.csv"))


CLASSES = {
    "fentanyl": "opioid",
    "morphine": "opioid",
    "remifentanil": "opioid",
    "midazolam": "benzodiazepine",
    "metoprolol": "beta blocker",
}


def check(order: Order, patient: Patient) -> Answer:
    """Everything these tables have to say about `order` in `patient`.

    Raises:
        BadInput: a dose that is not a finite number of at least zero.
    """
    if not (isfinite(order.value) and order.value >= 0):
        raise BadInput("a dose is finite and not negative")
    found = list(_amount(order, patient))
    if any(r.drug == order.drug for r in ranges()):
        found += _cautions(order.drug, patient)
    spoken = {word for c in cautions() if c.drug == order.drug for word in (c.also, c.key)}
    unheard = sorted((patient.conditions or frozenset()) - spoken)
    return Answer(tuple(sorted(found, key=lambda f: -f.verdict)), tuple(unheard))


def _unknown(sentence: str) -> Finding:
    return Finding(Verdict.UNKNOWN, sentence, "", "")


def _amount(order: Order, patient: Patient) -> Iterable[Finding]:
    """Drug, route, unit, indication, then the number: the first that is not known ends it."""
    rows = [r for r in ranges() if r.drug == order.drug]
    if not rows:
        return [_unknown(f"{order.drug} is not in the dose table")]
    rows = [r for r in rows if r.route == order.route]
    if not rows:
        return [_unknown(f"no doses of {order.drug} by the route {order.route} are known here")]
    given = unit(order.unit)
    if given is None:
        return [_unknown(f"the unit {order.unit} is not known here")]
    alike = [r for r in rows if _alike(given, _must(r.unit))]
    if not alike:
        return [_unknown(f"no doses of {order.drug} in a unit like {order.unit} are known here")]
    found: list[Finding] = []
    if patient.age is None:
        found.append(_unknown("nobody gave the age; these ranges are for adults"))
    elif patient.age < 18:
        found.append(_unknown("these ranges are for adults; nothing is known here below 18 years"))
    if order.indication is not None:
        rows = [r for r in alike if r.indication == order.indication]
        if not rows:
            return [*found, _unknown(f"no doses of {order.drug} for {order.indication} are known here"), *_lenient(
                order, given, alike, patient)]  # fmt: skip
        return found + [_judge(order, given, r, patient) for r in rows]
    if len({r.indication for r in alike}) > 1:
        found.append(_unknown(f"the range of {order.drug} depends on why it is given, and nobody said"))
        return found + _lenient(order, given, alike, patient)
    return found + [_judge(order, given, r, patient) for r in alike]


def _lenient(order: Order, given: Unit, rows: list[Range], patient: Patient) -> list[Finding]:
    """What even the widest range says, where the right one is not known; silent if that is nothing bad."""
    mildest = min((_judge(order, given, r, patient) for r in rows), key=lambda f: f.verdict)
    return [mildest] if mildest.verdict > Verdict.OK else []


def _must(written: str) -> Unit:
    found = unit(written)
    if found is None:
        raise BadInput(f"the dose table has the unit {written}")
    return found


def _alike(a: Unit, b: Unit) -> bool:
    return a.activity == b.activity and a.time == b.time


def _judge(order: Order, given: Unit, row: Range, patient: Patient) -> Finding:
    kept = _must(row.unit)
    value = order.value * given.factor / kept.factor
    if given.per_kg != kept.per_kg:
        if patient.weight is None:
            return _unknown(f"{order.unit} against {row.unit} needs a weight")
        value = value * patient.weight if given.per_kg else value / patient.weight
    what = f"{order.drug} {row.route} for {row.indication}: {value:.4g} {row.unit}"
    if _above(value, row.refuse):
        sentence = f"{what} is above {row.refuse:g}, where we refuse"
        return Finding(Verdict.REFUSE, sentence, row.refuse_tag, row.refuse_source)
    if _above(value, row.high):
        return Finding(Verdict.WARNING, f"{what} is above {row.high:g}", row.tag, row.source)
    if value < row.low:
        return Finding(Verdict.OK, f"{what} is below the usual {row.low:g}", row.tag, row.source)
    return Finding(Verdict.OK, f"{what} is within {row.low:g}..{row.high:g}", row.tag, row.source)


def _above(value: float, limit: float) -> bool:
    """Strictly, but not by the rounding of a change of unit."""
    return value > limit * (1 + 1e-9)


def _cautions(drug: str, patient: Patient) -> list[Finding]:
    rows = [c for c in cautions() if c.drug == drug]
    found: list[Finding] = []
    if patient.conditions is None:
        found.append(_unknown("nobody said which conditions the patient has"))
    if patient.taking is None:
        found.append(_unknown("nobody said what else the patient takes"))
    if patient.egfr is None and any(c.kind == "egfr" for c in rows):
        found.append(_unknown(f"{drug} depends on kidney function, and nobody gave an eGFR"))
    conditions, taking = patient.conditions or frozenset(), patient.taking or frozenset()
    wide = taking | {CLASSES[name] for name in taking if name in CLASSES}
    for c in rows:
        below = c.kind == "egfr" and patient.egfr is not None and patient.egfr < float(c.key)
        has = c.kind == "condition" and c.key in conditions
        beside = c.kind == "with" and c.key in wide and (not c.also or c.also in conditions)
        if below or has or beside:
            sentence = f"{drug}: {c.sentence}" if not beside else f"{drug} with {c.key}: {c.sentence}"
            found.append(Finding(Verdict[c.verdict.upper()], sentence, c.tag, c.source))
    ruled = {c.key for c in rows if c.kind == "with"}
    for other in sorted(taking - {drug}):
        if not ruled & {other, CLASSES.get(other, other)}:
            found.append(_unknown(f"whether {drug} goes with {other} is not known here"))
    return found
