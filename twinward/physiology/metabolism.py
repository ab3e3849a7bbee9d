"""Metabolism: glucose, ketones, water, salts, kidney and warmth of one person, for a body to plug in.

    every 2 s      what the body is (pressure, output, blood, lactate, carbon dioxide) and what is given is summed;
                   urine and water flow as worked out when the minute began
    every minute   glucose one RK4 step; then everything slower by what flowed; then the flows of the next minute

So a dose acts from the end of the minute it is given in, and any cutting of the same 2-s steps gives the same bits.
Amounts are moved, never levels: water and potassium change by intake and loss alone (tested).
`advance` leaves to its caller: where crystalloid goes at once (it counts here as water outside cells; `plasma_ml` is
only what this model did itself: urine, drinking, osmosis), and breathing: `drive` is the factor on the carbon dioxide
that is kept (Winters), a restatement of HCO3, not one more effect.

kinds  healthy (Dalla Man 2007), t1d (S2008 at its basal rate), dka (metabolism_dka.py: days without insulin,
reached by running). Not in it: hormones but insulin, adrenaline and glucagon; phosphate; chloride; liver. For teaching.
Education and research; not a medical device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed, Tampered, Unready
from twinward.physiology import dalla_man
from twinward.physiology import electrolytes as salts
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology import ketones as ketosis
from twinward.physiology import metabolism_glucose as sugar
from twinward.physiology.glucose_state import State
from twinward.physiology.meaning import check
from twinward.physiology.metabolism_given import RATES, Flow, allowed
from twinward.physiology.metabolism_meaning import FLOWS, PARAMETERS, STATES, VALUES
from twinward.physiology.metabolism_minute import flows, glucose_minute, slow_minute
from twinward.physiology.ventilation import pH

Array = NDArray[np.float64]
MODEL = "metabolism-1"
KINDS = ("healthy", "t1d", "dka")
STEP_S, PER_MINUTE = 2.0, 30
# What differs by kind: glucose of Dalla Man's subjects; in type 1 diabetes 1 IU takes 35 mg/dL off (rule of 1,800 [M];
# in S2008's typical adult 18), and the adrenal answer is weakened [G].
OWN = {"healthy": {"glucose": 92.0}, "t1d": {"sensitivity": 1.8, "alert": 0.6}, "dka": {"alert": 0.6}}
BY_MOUTH = ("glucose_oral", "meal", "water")
INPUTS = ("MAP", "output_l_min", "blood_ml", "lactate", "PaCO2")
LIMITS = ((0.0, 400.0), (0.0, 40.0), (200.0, 20_000.0), (0.0, 60.0), (5.0, 200.0))


@dataclass(frozen=True, slots=True)
class Exchange:
    """Flows are of the stretch, levels those at its end."""

    plasma_ml: float  # water into (+) or out of (-) plasma
    urine_ml: float
    HCO3: float  # mmol/L
    Na: float  # mmol/L
    K: float  # mmol/L
    glucose: float  # mg/dL
    ketones: float  # mmol/L, 3-hydroxybutyrate
    temperature: float  # degC
    sympathetic: float  # 0..1, answer to low glucose and to ketones
    drive: float  # factor on the carbon dioxide that is kept
    awake: float  # 1 clear, below 0.5 does not swallow safely, 0 unconscious


@dataclass(slots=True)
class Metabolism:
    kind: str
    values: dict[str, float]  # PARAMETERS
    body: State  # glucose and insulin; minute counts from the start
    slow: dict[str, float]  # STATES
    flow: dict[str, float]  # FLOWS, of the minute that runs
    ticks: int = 0  # 2-s steps of the minute that runs
    sums: list[float] = field(default_factory=lambda: [0.0] * len(INPUTS))
    pending: dict[str, float] = field(default_factory=dict)  # given in the minute that runs
    running: list[Flow] = field(default_factory=list)

    @classmethod
    def start(cls, kind: str, weight_kg: float = VALUES["weight"], **values: float) -> Metabolism:
        """Somebody at rest, or, "dka", after days without insulin (the start's glucose is then the one in health).

        Raises:
            BadInput: an unknown kind or name, or a value nobody has.
        """
        if kind not in KINDS:
            raise BadInput(f"kinds are {', '.join(KINDS)}")
        if unknown := set(values) - set(VALUES):
            raise BadInput(f"metabolism has no {', '.join(sorted(unknown))}")
        if kind == "dka":
            from twinward.physiology.metabolism_dka import start  # it runs this class

            return start(weight_kg, **values)
        return cls.at_rest(kind, weight_kg, values)

    @classmethod
    def at_rest(cls, kind: str, weight_kg: float, given: Mapping[str, float]) -> Metabolism:
        v = VALUES | OWN.get(kind, {}) | dict(given)
        v["weight"] = float(weight_kg)
        check(v, PARAMETERS)
        if kind == "healthy":
            body = sugar.healthy(v["weight"], v["glucose"], v["sensitivity"])
        else:
            body = sugar.type_1(v["weight"], v["glucose"], v["sensitivity"])
        # Insulin works against what stress makes as against the rest.
        body.p[dalla_man.KP1 if kind == "healthy" else s2008.KP1] += v["stress"]
        x = dict.fromkeys(STATES, 0.0)
        outside = v["ECF"] * v["weight"]
        x |= {
            "water": (v["ECF"] + v["ICF"]) * v["weight"], "Na_e": v["Na0"] * outside, "K_e": v["K0"] * outside,
            "K_i": v["K_cells"] * v["weight"], "ketones": v["ketones0"], "insulin": 1.0,
            "creatinine": v["creatinine0"], "temperature": v["set_point"], "drinking": 1.0, "eating": 1.0, "awake": 1.0,
            "basal": 0.0 if kind == "healthy" else 1.0,
        }  # fmt: skip
        one = cls(kind, v, body, x, dict.fromkeys(FLOWS, 0.0))
        one.flow = flows(one, [v["usual_MAP"], 5.0, v["usual_blood"], v["lactate0"], v["PaCO20"]])
        return one

    @property
    def now_s(self) -> float:
        return self.body.minute * 60.0 + self.ticks * STEP_S

    def give(self, what: str, amount: float, unit: str, over_s: float = 0.0) -> None:
        """Acts from the end of the running minute on; `what` and its units: metabolism_given.GIVABLE.

        An amount comes at once or evenly over `over_s`; a rate holds until changed, or for `over_s`.

        Raises:
            BadInput: not known, another unit, or out of range.
        """
        row, value = allowed(what, amount, unit, over_s)
        if what == "insulin_sc" and self.kind == "healthy":
            raise BadInput(
                "insulin under the skin is modelled in type 1 diabetes only: start a t1d, or give it by vein"
            )
        if what in BY_MOUTH and self.slow["awake"] < sugar.SWALLOWS:
            raise BadInput("this patient is too drowsy to swallow safely: give glucose by vein, or glucagon")
        if row.kind == "level":
            self.slow[RATES.get(what, what)] = value
        elif row.rate:
            self.running = [one for one in self.running if one.what != what or one.bolus]
            if value:
                steps = max(round(over_s / STEP_S), 1) if over_s else -1
                self.running.append(Flow(what, value * STEP_S / 3600.0, steps, False))
        elif over_s:
            steps = max(round(over_s / STEP_S), 1)
            self.running.append(Flow(what, value / steps, steps, True))
        else:
            self.pending[what] = self.pending.get(what, 0.0) + value

    def advance(
        self, seconds: float, MAP: float, output_l_min: float, blood_ml: float, lactate: float, PaCO2: float
    ) -> Exchange:
        """Lives on for a multiple of 2 s in a body that stays as given.

        Raises:
            BadInput: not a whole number of steps, or a body that is not one.
            Unready: the state left what the model can describe.
        """
        count = round(seconds / STEP_S)
        if count < 1 or abs(count * STEP_S - seconds) > 1e-9:
            raise BadInput("metabolism advances in steps of 2 s, at least one")
        now = (MAP, output_l_min, blood_ml, lactate, PaCO2)
        for name, value, (low, high) in zip(INPUTS, now, LIMITS, strict=True):
            if not low <= value <= high:  # also false for NaN
                raise BadInput(f"{name} must lie in {low:g}..{high:g}")
        plasma = urine = 0.0
        for _ in range(count):
            plasma += self.flow["moved"] / PER_MINUTE
            urine += self.flow["urine"] / PER_MINUTE
            self._tick(now)
        return self._exchange(plasma, urine, lactate)

    def _tick(self, now: tuple[float, ...]) -> None:
        for k, value in enumerate(now):
            self.sums[k] += value
        for one in self.running:
            self.pending[one.what] = self.pending.get(one.what, 0.0) + one.per_step
            one.left -= 1
        if any(one.left == 0 for one in self.running):
            self.running = [one for one in self.running if one.left]
        self.ticks += 1
        if self.ticks == PER_MINUTE:
            self._minute()

    def _minute(self) -> None:
        inputs = [value / PER_MINUTE for value in self.sums]
        given, self.pending = self.pending, {}
        glucose_minute(self, given)
        slow_minute(self, given, inputs)
        self.flow = flows(self, inputs)
        self.ticks, self.sums = 0, [0.0] * len(INPUTS)
        try:
            check(self.slow, STATES)
            check(self.flow, FLOWS)
        except BadInput as error:
            raise Unready("the metabolism left what the model can describe", detail=error.public) from error

    # What is there now.

    @property
    def outside(self) -> float:
        """L of water outside cells."""
        v, x = self.values, self.slow
        cells = self.tonicity0 * v["ICF"] * v["weight"]
        return float(salts.outside_cells(x["water"], x["Na_e"], self._glucose_mmol, cells))

    @property
    def tonicity0(self) -> float:
        return 2.0 * self.values["Na0"] + self.values["glucose"] / salts.MG_DL_PER_MMOL_L

    @property
    def tonicity(self) -> float:
        return (2.0 * self.slow["Na_e"] + self._glucose_mmol) / self.outside

    @property
    def _glucose_mmol(self) -> float:
        """Outside cells; concentration in the usual volume, so lost water does not change it."""
        volume = self.values["ECF"] * self.values["weight"]
        return self._undiluted / salts.MG_DL_PER_MMOL_L * volume

    @property
    def _undiluted(self) -> float:
        x, p = self.body.x, self.body.p
        if self.kind == "healthy":
            return float(x[dalla_man.GP] / p[dalla_man.VG])
        return float(x[s2008.GP] / p[s2008.VG])

    @property
    def glucose(self) -> float:
        """mg/dL, in the volume that is there."""
        return self._undiluted * self.values["ECF"] * self.values["weight"] / self.outside

    @property
    def insulin(self) -> float:
        """Plasma insulin, pmol/L."""
        x, p = self.body.x, self.body.p
        if self.kind == "healthy":
            return float(x[dalla_man.IP] / p[dalla_man.VI])
        return float(x[s2008.IP] / p[s2008.VI])

    def bicarbonate(self, lactate: float) -> float:
        v, x = self.values, self.slow
        found = ketosis.bicarbonate(
            v["HCO30"], v["anions"], x["ketones"], v["ketones0"], x["base_lost"], lactate - v["lactate0"]
        )
        return float(max(found, ketosis.HCO3_LEAST))

    def signs(self) -> list[str]:
        """What low glucose does to a person, typically."""
        return sugar.signs(self.glucose)

    def laboratory(self, lactate: float, PaCO2: float) -> Mapping[str, float]:
        """Levels by name: mmol/L; glucose and creatinine mg/dL; pH; insulin pmol/L; water in L; tonicity mmol/L."""
        x, outside = self.slow, self.outside
        HCO3 = self.bicarbonate(lactate)
        Na = x["Na_e"] / outside
        return {
            "glucose": self.glucose, "ketones": x["ketones"], "HCO3": HCO3, "pH": pH(HCO3, PaCO2), "Na": Na,
            "K": x["K_e"] / outside, "creatinine": x["creatinine"], "insulin": self.insulin,
            "tonicity": self.tonicity, "water": x["water"], "outside": outside,
            "GFR": self.flow["GFR"], "base_lost": x["base_lost"],
        }  # fmt: skip

    @property
    def plasma_missing_ml(self) -> float:
        """What a body that joins now has less in its vessels than in health."""
        return -self.slow["plasma"]

    @property
    def _alarmed(self) -> float:
        """Adrenal answer to ketoacidosis: felt by the heart here; what it makes of glucose is in `stress`."""
        v = self.values
        return min(max((self.slow["ketones"] - 1.0) / (v["ketones_alert"] - 1.0), 0.0), 1.0)

    def _exchange(self, plasma: float, urine: float, lactate: float) -> Exchange:
        v, x, outside = self.values, self.slow, self.outside
        HCO3 = self.bicarbonate(lactate)
        kept = max(v["PaCO20"] - v["Winters"] * (v["HCO30"] - HCO3), 12.0)
        return Exchange(
            plasma, urine, HCO3, x["Na_e"] / outside, x["K_e"] / outside, self.glucose, x["ketones"],
            x["temperature"], max(x["adrenal"], self._alarmed), kept / v["PaCO20"], x["awake"],
        )  # fmt: skip

    def dump(self) -> bytes:
        """Everything the future depends on, as a head of names and float64."""
        head = {
            "model": MODEL, "kind": self.kind, "ticks": self.ticks, "pending": list(self.pending),
            "running": [[one.what, one.left, one.bolus] for one in self.running],
        }  # fmt: skip
        numbers = [
            *self.values.values(), *self.slow.values(), *self.flow.values(), *self.sums, *self.pending.values(),
            *(one.per_step for one in self.running),
        ]  # fmt: skip
        first = json.dumps(head, separators=(",", ":")).encode()
        parts = (first, np.array(numbers, "<f8").tobytes(), self.body.dump())
        body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return body + hashlib.sha256(body).digest()

    @classmethod
    def load(cls, kept: bytes) -> Metabolism:
        """Raises Malformed: not a snapshot of this model. Tampered: not what was stored."""
        body, seal = kept[:-32], kept[-32:]
        if hashlib.sha256(body).digest() != seal:
            raise Tampered("the snapshot is not the one that was stored")
        try:
            parts, at = [], 0
            while at < len(body):
                size = int.from_bytes(body[at : at + 4], "big")
                parts.append(body[at + 4 : at + 4 + size])
                at += 4 + size
            head = json.loads(parts[0])
            if head["model"] != MODEL or head["kind"] not in KINDS:
                raise Malformed("this is a snapshot of another model")
            return cls._of(head, np.frombuffer(parts[1], "<f8").tolist(), parts[2])
        except (ValueError, KeyError, IndexError, TypeError, StopIteration) as error:
            raise Malformed("this is no snapshot of a metabolism") from error

    @classmethod
    def _of(cls, head: Mapping[str, object], numbers: list[float], body: bytes) -> Metabolism:
        rest = iter(numbers)
        values = {name: next(rest) for name in PARAMETERS}
        slow = {name: next(rest) for name in STATES}
        flow = {name: next(rest) for name in FLOWS}
        check(values, PARAMETERS)
        check(slow, STATES)
        sums = [next(rest) for _ in INPUTS]
        pending = {str(name): next(rest) for name in head["pending"]}  # type: ignore[attr-defined]
        running = [Flow(str(what), next(rest), int(left), bool(bolus)) for what, left, bolus in head["running"]]  # type: ignore[attr-defined]
        kind = str(head["kind"])
        model = dalla_man.MODEL if kind == "healthy" else options.MODEL
        return cls(kind, values, State.load(body, model), slow, flow, int(str(head["ticks"])), sums, pending, running)
