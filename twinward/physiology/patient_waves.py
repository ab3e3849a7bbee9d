"""Waveforms of one body that join from exchange to exchange: each is a function of states that are continuous.

    ecg     McSharry's Gaussians on the phase of the circulation's beat (monitor.py), mV
            T wave x clip(1 + 0.6 (K - 4.2), 0.2, 3.5); above 6.0 mmol/L waves widen by 0.25 per mmol/L, P fades [G]
    abp     Psa of the circulation, mmHg           cvp    pressure of the right atrium, mmHg
    pleth   100 (Psp - its running mean) / its running mean, the mean interpolated over the exchange, %
    co2     capnogram of the breath's phase (monitor.py), mmHg        resp   lung volume of the breath's phase, 0..1

The breath's phase is a state: it grows by RR / 60 a second, and RR changes only between exchanges.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from twinward.physiology import circulation as c
from twinward.physiology import monitor
from twinward.physiology.circulation_run import COLUMNS

Array = NDArray[np.float64]
Wave = NDArray[np.float32]
CHANNELS = ("ecg", "abp", "pleth", "co2", "resp", "cvp")
USUAL_K = 4.2


def ecg(beat: Array, T: Array, K: float) -> Array:
    """mV, one lead."""
    angle = 2 * np.pi * (beat + monitor.ELECTROMECHANICAL_S / T)
    tall = min(max(1.0 + 0.6 * (K - USUAL_K), 0.2), 3.5)
    wide = 1.0 + 0.25 * min(max(K - 6.0, 0.0), 4.0)
    height = {"T": tall, "P": max(1.0 - 0.5 * max(K - 6.0, 0.0), 0.0)}
    wave = np.zeros(len(angle))
    for name, (centre, peak, width) in monitor.ECG_WAVES.items():
        w = width * wide if name != "T" else width
        off = np.mod(angle - centre + np.pi, 2 * np.pi) - np.pi
        wave += height.get(name, 1.0) * peak * np.exp(-(off**2) / (2 * w**2))
    return wave


def waves(
    rows: Array, hz: int, K: float, breaths: float, RR: float, etCO2: tuple[float, float], means: tuple[float, float]
) -> Mapping[str, Wave]:
    """Of one exchange: `rows` (n, 46) of the circulation at `hz`; `breaths` at its start; etCO2 and running mean of Psp
    at its start and end."""
    n = len(rows)
    share = np.arange(n) / n
    slow = means[0] + (means[1] - means[0]) * share
    phase = breaths + np.arange(n) / hz * (RR / 60.0)
    found = {
        "ecg": ecg(rows[:, c.BEAT], rows[:, COLUMNS["T"]], K),
        "abp": rows[:, c.PSA],
        "pleth": 100.0 * (rows[:, c.PSP] - slow) / slow,
        "co2": monitor.capnogram(phase, 60.0, 1.0) * (etCO2[0] + (etCO2[1] - etCO2[0]) * share),
        "resp": monitor.respiration(phase, 60.0),
        "cvp": rows[:, COLUMNS["Pra"]],
    }
    return {name: wave.astype(np.float32) for name, wave in found.items()}
