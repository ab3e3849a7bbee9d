"""The whole virtual body of the teaching bench.

Circulation, oxygen, breathing, drugs, fluids, sepsis, and a metabolism. Every 2 s: drugs move (patient_drugs), sepsis
lives (sepsis), factors of both go onto the circulation's parameters, wounds and bags flow, the circulation beats
(2 ms steps), blood takes oxygen (body), lungs and kidney answer (patient_breath, patient_fluids), a metabolism moves
water, salts and sugar. Nothing is scripted: a case gives things, the body answers.

    parameters = rest x drugs x sepsis x alarm x posture and mask
    T0         = rest T0 + 60 / (HR + faster) - 60 / HR      faster: sepsis, alarm (brain.py), hypoglycaemia, adrenal;
                 HR at rest
    adrenal    A' = (clip((0.8 - flow) / 0.4, 0, 1) - A) / 3 min, flow over usual: adrenaline of shock; the heart is
                 10 A faster, lactate rises by 0.3 A mmol/L a minute with oxygen at hand [G]
    set point  Pn' = (0.35 S (MAP - Pn at rest) - (Pn - Pn at rest)) / 7 min

The same actions give the same bits in any pieces: everything happens at whole exchanges, waves are functions of
states. Numbers: patient_tables.py. For education and research; not a medical device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Unready
from twinward.physiology import body as b
from twinward.physiology import circulation as c
from twinward.physiology import coupling, ventilation
from twinward.physiology.body import EXCHANGE_S, SHOWN
from twinward.physiology.body_meaning import BODY_VALUES
from twinward.physiology.brain import Brain
from twinward.physiology.circulation_run import COLUMNS, STEPS_PER_S
from twinward.physiology.inflammation import CRP, P
from twinward.physiology.patient_breath import adrenal, end_tidal, hypoxia
from twinward.physiology.patient_drugs import on_symbols
from twinward.physiology.patient_giving import AMOUNT, FASTEST_ML_S, GIVABLE, Given, Way, way
from twinward.physiology.patient_parts import INDEX, Parts
from twinward.physiology.patient_tables import LABORATORY, NUMERICS
from twinward.physiology.patient_waves import CHANNELS, Wave, waves
from twinward.physiology.patient_why import reasons

__all__ = ["CHANNELS", "GIVABLE", "LABORATORY", "NUMERICS", "Given", "Patient", "Watched"]

Array = NDArray[np.float64]
HOURS = EXCHANGE_S / 3600.0
NUMERIC_HZ = 125  # what systolic and diastolic are read from, whoever watches
SETTLING_S = 120.0
RATES = (0, 125, 250)
PN_TAU_S, PN_SHARE = 420.0, 0.35  # slow reset of the baroreflex: Pulse [S]
ADRENAL_TAU_S, ADRENAL_RATE, ADRENAL_LACTATE = 180.0, 10.0, 0.3  # s, 1/min, mmol/L/min [G]
SEPTIC_LACTATE = 0.15  # mmol/L/min at full severity and a mean pressure of 40 mmHg [G]
REST_DEMAND = BODY_VALUES["demand"]


@dataclass(frozen=True, slots=True)
class Watched:
    """`numerics` (n, k): a row every 2 s, columns as NUMERICS; `waves` by channel at `hz`, n x 2 s long."""

    start_s: float
    hz: int
    numerics: Array
    waves: Mapping[str, Wave]


@dataclass(slots=True)
class Patient(Parts):
    """Composed of Parts; what happens in an exchange stands here."""

    @classmethod
    def start(cls, kind: str, values: Mapping[str, float]) -> Patient:
        """A person at rest, or ill as `values` (patient_tables.VALUES) say, two minutes settled; time zero is then.

        Raises:
            BadInput: an unknown kind or value, or one that no adult has.
        """
        one = cls.born(kind, values)
        one.metabolism.values["usual_MAP"] = min(max(float(one.body.slow[b.MAP]), 60.0), 140.0)
        one._settle()
        return one

    def _settle(self) -> None:
        x, memory = self.body.slow, self.memory
        self.lungs.water = max(float(x[b.LAP]) - 18.0, 0.0)
        self.lungs.VE0 = self._rest_ventilation()
        HCO3 = self.metabolism.laboratory(1.0, 40.0)["HCO3"]
        self.body.values["acids"] = min(max(self.values["HCO3"] - HCO3, -30.0), 40.0)
        x[b.PACO2] = ventilation.set_point(HCO3, self.values["HCO3"], 40.0, self.body.values["Winters"])
        state = self.body.circulation.state
        memory.usual_rate = 60.0 / max(float(self.rest[c.T0] + state[c.DTS] + state[c.DTV]), c.SHORTEST_BEAT)
        self.strain.failure = self.values["heart_failure"]
        self.brain = Brain(self.metabolism.values["usual_MAP"], self.values["hypertension"])
        self.sepsis.infect(self.values["infection"])
        tau = self.body.values["lactate_tau"]
        for _ in range(round(self.values["infected_h"] * 3600.0 / EXCHANGE_S)):
            self.sepsis.advance(EXCHANGE_S)
            x[b.LACTATE] += (1.0 + 3.5 * self.sepsis.severity - x[b.LACTATE]) * EXCHANGE_S / 60.0 / tau
        self.metabolism.slow["temperature"] += self.sepsis.fever
        self.lab = {"temperature": self.metabolism.slow["temperature"], "sympathetic": 0.0, "awake": 1.0}
        for _ in range(round(SETTLING_S / EXCHANGE_S)):
            self._exchange(0)
        self.brain.accustomed = max(float(x[b.MAP]), 40.0)
        self.body.circulation.steps = 0
        self.fluids.passed = self.fluids.lost = 0.0

    def _rest_ventilation(self) -> float:
        v = self.body.values
        VCO2 = v["RQ"] * v["demand"] * v["weight"]
        return ventilation.needed(VCO2, v["PaCO2"], v["dead"])

    @property
    def now_s(self) -> float:
        return self.body.now_s

    @property
    def alive(self) -> bool:
        return self.body.alive

    def give(self, one: Given) -> None:
        """Acts from the next exchange on.

        Raises:
            BadInput: an unknown name, a unit it is not given in, an amount out of range, or nothing that takes it.
            Unready: the patient has died.
        """
        found = way(one)
        if not self.alive:
            raise Unready("the patient has died; nothing can be given")
        {"drug": self._drug, "fluid": self._fluid, "setting": self._set, "event": self._happen,
         "metabolic": self._metabolic}[found.kind](one, found)  # fmt: skip

    def _drug(self, one: Given, found: Way) -> None:
        until = self.now_s + one.over_s
        self.drugs.course(one.what)
        if one.what == "furosemide":
            self.metabolism.give(one.what, one.amount, one.unit, one.over_s)  # its kidney has its own kinetics
        if found.rate:
            rate = found.per_minute(one.amount, self.values["weight_kg"])
            self.running.on(one.what, rate, until if one.over_s else float("inf"))
        elif one.over_s:
            self.running.on(one.what, one.amount * AMOUNT[one.unit] / (one.over_s / 60.0), until)
        else:
            self.drugs.inject(one.what, one.amount * AMOUNT[one.unit])

    def _fluid(self, one: Given, found: Way) -> None:
        if one.what == "bleed" and not self.running.per_minute("bleed", self.now_s, EXCHANGE_S):
            self.fluids.opened_at = max(float(self.body.slow[b.MAP]), 20.0)
        if found.rate:
            until = self.now_s + one.over_s if one.over_s else float("inf")
            self.running.on(one.what, found.per_minute(one.amount, self.values["weight_kg"]), until)
        elif one.amount:
            seconds = max(one.over_s, one.amount / FASTEST_ML_S)
            self.running.on(one.what, 60.0 * one.amount / seconds, self.now_s + seconds)

    def _set(self, one: Given, found: Way) -> None:
        setattr(self.lungs, {"oxygen": "FiO2", "cpap": "cpap", "posture": "upright"}[found.name], one.amount)

    def _happen(self, one: Given, found: Way) -> None:
        if found.name == "stop_bleeding":
            self.running.off("bleed")
        elif found.name == "infection":
            self.sepsis.infect(one.amount)
        elif found.name == "antibiotic":
            self.sepsis.dose(one.amount)
        else:
            self.sepsis.control(one.amount)

    def _metabolic(self, one: Given, found: Way) -> None:
        self.metabolism.give(found.name, one.amount, one.unit, one.over_s)

    def advance(self, seconds: float, hz: int = 0) -> Watched:
        """Lives on for `seconds`, a multiple of 2, or until death.

        Raises:
            BadInput: not a whole number of exchanges, or a rate other than 125 and 250 (0: no waves).
            Unready: the patient has died before, or the state left what the equations describe.
        """
        count = round(seconds / EXCHANGE_S) if np.isfinite(seconds) else -1
        if count < 0 or abs(count * EXCHANGE_S - seconds) > 1e-9:
            raise BadInput("a patient advances in steps of 2 s")
        if hz not in RATES:
            raise BadInput("waves come at 125 or 250 a second, or not at all (0)")
        if not self.alive:
            raise Unready("the patient has died; nothing further is computed")
        begin = self.now_s
        rows: list[Array] = []
        pieces: list[Mapping[str, Wave]] = []
        for _ in range(count):
            pieces.append(self._exchange(hz))
            rows.append(self.last)
            if not self.alive:
                break
        shown = np.array(rows).reshape(-1, len(NUMERICS))
        joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in CHANNELS} if hz and pieces else {}
        return Watched(begin, hz, shown, joined)

    def _exchange(self, hz: int) -> Mapping[str, Wave]:
        body, now = self.body, self.now_s
        self.drugs.advance(self.running, now)
        self.sepsis.advance(EXCHANGE_S)
        self._force()
        plasma = self._water(now)
        self.fluids.into_veins(body.circulation.state, plasma)
        rows = body.circulation.advance(EXCHANGE_S, max(hz, NUMERIC_HZ)).rows
        row = dict(zip(SHOWN, body.exchange().tolist(), strict=True))
        self._metabolise()
        before = self.memory.end_tidal, self.memory.Psp
        RR, breaths = self.lungs.RR, self.lungs.breaths
        self._observe(rows[:: max(hz, NUMERIC_HZ) // NUMERIC_HZ], row)
        self.running.forget(self.now_s)
        if not hz:
            return {}
        etCO2, Psp = (before[0], self.memory.end_tidal), (before[1], self.memory.Psp)
        return waves(rows, hz, self.lab["K"], breaths, RR, etCO2, Psp)

    def _force(self) -> None:
        """Puts what drugs, sepsis, posture and sugar do to the parameters in force for the next exchange."""
        many = self.sepsis.multipliers()
        self.targets = self.drugs.targets(many[coupling.PRESSOR])
        base = self.rest.copy()
        rate_kept, force_kept = (self.targets.get(name, 1.0) for name in ("heart_rate_gain", "contractility_gain"))
        alarm = self.brain.factors(rate_kept, force_kept)
        for factors in (on_symbols(self.targets), self.sepsis.factors(), alarm, self.strain.factors()):
            for symbol, factor in factors.items():
                base[INDEX[symbol]] *= factor
        S, HR, memory = self.sepsis.severity, self.memory.usual_rate, self.memory
        x = self.body.slow
        memory.adrenal += (adrenal(self.lungs.flow) - memory.adrenal) * EXCHANGE_S / ADRENAL_TAU_S
        faster = many[coupling.HEART_RATE] + 25.0 * self.lab["sympathetic"] + self.brain.faster(rate_kept)
        faster += ADRENAL_RATE * memory.adrenal
        base[c.T0] = max(base[c.T0] + 60.0 / (HR + faster) - 60.0 / HR, 0.3)
        base[[c.VSV0, c.VEV0]] *= self.lungs.veins
        base[c.K12] *= 1.0 + S
        base[c.K10] = 0.0  # the metabolism makes the urine
        goal = PN_SHARE * S * (float(x[b.MAP]) - self.rest[c.PN])
        memory.Pn += (goal - memory.Pn) * EXCHANGE_S / PN_TAU_S
        base[c.PN] += memory.Pn + self.brain.set_point()
        v = self.body.values
        v["FiO2"], v["shunt0"], v["shunt_slope"] = self.lungs.FiO2, self.lungs.shunt0(), self.lungs.slope()
        v["breathing"] = min(max(self.targets.get("respiratory_drive", 1.0), 0.0), 1.5)
        v["PaCO2"] = self.lungs.set_point(S, self.body.bicarbonate())
        v["demand"] = REST_DEMAND * (1.0 + 0.1 * (self.lab["temperature"] - 37.0))
        v["extraction"] = 0.7 - 0.35 * S  # cells take less of what is brought [G]
        v["lactate0"] = 1.0 + 3.5 * S  # made with oxygen at hand, and cleared less [G]
        starved = min(max((65.0 - float(x[b.MAP])) / 25.0, 0.0), 1.0)  # small vessels below their pressure [G]
        x[b.LACTATE] += (ADRENAL_LACTATE * memory.adrenal + SEPTIC_LACTATE * S * starved) * EXCHANGE_S / 60.0
        self.body.base = base
        self.body.apply()

    def _water(self, now: float) -> float:
        """Sets the flows of the next exchange; mL that plasma gets beside them."""
        one, f, x = self.body.circulation, self.fluids, self.body.slow
        rates = {name: self.running.per_minute(name, now, EXCHANGE_S) for name in ("bleed", "blood", "crystalloid")}
        bleeding = f.wound(rates["bleed"], float(x[b.MAP]), self.drugs.level("tranexamic_acid"))
        f.lost += bleeding * EXCHANGE_S / 60.0
        flows = ((c.BLEED, bleeding), (c.BLOOD, rates["blood"]), (c.FLUID, rates["crystalloid"]))
        events = [[target, now, now + EXCHANGE_S, rate / 60.0, 0.0] for target, rate in flows if rate > 0.0]
        one.events = np.array(events, float).reshape(-1, 5)
        S, many = self.sepsis.severity, self.sepsis.multipliers()
        if rates["crystalloid"]:
            self.metabolism.give("crystalloid", rates["crystalloid"] * EXCHANGE_S / 60.0, "mL")
        plasma = self.running.per_minute("albumin", now, EXCHANGE_S) * EXCHANGE_S / 60.0
        return plasma + f.leak(many[coupling.LEAK], S, one.blood_now_ml(), HOURS)

    def _metabolise(self) -> None:
        x, f, v, metabolism = self.body.slow, self.fluids, self.body.values, self.metabolism
        done = metabolism.advance(
            EXCHANGE_S, float(x[b.MAP]), float(x[b.Q]), self.body.circulation.blood_now_ml(), float(x[b.LACTATE]),
            float(x[b.PACO2]),
        )  # fmt: skip
        f.into_veins(self.body.circulation.state, done.plasma_ml)
        f.urine = done.urine_ml / HOURS
        f.passed += done.urine_ml
        if not self.body.circulation.steps % (60 * STEPS_PER_S):
            metabolism.give("fever", self.sepsis.fever, "delta_degC")
        self.lab = {
            "glucose": done.glucose, "K": done.K, "Na": done.Na, "ketones": done.ketones,
            "temperature": done.temperature, "sympathetic": done.sympathetic, "awake": done.awake,
        }  # fmt: skip
        plain = ventilation.bicarbonate(float(x[b.LACTATE]), v["HCO3"], v["lactate0"])
        v["acids"] = float(min(max(plain - done.HCO3, -30.0), 40.0))

    def _observe(self, rows: Array, row: Mapping[str, float]) -> None:
        """Lungs, slow controllers, and the numbers of the monitor."""
        one, f, memory, means = self.body.circulation, self.fluids, self.memory, self.body.circulation.means
        drugs = self.targets.get("respiratory_drive", 1.0)
        share = row["output"] / self.body.usual_output
        self.lungs.flow, self.lungs.SaO2 = share, row["SaO2"]
        self.lungs.advance(row["LAP"], row["VE"], drugs, self.sepsis.severity, self.body.bicarbonate(), EXCHANGE_S)
        self.brain.advance(row["MAP"], hypoxia(row["SaO2"]), self.lungs.water, EXCHANGE_S)
        memory.CVP += (float(means[COLUMNS["Pra"]]) - memory.CVP) * -np.expm1(-EXCHANGE_S / 8.0)
        memory.Psp += (float(means[c.PSP]) - memory.Psp) * -np.expm1(-EXCHANGE_S / 8.0)
        memory.end_tidal += (end_tidal(row["PaCO2"], share) - memory.end_tidal) * -np.expm1(-EXCHANGE_S / 6.0)
        high, low = float(rows[:, c.PSA].max()), float(rows[:, c.PSA].min())
        SBP, DBP = max(high, memory.highest), min(low, memory.lowest)
        memory.highest, memory.lowest = high, low
        HR, output = row["HR"], row["output"]
        self.strain.advance(hypoxia(row["SaO2"]), HR, SBP, EXCHANGE_S)
        v, debt = self.body.values, row["debt"] / self.values["weight_kg"]
        shunt = ventilation.shunt(row["LAP"], v["shunt0"], v["shunt_slope"], v["LAP_wet"], v["shunt_most"])
        SVR = 80.0 * (row["MAP"] - memory.CVP) / max(output, 0.05)
        of = self.targets.get
        shown = (
            HR, SBP, DBP, row["MAP"], memory.CVP, 100.0 * row["SaO2"], self.lungs.RR, memory.end_tidal,
            self.lab["temperature"],
            f.urine, output, 1000.0 * output / HR, SVR, row["LAP"], one.blood_now_ml(), f.lost, f.bleeding,
            f.leaked, self.sepsis.severity, float(self.sepsis.x[P]), row["factor"], debt, row["VE"], shunt,
            of("systemic_resistance", 1.0), of("contractility", 1.0), of("unstressed_volume", 1.0), drugs,
            self.lab["awake"],
            self.brain.alarm, self.brain.flow, self.brain.injury, self.strain.stunned,
        )  # fmt: skip
        self.last = np.array(shown)

    def numerics(self) -> Mapping[str, float]:
        """Of the last exchange, by the names of NUMERICS."""
        return dict(zip(NUMERICS, self.last.tolist(), strict=True))

    def laboratory(self) -> Mapping[str, float]:
        """What blood taken now would show, by the names of LABORATORY."""
        x, HCO3 = self.body.slow, self.body.bicarbonate()
        lactate, PaCO2 = float(x[b.LACTATE]), float(x[b.PACO2])
        pH = ventilation.pH(HCO3, PaCO2)
        found = self.lab | {
            "lactate": lactate, "pH": pH, "PaCO2": PaCO2, "PaO2": float(x[b.PAO2]), "HCO3": HCO3,
            "BE": HCO3 - 24.4 + 14.8 * (pH - 7.4), "Hb": self.body.haemoglobin(),
            "creatinine": self.metabolism.laboratory(lactate, PaCO2)["creatinine"],
            "CRP": float(self.sepsis.x[CRP]), "SaO2": 100.0 * float(x[b.SAO2]),
        }  # fmt: skip
        return {name: found[name] for name in LABORATORY}

    def signs(self) -> list[str]:
        """What low glucose does to a person, typically."""
        return self.metabolism.signs()

    def why(self, since: Mapping[str, float]) -> list[str]:
        """The physiology behind what changed since `since` (an earlier `numerics()`), most important first."""
        return reasons(since, self.numerics())
