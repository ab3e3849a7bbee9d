"""One circulation through time: advance, watch, keep, restore.

A snapshot is everything the future depends on: parameters, state with the reflexes' memory, schedule,
and the number of steps lived. The same steps in any pieces give the same bits.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed, Unready
from twinward.physiology import circulation as c
from twinward.physiology.circulation_interventions import Intervention, schedule
from twinward.physiology.circulation_meaning import CIRCULATION_PARAMETERS, CIRCULATION_STATES, shipped
from twinward.physiology.meaning import check

Array = NDArray[np.float64]
MODEL = "circulation-ursino-1"
TYPICAL_BLOOD_ML = 5300.0
SETTLING_S = 300.0
STEPS_PER_S = 500
COLUMNS = {name: k for k, name in enumerate((*c.STATES, *c.SEEN))}
WIDTH = len(COLUMNS)


class Outside(StrEnum):
    """Where the model runs on but should not be believed."""

    PRESSURE = "mean arterial pressure outside 40-160 mmHg"
    RATE = "heart rate outside 30-180 per minute"
    LOSS = "more than 45 % of the blood lost"
    VEINS = "veins below their unstressed volume: they would collapse, here they do not"
    CONGESTION = "left atrial pressure above 35 mmHg"


@dataclass(frozen=True, slots=True)
class Trace:
    """What was watched: `rows` (n, 46), columns as COLUMNS, `hz` a second, the first at `start_s`."""

    start_s: float
    hz: float
    rows: Array

    def __getitem__(self, name: str) -> Array:
        return np.asarray(self.rows[:, COLUMNS[name]])

    @property
    def seconds(self) -> Array:
        return np.asarray(self.start_s + np.arange(len(self.rows)) / self.hz)


@dataclass(slots=True)
class Circulation:
    parameters: Array  # (75,)
    state: Array  # (36,)
    blood_ml: float  # at the start of life
    steps: int = 0
    events: Array = field(default_factory=lambda: np.zeros((0, 5)))
    means: Array = field(default_factory=lambda: np.zeros(WIDTH))  # of the last stretch; columns as COLUMNS

    @classmethod
    def start(cls, parameters: Array | None = None, blood_ml: float = TYPICAL_BLOOD_ML) -> Circulation:
        """A person at rest, 300 s settled; time zero is after settling.

        Raises:
            BadInput: a parameter no adult has.
        """
        p = shipped() if parameters is None else np.array(parameters, float)
        if p.shape != (len(c.PARAMETERS),):
            raise BadInput("a circulation has 75 parameters")
        check(dict(zip(c.PARAMETERS, p.tolist(), strict=True)), CIRCULATION_PARAMETERS)
        if not 1500.0 <= blood_ml <= 9000.0:
            raise BadInput("blood volume must lie in 1500..9000 mL")
        one = cls(p, c.start(p, blood_ml), blood_ml)
        one.advance(SETTLING_S)
        one.steps = 0
        return one

    @property
    def now_s(self) -> float:
        return self.steps / STEPS_PER_S

    def schedule(self, interventions: Iterable[Intervention]) -> None:
        """Adds to what is to be done.

        Raises:
            BadInput: one of them begins in the past.
        """
        chosen = list(interventions)
        if any(one.start_s < self.now_s for one in chosen):
            raise BadInput("an intervention cannot begin in the past")
        self.events = np.vstack([self.events, schedule(chosen)])

    def advance(self, seconds: float, hz: int = 0) -> Trace:
        """Lives on for `seconds` (a multiple of 2 ms); `hz` divides 500, or 0 to watch nothing.

        Raises:
            BadInput: not a whole number of steps, or a rate that does not divide 500.
            Unready: the state left what the equations can describe; the circulation is as before.
        """
        steps = round(seconds * STEPS_PER_S)
        if steps < 0 or abs(steps - seconds * STEPS_PER_S) > 1e-6:
            raise BadInput("time advances in steps of 2 ms")
        if hz < 0 or (hz > 0 and STEPS_PER_S % hz):
            raise BadInput("a trace has a rate that divides 500 per second")
        every = STEPS_PER_S // hz if hz else 0
        first = self.steps
        late = -(-first // every) if hz else 0
        count = -(-(first + steps) // every) - late if hz else 0
        rows, x, sums = np.empty((count, WIDTH)), self.state.copy(), np.zeros(WIDTH)
        c.run(self.parameters, x, self.events, first, steps, c.STEP_S, every, rows, sums)
        believable(x)
        self.means = sums / seconds if steps else self.means
        self.state, self.steps = x, first + steps
        return Trace(late * every / STEPS_PER_S if hz else self.now_s, float(hz), rows)

    def believed(self, trace: Trace) -> tuple[Outside, ...]:
        """Where this stretch left the range in which the model was checked; empty is good."""
        mean, rate = float(trace["Psa"].mean()), 60.0 / float(trace["T"].mean())
        lost = -float(self.state[c.GIVEN]) / self.blood_ml
        doubts = (
            (Outside.PRESSURE, not 40.0 <= mean <= 160.0),
            (Outside.RATE, not 30.0 <= rate <= 180.0),
            (Outside.LOSS, lost > 0.45),
            (Outside.VEINS, float((trace["Vsv"] + trace["Vev"]).min()) < float(self._unstressed(trace).max())),
            (Outside.CONGESTION, float(trace["Pla"].mean()) > 35.0),
        )
        return tuple(flag for flag, doubt in doubts if doubt)

    def _unstressed(self, trace: Trace) -> Array:
        p = self.in_force()
        return np.asarray(p[c.VSV0] + p[c.VEV0] + trace["dVsv"] + trace["dVev"] + trace["dVcp"])

    def in_force(self) -> Array:
        """The parameters of the last step lived, with what interventions make of them."""
        p, last = self.parameters.copy(), max(self.steps - 1, 0)
        if self.steps:
            c.dose(self.events, (last - last % c.EVERY_STEPS) * c.STEP_S, self.parameters, p, np.zeros(3))
        return p

    def blood_now_ml(self) -> float:
        return c.blood(self.state, self.in_force())

    def dump(self) -> bytes:
        """Everything the future depends on."""
        held = io.BytesIO()
        np.savez(
            held,
            model=np.array(MODEL),
            parameters=self.parameters,
            state=self.state,
            events=self.events,
            blood_ml=np.array(self.blood_ml),
            steps=np.array(self.steps, np.int64),
        )
        return held.getvalue()

    @classmethod
    def load(cls, kept: bytes) -> Circulation:
        """Raises Malformed: not a snapshot of this model."""
        try:
            with np.load(io.BytesIO(kept), allow_pickle=False) as held:
                found = {name: np.array(held[name]) for name in held.files}
            if str(found["model"]) != MODEL or found["state"].shape != (c.N_STATES,):
                raise Malformed("this is a snapshot of another model")
            if found["parameters"].shape != (len(c.PARAMETERS),) or found["events"].shape[1:] != (5,):
                raise Malformed("this is a snapshot of another model")
            believable(found["state"])
            p, events, steps = found["parameters"], found["events"], int(found["steps"])
            if steps < 0 or not (np.isfinite(p).all() and runnable(events)):
                raise Malformed("this snapshot holds what no circulation can run")
            return cls(p, found["state"], float(found["blood_ml"]), steps, events)
        except (ValueError, KeyError, OSError, EOFError, Unready) as error:
            raise Malformed("this is no snapshot of a circulation", detail=str(error)) from error


def believable(x: Array) -> None:
    """Raises Unready: a state that is not finite or that nobody could have, such as a negative volume."""
    try:
        check(dict(zip(c.STATES, x.tolist(), strict=True)), CIRCULATION_STATES)
    except BadInput as error:
        raise Unready("the circulation left what the model can describe", detail=error.public) from error


def runnable(events: Array) -> bool:
    """Whether every target exists: the kernel writes where a schedule says, unchecked."""
    target = events[:, c.E_TARGET]
    parameter = (target >= 0) & (target < len(c.PARAMETERS))
    flow = (target >= c.BLEED) & (target <= c.FLUID)
    return bool(np.isfinite(events).all() and ((parameter | flow) & (target == np.floor(target))).all())
