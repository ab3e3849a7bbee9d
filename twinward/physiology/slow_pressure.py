"""Blood pressure under tablets, over weeks: dose and response by class.

    A(class, dose)   fall at half, standard, twice the standard dose (placebo subtracted)
    each drug        dS_i = A_i + 0.10 (S0 - 154)     dD_i = A_i + 0.11 (D0 - 97)
    together         dS = sum of dS_i                  (effects add across classes)
    over time        dP' = (P_inf - dP) / tau

Law, Wald, Morris, Jordan, BMJ 326:1427 (2003): 354 randomised trials, 40 000 treated [S: abstract]:
9.1/5.5 mmHg at the standard dose, 7.1/4.4 at half; 1.0/1.1 mmHg more per 10 mmHg higher pressure;
additive. Values by class, 154/97 and the doubled dose are [M]; tau is [G].
Units: mmHg, days. Valid for adults, 120-200/60-120 mmHg before treatment, half to twice the standard dose, without
heart failure; trials of 2 weeks or more, few Black patients. A mean over people: a person may differ by more
than a class does. Education and research; not a medical device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log2

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed, NotFound
from twinward.physiology.compiled import Scalar
from twinward.physiology.meaning import Meaning

Array = NDArray[np.float64]
ABSTRACT = "Law 2003 (BMJ 326:1427), abstract [S]"
PAPER = "Law 2003 (BMJ 326:1427), from memory [M]"
OURS = "ours [G]"

PARAMETERS: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("slope_systolic", "more fall per mmHg of systolic pressure", "mmHg/mmHg", 0.0, 0.3, ABSTRACT),
        ("slope_diastolic", "more fall per mmHg of diastolic pressure", "mmHg/mmHg", 0.0, 0.3, ABSTRACT),
        ("S_ref", "usual systolic pressure before treatment in the trials", "mmHg", 140.0, 170.0, PAPER),
        ("D_ref", "usual diastolic pressure before treatment in the trials", "mmHg", 85.0, 105.0, PAPER),
        ("tau", "onset", "day", 3.0, 28.0, OURS),
    )
}
VALUES = {"slope_systolic": 0.10, "slope_diastolic": 0.11, "S_ref": 154.0, "D_ref": 97.0, "tau": 8.5}
# (systolic, diastolic) fall at half, standard, double dose; mean: [S] but double and diastolic double [M].
AVERAGE = "average"
FALLS: Mapping[str, tuple[tuple[float, float], ...]] = {
    AVERAGE: ((7.1, 4.4), (9.1, 5.5), (10.9, 6.5)),
    "thiazide": ((7.4, 3.7), (8.8, 4.4), (10.3, 5.0)),
    "beta blocker": ((7.4, 5.6), (9.2, 6.7), (11.1, 7.8)),
    "ace inhibitor": ((6.9, 3.7), (8.5, 4.7), (10.0, 5.7)),
    "arb": ((7.8, 4.5), (10.3, 5.7), (12.3, 6.5)),
    "calcium channel blocker": ((5.9, 3.9), (8.8, 5.9), (11.7, 7.9)),
}
TAGS = {AVERAGE: "S"} | dict.fromkeys((name for name in FALLS if name != AVERAGE), "M")
CLASS_OF = {"lisinopril": "ace inhibitor", "metoprolol": "beta blocker"}
# One standard dose of a drug, mg/day [M]: Law's web table (BNF 2001).
STANDARD = {"lisinopril": 10.0, "metoprolol": 100.0}


@dataclass(frozen=True, slots=True)
class Treatment:
    """`multiple` of the standard dose of a class, 0.5..2."""

    drug_class: str
    multiple: float


@dataclass(frozen=True, slots=True)
class Fall:
    """mmHg, positive is lower; `tag` the weakest of what went in; `flags` sentences on what lies outside."""

    systolic: float
    diastolic: float
    tag: str
    flags: tuple[str, ...]


def treatment(drug: str, mg_per_day: float) -> Treatment:
    """A drug of ours as a multiple of its class's standard dose.

    Raises:
        NotFound: no tablet for blood pressure here.
    """
    if drug not in CLASS_OF:
        raise NotFound("this drug is not known here as a tablet for blood pressure", detail=drug)
    return Treatment(CLASS_OF[drug], mg_per_day / STANDARD[drug])


def dose_response(falls: tuple[tuple[float, float], ...], multiple: float) -> tuple[float, float]:
    """Between half and double on a line in the logarithm of the dose; nothing beyond."""
    if not 0.5 <= multiple <= 2.0:  # also false for NaN
        raise BadInput("doses are known between half and twice the standard dose")
    place = log2(multiple)
    (a, b) = (falls[0], falls[1]) if place < 0 else (falls[1], falls[2])
    share = place + 1 if place < 0 else place
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def one_drug(fall: Scalar, slope: float, before: Scalar, reference: Scalar) -> Scalar:
    """The fall at the pressure of this person; never a rise."""
    return max(fall + slope * (before - reference), 0 * fall)


def steady(treatments: tuple[Treatment, ...], systolic: float, diastolic: float) -> Fall:
    """Fall after some weeks from `systolic`/`diastolic` before treatment.

    Raises:
        NotFound: a class without trials here.
        BadInput: a dose outside half..twice the standard, the same class twice, or no blood pressure of a person.
    """
    if not (70 <= systolic <= 260 and 30 <= diastolic <= 160 and diastolic < systolic):
        raise BadInput("systolic 70..260 and diastolic 30..160 mmHg, the lower below the higher")
    named = [t.drug_class for t in treatments if t.drug_class != AVERAGE]
    if len(named) != len(set(named)):
        raise BadInput("effects add across classes, not within one")
    v = VALUES
    dS = dD = 0.0
    tag = "S"
    for t in treatments:
        if t.drug_class not in FALLS:
            raise NotFound("no trials of this class are known here", detail=t.drug_class)
        s, d = dose_response(FALLS[t.drug_class], t.multiple)
        dS += one_drug(s, v["slope_systolic"], systolic, v["S_ref"])
        dD += one_drug(d, v["slope_diastolic"], diastolic, v["D_ref"])
        tag = "M"  # the reference pressures are from memory
    return Fall(dS, dD, tag, _flags(treatments, systolic, diastolic))


def _flags(treatments: tuple[Treatment, ...], systolic: float, diastolic: float) -> tuple[str, ...]:
    flags = []
    if not (120 <= systolic <= 200 and 60 <= diastolic <= 120):
        flags.append(
            f"outside validity: {systolic:g}/{diastolic:g} mmHg before treatment; trials had about 120-200/60-120"
        )
    if len(treatments) > 3:
        flags.append(f"outside validity: {len(treatments)} classes; the paper combines three")
    return tuple(flags)


@dataclass(slots=True)
class Course:
    """Systolic and diastolic fall over days; `dump` and `load` give a bit-identical future."""

    systolic: float  # before treatment
    diastolic: float
    fall: tuple[float, float] = (0.0, 0.0)
    goal: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        steady((), self.systolic, self.diastolic)
        if not all(0 <= value <= 150 for value in (*self.fall, *self.goal)):
            raise BadInput("a fall of blood pressure lies in 0..150 mmHg")

    def treat(self, treatments: tuple[Treatment, ...]) -> Fall:
        found = steady(treatments, self.systolic, self.diastolic)
        self.goal = (found.systolic, found.diastolic)
        return found

    def advance(self, days: float) -> tuple[float, float]:
        """Systolic, diastolic after `days`; exact."""
        if not 0 <= days <= 36_500:
            raise BadInput("0..36500 days")
        left = exp(-days / VALUES["tau"])
        self.fall = (
            self.goal[0] + (self.fall[0] - self.goal[0]) * left,
            self.goal[1] + (self.fall[1] - self.goal[1]) * left,
        )
        return self.systolic - self.fall[0], self.diastolic - self.fall[1]

    def dump(self) -> bytes:
        return np.array([self.systolic, self.diastolic, *self.fall, *self.goal], "<f8").tobytes()

    @classmethod
    def load(cls, snapshot: bytes) -> Course:
        if len(snapshot) != 48:
            raise Malformed("not a snapshot of blood pressure under tablets")
        v = [float(x) for x in np.frombuffer(snapshot, "<f8")]
        return cls(v[0], v[1], (v[2], v[3]), (v[4], v[5]))


def batch(falls: Array, multiples: Array, before: Array, slope: float, reference: float) -> Array:
    """The same for many people at once, a second writing: `falls` (3,), `multiples` (N, k), `before` (N,) -> (N,)."""
    at_dose = np.interp(np.log2(multiples), [-1.0, 0.0, 1.0], falls)
    return np.asarray(np.clip(at_dose + slope * (before - reference)[:, None], 0, None).sum(axis=1))
