"""Circulation, oxygen and breathing together: a body that can be lost.

Every two seconds the circulation's means (tissue flow, left atrial pressure; over some beats, by a running mean of
20 s) go to oxygen and breathing, and what the body owes comes back as factors on contractility and on the gains
of the baroreflex. Tissue lends the blood at most 750 mL [G]: a moderate bleed mends itself, a massive one
does not, because debt weakens the heart that would have repaid it (Guyton's progressive shock).
The order of an exchange: circulation lives on, haemoglobin is counted, blood takes oxygen, debt, lactate and carbon
dioxide move, factors are set for the next.

The whole is in `dump`. Education and research; not a medical device.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed, Unready
from twinward.physiology import circulation as c
from twinward.physiology import oxygen, ventilation
from twinward.physiology.body_meaning import BODY_PARAMETERS, BODY_STATES, BODY_VALUES
from twinward.physiology.circulation_interventions import Intervention
from twinward.physiology.circulation_run import COLUMNS, STEPS_PER_S, Circulation, Trace
from twinward.physiology.meaning import check

Array = NDArray[np.float64]
MODEL = "body-circulation-1"
EXCHANGE_S = 2.0
EXCHANGE_STEPS = round(EXCHANGE_S * STEPS_PER_S)
CONTRACTILITY = [c.EL0, c.ER0, c.GEL, c.GER]
REFLEX = [c.GRSP, c.GREP, c.GVSV, c.GVEV, c.GTS]
HB, DEBT, LACTATE, PACO2, SAO2, PAO2, MAP, Q, LAP, DIED = range(10)
# What an exchange shows: a row every two seconds.
SHOWN = ("MAP", "HR", "output", "LAP", "Hb", "DO2", "VO2", "debt", "lactate", "PaCO2", "SaO2", "VE", "pH", "factor")


@dataclass(slots=True)
class Body:
    circulation: Circulation
    base: Array  # (75,): parameters before the body's own factors
    values: dict[str, float]  # BODY_PARAMETERS
    slow: Array  # (10,): BODY_STATES
    usual_output: float  # L/min

    @classmethod
    def start(cls, circulation: Circulation | None = None, **changed: float) -> Body:
        """A body at rest around a circulation at rest.

        Raises:
            BadInput: an unknown name or a value no adult has.
        """
        if unknown := set(changed) - set(BODY_VALUES):
            raise BadInput(f"a body has no {', '.join(sorted(unknown))}")
        values = BODY_VALUES | changed
        check(values, BODY_PARAMETERS)
        one = Circulation.start() if circulation is None else Circulation.load(circulation.dump())
        if one.steps % EXCHANGE_STEPS:
            raise BadInput("a body starts at a whole number of exchanges")
        probe = Circulation.load(one.dump())
        probe.advance(20.0)
        output = tissue_flow(probe.means, probe.parameters)
        pressures = (float(probe.means[c.PSA]), float(probe.means[COLUMNS["Pla"]]))
        gases = [values["lactate0"], values["PaCO2"], 0.97, 90.0]
        slow = np.array(
            [values["Hb"] * one.blood_now_ml() / 100, 0.0, *gases, pressures[0], output, pressures[1], -1.0]
        )
        body = cls(one, one.parameters.copy(), values, slow, output)
        for _ in range(5):  # arterial oxygen and what is taken depend on each other
            body._breathe(0.0)
        return body

    @property
    def now_s(self) -> float:
        return self.circulation.now_s

    @property
    def alive(self) -> bool:
        return bool(self.slow[DIED] < 0.0)

    def schedule(self, interventions: Iterable[Intervention]) -> None:
        self.circulation.schedule(interventions)

    def advance(self, seconds: float, hz: int = 0) -> tuple[Array, Trace]:
        """Lives on for `seconds`, a multiple of 2, or until death; rows (n, 14) as SHOWN and the circulation's trace.

        Raises:
            BadInput: not a whole number of exchanges.
            Unready: the patient has died, or the state left what the equations describe.
        """
        count = round(seconds / EXCHANGE_S)
        if count < 0 or abs(count * EXCHANGE_S - seconds) > 1e-9:
            raise BadInput("a body advances in steps of 2 s")
        if not self.alive:
            raise Unready("the patient has died; nothing further is computed")
        rows, traces, begin = [], [np.empty((0, len(COLUMNS)))], self.now_s
        for _ in range(count):
            traces.append(self.circulation.advance(EXCHANGE_S, hz).rows)
            rows.append(self.exchange())
            if not self.alive:
                break
        return np.array(rows).reshape(-1, len(SHOWN)), Trace(begin, float(hz), np.vstack(traces))

    def exchange(self) -> Array:
        """What two seconds of circulation, just lived, do to the rest; a row as SHOWN."""
        one, v, x = self.circulation, self.values, self.slow
        self._count_haemoglobin()
        now = [one.means[c.PSA], tissue_flow(one.means, one.in_force()), one.means[COLUMNS["Pla"]]]
        x[[MAP, Q, LAP]] += -np.expm1(-EXCHANGE_S / v["beats"]) * (np.array(now) - x[[MAP, Q, LAP]])
        DO2, VO2, VE = self._breathe(EXCHANGE_S / 60.0)
        factor = self.apply()
        if x[MAP] < v["fatal"]:
            x[DIED] = self.now_s
        try:
            check(dict(zip(BODY_STATES, x.tolist(), strict=True)), BODY_STATES)
        except BadInput as error:
            raise Unready("the body left what the model can describe", detail=error.public) from error
        HCO3 = self.bicarbonate()
        return np.array(
            [x[MAP], 60.0 / one.means[COLUMNS["T"]], x[Q], x[LAP], self.haemoglobin(), DO2, VO2, x[DEBT], x[LACTATE],
             x[PACO2], x[SAO2], VE, ventilation.pH(HCO3, x[PACO2]), factor]
        )  # fmt: skip

    def apply(self) -> float:
        """Puts `base`, weakened by what the body owes, in force for the next exchange; the factor."""
        one, v = self.circulation, self.values
        factor = float(oxygen.failing(self.slow[DEBT], v["weight"], v["debt50"], v["debt_n"]))
        one.parameters = self.base.copy()
        one.parameters[CONTRACTILITY] *= factor
        one.parameters[REFLEX] *= factor
        lost = max(-float(one.state[c.GIVEN]), 1.0)
        one.parameters[c.FRF] = min(self.base[c.FRF], v["refill_most"] / lost)
        return factor

    def bicarbonate(self) -> float:
        """mmol/L, after lactate and other acids."""
        v = self.values
        return max(ventilation.bicarbonate(self.slow[LACTATE], v["HCO3"], v["lactate0"]) - v["acids"], 2.0)

    def haemoglobin(self) -> float:
        """g/dL."""
        return float(100.0 * self.slow[HB] / self.circulation.blood_now_ml())

    def _count_haemoglobin(self) -> None:
        """What bled and what was given in the last exchange, by the kernel's own tenths of a second."""
        one, p, q, flows = self.circulation, self.base.copy(), np.zeros(3), np.zeros(3)
        if not len(one.events):
            return
        for s in range(one.steps - EXCHANGE_STEPS, one.steps, c.EVERY_STEPS):
            c.dose(one.events, s * c.STEP_S, self.base, p, q)
            flows += q
        bled, given, _ = flows * c.EVERY_STEPS * c.STEP_S
        self.slow[HB] += self.values["Hb_given"] * given / 100.0 - self.haemoglobin() * bled / 100.0

    def _breathe(self, minutes: float) -> tuple[float, float, float]:
        """Moves oxygen, debt, lactate and carbon dioxide by `minutes`; delivery, uptake, ventilation."""
        v, x, Hb = self.values, self.slow, self.haemoglobin()
        demand, flow = v["demand"] * v["weight"], max(float(x[Q]), 0.05)
        CaO2 = oxygen.content(Hb, x[SAO2], x[PAO2], v["huefner"], v["dissolved"])
        DO2 = float(oxygen.delivery(10.0 * flow, CaO2))
        VO2 = float(oxygen.taken(DO2, demand, x[DEBT], v["extraction"], v["repay"]))
        missing = max(demand - VO2, 0.0)
        HCO3 = self.bicarbonate()
        kept = ventilation.set_point(HCO3, v["HCO3"], v["PaCO2"], v["Winters"])
        VCO2 = v["RQ"] * VO2
        VE = ventilation.ventilation(VCO2, x[PACO2], kept, v["dead"], v["CO2_drive"], v["VE_most"])
        VE = max(v["breathing"] * VE, ventilation.MIN_VENTILATION)
        x[DEBT] = max(x[DEBT] + minutes * (demand - VO2), 0.0)
        space = v["lactate_space"] * v["weight"]
        x[LACTATE] += minutes * oxygen.lactate_rate(
            x[LACTATE], missing, flow / self.usual_output, v["lactate_per_O2"], space, v["lactate0"], v["lactate_tau"]
        )
        x[PACO2] += minutes * (ventilation.needed(VCO2, VE, v["dead"]) - x[PACO2]) / v["CO2_tau"]
        PAO2_ = ventilation.alveolar(v["FiO2"], v["barometer"], v["vapour"], x[PACO2], v["RQ"])
        full = oxygen.content(Hb, ventilation.saturation(PAO2_), PAO2_, v["huefner"], v["dissolved"])
        s = ventilation.shunt(float(x[LAP]), v["shunt0"], v["shunt_slope"], v["LAP_wet"], v["shunt_most"])
        left = ventilation.arterial(float(full), s, VO2, flow)
        x[PAO2] = ventilation.holding(left, v["huefner"] * Hb, v["dissolved"], PAO2_)
        x[SAO2] = ventilation.saturation(x[PAO2])
        return DO2, VO2, VE

    def dump(self) -> bytes:
        """Everything the future depends on."""
        held = io.BytesIO()
        np.savez(
            held,
            model=np.array(MODEL),
            circulation=np.frombuffer(self.circulation.dump(), np.uint8),
            base=self.base,
            values=np.array([self.values[name] for name in BODY_PARAMETERS]),
            slow=self.slow,
            usual_output=np.array(self.usual_output),
        )
        return held.getvalue()

    @classmethod
    def load(cls, kept: bytes) -> Body:
        """Raises Malformed: not a snapshot of this model."""
        try:
            with np.load(io.BytesIO(kept), allow_pickle=False) as held:
                found = {name: np.array(held[name]) for name in held.files}
            if str(found["model"]) != MODEL:
                raise Malformed("this is a snapshot of another model")
            values = dict(zip(BODY_PARAMETERS, found["values"].tolist(), strict=True))
            check(values, BODY_PARAMETERS)
            check(dict(zip(BODY_STATES, found["slow"].tolist(), strict=True)), BODY_STATES)
            one = Circulation.load(found["circulation"].tobytes())
            if found["base"].shape != one.parameters.shape or not np.isfinite(found["base"]).all():
                raise Malformed("this snapshot holds what no body can run")
            if not float(found["usual_output"]) > 0.0:
                raise Malformed("this snapshot holds what no body can run")
            return cls(one, found["base"], values, found["slow"], float(found["usual_output"]))
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise Malformed("this is no snapshot of a body", detail=str(error)) from error


def tissue_flow(means: Array, p: Array) -> float:
    """L/min through both beds of arterioles, from a stretch's means and the parameters in force."""
    low = means[c.DVCP]
    Psv = (means[c.VSV] - p[c.VSV0] - means[c.DVSV] - c.CP_SPLANCHNIC * low) / p[c.CSV]
    Pev = (means[c.VEV] - p[c.VEV0] - means[c.DVEV] - c.CP_OTHER * low) / p[c.CEV]
    through = (means[c.PSP] - Psv) / means[COLUMNS["Rsp"]] + (means[c.PSP] - Pev) / means[COLUMNS["Rep"]]
    return float(through) * 0.06
