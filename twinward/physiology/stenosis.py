"""Laws of a narrowed vessel, each a line that can be checked by hand: the anchors of the flow solver and the valve.

    Poiseuille   round  dP = 128 mu L Q / (pi D^4)          plane  dP = 12 mu L q / H^3     (q: flow per depth)
    Young-Tsai   dP = Kv mu U / D + Kt rho/2 (A0/A1 - 1)^2 U^2
                 Kv = 32 (.83 Ls + 1.64 Ds) / D (A0/A1)^2, Kt = 1.52; Ls length, Ds diameter of the narrowing
    Bernoulli    dP = rho v^2 / 2, at the bedside 4 v^2 (mmHg, m/s)
    Gorlin       area = mean flow / (44.3 sqrt(mean dP))   (cm2, mL/s, mmHg); 4 v^2 and continuity give 50
    Womersley    alpha = R sqrt(w rho / mu); Q = pi R^2 / (i w rho) (1 - 2 J1(z) / (z J0(z))) G, z = i^(3/2) alpha
    plane        dP = 12 mu q int (1/h^3 - 1/H^3) dx + rho/2 (H/h1 - 1)^2 U^2      (lubrication + Borda-Carnot)

Young and Tsai, J Biomech 6:395 (1973) [M]: steady, axisymmetric, their own shapes. Copies of it write the first term
as Kv mu Q / (2 pi r^3) with a *radius*; with a diameter it is 4 Kv mu Q / (pi D^3), which is what Poiseuille demands.
Gorlin and Gorlin, Am Heart J 41:1 (1951) [M]; Womersley, J Physiol 127:553 (1955) [M]. Blood is taken as Newtonian.
Any consistent units, floats or quantities, except where units are named. Education and research; not a medical device.
"""

from __future__ import annotations

import cmath

import numpy as np
from scipy.special import jv

from twinward.errors import BadInput
from twinward.physiology.compiled import Scalar
from twinward.physiology.stenosis_flow import Narrowing, wall

DENSITY_KG_M3, VISCOSITY_PA_S = 1060.0, 0.0035  # of blood, large vessels [M]
MMHG_PA = 133.322387415
YOUNG_TSAI_KT = 1.52
GORLIN = 44.3  # (mL/s) / (cm2 sqrt(mmHg)), aortic; with the discharge already in it
BEDSIDE = 4.0  # mmHg / (m/s)^2; rho / 2 of blood is 3.98
FROM_FOUR_V2 = 50.0  # Gorlin's constant if 4 v^2 and continuity were all


def poiseuille(Q: Scalar, mu: Scalar, length: Scalar, D: Scalar) -> Scalar:
    return 128 * mu * length * Q / (np.pi * D**4)


def plane_poiseuille(q: Scalar, mu: Scalar, length: Scalar, H: Scalar) -> Scalar:
    """`q` is flow per depth."""
    return 12 * mu * length * q / H**3


def bernoulli(v: Scalar, rho: Scalar) -> Scalar:
    return rho * v**2 / 2


def bedside_mmHg(v_m_s: float) -> float:
    return BEDSIDE * v_m_s**2


def young_tsai(U: Scalar, mu: Scalar, rho: Scalar, D: Scalar, area_ratio: float, length: Scalar) -> Scalar:
    """Pressure lost for good; `U` mean velocity in the whole vessel, `D` its diameter, `area_ratio` A1/A0 in 0..1.

    Raises:
        BadInput: an area ratio outside 0..1.
    """
    if not 0.0 < area_ratio <= 1.0:
        raise BadInput("the area ratio of a narrowing must lie in 0..1, above 0")
    effective = 0.83 * length + 1.64 * D * area_ratio**0.5
    Kv = 32 * effective / D / area_ratio**2
    return Kv * mu * U / D + YOUNG_TSAI_KT * rho / 2 * (1 / area_ratio - 1) ** 2 * U**2


def gorlin_cm2(flow_ml_s: float, mean_gradient_mmHg: float) -> float:
    """Aortic valve area; `flow_ml_s` the mean while the valve is open.

    Raises:
        BadInput: no flow, or no gradient.
    """
    if not (flow_ml_s > 0 and mean_gradient_mmHg > 0):
        raise BadInput("a valve area follows from a flow and a gradient above zero")
    return flow_ml_s / (GORLIN * float(np.sqrt(mean_gradient_mmHg)))


def gorlin_gradient_mmHg(flow_ml_s: float, area_cm2: float) -> float:
    """Gorlin turned round."""
    if not area_cm2 > 0:
        raise BadInput("a valve area is above zero")
    return (flow_ml_s / (GORLIN * area_cm2)) ** 2


def effective_area_cm2(rms_flow_ml_s: float, mean_gradient_mmHg: float) -> float:
    """Area that 4 v^2 and continuity give; exact for a pulsing flow if its root mean square is taken."""
    if not (rms_flow_ml_s > 0 and mean_gradient_mmHg > 0):
        raise BadInput("a valve area follows from a flow and a gradient above zero")
    return rms_flow_ml_s / (FROM_FOUR_V2 * float(np.sqrt(mean_gradient_mmHg)))


def womersley_number(R: Scalar, w: Scalar, rho: Scalar, mu: Scalar) -> Scalar:
    return R * (w * rho / mu) ** 0.5


def womersley_share(alpha: float) -> complex:
    """Oscillating flow over what the same gradient would drive steadily: 1 as alpha -> 0, then less and later."""
    if not 0.0 < alpha <= 30.0:
        raise BadInput("a Womersley number must lie in 0..30, above 0")
    z = cmath.exp(0.75j * np.pi) * alpha
    if alpha < 0.05:  # 1 - 2 J1(z) / (z J0(z)) loses its digits: its series
        return complex(1 + z * z / 6)
    return complex(8 / (1j * alpha**2) * (1 - 2 * jv(1, z) / (z * jv(0, z))))


def womersley_flow(G: Scalar, R: Scalar, w: Scalar, rho: Scalar, mu: Scalar) -> Scalar:
    """Complex amplitude of the flow through a rigid round vessel driven by the gradient G exp(i w t)."""
    share = womersley_share(float(womersley_number(R, w, rho, mu)))
    return np.pi * R**4 * G / (8 * mu) * share


def plane_parts(one: Narrowing) -> tuple[float, float]:
    """Viscous and inertial part of the plane law, in rho U^2 / 2, beyond the straight channel.

    The viscous part is exact where the channel narrows slowly and inertia is nothing; the other one is for a jet with
    a flat profile that mixes at once. Real laminar jets do neither quite: the solver says how far off.
    """
    x = np.linspace(0.0, one.length, 801)
    bottom, top = wall(1.5 * 1000 + 0.5 + 1000 * x, one, 1000)
    h = (top - bottom) / 1000
    viscous = 24 / one.reynolds * float(np.trapezoid(1 / h**3 - 1, x))
    return viscous, (1 / one.area_ratio - 1) ** 2


def plane_loss(one: Narrowing) -> float:
    return sum(plane_parts(one))
