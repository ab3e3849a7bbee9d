"""UVA/Padova S2008: glucose and insulin of a person with type 1 diabetes.

    stomach  Qsto1' = -kmax Qsto1 + eaten          Qsto2' = kmax Qsto1 - kgut(Q, D) Qsto2
    gut      Qgut'  = kgut Qsto2 - kabs Qgut       Ra = f kabs Qgut / BW
    glucose  Gp' = EGP + Ra - Fsnc - E - k1 Gp + k2 Gt          E   = ke1 (Gp - ke2)+
             Gt' = -U + k1 Gp - k2 Gt              U = (Vm0 + Vmx X)+ Gt / (Km0 + Gt)
    insulin  Ip' = -(m2 + m4) Ip + m1 Il + ka1 Isc1 + ka2 Isc2  I = Ip / Vi
             Il' = -(m1 + m30) Il + m2 Ip          X' = p2u (I - Ib - X)
             I1' = ki (I - I1)   Id' = ki (I1 - Id)   EGP = (kp1 - kp2 Gp - kp3 Id)+
    skin     Isc1' = u - (kd + ka1) Isc1           Isc2' = kd Isc1 - ka2 Isc2
    sensor   Gs' = ksc (Gp - Gs), read as Gs / Vg

Dalla Man, Rizza, Cobelli, IEEE Trans Biomed Eng 54:1740 (2007); type 1 form of
Kovatchev, J Diabetes Sci Technol 3:44 (2009); equations as simglucose 0.2.11.
One departure: utilisation is never negative. As published Vm0 - Vmx Ib < 0 in 19 of
30 patients, and glucose is created out of nothing once insulin is off.
Units: minute, mg, mg/kg, pmol/kg, pmol/L, mg/dL. Valid for meals and insulin in adults and
adolescents with type 1 diabetes at rest; no exercise, no ketones, no counter-regulation.

D, what the stomach had to work on, is a hidden state of three numbers ("memory"):
stomach content when the meal began (mg), grams eaten since, whether it is being eaten.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.meaning import S2008_PARAMETERS, S2008_STATES

PARAMETERS = tuple(S2008_PARAMETERS)
STATES = tuple(S2008_STATES)
(BW, KABS, KMAX, KMIN, B, D, VG, VI, VMX, KM0, K2, K1, P2U, M1, M2, M4, M30) = range(17)
(KI, KP1, KP2, KP3, F, KE1, KE2, FSNC, VM0, KD, KSC, KA1, KA2, U2SS, IB) = range(17, 32)
(QSTO1, QSTO2, QGUT, GP, GT, IP, X, I1, ID, IL, ISC1, ISC2, GS) = range(13)
(ON_PLATE, EATEN, EATING) = range(3)  # memory: mg, g, 0 or 1
MEMORY = 3
MG_PER_G = 1000.0
PMOL_PER_UNIT = 6000.0
EATING_RATE = 5.0  # g/min, as simglucose


@equation
def tanh(a: Scalar) -> Scalar:
    """Hyperbolic tangent through one exponential: half the cost of the library's, 1e-16 apart."""
    return 1 - 2 / (np.exp(2 * a) + 1)


@equation
def emptying(Qsto: Scalar, Dose: Scalar, kmax: Scalar, kmin: Scalar, b: Scalar, d: Scalar) -> Scalar:
    """kgut: emptying of the stomach, slow while it is half full; kmax before any meal."""
    if Dose <= 0:
        return kmax
    alpha = 5 / (2 * Dose * (1 - b))
    beta = 5 / (2 * Dose * d)
    return kmin + (kmax - kmin) / 2 * (tanh(alpha * (Qsto - b * Dose)) - tanh(beta * (Qsto - d * Dose)) + 2)


@equation
def absorption(
    Qsto1: Scalar, Qsto2: Scalar, Qgut: Scalar, eaten: Scalar, kgut: Scalar, kmax: Scalar, kabs: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Stomach and gut; `eaten` in mass per time."""
    ground = kmax * Qsto1
    emptied = kgut * Qsto2
    return eaten - ground, ground - emptied, emptied - kabs * Qgut


@equation
def glucose(
    Gp: Scalar,
    Gt: Scalar,
    X: Scalar,
    Id: Scalar,
    Ra: Scalar,
    kp1: Scalar,
    kp2: Scalar,
    kp3: Scalar,
    Fsnc: Scalar,
    ke1: Scalar,
    ke2: Scalar,
    k1: Scalar,
    k2: Scalar,
    Vm0: Scalar,
    Vmx: Scalar,
    Km0: Scalar,
) -> tuple[Scalar, Scalar]:
    """Plasma and tissue glucose."""
    EGP = max(kp1 - kp2 * Gp - kp3 * Id, 0 * kp1)
    E = ke1 * max(Gp - ke2, 0 * Gp)
    U = max(Vm0 + Vmx * X, 0 * Vm0) * Gt / (Km0 + Gt)
    exchange = k1 * Gp - k2 * Gt
    return EGP + Ra - Fsnc - E - exchange, exchange - U


@equation
def insulin(
    Ip: Scalar,
    Il: Scalar,
    Isc1: Scalar,
    Isc2: Scalar,
    u: Scalar,
    m1: Scalar,
    m2: Scalar,
    m4: Scalar,
    m30: Scalar,
    ka1: Scalar,
    ka2: Scalar,
    kd: Scalar,
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Plasma, liver and skin; `u` in amount per mass and time."""
    dIp = -(m2 + m4) * Ip + m1 * Il + ka1 * Isc1 + ka2 * Isc2
    dIl = -(m1 + m30) * Il + m2 * Ip
    return dIp, dIl, u - (kd + ka1) * Isc1, kd * Isc1 - ka2 * Isc2


@equation
def action(
    level: Scalar, X: Scalar, I1: Scalar, Id: Scalar, Ib: Scalar, p2u: Scalar, ki: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Where insulin acts, later than where it is; `level` is I, plasma insulin."""
    return p2u * (level - Ib - X), ki * (level - I1), ki * (I1 - Id)


@equation
def interstitium(Gp: Scalar, Gs: Scalar, ksc: Scalar) -> Scalar:
    return ksc * (Gp - Gs)


@compiled
def derivative(x: np.ndarray, p: np.ndarray, eaten: float, u: float, Dose: float, extra: float, dx: np.ndarray) -> None:
    """Fills `dx` (13, per minute).

    `eaten` mg/min, `u` pmol/kg/min, `Dose` mg, `extra` mg/kg/min into plasma (IV glucose, or
    what nobody logged).
    """
    kgut = emptying(x[QSTO1] + x[QSTO2], Dose, p[KMAX], p[KMIN], p[B], p[D])
    dx[QSTO1], dx[QSTO2], dx[QGUT] = absorption(x[QSTO1], x[QSTO2], x[QGUT], eaten, kgut, p[KMAX], p[KABS])
    Ra = p[F] * p[KABS] * x[QGUT] / p[BW] + extra
    dx[GP], dx[GT] = glucose(
        x[GP], x[GT], x[X], x[ID], Ra, p[KP1], p[KP2], p[KP3], p[FSNC], p[KE1], p[KE2], p[K1], p[K2], p[VM0],
        p[VMX], p[KM0],
    )  # fmt: skip
    dx[IP], dx[IL], dx[ISC1], dx[ISC2] = insulin(
        x[IP], x[IL], x[ISC1], x[ISC2], u, p[M1], p[M2], p[M4], p[M30], p[KA1], p[KA2], p[KD]
    )
    dx[X], dx[I1], dx[ID] = action(x[IP] / p[VI], x[X], x[I1], x[ID], p[IB], p[P2U], p[KI])
    dx[GS] = interstitium(x[GP], x[GS], p[KSC])


@compiled
def eat(x: np.ndarray, memory: np.ndarray, grams: float) -> float:
    """Notes what the coming minute brings to the stomach; D (mg) for that minute."""
    if grams > 0:
        if memory[EATING] == 0.0:
            memory[ON_PLATE] = x[QSTO1] + x[QSTO2]
            memory[EATEN] = 0.0
            memory[EATING] = 1.0
        memory[EATEN] += grams
    else:
        memory[EATING] = 0.0
    return float(memory[ON_PLATE] + memory[EATEN] * MG_PER_G)


@compiled
def minute(
    x: np.ndarray,
    p: np.ndarray,
    memory: np.ndarray,
    grams: float,
    u: float,
    extra: float,
    steps: int,
    work: np.ndarray,
) -> None:
    """One minute of RK4 in `steps` steps, in place.

    `grams` eaten and `u` (pmol/kg/min) are constant over the minute; `work` is (5, 13) scratch.
    """
    Dose = eat(x, memory, grams)
    eaten = grams * MG_PER_G
    h = 1.0 / steps
    k1, k2, k3, k4, y = work[0], work[1], work[2], work[3], work[4]
    for _ in range(steps):
        derivative(x, p, eaten, u, Dose, extra, k1)
        for i in range(13):
            y[i] = x[i] + 0.5 * h * k1[i]
        derivative(y, p, eaten, u, Dose, extra, k2)
        for i in range(13):
            y[i] = x[i] + 0.5 * h * k2[i]
        derivative(y, p, eaten, u, Dose, extra, k3)
        for i in range(13):
            y[i] = x[i] + h * k3[i]
        derivative(y, p, eaten, u, Dose, extra, k4)
        for i in range(13):
            x[i] += h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i])
    # Plasma glucose of zero is outside the model: without counter-regulation a gross overdose
    # would go below it.
    for i in range(13):
        if i != X and x[i] < 0.0:
            x[i] = 0.0


@compiled
def simulate(
    p: np.ndarray, x: np.ndarray, memory: np.ndarray, grams: np.ndarray, units: np.ndarray, steps: int, out: np.ndarray
) -> None:
    """One person, in place: `grams` (T,) per minute, `units` (T,) U/min; `out` (T,) sensor glucose in mg/dL
    at the end of each minute."""
    work = np.empty((5, 13))
    for t in range(grams.shape[0]):
        minute(x, p, memory, grams[t], units[t] * PMOL_PER_UNIT / p[BW], 0.0, steps, work)
        out[t] = x[GS] / p[VG]


def basal_rate(p: np.ndarray) -> float:
    """U/min that keeps basal glucose."""
    return float(p[U2SS] * p[BW] / PMOL_PER_UNIT)


@compiled
def settle(p: np.ndarray, Gb: float) -> None:
    """Makes basal glucose `Gb` (mg/dL) and insulin Ib an equilibrium: sets kp1, Vm0 and u2ss in place.

    Production at rest, EGPb, is what the present set has; Dalla Man 2007, equations 5, 9, 14.
    """
    Gpb = Gb * p[VG]
    EGPb = p[KP1] - p[KP2] * p[VG] * Gb - p[KP3] * p[IB]
    balance(p, Gb, EGPb)
    if Gpb > p[KE2]:
        p[VM0] = np.nan  # basal glucose above the renal threshold is no resting state


@compiled
def balance(p: np.ndarray, Gb: float, EGPb: float) -> None:
    """As `settle`, for a given production at rest (mg/kg/min)."""
    Gpb = Gb * p[VG]
    Gtb = (p[FSNC] - EGPb + p[K1] * Gpb) / p[K2]
    p[KP1] = EGPb + p[KP2] * Gpb + p[KP3] * p[IB]
    p[VM0] = (EGPb - p[FSNC]) * (p[KM0] + Gtb) / Gtb
    Ipb = p[IB] * p[VI]
    p[U2SS] = (p[M2] + p[M4] - p[M1] * p[M2] / (p[M1] + p[M30])) * Ipb


@compiled
def rest(p: np.ndarray, Gb: float, x: np.ndarray) -> None:
    """Fills `x` (13) with the state at basal glucose `Gb` (mg/dL) and nothing in the stomach."""
    x[:] = 0.0
    x[GP] = x[GS] = Gb * p[VG]
    EGPb = p[KP1] - p[KP2] * x[GP] - p[KP3] * p[IB]
    x[GT] = (p[FSNC] - EGPb + p[K1] * x[GP]) / p[K2]
    x[IP] = p[IB] * p[VI]
    x[I1] = x[ID] = p[IB]
    x[IL] = p[M2] * x[IP] / (p[M1] + p[M30])
    x[ISC1] = p[U2SS] / (p[KD] + p[KA1])
    x[ISC2] = p[KD] * x[ISC1] / p[KA2]
