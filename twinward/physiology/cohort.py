"""Our own population: generated people with type 1 diabetes, and what was believed about them.

The parameters of the published S2008 patients are not shipped. `bench/cohort.py` takes
their means and covariances of logarithms, draws people from them and keeps those who
could exist; what it drew is `cohort.csv`, its hash and its making are `cohort.toml`.
"""

from __future__ import annotations

import csv
import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinward.errors import Tampered
from twinward.physiology import glucose as s2008
from twinward.physiology.glucose_batch import Batch
from twinward.physiology.meaning import S2008_PARAMETERS

Array = NDArray[np.float64]
FOLDER = Path(__file__).parent

# What is drawn. Everything else follows: m4 = 0.4 m2 and m30 = 1.5 m1 (hepatic extraction 0.6),
# Vm0, kp1 and u2ss from rest at (Gb, Ib, EGPb).
DRAWN = (
    "BW", "Gb", "Ib", "EGPb", "kabs", "kmax", "kmin", "b", "d", "Vg", "Vi", "Vmx", "Km0", "k2", "k1",
    "p2u", "m1", "m2", "ki", "kp2", "kp3", "kd", "ksc", "ka1", "ka2",
)  # fmt: skip
FIXED = {"f": 0.9, "ke1": 0.0005, "ke2": 339.0, "Fsnc": 1.0}  # the same in all thirty [S]
BASAL_LOW, BASAL_HIGH = 80.0, 180.0  # mg/dL
WITHOUT_INSULIN_MOST = 700.0  # mg/dL after 48 h without insulin


@dataclass(frozen=True, slots=True)
class Cohort:
    names: tuple[str, ...]
    parameters: Array  # (N, 32) in the order of glucose.PARAMETERS
    basal: Array  # (N,) mg/dL

    def group(self, prefix: str) -> Cohort:
        keep = [i for i, name in enumerate(self.names) if name.startswith(prefix)]
        return Cohort(tuple(self.names[i] for i in keep), self.parameters[keep], self.basal[keep])


def person(drawn: Array) -> Array:
    """The 32 parameters of one person from the 25 of `DRAWN`; NaN in Vm0 where there is no resting state."""
    values = dict(zip(DRAWN, drawn, strict=True))
    p = np.zeros(len(s2008.PARAMETERS))
    for i, name in enumerate(s2008.PARAMETERS):
        p[i] = values.get(name, FIXED.get(name, 0.0))
    p[s2008.M4] = 0.4 * p[s2008.M2]
    p[s2008.M30] = 1.5 * p[s2008.M1]
    s2008.balance(p, values["Gb"], values["EGPb"])
    if values["Gb"] * p[s2008.VG] > p[s2008.KE2]:
        p[s2008.VM0] = np.nan
    return p


def refusal(p: Array, basal: float) -> str:
    """Why a drawn person cannot exist; empty: they can."""
    for name, value in zip(s2008.PARAMETERS, p, strict=True):
        if not S2008_PARAMETERS[name].low <= value <= S2008_PARAMETERS[name].high:
            return name
    if not BASAL_LOW <= basal <= BASAL_HIGH:
        return "basal glucose"
    x = np.zeros(13)
    s2008.rest(p, basal, x)
    if x[s2008.GT] <= 0:
        return "tissue glucose"
    two_days = np.empty(2880)
    s2008.simulate(p, x.copy(), np.zeros(3), np.zeros(2880), np.zeros(2880), 1, two_days)
    if not two_days.max() <= WITHOUT_INSULIN_MOST:
        return "48 h without insulin"
    return ""


@cache
def load(folder: Path = FOLDER) -> Cohort:
    """The committed cohort.

    Raises:
        Tampered: the file is not the one whose hash stands in cohort.toml.
    """
    body = (folder / "cohort.csv").read_bytes()
    about = tomllib.loads((folder / "cohort.toml").read_text())
    if hashlib.sha256(body).hexdigest() != about["sha256"]:
        raise Tampered("cohort.csv is not the cohort that was generated; run python -m bench.cohort")
    rows = list(csv.reader(body.decode().splitlines()))
    if tuple(rows[0][1:]) != DRAWN:
        raise Tampered("cohort.csv has other columns than this version reads; run python -m bench.cohort")
    drawn = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
    parameters = np.array([person(row) for row in drawn])
    parameters.setflags(write=False)
    return Cohort(tuple(row[0] for row in rows[1:]), parameters, drawn[:, DRAWN.index("Gb")].copy())


@cache
def typical(group: str = "adult") -> tuple[Array, float]:
    """(32 parameters, basal mg/dL) of the middle person: geometric means of what is drawn."""
    cohort = load().group(group)
    middle = np.exp(np.log(cohort.parameters).mean(0))
    basal = float(np.exp(np.log(cohort.basal).mean()))
    s2008.balance(middle, basal, float(np.exp(np.log(_at_rest(cohort)).mean())))
    middle.setflags(write=False)
    return middle, basal


def _at_rest(cohort: Cohort) -> Array:
    p = cohort.parameters
    return np.asarray(
        p[:, s2008.KP1] - p[:, s2008.KP2] * p[:, s2008.VG] * cohort.basal - p[:, s2008.KP3] * p[:, s2008.IB]
    )


def resting(cohort: Cohort) -> Batch:
    """All of them at rest, for the NumPy twin of the equations."""
    states = np.zeros((len(cohort.names), 13))
    for p, basal, x in zip(cohort.parameters, cohort.basal, states, strict=True):
        s2008.rest(p, basal, x)
    return Batch(cohort.parameters, states)
