"""Reading a prior's file, and whether a twin could believe it.

The file is JSON (docs/formats.md) and its SHA-256 is its name. Three looks: the schema, bounds on every number, and
a trial: a twin that starts with it lives six hours and has to say something possible.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import lru_cache
from typing import Annotated

import msgspec
import numpy as np

from services.twin import glucose_layout as at
from services.twin.glucose_prior import FORMAT, SCALES, Prior, blank
from twinward.errors import BadInput, Malformed, TooLarge
from twinward.learning.identify import NAMES
from twinward.record import CGM_GLUCOSE, Measurement, Precision

MOST_BYTES = 200_000
VERSION = re.compile(r"[a-z0-9][a-z0-9.-]{0,30}")
# Of a logarithm over the typical adult: what a population's mean may be, and how much people may differ. The body
# model is kept within exp(-1.5) to exp(1.5), basal glucose within 70 to 180 mg/dL [G].
MEAN_MOST = {"SI": 0.7, "Gb": 0.3, "meal": 0.7, "skin": 0.7}
SD_LEAST, SD_MOST = 0.02, {"SI": 0.9, "Gb": 0.3, "meal": 0.9, "skin": 0.9}
BETA_MOST = 100.0  # mg/dL that a feature as large as it usually is (SCALES) may move a forecast
GAMMA_MOST = 100.0  # mg/dL
TRIAL_ROWS, STEP_MS = 72, 300_000
WIDTH_MOST = 400.0  # mg/dL


class Logarithm(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    mean: float
    sd: float


class Horizon(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    beta: list[float]
    gamma: list[float]


class Interval(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    sigmas: Annotated[float, msgspec.Meta(ge=1.0, le=5.0)]


class File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    format: str
    version: str
    label: Annotated[str, msgspec.Meta(max_length=200)]
    provenance: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    logarithms: dict[str, Logarithm]
    regression: dict[str, Horizon]
    interval: Interval


@lru_cache(maxsize=8)
def load(body: bytes) -> Prior:
    """
    Raises:
        TooLarge, Malformed: it is no prior's file.
        BadInput: a number is out of its bounds.
    """
    if len(body) > MOST_BYTES:
        raise TooLarge(f"a prior's file has {MOST_BYTES} bytes at most")
    try:
        found = msgspec.json.decode(body, type=File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"this is no prior's file: {error}") from None
    if found.format != FORMAT:
        raise Malformed(f"this is no prior's file: its format is not {FORMAT}")
    if not VERSION.fullmatch(found.version):
        raise BadInput("a prior's version has lower-case letters, digits, dots and hyphens, 31 at most")
    if set(found.logarithms) != set(NAMES) or set(found.regression) != {str(minutes) for minutes in at.HORIZONS}:
        raise Malformed(f"a prior has the logarithms {', '.join(NAMES)} and regressions for 30, 60 and 120 minutes")
    beta = _table([found.regression[str(h)].beta for h in at.HORIZONS], at.FEATURES)
    gamma = _table([found.regression[str(h)].gamma for h in at.HORIZONS], at.SPREAD)
    population = np.array([[found.logarithms[name].mean, found.logarithms[name].sd] for name in NAMES])
    _bounds(population, beta, gamma)
    return replace(
        blank(), beta=beta, gamma=gamma, population=population, sigmas=found.interval.sigmas, version=found.version,
        label=found.label, provenance=found.provenance, sha256=hashlib.sha256(body).digest(),
    )  # fmt: skip


def _table(rows: list[list[float]], width: int) -> at.Array:
    if any(len(row) != width for row in rows):
        raise Malformed(f"a row of this regression has {width} numbers")
    return np.array(rows, dtype=np.float64)


def _bounds(population: at.Array, beta: at.Array, gamma: at.Array) -> None:
    if not all(np.isfinite(table).all() for table in (population, beta, gamma)):
        raise BadInput("a prior's numbers have to be finite")
    for name, (mean, sd) in zip(NAMES, population.tolist(), strict=True):
        if abs(mean) > MEAN_MOST[name] or not SD_LEAST <= sd <= SD_MOST[name]:
            raise BadInput(
                f"{name}: a mean within {MEAN_MOST[name]:g} and a deviation of {SD_LEAST:g} to {SD_MOST[name]:g} of "
                "the logarithm are believed"
            )
    if np.abs(beta[:, 1:] / SCALES[1:]).max() > BETA_MOST or np.abs(gamma).max() > GAMMA_MOST:
        raise BadInput("a coefficient of the regression is larger than any that was ever learned")


def tried(prior: Prior) -> None:
    """Raises BadInput where a twin that starts with it says what cannot be."""
    from services.twin.glucose import GlucoseTwin

    twin = GlucoseTwin.start(b"trial", 0, None, prior)
    twin.advance([_reading(k, 130.0 + 40.0 * float(np.sin(k / 9))) for k in range(1, TRIAL_ROWS)])
    said = twin.forecast(at.HORIZONS, twin.state_ms).points
    for one in said:
        numbers = np.array([one.low, one.median, one.high])
        if not (np.isfinite(numbers).all() and one.low < one.median < one.high and one.high - one.low < WIDTH_MOST):
            raise BadInput(f"a twin that starts with this prior says nothing possible for {one.minutes} minutes ahead")


def _reading(k: int, value: float) -> Measurement:
    return Measurement(CGM_GLUCOSE, k * STEP_MS, k * STEP_MS, value, "mg/dL", b"", precision=Precision.INSTANT)
