"""The refit of what can be identified, as the twin takes it: an event with its own place in data time.

`twinward.learning.identify` says what days of sensor, boluses and meals tell of four logarithms. Those it calls
personal become the *personal prior* from that moment of data time on: the ensemble's members are moved, by one
affine map a parameter, to the refit's mean and deviation (their order, and what they know beside it, stay), and
the interval learns anew. The others stay what the population and the filter say.

A refit is stored once and never computed again: late data before its place replay into the same refit at the
same place. It enters as rows of the twin's inputs (`rows_of`), so that a state knows by its digest whether it has
eaten it (eaten.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from services.twin import glucose_kernels as kernels
from services.twin import glucose_layout as at
from services.twin.eaten import ROW, Inputs, in_order
from services.twin.glucose_inputs import REFIT_CODES, REFIT_END, SENSOR, Event, apply_input, events
from twinward.errors import Tampered, Unready
from twinward.learning import identify
from twinward.learning.identify import NAMES, Block, Identified
from twinward.physiology import cohort
from twinward.record import Measurement

FORMAT = "refit-1"
SPAN_DAYS = 14  # of data read at most: older days are older habits [G]
MINUTE_MS, DAY_MS = 60_000, 86_400_000


class Refit(msgspec.Struct, frozen=True):
    """What a refit found, and where it stands. Tuples follow `identify.NAMES`: SI, Gb, meal, skin."""

    format: str
    model: str  # that it was made for
    state_ms: int  # just after the last row it read
    since_ms: int  # first row read
    days: float  # with readings
    theta: tuple[float, ...]  # logarithms over the population, body uncertainty counted in
    sd: tuple[float, ...]
    ratio: tuple[float, ...]  # posterior over prior deviation
    spectrum: tuple[float, ...]  # eigenvalues of the information in units of the prior, largest first
    personal: tuple[str, ...]

    def dump(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def refused(self) -> tuple[str, ...]:
        return tuple(name for name in NAMES if name not in self.personal)


def load(plain: bytes) -> Refit:
    """Raises Tampered: what was opened is no refit."""
    try:
        found = msgspec.json.decode(plain, type=Refit)
    except msgspec.DecodeError as error:
        raise Tampered("a stored refit cannot be read", detail=str(error)) from None
    sizes = {len(found.theta), len(found.sd), len(found.ratio), len(found.spectrum)}
    if found.format != FORMAT or sizes != {len(NAMES)} or not set(found.personal) <= set(NAMES):
        raise Tampered("a stored refit cannot be read")
    return found


def refit(rows: Sequence[Measurement], weight_kg: float | None, model: str) -> Refit:
    """The refit of the last `SPAN_DAYS` of rows that are in order of time.

    Raises:
        Unready: fewer than five days of readings.
    """
    found = [one for one in events(rows) if one.kind <= SENSOR]
    if not any(one.kind == SENSOR for one in found):
        raise Unready("no sensor reading is stored yet")
    last_ms = found[-1].time_ms
    found = [one for one in found if one.time_ms > last_ms - SPAN_DAYS * DAY_MS]
    told = identify.identify(block_of(found, weight_kg))
    return _refit(told, found, model)


def _refit(told: Identified, found: Sequence[Event], model: str) -> Refit:
    theta, sd = told.own
    return Refit(
        FORMAT,
        model,
        found[-1].time_ms + 1,
        found[0].time_ms,
        told.days,
        tuple(theta.tolist()),
        tuple(sd.tolist()),
        tuple(told.ratio.values()),
        tuple(told.spectrum.tolist()),
        told.personal,
    )


def block_of(found: Sequence[Event], weight_kg: float | None) -> Block:
    """Events of a person as the identification wants them: doses and meals by minute, readings every 5 min.

    Raises:
        Unready: the events span less than five days.
    """
    start = found[0].time_ms // MINUTE_MS
    n = (found[-1].time_ms // MINUTE_MS - start) // identify.SAMPLE_MIN
    if n * identify.SAMPLE_MIN < identify.DAYS_LEAST * 1440:
        raise Unready(f"{n * identify.SAMPLE_MIN / 1440:.1f} days of data; a body is identified from 5 days on")
    minutes = n * identify.SAMPLE_MIN
    sensor, above, grams = np.full(n, np.nan), np.zeros(minutes), np.zeros(minutes)
    s, slots, cursor = np.zeros(at.SCALARS), np.zeros((at.SLOTS, 4)), 0
    s[at.LAST_INSULIN] = s[at.LAST_CARBS] = -1.0
    for event in found:
        minute = min(int(event.time_ms // MINUTE_MS - start), minutes)
        if minute > cursor:
            kernels.inputs(s, slots, start + cursor, above[cursor:minute], grams[cursor:minute])
            cursor = minute
        s[at.CURSOR] = start + cursor
        if event.kind == SENSOR:
            place = round(minute / identify.SAMPLE_MIN) - 1
            if 0 <= place < n:
                sensor[place] = event.value
        elif event.kind < SENSOR:
            apply_input(s, slots, event)
    if cursor < minutes:
        kernels.inputs(s, slots, start + cursor, above[cursor:], grams[cursor:])
    typical = float(cohort.typical()[0][kernels.BW])
    weight = weight_kg if weight_kg is not None and 20.0 <= weight_kg <= 250.0 else typical
    return Block(sensor, grams, above, weight)


def rows_of(refits: Sequence[Refit], first_code: int) -> np.ndarray:
    """Rows of `ROW`: a mean and a deviation for each personal parameter and an end; codes from `first_code` on."""
    rows = []
    for one in refits:
        for k, name in enumerate(NAMES):
            if name in one.personal:
                rows.append((one.state_ms, first_code + k, one.theta[k], 0, 0, 0))
                rows.append((one.state_ms, first_code + len(NAMES) + k, one.sd[k], 0, 0, 0))
        rows.append((one.state_ms, first_code + len(REFIT_CODES) - 1, float(len(one.personal)), 0, 0, 0))
    return np.array(rows, dtype=ROW)


def with_refits(inputs: Inputs, refits: Sequence[Refit], first_code: int) -> Inputs:
    """`inputs` and the refits among them, each at its place."""
    if not refits or not len(inputs):
        return inputs
    return in_order(np.concatenate([inputs.rows, rows_of(refits, first_code)]), inputs.sources)


def take(parts: at.Parts, event: Event) -> bool:
    """Notes a mean or a deviation; at the end moves the ensemble. Whether the ensemble was moved."""
    own = parts.personal
    if event.kind < REFIT_END:
        k = event.kind - SENSOR - 1
        own[k % at.THETAS, at.WAITING + k // at.THETAS] = event.value
        return False
    for k in range(at.THETAS):
        mean, sd = own[k, at.WAITING], own[k, at.WAITING + 1]
        own[k, : at.WAITING] = (mean, sd) if sd > 0 else (0.0, 0.0)
        if sd > 0:
            column = parts.members[:, at.THETA + k]
            spread = float(column.std(ddof=1))
            column[:] = mean + (column - column.mean()) * (sd / spread if spread > 1e-9 else 0.0)
    own[:, at.WAITING :] = 0.0
    parts.scalars[at.REFIT_MS] = event.time_ms
    parts.scalars[at.REFITS] += 1
    return True


@dataclass(frozen=True, slots=True)
class Personal:
    """The personal prior in force."""

    refits: int
    at_ms: int
    names: tuple[str, ...]  # what is the person's own


def personal(parts: at.Parts) -> Personal:
    own = tuple(name for name, row in zip(NAMES, parts.personal, strict=True) if row[1] > 0)
    return Personal(int(parts.scalars[at.REFITS]), int(parts.scalars[at.REFIT_MS]), own)
