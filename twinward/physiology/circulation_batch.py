"""The circulation for many people at once in NumPy: a second writing of the same papers.

It shares no line with the compiled kernel, so agreement means something: it is the oracle of
the tests, and what to run where numba does not exist.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinward.physiology.circulation_meaning import CIRCULATION_PARAMETERS

Array = NDArray[np.float64]


class Batch:
    """`parameters` (N, 75), `states` (N, 36) of N people; steps all together."""

    def __init__(self, parameters: Array, states: Array) -> None:
        self._p = dict(zip(CIRCULATION_PARAMETERS, np.asarray(parameters, float).T, strict=True))
        self.x = np.array(states, float).T

    def _pump(self, side: str, v: Array, push: Array, drive: Array, artery: Array) -> tuple[Array, Array]:
        """Outflow and pressure inside a ventricle; `side` is l or r."""
        p = self._p
        stiff = p[f"P0{side}v"] * np.expm1(p[f"kE{side}v"] * v)
        squeezed = (p["El0" if side == "l" else "Er0"] + drive) * (v - p[f"Vu{side}v"])
        isometric = push * squeezed + (1 - push) * stiff
        inner = p[f"kR{side}v"] * isometric
        open_ = (isometric > artery) & (isometric > 0)
        out = np.where(open_, (isometric - artery) / np.where(open_, inner, 1.0), 0.0)
        return out, isometric - inner * out

    def rates(self, x: Array, bleed: Array, blood: Array, fluid: Array) -> Array:
        """(36, N) per second; inputs (N,) in mL/s."""
        p = self._p
        (beat, psa, fsa, psp, vev, vsv, vla, vlv, vra, vrv, ppa, fpa, ppp, ppv, pcs) = x[:15]
        s2a, s2b, s2, s5a, s5b, s5, del_, der, drsp, drep, dvsv, dvev, dts, dtv = x[15:29]
        given, dvcp, drcp, refilled, vc, vt, _ = x[29:]
        t = np.maximum(0.3, p["T0"] + dts + dtv)
        now = np.mod(beat, 1.0) * t
        tsys = p["Tsys0"] - p["ksys"] / t
        push = np.where(now < tsys, np.sin(np.pi * now / tsys) ** 2, 0.0)
        early = np.mod(beat + 0.19 / np.sqrt(t), 1.0) * np.sqrt(t) / 0.25
        kick = np.where(early < 1, np.sin(np.pi * early) ** 2, 0.0)
        pla = ((1 - kick) * p["Elad"] + kick * p["Elas"]) * (vla - p["Vula"])
        pra = ((1 - kick) * p["Erad"] + kick * p["Eras"]) * (vra - p["Vura"])
        fl, plv = self._pump("l", vlv, push, del_, psa)
        fr, prv = self._pump("r", vrv, push, der, ppa)
        mitral = np.clip(pla - plv, 0, None) / p["Rmi"]
        tricuspid = np.clip(pra - prv, 0, None) / p["Rtr"]
        pull = np.arctan((pra - p["Pset"]) / 5) * 5
        rsp, rep = p["Rsp0"] + drsp + drcp, p["Rep0"] + drep + drcp
        psv = (vsv - p["Vsv0"] - dvsv - 0.6 * dvcp) / p["Csv"]
        pev = (vev - p["Vev0"] - dvev - 0.4 * dvcp) / p["Cev"]
        sp, ep, sv, ev = (psp - psv) / rsp, (psp - pev) / rep, (psv - pra) / p["Rsv"], (pev - pra) / p["Rev"]
        lung, veins = (ppp - ppv) / p["Rpp"], (ppv - pla) / p["Rpv"]
        dpsa = (fl - fsa) / p["Csa"]
        z = np.exp(np.minimum((pcs - p["Pn"]) / p["ka"], 30))
        fcs = p["fmin"] + (p["fmax"] - p["fmin"]) * z / (1 + z)
        fes = p["fesinf"] + (p["fes0"] - p["fesinf"]) * np.exp(-p["kes"] * fcs)
        y = np.exp((fcs - p["fcs0"]) / p["kev"])
        fev = p["fev0"] + (p["fevinf"] - p["fev0"]) * y / (1 + y)
        quick = np.log1p(np.clip(s2 - p["fesmin"], 0, None))
        slow = np.log1p(np.clip(s5 - p["fesmin"], 0, None))
        back = p["krf"] * (-p["frf"] * given - refilled)
        crossing = p["k12"] * vc - p["k21"] * vt
        passed = p["k10"] * vc
        entering = blood - bleed + back + fluid - crossing - passed
        rows = [1 / t, dpsa, (psa - psp - p["Rsa"] * fsa) / p["Lsa"], (fsa - sp - ep) / (p["Csp"] + p["Cep"])]
        rows += [ep - ev + 0.45 * entering, sp - sv + 0.55 * entering]
        rows += [veins - mitral, mitral - fl, sv + ev - tricuspid, tricuspid - fr]
        rows += [(fr - fpa) / p["Cpa"], (ppa - ppp - p["Rpa"] * fpa) / p["Lpa"]]
        rows += [(fpa - lung) / p["Cpp"], (lung - veins) / p["Cpv"], (psa + p["tauz"] * dpsa - pcs) / p["taup"]]
        rows += [1.5 * (fes - s2a), 1.5 * (s2a - s2b), 1.5 * (s2b - s2)]
        rows += [0.6 * (fes - s5a), 0.6 * (s5a - s5b), 0.6 * (s5b - s5)]
        rows += [(p["GEl"] * quick - del_) / 8, (p["GEr"] * quick - der) / 8]
        rows += [(p["GRsp"] * quick - drsp) / 6, (p["GRep"] * quick - drep) / 6]
        rows += [(p["GVsv"] * slow - dvsv) / 20, (p["GVev"] * slow - dvev) / 20]
        rows += [(p["GTs"] * quick - dts) / 2, (p["GTv"] * fev - dtv) / 1.5, blood - bleed]
        rows += [(p["Gcv"] * pull - dvcp) / 20, (p["Gcr"] * pull - drcp) / 8, back]
        rows += [fluid - crossing - passed, crossing, passed]
        return np.array(rows)

    def step(self, bleed: Array, blood: Array, fluid: Array, h: float = 0.002) -> None:
        a = self.rates(self.x, bleed, blood, fluid)
        b = self.rates(self.x + h / 2 * a, bleed, blood, fluid)
        c = self.rates(self.x + h / 2 * b, bleed, blood, fluid)
        d = self.rates(self.x + h * c, bleed, blood, fluid)
        self.x = self.x + h / 6 * (a + 2 * b + 2 * c + d)
