# ruff: noqa: N803, N806  (symbols as in the papers)
"""The glucose twin's inner loops: inputs, ensemble, features, outcomes.

Compiled kernels of the twin stand in files named glucose*.py and call only physiology and
learning, so that a change anywhere is seen by the cache (compiled.py here and in physiology).
Nothing here depends on how a series was cut into calls: whatever happens happens at a
minute, and chance is a function of that minute.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from services.twin import glucose_layout as at
from services.twin.alarms import see_interval
from services.twin.glucose_features import features, gather, spread_features, value_at
from twinward.learning import conformal
from twinward.learning.chance import normals
from twinward.learning.ensemble import inflate, jitter, observe
from twinward.learning.regression import predict, take
from twinward.physiology import glucose as s2008
from twinward.physiology.compiled import compiled

PMOL_PER_UNIT = s2008.PMOL_PER_UNIT
EATING_RATE = s2008.EATING_RATE
U2SS, BW, VG, GP, GT, GS = s2008.U2SS, s2008.BW, s2008.VG, s2008.GP, s2008.GT, s2008.GS
VMX, KP1, KP2, KP3, IB = s2008.VMX, s2008.KP1, s2008.KP2, s2008.KP3, s2008.IB
KABS, KMAX, KMIN, KA1, KA2, KD = s2008.KABS, s2008.KMAX, s2008.KMIN, s2008.KA1, s2008.KA2, s2008.KD
K1, K2 = s2008.K1, s2008.K2

INSULIN_TAU, CARBS_TAU = 55.0, 40.0  # min: t exp(-t/tau) / tau^2
USUAL_TAU = 3 * 1440.0  # min: how slowly the usual basal rate follows
PHI1, PHI2, SIGMA = 1.26, -0.402, 3.25  # Vettoretti 2019: sensor noise per 5 min, mg/dL
UNLOGGED_TAU = 60.0  # min [G]
UNLOGGED_SD = 0.8  # mg/kg/min at rest [G]
GLUCOSE_SD = 0.008  # relative, per 5 min: what the equations do not know [G]
THETA_TAU = 10 * 1440.0  # min: a person changes, within what people are [G]
PRIOR_SD = np.array([0.5, 0.12, 0.45, 0.3])  # of log SI, Gb, meal and insulin absorption, in the shipped prior
GAIN_MEAN, GAIN_SD, OFFSET_MEAN, OFFSET_SD = 0.96, 0.08, 5.0, 6.0  # means: Vettoretti 2019; spread [G]
SENSOR_VARIANCE = 4.0  # (mg/dL)^2: rounding, beside the noise that is part of the state
FINGER_SHARE = 0.07  # standard error of a fingerstick over its value (ISO 15197:2013 allows 15 % at 95 %)
INFLATION = 1.015
KEEP = 0.995  # Liu-West
LOW, HIGH = 70.0, 180.0  # mg/dL: the bands that have to be covered each (ADA 2024)
NEAR = 220.0  # mg/dL: a forecast above this is not drawn down to the lows
LOWEST, HIGHEST = 20.0, 600.0  # mg/dL: no interval reaches further
NOW_WIDTH = 8.0  # mg/dL: what a sensor's value says about now, to each side
SIGMA_LEAST = (5.0, 8.0, 11.0)  # mg/dL: a forecast of this horizon is never surer [G]
# Blocks of draws; never a bare number as an argument: numba compiles a kernel for each.
STEP, UPDATE, FUTURE = 0, 2, 8
# Coefficients of the change, of its spread, factors and steering of the interval.
Knowing: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

# Which columns an observation may move: all but the stomach's memory.
MOVES = np.ones(at.WIDE)
MOVES[at.MEMORY : at.MEMORY + 3] = 0.0


@compiled
def person_of(base: np.ndarray, basal: float, theta: np.ndarray, p: np.ndarray) -> None:
    """Fills `p` (32) with the population's `base` moved by `theta` (4), at rest at its own basal glucose."""
    for k in range(base.shape[0]):
        p[k] = base[k]
    EGPb = base[KP1] - base[KP2] * base[VG] * basal - base[KP3] * base[IB]
    sensitivity, meal, skin = np.exp(theta[0]), np.exp(theta[2]), np.exp(theta[3])
    p[VMX] *= sensitivity
    p[KP3] *= sensitivity
    p[KABS] *= meal
    p[KMAX] *= meal
    p[KMIN] *= meal
    p[KA1] *= skin
    p[KA2] *= skin
    p[KD] *= skin
    s2008.balance(p, basal * np.exp(theta[1]), EGPb)


@compiled
def bound(Z: np.ndarray, basal: float, base: np.ndarray, P: np.ndarray) -> None:
    """Keeps every member possible and derives its parameters `P` (N, 32) anew."""
    lowest, highest = np.log(80.0 / basal), np.log(min(180.0, 0.98 * base[s2008.KE2] / base[VG]) / basal)
    for i in range(Z.shape[0]):
        z = Z[i]
        for j in range(13):
            if j != s2008.X and z[j] < 0.0:
                z[j] = 0.0
        z[GP] = max(z[GP], 10.0 * base[VG])
        z[GS] = max(z[GS], 10.0 * base[VG])
        z[GT] = max(z[GT], 1.0)
        z[at.GAIN] = min(max(z[at.GAIN], 0.7), 1.3)
        z[at.OFFSET] = min(max(z[at.OFFSET], -25.0), 30.0)
        z[at.UNLOGGED] = min(max(z[at.UNLOGGED], -4.0), 10.0)
        for k in range(at.THETAS):
            z[at.THETA + k] = min(max(z[at.THETA + k], -1.5), 1.5)
        z[at.THETA + 1] = min(max(z[at.THETA + 1], lowest), highest)
        person_of(base, basal, z[at.THETA : at.THETA + at.THETAS], P[i])


@compiled
def begin(
    Z: np.ndarray, P: np.ndarray, base: np.ndarray, basal: float, key0: int, key1: int, minute: int,
    population: np.ndarray,
) -> None:  # fmt: skip
    """Members as the prior has them (mean and deviation of four logarithms), at rest."""
    words, draws = np.empty(4, np.uint64), np.empty(8)
    for i in range(Z.shape[0]):
        for half in range(2):
            normals(key0, key1, minute, i, 4 + half, words, draws[4 * half : 4 * half + 4])
        Z[i] = 0.0
        for k in range(at.THETAS):
            Z[i, at.THETA + k] = population[k, 0] + population[k, 1] * draws[k]
        Z[i, at.GAIN] = GAIN_MEAN + GAIN_SD * draws[4]
        Z[i, at.OFFSET] = OFFSET_MEAN + OFFSET_SD * draws[5]
    bound(Z, basal, base, P)
    rest(Z, P, basal)


@compiled
def rest(Z: np.ndarray, P: np.ndarray, basal: float) -> None:
    """Bodies at rest (start, or after a gap too long to follow); what was learned stays."""
    for i in range(Z.shape[0]):
        s2008.rest(P[i], basal * np.exp(Z[i, at.THETA + 1]), Z[i, :13])
        Z[i, at.MEMORY : at.MEMORY + 3] = 0.0
        Z[i, at.NOISE] = Z[i, at.NOISE + 1] = Z[i, at.UNLOGGED] = 0.0


@compiled
def place(Z: np.ndarray, P: np.ndarray, y: float, key0: int, key1: int, minute: int) -> None:
    """Puts glucose where the first reading says, within the sensor's error."""
    words, draws = np.empty(4, np.uint64), np.empty(4)
    for i in range(Z.shape[0]):
        for block in (6,):
            normals(key0, key1, minute, i, block, words, draws)
        Z[i, at.NOISE] = Z[i, at.NOISE + 1] = 6.0 * draws[0]
        level = max((y - Z[i, at.OFFSET] - Z[i, at.NOISE]) / Z[i, at.GAIN], 20.0) * P[i, VG]
        Z[i, GT] *= level / Z[i, GP]
        Z[i, GP] = level
        Z[i, GS] = level


@compiled
def feed(s: np.ndarray, slots: np.ndarray, minute: float) -> tuple[float, float]:
    """What one minute brings: (U/min above the usual basal, g eaten); moves the pools of the curves on."""
    bolus, slow, slow_known = 0.0, 0.0, False
    for k in range(slots.shape[0]):
        if slots[k, 1] <= minute < slots[k, 2]:
            if slots[k, 3] > 0:
                slow += slots[k, 0]
                slow_known = True
            else:
                bolus += slots[k, 0]
    pumped = minute < s[at.BASAL_UNTIL]
    above = bolus
    if pumped or slow_known:
        rate = slow + (s[at.BASAL_RATE] if pumped else 0.0)
        pace = 1.0 / min(s[at.BASAL_MINUTES] + 1.0, USUAL_TAU)
        s[at.BASAL_USUAL] += pace * (rate - s[at.BASAL_USUAL])
        s[at.BASAL_MINUTES] += 1.0
        above += rate - s[at.BASAL_USUAL]
        s[at.NO_INSULIN] = s[at.NO_INSULIN] + 1.0 if rate + bolus <= 1e-9 else 0.0
    else:
        s[at.NO_INSULIN] = 0.0
    grams = min(EATING_RATE, s[at.CARBS_WAITING])
    s[at.CARBS_WAITING] -= grams
    s[at.INSULIN_B] += s[at.INSULIN_A] / INSULIN_TAU - s[at.INSULIN_B] / INSULIN_TAU
    s[at.INSULIN_A] += above - s[at.INSULIN_A] / INSULIN_TAU
    s[at.CARBS_B] += s[at.CARBS_A] / CARBS_TAU - s[at.CARBS_B] / CARBS_TAU
    s[at.CARBS_A] += grams - s[at.CARBS_A] / CARBS_TAU
    return above, grams


@compiled
def inputs(s: np.ndarray, slots: np.ndarray, start: int, above: np.ndarray, grams: np.ndarray) -> None:
    """Fills `above` (n,) U/min and `grams` (n,) g/min from minute `start` on; changes `s`."""
    for k in range(above.shape[0]):
        above[k], grams[k] = feed(s, slots, float(start + k))


@compiled
def carry(
    Z: np.ndarray, P: np.ndarray, base: np.ndarray, basal: float, start: int, above: np.ndarray, grams: np.ndarray,
    key0: int, key1: int, block: int, every: int, out: np.ndarray, own: np.ndarray,
) -> None:  # fmt: skip
    """Every member through the minutes of `above`; noise enters at minutes divisible by five.

    `own` (4, 2): mean and deviation that each logarithm drifts back to.

    `out` (N, n // every): what each member's sensor would read after every `every` minutes.
    """
    words, draws, work = np.empty(4, np.uint64), np.empty(8), np.empty((5, 13))
    fade = np.exp(-5.0 / UNLOGGED_TAU)
    fresh = UNLOGGED_SD * np.sqrt(1.0 - fade * fade)
    back = 5.0 / THETA_TAU
    for i in range(Z.shape[0]):
        z, p = Z[i], P[i]
        per_unit = PMOL_PER_UNIT / p[BW]
        for k in range(above.shape[0]):
            u = max(p[U2SS] + above[k] * per_unit, 0.0)
            s2008.minute(z[:13], p, z[at.MEMORY : at.MEMORY + 3], grams[k], u, z[at.UNLOGGED], 1, work)
            now = start + k + 1
            if now % 5 == 0:
                normals(key0, key1, now, i, block, words, draws[:4])
                noise = PHI1 * z[at.NOISE] + PHI2 * z[at.NOISE + 1] + SIGMA * draws[0]
                z[at.NOISE + 1] = z[at.NOISE]
                z[at.NOISE] = noise
                z[at.UNLOGGED] = fade * z[at.UNLOGGED] + fresh * draws[1]
                z[GP] *= np.exp(GLUCOSE_SD * draws[2])
                if block != FUTURE:  # in two hours nobody changes
                    normals(key0, key1, now, i, block + 1, words, draws[4:])
                    for j in range(at.THETAS):
                        z[at.THETA + j] += (
                            back * (own[j, 0] - z[at.THETA + j]) + own[j, 1] * np.sqrt(2.0 * back) * draws[4 + j]
                        )
                    person_of(base, basal, z[at.THETA : at.THETA + at.THETAS], p)
            if every > 0 and (k + 1) % every == 0:
                out[i, (k + 1) // every - 1] = z[at.GAIN] * z[GS] / p[VG] + z[at.OFFSET] + z[at.NOISE]


@compiled
def assimilate(
    Z: np.ndarray, P: np.ndarray, base: np.ndarray, basal: float, y: float, finger: bool, key0: int, key1: int,
    minute: int,
) -> float:  # fmt: skip
    """One observation of the sensor, or of blood by a fingerstick; the innovation's standard score."""
    N = Z.shape[0]
    words, draws = np.empty(4, np.uint64), np.empty((N, 8))
    expected = np.empty(N)
    block = UPDATE + 2 if finger else UPDATE
    for i in range(N):
        normals(key0, key1, minute, i, 10 + block, words, draws[i, :4])
        normals(key0, key1, minute, i, 11 + block, words, draws[i, 4:])
        if finger:
            expected[i] = Z[i, GP] / P[i, VG]
        else:
            expected[i] = Z[i, at.GAIN] * Z[i, GS] / P[i, VG] + Z[i, at.OFFSET] + Z[i, at.NOISE]
    variance = (FINGER_SHARE * y) ** 2 + 9.0 if finger else SENSOR_VARIANCE
    score = observe(Z, MOVES, expected, y, variance, draws[:, 0].copy())
    for first, last in ((0, 13), (at.GAIN, at.THETA)):
        inflate(Z, first, last, INFLATION)
    jitter(Z, at.THETA, at.THETA + at.THETAS, KEEP, draws[:, 4:])
    bound(Z, basal, base, P)
    return score


@compiled
def central(
    Z: np.ndarray, base: np.ndarray, basal: float, above: np.ndarray, grams: np.ndarray, out: np.ndarray
) -> None:
    """The middle member through the coming minutes without noise: `out` (n,) what its sensor would read."""
    z, p, work = np.zeros(at.WIDE), np.empty(base.shape[0]), np.empty((5, 13))
    for j in range(at.WIDE):
        for i in range(Z.shape[0]):
            z[j] += Z[i, j]
        z[j] /= Z.shape[0]
    for j in range(3):
        z[at.MEMORY + j] = Z[0, at.MEMORY + j]
    person_of(base, basal, z[at.THETA : at.THETA + at.THETAS], p)
    per_unit = PMOL_PER_UNIT / p[BW]
    fade = np.exp(-1.0 / UNLOGGED_TAU)
    e1, e2 = z[at.NOISE], z[at.NOISE + 1]
    for k in range(above.shape[0]):
        u = max(p[U2SS] + above[k] * per_unit, 0.0)
        s2008.minute(z[:13], p, z[at.MEMORY : at.MEMORY + 3], grams[k], u, z[at.UNLOGGED], 1, work)
        z[at.UNLOGGED] *= fade
        if (k + 1) % 5 == 0:
            e1, e2 = PHI1 * e1 + PHI2 * e2, e1
        out[k] = z[at.GAIN] * z[GS] / p[VG] + z[at.OFFSET] + e1


@compiled
def foresee(g: float, row: np.ndarray, wider: float, knowing: Knowing) -> None:
    """Middle, ends and sigma of an issued row's three horizons; no interval narrower than a shorter one's."""
    beta, gamma, factors, steering = knowing
    x, v = np.empty(at.FEATURES), np.empty(at.SPREAD)
    below, above, width = NOW_WIDTH, NOW_WIDTH, 0.0
    for h in range(3):
        answer = row[3 + at.SHARED + h * at.ANSWER : 3 + at.SHARED + (h + 1) * at.ANSWER]
        gather(row, h, x)
        middle = min(max(g + predict(beta[h], x), 30.0), 450.0)
        spread_features(middle, x, v)
        sigma = wider * max(predict(gamma[h], v), SIGMA_LEAST[h])
        below = max(below, conformal.below(middle, sigma, factors[h], steering[h], NEAR))
        above = max(above, conformal.above(sigma, factors[h]))
        low = max(middle - below, LOWEST)
        high = min(max(middle + above, low + width), HIGHEST)
        width = high - low
        answer[2], answer[3], answer[4], answer[5], answer[6] = middle, low, high, sigma, 1.0


@compiled
def issue(s: np.ndarray, ring: np.ndarray, path: np.ndarray, knowing: Knowing, pending: np.ndarray) -> None:
    """Makes the forecasts of this reading and puts them where their outcomes will look for them."""
    row = pending[int(s[at.PENDING_N]) % at.PENDING]
    s[at.PENDING_N] += 1.0
    row[0], row[2] = s[at.LAST_T], s[at.LAST_G]
    row[1] = 1.0 if features(s, ring, row[3 : 3 + at.SHARED]) else 0.0
    for h in range(3):
        minutes = 30 if h == 0 else (60 if h == 1 else 120)
        first = 3 + at.SHARED + h * at.ANSWER
        row[first] = path[minutes - 1] - s[at.LAST_G]
        row[first + 1] = path[minutes // 2 - 1] - s[at.LAST_G]
    foresee(s[at.LAST_G], row, 1.0 if row[1] == 1.0 else 1.3, knowing)


@compiled
def outcomes(
    s: np.ndarray, ring: np.ndarray, pending: np.ndarray, sums: np.ndarray, targets: np.ndarray,
    spread_sums: np.ndarray, spread_targets: np.ndarray, factors: np.ndarray, steering: np.ndarray, watch: np.ndarray,
) -> None:  # fmt: skip
    """Issued forecasts whose time has come meet what was measured; oldest first."""
    issued = int(s[at.PENDING_N])
    x, v = np.empty(at.FEATURES), np.empty(at.SPREAD)
    for n in range(max(issued - at.PENDING, 0), issued):
        row = pending[n % at.PENDING]
        for h in range(3):
            ahead = 30.0 if h == 0 else (60.0 if h == 1 else 120.0)
            answer = row[3 + at.SHARED + h * at.ANSWER : 3 + at.SHARED + (h + 1) * at.ANSWER]
            if answer[6] == 0.0 or s[at.LAST_T] < row[0] + ahead:
                continue
            answer[6] = 0.0
            y = value_at(ring, int(s[at.RING_N]), row[0] + ahead)
            if np.isnan(y) or row[1] == 0.0:
                continue
            gather(row, h, x)
            take(sums[h], targets[h], x, y - row[2])
            spread_features(answer[2], x, v)
            take(spread_sums[h], spread_targets[h], v, abs(y - answer[2]))
            conformal.learn(factors[h], steering[h], answer[2], answer[5], answer[3], answer[4], y, LOW, HIGH)
            see_interval(watch, h, answer[3] <= y <= answer[4])
            if h == 0:
                s[at.LEARNED] += 1.0


@compiled
def announce(
    s: np.ndarray, slots: np.ndarray, ring: np.ndarray, Z: np.ndarray, base: np.ndarray, basal: float,
    knowing: Knowing, pending: np.ndarray,
) -> None:  # fmt: skip
    """Looks two hours past the last reading with what is known and issues the three forecasts."""
    start = int(s[at.CURSOR])
    since = min(start - int(np.floor(s[at.LAST_T])), 29)
    ahead = s.copy()
    above, grams, path = np.empty(120 - since), np.empty(120 - since), np.empty(120)
    inputs(ahead, slots, start, above, grams)
    path[:since] = s[at.LAST_G]
    central(Z, base, basal, above, grams, path[since:])
    issue(s, ring, path, knowing, pending)
