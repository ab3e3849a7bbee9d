"""A beating circulation with its reflexes: from a heartbeat of 2 ms steps to hours of bleeding.

    left heart -> Psa (C, L) -> Psp, shared by two beds -> splanchnic and other veins -> right heart
    right heart -> Ppa (C, L) -> Ppp -> Ppv -> left heart

    Csa Psa' = Flv - Fsa        Lsa Fsa' = Psa - Psp - Rsa Fsa
    (Csp + Cep) Psp' = Fsa - (Psp - Psv) / Rsp - (Psp - Pev) / Rep
    Vsv' = (Psp - Psv) / Rsp - (Psv - Pra) / Rsv + 0.55 q       Psv = (Vsv - Vusv) / Csv
    Vev' = (Psp - Pev) / Rep - (Pev - Pra) / Rev + 0.45 q       Pev = (Vev - Vuev) / Cev
    Cpa Ppa' = Frv - Fpa        Lpa Fpa' = Ppa - Ppp - Rpa Fpa
    Cpp Ppp' = Fpa - (Ppp - Ppv) / Rpp        Cpv Ppv' = (Ppp - Ppv) / Rpp - (Ppv - Pla) / Rpv
    V' = inflow - outflow for each chamber (heart.py)           beat' = 1 / T
    q = blood given - blood lost + refill + crystalloid (circulation_reflex.py)

Ursino, Am J Physiol 275:H1733 (1998), with active atria, Heldt's low-pressure reflex and refill. Numbers:
`circulation.csv`, refitted, because with the published ones and active atria mean pressure is 112
mmHg. Units: mmHg, mL, s. Fixed-step RK4, 2 ms: output within 0.1 % of 0.5 ms.
Valid for adults, lying, in sinus rhythm, heart rate 30-180, mean pressure 40-160 mmHg, at most 45 %
of the blood lost. Education and research; not a medical device.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.circulation_meaning import CIRCULATION_PARAMETERS, CIRCULATION_STATES
from twinward.physiology.circulation_reflex import (
    FAST,
    SLOW,
    TAU_CR,
    TAU_CV,
    TAU_E,
    TAU_R,
    TAU_TS,
    TAU_TV,
    TAU_V,
    crystalloid,
    drive,
    low_pressure,
    receptor,
    refill,
    sinus,
    sympathetic,
    vagal,
)
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.heart import (
    ATRIAL_SYSTOLE,
    atrial_phase,
    atrium,
    contraction,
    inflow,
    outflow,
    systole,
    ventricle,
)

PARAMETERS = tuple(CIRCULATION_PARAMETERS)
STATES = tuple(CIRCULATION_STATES)
(CSA, CSP, CEP, CSV, CEV, CPA, CPP, CPV, RSA, RSV, REV, RPA, RPP, RPV, LSA, LPA, VUSP, VUEP, VUPP, VUPV) = range(20)
(ELAD, ELAS, VULA, RMI, ERAD, ERAS, VURA, RTR, P0LV, KELV, VULV, KRLV, P0RV, KERV, VURV, KRRV) = range(20, 36)
(KSYS, TSYS0, PN, KA, FMIN, FMAX, TAUZ, TAUP, FESINF, FES0, KES, FESMIN, FEV0, FEVINF, FCS0, KEV) = range(36, 52)
(GEL, GER, GRSP, GREP, GVSV, GVEV, GTS, GTV, EL0, ER0, RSP0, REP0, VSV0, VEV0, T0) = range(52, 67)
(GCV, GCR, PSET, KRF, FRF, K12, K21, K10) = range(67, 75)
(BEAT, PSA, FSA, PSP, VEV, VSV, VLA, VLV, VRA, VRV, PPA, FPA, PPP, PPV, PCS) = range(15)
(S2A, S2B, S2, S5A, S5B, S5, DEL, DER, DRSP, DREP, DVSV, DVEV, DTS, DTV) = range(15, 29)
(GIVEN, DVCP, DRCP, REFILLED, VC, VT, URINE) = range(29, 36)
N_STATES = 36
# What the kernel shows beside the state.
SEEN = ("T", "Pra", "Pla", "Plv", "Prv", "Flv", "Rsp", "Rep", "fes", "fev")
(O_T, O_PRA, O_PLA, O_PLV, O_PRV, O_FLV, O_RSP, O_REP, O_FES, O_FEV) = range(10)
N_SEEN = 10

STEP_S = 0.002
SHORTEST_BEAT = 0.3  # s
TO_SPLANCHNIC, TO_OTHER = 0.55, 0.45  # of what enters or leaves the veins
CP_SPLANCHNIC, CP_OTHER = 0.6, 0.4  # of the low-pressure volume drive
EVERY_STEPS = 50  # doses are worked out every 0.1 s
# Columns of a schedule (interventions.py): what, from s, to s, rate or factor, time constant s.
(E_TARGET, E_START, E_END, E_VALUE, E_TAU) = range(5)
BLEED, BLOOD, FLUID = 1000.0, 1001.0, 1002.0  # targets that are flows; others are parameter numbers


@equation
def large_vessel(
    P: Scalar, F: Scalar, Pnext: Scalar, filling: Scalar, C: Scalar, R: Scalar, L: Scalar
) -> tuple[Scalar, Scalar]:
    """Pressure and flow of a vessel with compliance, resistance and inertance."""
    return (filling - F) / C, (P - Pnext - R * F) / L


@equation
def arterioles(F: Scalar, through_sp: Scalar, through_ep: Scalar, Csp: Scalar, Cep: Scalar) -> Scalar:
    return (F - through_sp - through_ep) / (Csp + Cep)


@equation
def vein(V: Scalar, Vu: Scalar, C: Scalar) -> Scalar:
    return (V - Vu) / C


@equation
def flow(P: Scalar, Pnext: Scalar, R: Scalar) -> Scalar:
    return (P - Pnext) / R


@equation
def period(T0: Scalar, dTs: Scalar, dTv: Scalar, shortest: Scalar) -> Scalar:
    return max(T0 + dTs + dTv, shortest)


@equation
def towards(goal: Scalar, d: Scalar, tau: Scalar) -> Scalar:
    return (goal - d) / tau


@compiled
def reflexes(x: np.ndarray, p: np.ndarray, dPsa: float, Pra: float, dx: np.ndarray, seen: np.ndarray) -> None:
    dx[PCS] = receptor(x[PSA], dPsa, x[PCS], p[TAUP], p[TAUZ])
    fcs = sinus(x[PCS], p[PN], p[KA], p[FMIN], p[FMAX])
    fes = sympathetic(fcs, p[FESINF], p[FES0], p[KES])
    fev = vagal(fcs, p[FEV0], p[FEVINF], p[FCS0], p[KEV])
    dx[S2A], dx[S2B], dx[S2] = FAST * (fes - x[S2A]), FAST * (x[S2A] - x[S2B]), FAST * (x[S2B] - x[S2])
    dx[S5A], dx[S5B], dx[S5] = SLOW * (fes - x[S5A]), SLOW * (x[S5A] - x[S5B]), SLOW * (x[S5B] - x[S5])
    early, late = drive(x[S2], p[FESMIN], 1.0), drive(x[S5], p[FESMIN], 1.0)
    dx[DEL], dx[DER] = towards(p[GEL] * early, x[DEL], TAU_E), towards(p[GER] * early, x[DER], TAU_E)
    dx[DRSP], dx[DREP] = towards(p[GRSP] * early, x[DRSP], TAU_R), towards(p[GREP] * early, x[DREP], TAU_R)
    dx[DVSV], dx[DVEV] = towards(p[GVSV] * late, x[DVSV], TAU_V), towards(p[GVEV] * late, x[DVEV], TAU_V)
    dx[DTS], dx[DTV] = towards(p[GTS] * early, x[DTS], TAU_TS), towards(p[GTV] * fev, x[DTV], TAU_TV)
    delta = low_pressure(Pra, p[PSET], 5.0)
    dx[DVCP], dx[DRCP] = towards(p[GCV] * delta, x[DVCP], TAU_CV), towards(p[GCR] * delta, x[DRCP], TAU_CR)
    seen[O_FES], seen[O_FEV] = fes, fev


@compiled
def derivative(
    x: np.ndarray, p: np.ndarray, bleed: float, blood: float, fluid: float, dx: np.ndarray, seen: np.ndarray
) -> None:
    """Fills `dx` (36, per second) and `seen` (10); `bleed`, `blood`, `fluid` in mL/s."""
    T = period(p[T0], x[DTS], x[DTV], SHORTEST_BEAT)
    root = np.sqrt(T)
    phase = x[BEAT] - np.floor(x[BEAT])
    phi = contraction(phase, T, systole(T, p[TSYS0], p[KSYS]))
    a = contraction(atrial_phase(phase, root), T, ATRIAL_SYSTOLE * root)
    Pla = atrium(x[VLA], a, p[ELAD], p[ELAS], p[VULA])
    Pra = atrium(x[VRA], a, p[ERAD], p[ERAS], p[VURA])
    Pl = ventricle(x[VLV], phi, p[EL0] + x[DEL], p[VULV], p[P0LV], p[KELV])
    Pr = ventricle(x[VRV], phi, p[ER0] + x[DER], p[VURV], p[P0RV], p[KERV])
    Flv, Frv = outflow(Pl, x[PSA], p[KRLV]), outflow(Pr, x[PPA], p[KRRV])
    Plv, Prv = Pl - p[KRLV] * Pl * Flv, Pr - p[KRRV] * Pr * Frv
    Fmi, Ftr = inflow(Pla, Plv, p[RMI]), inflow(Pra, Prv, p[RTR])
    Rsp, Rep = p[RSP0] + x[DRSP] + x[DRCP], p[REP0] + x[DREP] + x[DRCP]
    Psv = vein(x[VSV], p[VSV0] + x[DVSV] + CP_SPLANCHNIC * x[DVCP], p[CSV])
    Pev = vein(x[VEV], p[VEV0] + x[DVEV] + CP_OTHER * x[DVCP], p[CEV])
    Fsp, Fep = flow(x[PSP], Psv, Rsp), flow(x[PSP], Pev, Rep)
    Fsv, Fev = flow(Psv, Pra, p[RSV]), flow(Pev, Pra, p[REV])
    Fpp, Fpv = flow(x[PPP], x[PPV], p[RPP]), flow(x[PPV], Pla, p[RPV])
    dx[GIVEN] = blood - bleed
    dx[REFILLED] = refill(x[GIVEN], x[REFILLED], p[KRF], p[FRF])
    dx[VC], dx[VT], dx[URINE] = crystalloid(x[VC], x[VT], fluid, p[K12], p[K21], p[K10])
    q = dx[GIVEN] + dx[REFILLED] + dx[VC]
    dx[BEAT] = 1 / T
    dx[PSA], dx[FSA] = large_vessel(x[PSA], x[FSA], x[PSP], Flv, p[CSA], p[RSA], p[LSA])
    dx[PSP] = arterioles(x[FSA], Fsp, Fep, p[CSP], p[CEP])
    dx[VSV], dx[VEV] = Fsp - Fsv + TO_SPLANCHNIC * q, Fep - Fev + TO_OTHER * q
    dx[VLA], dx[VLV], dx[VRA], dx[VRV] = Fpv - Fmi, Fmi - Flv, Fsv + Fev - Ftr, Ftr - Frv
    dx[PPA], dx[FPA] = large_vessel(x[PPA], x[FPA], x[PPP], Frv, p[CPA], p[RPA], p[LPA])
    dx[PPP], dx[PPV] = (x[FPA] - Fpp) / p[CPP], (Fpp - Fpv) / p[CPV]
    reflexes(x, p, dx[PSA], Pra, dx, seen)
    seen[O_T], seen[O_PRA], seen[O_PLA], seen[O_PLV], seen[O_PRV] = T, Pra, Pla, Plv, Prv
    seen[O_FLV], seen[O_RSP], seen[O_REP] = Flv, Rsp, Rep


@compiled
def dose(events: np.ndarray, t: float, base: np.ndarray, p: np.ndarray, q: np.ndarray) -> None:
    """Fills `p` and the three flows `q` for the time `t` (s): a flow is on from start to end; a factor comes on
    with its time constant and goes the same way."""
    p[:] = base
    q[:] = 0.0
    for k in range(events.shape[0]):
        start, end, tau = events[k, E_START], events[k, E_END], events[k, E_TAU]
        if t < start:
            continue
        if events[k, E_TARGET] >= BLEED:
            if t < end:
                q[int(events[k, E_TARGET] - BLEED)] += events[k, E_VALUE]
            continue
        on = 1.0 if tau <= 0.0 else 1.0 - np.exp(-(min(t, end) - start) / tau)
        if t > end:
            on = 0.0 if tau <= 0.0 else on * np.exp(-(t - end) / tau)
        p[int(events[k, E_TARGET])] *= 1.0 + (events[k, E_VALUE] - 1.0) * on


@compiled
def keep_volumes(x: np.ndarray, before: np.ndarray, p: np.ndarray) -> None:
    """Where a vessel became stiffer its pressure rises: changing a compliance makes no blood and takes none."""
    x[PSA] *= before[CSA] / p[CSA]
    x[PSP] *= (before[CSP] + before[CEP]) / (p[CSP] + p[CEP])
    x[PPA] *= before[CPA] / p[CPA]
    x[PPP] *= before[CPP] / p[CPP]
    x[PPV] *= before[CPV] / p[CPV]


@compiled
def run(
    base: np.ndarray,
    x: np.ndarray,
    events: np.ndarray,
    first: int,
    steps: int,
    h: float,
    every: int,
    out: np.ndarray,
    sums: np.ndarray,
) -> None:
    """`steps` steps of `h` s in place, from step number `first` of this patient's life.

    Every `every`-th step of that life (0: never) a row of `out` is filled: the state, then SEEN. `sums` (46) gets
    the integral of state and SEEN. Times are counted in whole steps, so any division into pieces gives the same bits.
    """
    k1, k2, k3, k4, y = np.empty(36), np.empty(36), np.empty(36), np.empty(36), np.empty(36)
    p, before, q, seen, unseen = base.copy(), base.copy(), np.zeros(3), np.empty(10), np.empty(10)
    row = 0
    for s in range(first, first + steps):
        if s == first or s % EVERY_STEPS == 0:
            dose(events, (s - s % EVERY_STEPS) * h, base, p, q)
            if events.shape[0] > 0 and s % EVERY_STEPS == 0:
                dose(events, (s - EVERY_STEPS) * h, base, before, unseen)
                keep_volumes(x, before, p)
        derivative(x, p, q[0], q[1], q[2], k1, seen)
        if every > 0 and s % every == 0:
            out[row, :36] = x
            out[row, 36:] = seen
            row += 1
        for i in range(36):
            sums[i] += h * x[i]
            y[i] = x[i] + 0.5 * h * k1[i]
        for i in range(10):
            sums[36 + i] += h * seen[i]
        derivative(y, p, q[0], q[1], q[2], k2, unseen)
        for i in range(36):
            y[i] = x[i] + 0.5 * h * k2[i]
        derivative(y, p, q[0], q[1], q[2], k3, unseen)
        for i in range(36):
            y[i] = x[i] + h * k3[i]
        derivative(y, p, q[0], q[1], q[2], k4, unseen)
        for i in range(36):
            x[i] += h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i])


def blood(x: np.ndarray, p: np.ndarray) -> float:
    """mL of blood in all vessels and chambers."""
    arteries = p[CSA] * x[PSA] + (p[CSP] + p[CEP]) * x[PSP] + p[VUSP] + p[VUEP]
    lungs = p[CPA] * x[PPA] + p[CPP] * x[PPP] + p[VUPP] + p[CPV] * x[PPV] + p[VUPV]
    return float(arteries + x[VEV] + x[VSV] + x[VLA] + x[VLV] + x[VRA] + x[VRV] + lungs)


def start(p: np.ndarray, volume: float) -> np.ndarray:
    """A state near rest with `volume` mL of blood; it settles in four minutes."""
    x = np.zeros(N_STATES)
    scale = volume / 5300.0
    x[PSA], x[PSP], x[PCS] = 90.0, 85.0, p[PN]
    x[FSA] = x[FPA] = 80.0 * scale
    x[VLA], x[VLV], x[VRA], x[VRV] = 60 * scale, 110 * scale, 30 * scale, 120 * scale
    x[PPA], x[PPP], x[PPV] = 18.0, 14.0, 8.0
    x[S2A : S5 + 1] = 5.0
    x[DEL], x[DER], x[DRSP], x[DREP] = 1.2 * p[GEL], 1.2 * p[GER], 1.2 * p[GRSP], 1.2 * p[GREP]
    x[DVSV], x[DVEV], x[DTS], x[DTV] = 1.2 * p[GVSV], 1.2 * p[GVEV], -0.15, 0.4
    rest = volume - blood(x, p)
    x[VEV], x[VSV] = 0.47 * rest, 0.53 * rest
    return x
