"""What a bedside monitor shows of a circulation: numbers of a beat, and waveforms.

    arterial pressure  Psa of the model
    ECG                sum of five Gaussians on the phase of the beat: McSharry 2003 (IEEE Trans Biomed Eng
                       50:289) in the static form, RR-independent angles [M]
    pleth              Psp of the model, high-passed over a beat and scaled: perfusion of a finger [G]
    CO2                trapezoid of an expired breath, phase II exponential, phase III a slope, to PetCO2 [G]
    respiration        thoracic impedance (1 - cos(2 pi phase)) / 2 with 1:2 inspiration to expiration [G]

Pure functions of a trace or of time; nothing here feeds back. For teaching; not a medical device.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology.circulation_run import Trace

Array = NDArray[np.float64]
DYNE = 80.0  # dyn*s/cm^5 per mmHg*min/L

# Of each wave: centre as an angle of the beat, R at 0; height mV; width. McSharry 2003, Table 1, scaled to 1 mV R [M].
ECG_WAVES: dict[str, tuple[float, float, float]] = {
    "P": (-np.pi / 3, 0.12, 0.25),
    "Q": (-np.pi / 12, -0.13, 0.1),
    "R": (0.0, 1.0, 0.1),
    "S": (np.pi / 12, -0.2, 0.1),
    "T": (np.pi / 2, 0.3, 0.4),
}
ELECTROMECHANICAL_S = 0.04  # R comes this much before the ventricle pushes [G]


@dataclass(frozen=True, slots=True)
class Features:
    """Means over whole beats; mmHg, per minute, mL, L/min, dyn*s/cm^5."""

    systolic: float
    diastolic: float
    mean: float
    heart_rate: float
    stroke_volume: float
    output: float
    cvp: float
    lap: float
    svr: float
    pa_systolic: float
    pa_diastolic: float
    pa_mean: float
    rv_systolic: float
    edv: float
    esv: float
    lvedp: float
    ejection_fraction: float
    beats: int


def features(trace: Trace) -> Features:
    """Of all whole beats in `trace`.

    Raises:
        BadInput: fewer than two beats, or slower than 100 samples a second.
    """
    if trace.hz < 100:
        raise BadInput("a beat is measured with at least 100 samples a second")
    begins = np.flatnonzero(np.diff(np.floor(trace["beat"]))) + 1
    if len(begins) < 3:
        raise BadInput("a trace of at least two whole beats is needed")
    whole = slice(int(begins[0]), int(begins[-1]))

    def extremes(name: str) -> tuple[float, float]:
        beats = [trace[name][a:b] for a, b in pairwise(begins)]
        return float(np.mean([beat.max() for beat in beats])), float(np.mean([beat.min() for beat in beats]))

    systolic, diastolic = extremes("Psa")
    pa_systolic, pa_diastolic = extremes("Ppa")
    edv, esv = extremes("Vlv")
    mean, cvp = float(trace["Psa"][whole].mean()), float(trace["Pra"][whole].mean())
    count = len(begins) - 1
    seconds = _seconds(trace, begins)
    output = float(trace["Flv"][whole].mean()) * 0.06
    rate = 60.0 * count / seconds
    return Features(
        systolic, diastolic, mean, rate, 1000 * output / rate, output, cvp, float(trace["Pla"][whole].mean()),
        DYNE * (mean - cvp) / output, pa_systolic, pa_diastolic, float(trace["Ppa"][whole].mean()), extremes("Prv")[0],
        edv, esv, float(trace["Plv"][begins[:-1]].mean()), 1 - esv / edv, count,
    )  # fmt: skip


def _seconds(trace: Trace, begins: NDArray[np.intp]) -> float:
    """From the first beat to the last, between samples where need be."""
    beat, T = trace["beat"], trace["T"]
    first, last = int(begins[0]), int(begins[-1])
    over = [(beat[k] - np.floor(beat[k])) * T[k] for k in (first, last)]
    return float((last - first) / trace.hz + over[0] - over[1])


def arterial(trace: Trace) -> Array:
    """mmHg."""
    return trace["Psa"]


def ecg(trace: Trace) -> Array:
    """mV, one lead, R just before the push of the ventricle."""
    angle = 2 * np.pi * (trace["beat"] + ELECTROMECHANICAL_S / trace["T"])
    wave = np.zeros(len(angle))
    for centre, height, width in ECG_WAVES.values():
        off = np.mod(angle - centre + np.pi, 2 * np.pi) - np.pi
        wave += height * np.exp(-(off**2) / (2 * width**2))
    return wave


def pleth(trace: Trace) -> Array:
    """Per cent of the mean: pulse of the small arteries as a finger shows it."""
    pressure = trace["Psp"]
    width = max(round(float(trace["T"].mean()) * trace.hz), 1)
    padded = np.pad(pressure, (width // 2, width - 1 - width // 2), mode="edge")
    slow = np.convolve(padded, np.full(width, 1 / width), "valid")
    return np.asarray(100 * (pressure - slow) / slow)


def breath(seconds: Array, rate: float, share: float = 1 / 3) -> Array:
    """Phase 0..1 warped so that inspiration, of `share` of the breath, ends at one half.

    Raises:
        BadInput: not 2 to 60 breaths a minute.
    """
    if not 2.0 <= rate <= 60.0:
        raise BadInput("breaths per minute must lie in 2..60")
    phase = np.mod(np.asarray(seconds) * rate / 60.0, 1.0)
    return np.where(phase < share, 0.5 * phase / share, 0.5 + 0.5 * (phase - share) / (1 - share))


def respiration(seconds: Array, rate: float) -> Array:
    """0 empty, 1 full."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * breath(seconds, rate)))


def capnogram(seconds: Array, rate: float, petco2: float) -> Array:
    """mmHg at the mouth: nothing while air comes in, then dead space, a steep rise, a plateau up to `petco2`."""
    expired = np.clip(2 * breath(seconds, rate) - 1, 0, 1)
    rise = np.where(expired > 0.05, 1 - np.exp(-(expired - 0.05) / 0.06), 0.0)
    plateau = 0.92 + 0.08 * (expired - 0.05) / 0.95
    return np.asarray(np.where(expired > 0, petco2 * rise * plateau, 0.0))
