"""What a person's sensor, boluses and meals say about their body: four logarithms, and no more.

    reading = (gain + drift t + curvature t^2) G(theta) + offset + noise     t in days since the sensor was inserted
    noise   = an autoregression of order 2, its numbers from the residuals
    theta   = log of  SI (Vmx and kp3 jointly), Gb, meal (kabs, kmax, kmin), skin (ka1, ka2, kd)
              over the cohort's middle person; the rest of S2008 stays the population's
    nuisance: log of the share by which carbohydrates are miscounted, and the sensor's four numbers

Maximum a posteriori by damped Gauss-Newton from three starts; the Jacobian by central differences (two
runs a parameter); the posterior as the normal distribution of its last step. `spectrum` are the
eigenvalues of the information about theta, nuisances removed, in units of the prior: a direction with
eigenvalue L keeps 1/(1 + L) of its prior variance. All that is inside the model. People are not: their
other 28 numbers differ, meals go unlogged, days differ. How far that puts the most probable theta from the
truth was measured on cohort members (BODY_SD), and `own` counts it as an error of measurement. What then
keeps more than 70 % of its prior deviation is not called personal, and nothing else ever is.

Which four: our trials on real people, blocks of at least 5 days. Prior: as the glucose twin's [G]. On what
identifiable means: Cobelli and Carson, Introduction to Modeling in Physiology and Medicine (2008) [M].
Units: minute, g, U, mg/dL. Valid where S2008 is; no effort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Unready
from twinward.physiology import cohort
from twinward.physiology import glucose as s2008
from twinward.physiology.compiled import compiled

Array = NDArray[np.float64]

NAMES = ("SI", "Gb", "meal", "skin")
NUISANCE = ("carbohydrates", "gain", "offset", "drift", "curvature")
# Of the sensor: means of Vettoretti 2019 [S], spread [G]; mg/dL, 1/day, 1/day^2.
PRIOR_MEAN = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.942, 6.38, 0.0049, -0.00058])
PRIOR_SD = np.array([0.5, 0.12, 0.45, 0.3, 0.2, 0.08, 6.0, 0.004, 0.0004])
THETAS, SIZE = 4, 9
GAIN, OFFSET, DRIFT, CURVATURE = 5, 6, 7, 8
# Root mean square error on 40 cohort members of 7 days, seed 3 (bench/recovery.py): what the model does not know.
BODY_SD = np.array([0.46, 0.17, 0.53, 0.41])
# The same of SI where the truth may be another kind of body: as often an S2008 cohort member (seed 3) as a Hovorka
# person (seed 6, bench/recovery.py), whose sensitivity is what a unit does over what it does in their typical person.
EITHER_SD = 0.78
MOST = 1.5  # no logarithm further from the population
DAYS_LEAST = 5.0  # one-day fits repeat with r = .04
PERSONAL_BELOW = 0.7  # posterior over prior deviation [G]
SETTLING_MIN = 360  # after the start, when the state at the start still shows
SAMPLE_MIN = 5
STEP = 1e-3  # of a logarithm, central differences
ROUNDS, ITERATIONS = 3, 12
STARTS = (0.0, -0.7, 0.7)  # of meal: a slow gut and few carbohydrates look like a quick one and many, from afar
NOISE_LEAST = 0.5  # mg/dL


@compiled
def expect(
    base: np.ndarray, basal: float, v: np.ndarray, grams: np.ndarray, above: np.ndarray, out: np.ndarray
) -> None:
    """Fills `out` (T // 5,) with interstitial glucose (mg/dL) every 5 min of somebody who starts at rest.

    `grams` (T,) eaten as logged, `above` (T,) U/min above the usual basal rate.
    """
    p = base.copy()
    EGPb = base[s2008.KP1] - base[s2008.KP2] * base[s2008.VG] * basal - base[s2008.KP3] * base[s2008.IB]
    for k in (s2008.VMX, s2008.KP3):
        p[k] *= np.exp(v[0])
    for k in (s2008.KABS, s2008.KMAX, s2008.KMIN):
        p[k] *= np.exp(v[2])
    for k in (s2008.KA1, s2008.KA2, s2008.KD):
        p[k] *= np.exp(v[3])
    Gb = min(basal * np.exp(v[1]), 0.98 * base[s2008.KE2] / base[s2008.VG])
    s2008.balance(p, Gb, EGPb)
    x, memory, work = np.empty(13), np.zeros(3), np.empty((5, 13))
    s2008.rest(p, Gb, x)
    per_unit, carbs = s2008.PMOL_PER_UNIT / p[s2008.BW], np.exp(v[4])
    for t in range(5 * out.shape[0]):
        u = max(p[s2008.U2SS] + above[t] * per_unit, 0.0)
        s2008.minute(x, p, memory, grams[t] * carbs, u, 0.0, 1, work)
        if (t + 1) % 5 == 0:
            out[t // 5] = x[s2008.GS] / p[s2008.VG]


@dataclass(frozen=True, slots=True)
class Block:
    """Days of one person, from a quiet moment on."""

    sensor: Array  # (n,) mg/dL every 5 min, the first 5 min after the start; NaN where there is none
    grams: Array  # (5 n,) g per minute as logged
    above: Array  # (5 n,) U per minute above the usual basal rate
    weight: float  # kg


@dataclass(frozen=True, slots=True)
class Identified:
    """Logarithms over the population's middle person, and how sure."""

    theta: Array  # (4,) as NAMES, were the model true
    sd: Array  # (4,) its posterior deviation, were the model true
    nuisance: Array  # (5,) as NUISANCE
    spectrum: Array  # (4,) eigenvalues, largest first
    directions: Array  # (4, 4) columns, in units of the prior deviations
    noise: tuple[float, float, float]  # phi1, phi2, sigma of the residuals
    days: float  # with readings

    @property
    def own(self) -> tuple[Array, Array]:
        """(4,) logarithms and deviations with what the model does not know counted in, drawn to the population."""
        return self._counting(BODY_SD)

    def _counting(self, error: Array) -> tuple[Array, Array]:
        prior = PRIOR_SD[:THETAS] ** -2
        data = 1 / np.maximum(self.sd**-2 - prior, 1e-9)  # variance without the prior
        mean = self.theta * self.sd**-2 * data
        precision = prior + 1 / (data + error**2)
        own = np.asarray(mean / (data + error**2) / precision, np.float64)
        return own, np.asarray(1 / np.sqrt(precision), np.float64)

    @property
    def stated(self) -> tuple[Array, Array]:
        """As `own`, with SI as wide as it has to be where people need not be S2008 at all."""
        return self._counting(np.array([EITHER_SD, *BODY_SD[1:]]))

    @property
    def ratio(self) -> dict[str, float]:
        """Posterior over prior deviation of `own`: 1 is nothing learned."""
        return dict(zip(NAMES, (self.own[1] / PRIOR_SD[:THETAS]).tolist(), strict=True))

    @property
    def personal(self) -> tuple[str, ...]:
        return tuple(name for name, ratio in self.ratio.items() if ratio <= PERSONAL_BELOW)

    def interval(self, name: str) -> tuple[float, float, float]:
        """(median, low, high) of the factor over the population, 90 %, of `stated`."""
        k = NAMES.index(name)
        theta, sd = self.stated[0][k], 1.6449 * self.stated[1][k]
        return float(np.exp(theta)), float(np.exp(theta - sd)), float(np.exp(theta + sd))

    def value(self, name: str) -> tuple[float, float, float]:
        """As `interval`, for what may be called this person's own.

        Raises:
            BadInput: a parameter that these data never tell.
            Unready: one that they could tell, and do not.
        """
        if name not in NAMES:
            raise BadInput(f"{name} stays the population's: glucose, boluses and meals do not tell it")
        if name not in self.personal:
            raise Unready(
                f"{name} keeps {self.ratio[name]:.0%} of its prior deviation after {self.days:.1f} days: not personal"
            )
        return self.interval(name)


@dataclass(frozen=True, slots=True)
class Whitened:
    """Residuals after the noise's own memory is taken out, for readings whose two predecessors exist."""

    block: Block
    base: Array
    basal: float
    at: NDArray[np.int64]  # indices of such readings

    def expected(self, v: Array) -> Array:
        out = np.empty(len(self.block.sensor))
        expect(self.base, self.basal, v, self.block.grams, self.block.above, out)
        return out

    def days(self) -> Array:
        return np.asarray(np.arange(len(self.block.sensor)) * (SAMPLE_MIN / 1440), np.float64)

    def residuals(self, v: Array) -> Array:
        t = self.days()
        gain = v[GAIN] + v[DRIFT] * t + v[CURVATURE] * t**2
        return np.asarray(self.block.sensor - gain * self.expected(v) - v[OFFSET])

    def innovations(self, r: Array, noise: tuple[float, float, float]) -> Array:
        """(m,) or (m, SIZE) in units of sigma; `r` (n,) or (n, SIZE)."""
        return np.asarray((r[self.at] - noise[0] * r[self.at - 1] - noise[1] * r[self.at - 2]) / noise[2])

    def jacobian(self, v: Array) -> Array:
        """(n, SIZE) of the residuals."""
        J = np.empty((len(self.block.sensor), SIZE))
        for k in range(GAIN):
            up, down = v.copy(), v.copy()
            up[k] += STEP
            down[k] -= STEP
            J[:, k] = (self.residuals(up) - self.residuals(down)) / (2 * STEP)
        level, t = self.expected(v), self.days()
        J[:, GAIN], J[:, OFFSET], J[:, DRIFT], J[:, CURVATURE] = -level, -1.0, -t * level, -(t**2) * level
        return J


def population(weight: float) -> tuple[Array, float]:
    """(32 parameters, basal mg/dL) of the cohort's middle adult at this weight."""
    typical, basal = cohort.typical()
    base = typical.copy()
    base[s2008.BW] = weight
    return base, basal


def identify(block: Block) -> Identified:
    """The most probable body and how sure that is.

    Raises:
        BadInput: series of other lengths, inputs that are not finite or negative doses of food, a weight nobody has.
        Unready: fewer than five days of readings.
    """
    n = len(block.sensor)
    if block.grams.shape != (SAMPLE_MIN * n,) or block.above.shape != (SAMPLE_MIN * n,):
        raise BadInput("meals and doses need one value a minute for the minutes of the readings")
    if not (np.isfinite(block.above).all() and np.isfinite(block.grams).all() and bool(np.all(block.grams >= 0))):
        raise BadInput("meals and doses have to be finite, meals not negative")
    if not 20.0 <= block.weight <= 250.0:
        raise BadInput("body weight must lie in 20..250 kg")
    seen = np.isfinite(block.sensor) & (block.sensor > 40.0) & (block.sensor < 400.0)
    seen[: SETTLING_MIN // SAMPLE_MIN] = False
    days = float(seen.sum()) * SAMPLE_MIN / 1440
    if days < DAYS_LEAST:
        raise Unready(f"{days:.1f} days of usable readings; a body is identified from {DAYS_LEAST:g} on")
    triples = seen[2:] & seen[1:-1] & seen[:-2]
    fit = Whitened(block, *population(block.weight), np.flatnonzero(triples) + 2)
    noise = (1.26, -0.402, 3.25)  # Vettoretti 2019 to begin with
    tries = []
    for meal in STARTS:
        v = PRIOR_MEAN.copy()
        v[NAMES.index("meal")] = meal
        tries.append(climb(fit, v, noise))
    v = min(tries, key=lambda one: loss(fit, one, noise))
    for _ in range(1, ROUNDS):
        noise = memory_of(fit, v)
        v = climb(fit, v, noise)
    noise = memory_of(fit, v)
    return summary(v, fit.innovations(fit.jacobian(v), noise), noise, days)


def loss(fit: Whitened, v: Array, noise: tuple[float, float, float]) -> float:
    """Minus twice the logarithm of the posterior, up to a constant."""
    e = fit.innovations(fit.residuals(v), noise)
    return float(e @ e + (((v - PRIOR_MEAN) / PRIOR_SD) ** 2).sum())


def climb(fit: Whitened, v: Array, noise: tuple[float, float, float]) -> Array:
    """Gauss-Newton with halved steps, from `v` to the most probable v nearby under this noise."""
    precision = 1 / PRIOR_SD**2
    now = loss(fit, v, noise)
    for _ in range(ITERATIONS):
        e, J = fit.innovations(fit.residuals(v), noise), fit.innovations(fit.jacobian(v), noise)
        step = np.linalg.solve(J.T @ J + np.diag(precision), -(J.T @ e) - precision * (v - PRIOR_MEAN))
        for half in range(8):
            tried = v + step * 0.5**half
            tried[:GAIN] = np.clip(tried[:GAIN], -MOST, MOST)
            then = loss(fit, tried, noise)
            if then < now:
                break
        else:
            return v
        done = bool(np.all(np.abs(tried - v) < 1e-3 * PRIOR_SD))
        v, now = tried, then
        if done:
            return v
    return v


def memory_of(fit: Whitened, v: Array) -> tuple[float, float, float]:
    """phi1, phi2, sigma of the residuals by least squares, kept stationary."""
    r = fit.residuals(v)
    now, before = r[fit.at], np.column_stack([r[fit.at - 1], r[fit.at - 2]])
    phi1, phi2 = np.linalg.lstsq(before, now, rcond=None)[0]
    phi2 = float(np.clip(phi2, -0.95, 0.95))
    phi1 = float(np.clip(phi1, -0.99 * (1 - phi2), 0.99 * (1 - phi2)))
    sigma = float(np.sqrt(np.mean((now - before @ np.array([phi1, phi2])) ** 2)))
    return phi1, phi2, max(sigma, NOISE_LEAST)


def summary(v: Array, J: Array, noise: tuple[float, float, float], days: float) -> Identified:
    """The posterior at `v` from the whitened Jacobian `J`, nuisances integrated out."""
    information = J.T @ J
    precision = 1 / PRIOR_SD**2
    posterior = np.linalg.inv(information + np.diag(precision))
    rest = information[THETAS:, THETAS:] + np.diag(precision[THETAS:])
    cross = information[:THETAS, THETAS:]
    own = information[:THETAS, :THETAS] - cross @ np.linalg.solve(rest, cross.T)
    scaled = PRIOR_SD[:THETAS, None] * own * PRIOR_SD[:THETAS]
    eigenvalues, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
    return Identified(
        v[:THETAS].copy(), np.sqrt(np.diag(posterior)[:THETAS]), v[THETAS:].copy(), np.maximum(eigenvalues[::-1], 0.0),
        vectors[:, ::-1].copy(), noise, days,
    )  # fmt: skip
