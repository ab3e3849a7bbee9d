"""What a sensor makes of interstitial glucose: Vettoretti et al., Sensors 19:5320 (2019), Dexcom G6.

    reading = (a0 + a1 t + a2 t^2) glucose + b0 + noise        t in days since insertion
    noise_k = phi1 noise_{k-1} + phi2 noise_{k-2} + N(0, sigma^2)      every 5 min

Means are the paper's. Its covariance between the seven is not reproduced here: they vary
independently, with the standard deviations below [G].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LIFE_DAYS = 10.0
LOW, HIGH = 40.0, 400.0  # mg/dL, what the sensor reports at most
SAMPLE_MIN = 5
NOISE_SD_MOST = 10.0  # mg/dL: a noisier draw is no sensor that is sold


@dataclass(frozen=True, slots=True)
class Sensor:
    a0: float = 0.942
    a1: float = 0.0049  # 1/day
    a2: float = -0.00058  # 1/day^2
    b0: float = 6.38  # mg/dL
    phi1: float = 1.260
    phi2: float = -0.402
    sigma: float = 3.25  # mg/dL

    def noise_sd(self) -> float:
        """Standard deviation of the noise in the long run, mg/dL; infinite where it is unstable."""
        if not (abs(self.phi2) < 1 and self.phi1 + self.phi2 < 1 and self.phi2 - self.phi1 < 1):
            return float("inf")
        grown = (1 + self.phi2) * ((1 - self.phi2) ** 2 - self.phi1**2)
        return float(self.sigma * np.sqrt((1 - self.phi2) / grown))

    def read(self, glucose: Array, chance: np.random.Generator) -> Array:
        """(n,) readings of `glucose` (n,) mg/dL, 5 min apart, from insertion on."""
        days = np.arange(len(glucose)) * SAMPLE_MIN / 1440
        noise = np.zeros(len(glucose) + 2)
        shocks = self.sigma * chance.standard_normal(len(glucose))
        for k, shock in enumerate(shocks):
            noise[k + 2] = self.phi1 * noise[k + 1] + self.phi2 * noise[k] + shock
        gain = self.a0 + self.a1 * days + self.a2 * days**2
        return np.clip(gain * glucose + self.b0 + noise[2:], LOW, HIGH)


def draw(chance: np.random.Generator) -> Sensor:
    """A sensor as they come; unstable or too noisy ones are thrown away."""
    while True:
        z = chance.standard_normal(7)
        sensor = Sensor(
            0.942 + 0.06 * z[0], 0.0049 + 0.004 * z[1], -0.00058 + 0.0004 * z[2], 6.38 + 6.0 * z[3],
            1.260 + 0.05 * z[4], -0.402 + 0.05 * z[5], 3.25 * float(np.exp(0.25 * z[6])),
        )  # fmt: skip
        if sensor.noise_sd() <= NOISE_SD_MOST:
            return sensor


def wear(glucose: Array, chance: np.random.Generator) -> Array:
    """(n,) readings of sensors worn one after the other, each for its ten days."""
    life = int(LIFE_DAYS * 1440 / SAMPLE_MIN)
    return np.concatenate([draw(chance).read(glucose[k : k + life], chance) for k in range(0, len(glucose), life)])
