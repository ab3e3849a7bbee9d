# ruff: noqa: N803, N806  (symbols as in the papers)
"""Both bodies through a plan: S2008 members, and a Hovorka body started beside each of them.

How the second opinion starts from the first [G, all of it]:

- the two papers differ: at rest on 0.39 IU/h a unit does four times as much in Hovorka's person
  as in our typical S2008 on 1.1 IU/h. Nobody knows which is right for a patient, so sensitivities
  (Sit, Sid, Sie) lie evenly, on a logarithm, between the published ones and those that rest on as
  much insulin as S2008;
- the member's insulin sensitivity, insulin absorption (tmaxI) and meal absorption (tmaxG) enter as
  ratios; what remains varies as between people (hovorka.SPREAD);
- it is put at rest at the member's own basal glucose; then what the member has beyond its rest
  is added: insulin under the skin unit for unit, plasma insulin (pmol/L / 6 = mU/L) and its
  actions by what the member's remote insulin is above rest;
- plasma and sensor glucose are the member's; the second pool is as full as the first;
- what is in stomach and gut goes into the two gut pools; fast carbohydrate goes past the stomach
  into the gut of either;
- what nobody logged flows as in the member.

Draws are keyed by (twin, minute, member), never by plan or model: all plans and both bodies
meet the same chance, so a difference is the plan's.
"""

from __future__ import annotations

import numpy as np

from services.twin import glucose_kernels as kernels
from services.twin import glucose_layout as at
from twinward.learning.chance import normals
from twinward.physiology import glucose as s2008
from twinward.physiology import hovorka
from twinward.physiology.compiled import compiled

FUTURE = kernels.FUTURE
GS, GP, VG, U2SS, BW, QGUT = s2008.GS, s2008.GP, s2008.VG, s2008.U2SS, s2008.BW, s2008.QGUT
UNLOGGED_TAU, UNLOGGED_SD, GLUCOSE_SD = kernels.UNLOGGED_TAU, kernels.UNLOGGED_SD, kernels.GLUCOSE_SD
PMOL_PER_UNIT = kernels.PMOL_PER_UNIT
MG_PER_MMOL = 180.16
PMOL_PER_MU = 6.0
H_Q1, H_GS, H_D2 = hovorka.Q1, hovorka.GS, hovorka.D2
H_VG, H_BW, H_AG = hovorka.VG, hovorka.BW, hovorka.AG
MMOL_PER_G, MG_DL_PER_MMOL_L = hovorka.MMOL_PER_G, hovorka.MG_DL_PER_MMOL_L
OTHERS = [hovorka.K12, hovorka.KA1, hovorka.KA2, hovorka.KA3, hovorka.EGP0, hovorka.F01, hovorka.VG, hovorka.VI]
PEOPLE, PEOPLE_TOO, PEOPLE_MORE = 20, 22, 24  # blocks of draws: who a member is
SURE = 0.5  # of the spread between people [G]
EVERY = 5  # min between what is kept of a path


@compiled
def follow(
    Z: np.ndarray, P: np.ndarray, start: int, lead: int, above: np.ndarray, grams: np.ndarray, quick: np.ndarray,
    key0: int, key1: int, out: np.ndarray,
) -> None:  # fmt: skip
    """Every S2008 member in place; `out` (N, n): what its sensor would read without noise, 5 min apart from now on."""
    words, draws, work = np.empty(4, np.uint64), np.empty(4), np.empty((5, 13))
    fade = np.exp(-5.0 / UNLOGGED_TAU)
    fresh = UNLOGGED_SD * np.sqrt(1.0 - fade * fade)
    for i in range(Z.shape[0]):
        z, p = Z[i], P[i]
        per_unit = PMOL_PER_UNIT / p[BW]
        for k in range(above.shape[0]):
            u = max(p[U2SS] + above[k] * per_unit, 0.0)
            z[QGUT] += quick[k] * 1000.0
            s2008.minute(z[:13], p, z[at.MEMORY : at.MEMORY + 3], grams[k], u, z[at.UNLOGGED], 1, work)
            now = start + k + 1
            if now % 5 == 0:
                normals(key0, key1, now, i, FUTURE, words, draws)
                z[at.UNLOGGED] = fade * z[at.UNLOGGED] + fresh * draws[1]
                z[GP] *= np.exp(GLUCOSE_SD * draws[2])
            passed = k + 1 - lead
            if passed > 0 and passed % 5 == 0:
                out[i, passed // 5 - 1] = z[at.GAIN] * z[GS] / p[VG] + z[at.OFFSET]


@compiled
def follow_second(
    X: np.ndarray, H: np.ndarray, rates: np.ndarray, Z: np.ndarray, start: int, lead: int, above: np.ndarray,
    grams: np.ndarray, quick: np.ndarray, key0: int, key1: int, out: np.ndarray,
) -> None:  # fmt: skip
    """As `follow`, every Hovorka body `X` (N, 11) of people `H` (N, 16); sensor and chance are the member's of `Z`."""
    words, draws, work = np.empty(4, np.uint64), np.empty(4), np.empty((5, 11))
    fade = np.exp(-5.0 / UNLOGGED_TAU)
    fresh = UNLOGGED_SD * np.sqrt(1.0 - fade * fade)
    for i in range(X.shape[0]):
        x, p = X[i], H[i]
        unlogged = Z[i, at.UNLOGGED]
        for k in range(above.shape[0]):
            u = max(rates[i] + above[k], 0.0) * 1000.0
            x[H_D2] += p[H_AG] * quick[k] * MMOL_PER_G
            hovorka.minute(x, p, grams[k] * MMOL_PER_G, u, work)
            x[H_Q1] = max(x[H_Q1] + unlogged * p[H_BW] / MG_PER_MMOL, 0.0)
            now = start + k + 1
            if now % 5 == 0:
                normals(key0, key1, now, i, FUTURE, words, draws)
                unlogged = fade * unlogged + fresh * draws[1]
                x[H_Q1] *= np.exp(GLUCOSE_SD * draws[2])
            passed = k + 1 - lead
            if passed > 0 and passed % 5 == 0:
                glucose = x[H_GS] / (p[H_VG] * p[H_BW]) * MG_DL_PER_MMOL_L
                out[i, passed // 5 - 1] = Z[i, at.GAIN] * glucose + Z[i, at.OFFSET]


def rested(P: at.Array, basal: float, Z: at.Array) -> at.Array:
    """(N, 13) every member's body at its own rest."""
    found = np.zeros((len(Z), 13))
    for p, z, x in zip(P, Z, found, strict=True):
        s2008.rest(p, basal * float(np.exp(z[at.THETA + 1])), x)
    return found


def draws_of(key: tuple[int, int], block: int) -> at.Array:
    """(MEMBERS, 8) standard normal numbers that say who a member is; the same whenever it is asked."""
    words, found = np.empty(4, np.uint64), np.empty((at.MEMBERS, 8))
    for i in range(at.MEMBERS):
        for half in (0, 1):
            normals(*key, 0, i, block + half, words, found[i, 4 * half : 4 * half + 4])
    return found


def typical(
    Z: at.Array, P: at.Array, base: at.Array, basal: float, key: tuple[int, int], population: at.Array
) -> tuple[at.Array, at.Array]:
    """The same state in other people: parameters as they vary between people; `population` (4, 2)."""
    theta = population[:, 0] + population[:, 1] * draws_of(key, PEOPLE)[:, : at.THETAS]
    return _moved(Z, P, base, basal, theta)


def own(Z: at.Array, P: at.Array, base: at.Array, basal: float, population: at.Array) -> tuple[at.Array, at.Array]:
    """The person, but never surer than `SURE` of what people are: the filter knows four parameters, the effect of a
    dose hangs on the others too."""
    theta = Z[:, at.THETA : at.THETA + at.THETAS]
    wider = np.maximum(1.0, SURE * population[:, 1] / np.maximum(theta.std(axis=0, ddof=1), 1e-6))
    return _moved(Z, P, base, basal, theta.mean(axis=0) + wider * (theta - theta.mean(axis=0)))


def _moved(Z: at.Array, P: at.Array, base: at.Array, basal: float, theta: at.Array) -> tuple[at.Array, at.Array]:
    """Members with other parameters `theta` (N, 4): what a member has beyond its own rest (insulin) is put on top of
    the new one's; stomach, glucose and sensor stay."""
    theirs, people = Z.copy(), P.copy()
    theirs[:, at.THETA : at.THETA + at.THETAS] = theta
    kernels.bound(theirs, basal, base, people)
    before, after = rested(P, basal, Z), rested(people, basal, theirs)
    for j in (s2008.IP, s2008.IL, s2008.ISC1, s2008.ISC2, s2008.X, s2008.I1, s2008.ID):
        theirs[:, j] = after[:, j] + Z[:, j] - before[:, j]
    theirs[:, s2008.GT] = Z[:, s2008.GT] * after[:, s2008.GT] / before[:, s2008.GT]
    kernels.bound(theirs, basal, base, people)
    return theirs, people


def as_much_insulin(base: at.Array, basal: float) -> float:
    """By what the published sensitivities are multiplied so that both typical people rest on one basal rate."""
    same = hovorka.TYPICAL.copy()
    same[hovorka.BW] = base[BW]
    return hovorka.rest(same, basal)[1] / s2008.basal_rate(base)


def second(
    Z: at.Array, P: at.Array, base: at.Array, basal: float, key: tuple[int, int]
) -> tuple[at.Array, at.Array, at.Array]:
    """(people (N, 16), bodies (N, 11), basal rates (N,) IU/min) beside the members `Z`, `P`."""
    theta = np.exp(Z[:, at.THETA : at.THETA + at.THETAS])
    H = np.tile(hovorka.TYPICAL, (len(Z), 1))
    rank = np.argsort(np.argsort(draws_of(key, PEOPLE_MORE)[:, 0]))
    between = as_much_insulin(base, basal) ** ((rank[:, None] + 0.5) / len(Z))
    H[:, OTHERS] *= np.exp(hovorka.SPREAD[OTHERS] * draws_of(key, PEOPLE_TOO))
    H[:, hovorka.BW] = P[:, BW]
    H[:, [hovorka.SIT, hovorka.SID, hovorka.SIE]] *= theta[:, :1] * between
    H[:, hovorka.TMAXI] /= theta[:, 3]
    H[:, hovorka.TMAXG] /= theta[:, 2]
    X, rates = np.zeros((len(Z), 11)), np.zeros(len(Z))
    beyond = Z[:, :13] - rested(P, basal, Z)
    for i, (z, p, h, x) in enumerate(zip(Z, P, H, X, strict=True)):
        x[:], rates[i] = hovorka.rest(h, basal * float(theta[i, 1]))
        full = z[GP] / p[VG] / MG_DL_PER_MMOL_L * h[H_VG] * h[H_BW]
        x[hovorka.Q2] *= full / x[H_Q1]
        x[H_Q1] = full
        x[H_GS] = z[GS] / p[VG] / MG_DL_PER_MMOL_L * h[H_VG] * h[H_BW]
        x[hovorka.S1] += beyond[i, s2008.ISC1] * p[BW] / PMOL_PER_MU
        x[hovorka.S2] += beyond[i, s2008.ISC2] * p[BW] / PMOL_PER_MU
        x[hovorka.INSULIN] += beyond[i, s2008.IP] / p[s2008.VI] / PMOL_PER_MU
        x[hovorka.X1] += h[hovorka.SIT] * beyond[i, s2008.X] / PMOL_PER_MU
        x[hovorka.X2] += h[hovorka.SID] * beyond[i, s2008.X] / PMOL_PER_MU
        x[hovorka.X3] += h[hovorka.SIE] * beyond[i, s2008.ID] / PMOL_PER_MU
        x[hovorka.D1] = h[H_AG] * (z[s2008.QSTO1] + z[s2008.QSTO2]) / MG_PER_MMOL
        x[H_D2] = h[H_AG] * z[s2008.QGUT] / MG_PER_MMOL
    return H, np.maximum(X, 0.0), rates
