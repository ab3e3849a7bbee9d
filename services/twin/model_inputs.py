"""From stored rows to what the glucose model takes, and back to its own nouns.

Left out, because they are not what was true of the patient: entries in error and
cancelled ones, values without a known unit, values dated in the future, values
whose time is known to the day only. They stay stored and marked.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.twin.eaten import ROW, Inputs, in_order
from services.twin.glucose_inputs import KINDS, REFIT_CODES, TAKEN, UNTRUE
from twinward.record import CGM_GLUCOSE, Flag, Measurement, Precision
from twinward.vault.rows import Rows

SENT = tuple(sorted(KINDS))  # what feeds send
CODES = (*SENT, *REFIT_CODES)
FIRST_REFIT = len(SENT)
UNITS = tuple(TAKEN[code][1] for code in CODES)
GLUCOSE = CODES.index(CGM_GLUCOSE)
WEIGHT = "loinc|29463-7"  # body weight, kg
UNUSABLE_FLAGS = Flag.FUTURE | Flag.UNIT_UNKNOWN | Flag.UNMAPPED
# The others tell how a value came in, and a state must not depend on that.
MODEL_FLAGS = Flag.AT_SENSOR_LIMIT | Flag.OUT_OF_RANGE


def rows_for_model(inputs: Inputs) -> list[Measurement]:
    """The model's rows in order; lineage and receipt play no part in a state and are empty."""
    return [
        Measurement(
            code=CODES[code],
            effective_ms=effective_ms,
            received_ms=effective_ms,
            value=value,
            unit=UNITS[code],
            lineage=b"",
            duration_s=duration_s,
            flags=flags,
            source=inputs.sources[source],
        )
        for effective_ms, code, value, duration_s, flags, source in inputs.rows.tolist()
    ]


def inputs_of(rows: Rows) -> tuple[Inputs, list[tuple[int, float]]]:
    """The model's rows and the weights (effective_ms, kg) of resolved rows in any order."""
    places = {code: place for place, code in enumerate(SENT)}
    code = _through([places.get(name, -1) for name in rows.codes], rows.code)
    true = ~np.isin(rows.status, UNTRUE) & (rows.flags & UNUSABLE_FLAGS == 0) & np.isfinite(rows.value)
    is_weight = _through([int(name == WEIGHT) for name in rows.codes], rows.code) == 1
    weighed = rows.take(true & is_weight & (rows.value > 0))
    weights = sorted(zip(weighed.effective_ms.tolist(), weighed.value.tolist(), strict=True))
    chosen = true & (code >= 0) & (rows.precision == Precision.INSTANT)
    eaten = rows.take(chosen)
    sources = tuple(sorted({rows.sources[place] for place in np.unique(eaten.source).tolist()}))
    ranks = {source: rank for rank, source in enumerate(sources)}
    table = np.empty(len(eaten), dtype=ROW)
    table["effective_ms"] = eaten.effective_ms
    table["code"] = code[chosen]
    table["value"] = eaten.value
    table["duration_s"] = eaten.duration_s
    table["flags"] = eaten.flags & MODEL_FLAGS
    table["source"] = _through([ranks.get(name, -1) for name in rows.sources], eaten.source)
    return in_order(table, sources), weights


def _through(table: list[int], places: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """`table` looked up at each of `places`."""
    return np.array(table, dtype=np.int64)[places] if len(table) else np.empty(0, dtype=np.int64)


def weight_at(weights: list[tuple[int, float]], first_ms: int) -> float | None:
    """The weight in force at `first_ms`: the last one measured by then, else the first after; kg."""
    before = [kg for at, kg in weights if at <= first_ms]
    if before:
        return before[-1]
    return weights[0][1] if weights else None
