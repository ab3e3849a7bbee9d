"""A body of four numbers, for tests of the session's own promises: blood, pressor, glucose, potassium.

Not physiology: it reacts in the right direction and at once, so that a thousand sessions can be lived in a test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from services.twin.session_body import Vocabulary
from twinward.errors import BadInput, Malformed, Unready

UNITS = {
    "crystalloid": ("mL",), "blood": ("mL",), "bleed": ("mL/min",), "stop_bleeding": ("",),
    "norepinephrine": ("ug/kg/min",), "insulin_iv": ("IU", "IU/h"), "potassium_chloride": ("mmol",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gift:
    what: str
    amount: float = 0.0
    unit: str = ""
    over_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    waves: Mapping[str, NDArray[np.float32]]


@dataclass(slots=True)
class SmallBody:
    MODEL: ClassVar[str] = "small-1"
    blood: float = 5000.0
    bleed: float = 0.0  # mL/min
    flow: float = 0.0  # mL/s coming in
    flow_left_s: float = 0.0
    pressor: float = 0.0
    glucose: float = 400.0
    potassium: float = 3.2
    insulin: float = 0.0
    now_s: float = 0.0
    dead: bool = False
    given: list[str] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return not self.dead

    def give(self, one: Gift) -> None:
        if one.what not in UNITS or one.unit not in UNITS[one.what]:
            raise BadInput("this body is not given that")
        if not 0.0 <= one.amount <= 5000.0:
            raise BadInput("too much")
        self.given.append(one.what)
        match one.what:
            case "bleed":
                self.bleed = one.amount
            case "stop_bleeding":
                self.bleed = 0.0
            case "norepinephrine":
                self.pressor = one.amount
            case "insulin_iv":
                self.insulin += one.amount
            case "potassium_chloride":
                self.potassium += one.amount / 100
            case _:
                if one.over_s:
                    self.flow, self.flow_left_s = one.amount / one.over_s, one.over_s
                else:
                    self.blood += one.amount

    def advance(self, seconds: float, hz: int = 0) -> Seen:
        if self.dead:
            raise Unready("the patient has died; nothing further is computed")
        for _ in range(round(seconds / 2)):
            self.now_s += 2.0
            self.blood -= self.bleed / 30.0
            if self.flow_left_s > 0.0:
                self.blood += 2.0 * self.flow
                self.flow_left_s -= 2.0
            self.glucose -= 0.02 * self.insulin
            self.potassium -= 0.0005 * self.insulin
            self.insulin *= 0.999
            self.dead = self.map < 30.0
        t = self.now_s - seconds + np.arange(round(seconds * hz)) / max(hz, 1)
        return Seen({"abp": np.sin(t).astype(np.float32), "ecg": np.cos(t).astype(np.float32)} if hz else {})

    @property
    def map(self) -> float:
        return 93.0 - 0.02 * max(5000.0 - self.blood, 0.0) + 40.0 * self.pressor

    def numerics(self) -> Mapping[str, float]:
        return {"HR": 70.0 + 0.02 * max(5000.0 - self.blood, 0.0), "MAP": self.map, "SpO2": 97.0}

    def laboratory(self) -> Mapping[str, float]:
        return {"glucose": self.glucose, "K": self.potassium}

    def why(self, since: Mapping[str, float]) -> list[str]:
        return ["blood is being lost"] if self.numerics()["MAP"] < since["MAP"] - 1.0 else []

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class SmallBodies:
    def start(self, kind: str, values: Mapping[str, float]) -> SmallBody:
        if kind != "small":
            raise BadInput("there is one kind of small body")
        return SmallBody(**values)

    def resume(self, values: Mapping[str, float], snapshot: bytes) -> SmallBody:
        raise Malformed("nobody has made a snapshot of this body")

    def load(self, kept: bytes) -> SmallBody:
        try:
            return SmallBody(**json.loads(kept))
        except (ValueError, TypeError) as error:
            raise Malformed("this is no small body") from error

    def gift(self, what: str, amount: float, unit: str, over_s: float) -> Gift:
        return Gift(what, amount, unit, over_s)

    def vocabulary(self) -> Vocabulary:
        return Vocabulary({"HR": "1/min", "MAP": "mmHg", "SpO2": "%"}, {"glucose": "mg/dL", "K": "mmol/L"}, UNITS)
