"""The living glucose twin of one person: S2008 ensemble, own regression, adaptive interval.

What it says next is the regression's, with the ensemble as one of its inputs: on real
sensors an ensemble alone forecasts worse than the last value, a regression that sees it
does not (docs/evidence/glucose.md). `explain` states the share of each.

The state is a function of twin id, model version and the ordered rows alone. Rows may
come in any pieces; noise is drawn by minute (twinward/learning/chance.py).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from services.twin import alarms, refit
from services.twin import glucose_kernels as kernels
from services.twin import glucose_layout as at
from services.twin import glucose_responses as responses
from services.twin import glucose_whatif as whatif
from services.twin.glucose_answers import Explanation, Forecast, LateData, ParameterEstimate, Reading
from services.twin.glucose_inputs import FINGERSTICK, SENSOR, Event, apply_input, events
from services.twin.glucose_outlook import Outlook, explain, notes_of, outlook, parameters, refusal
from services.twin.glucose_plan import USUAL, Fast, Limits, Plan
from services.twin.glucose_prior import START_STEERING, Prior, blank, named, prior
from services.twin.glucose_whatif import WhatIf
from twinward.errors import Malformed, Unready
from twinward.learning import conformal
from twinward.learning.chance import key_of
from twinward.learning.regression import solve
from twinward.physiology import cohort
from twinward.record import Measurement

MAGIC = b"TWGLU3\0\0"
# Magic, model version, prior (version, SHA-256), key words, CRC-32 of the body.
HEAD = struct.Struct(">8s32s32s32s4xIII")
THIN_MIN = 3.9  # min: sensor readings closer than this to the last used one are only counted
SKEW_MS = 15 * 60_000  # a device's clock may be ahead of ours by this much
LONG_GAP = 1440  # min: past this the body is put to rest, what was learned stays
OWN_AFTER_DAYS = 3
OWN_AFTER_OUTCOMES = 200
MEMORY_DAYS = 60.0  # half-life of what the regression has seen
HOUR = at.HORIZONS.index(60)
NOTHING = np.empty((at.MEMBERS, 0))
NO_PRIOR = np.zeros(at.FEATURES)
PENALTY, SPREAD_PENALTY = blank().penalty, blank().spread_penalty


class GlucoseTwin:
    """Not thread-safe; kernels release the interpreter lock."""

    MODEL_VERSION: ClassVar[str] = "glucose-s2008-arx-4"  # 4: the prior is in the state
    DRAWS: ClassVar[bytes] = b"glucose-s2008-arx-2"  # version of the equations that draw: those have not changed

    def __init__(self, flat: at.Array, key: tuple[int, int], prior_version: str, prior_sha256: bytes) -> None:
        self._flat = flat
        self._key = key
        self._parts = at.views(flat)
        self._base, self._basal = _population(flat[at.WEIGHT])
        self._persons = np.zeros((at.MEMBERS, self._base.shape[0]))
        if flat[at.STARTED]:
            for z, p in zip(self._parts.members, self._persons, strict=True):
                kernels.person_of(self._base, self._basal, z[at.THETA : at.THETA + at.THETAS], p)
        self.prior_version, self.prior_sha256 = prior_version, prior_sha256
        self._drift = self._parts.drift

    @classmethod
    def start(
        cls, twin_id: bytes, first_ms: int, weight_kg: float | None = None, of: Prior | None = None
    ) -> GlucoseTwin:
        """A twin before its first row; `weight_kg` None: the typical adult's; `of` None: the shipped prior."""
        flat = np.zeros(at.SIZE)
        flat[at.STATE_MS] = first_ms - 1
        flat[at.FIRST_MS] = first_ms
        flat[at.CURSOR] = first_ms // 60_000
        flat[at.DAY] = flat[at.CURSOR] // 1440
        flat[at.WEIGHT] = weight_kg if weight_kg is not None and 20.0 <= weight_kg <= 250.0 else 0.0
        flat[at.LAST_INSULIN] = flat[at.LAST_CARBS] = -1.0
        flat[at.SURPRISE] = 1.0
        believed = of or prior()
        twin = cls(flat, key_of(twin_id, cls.DRAWS), believed.version, believed.sha256)
        twin.believe(believed)
        return twin

    def believe(self, prior: Prior) -> None:
        """Puts a prior in the place of what a twin starts with."""
        self.prior_version, self.prior_sha256 = prior.version, prior.sha256
        self._parts.beta[:] = self._parts.prior_beta[:] = prior.beta
        self._parts.gamma[:] = self._parts.prior_gamma[:] = prior.gamma
        self._parts.population[:] = prior.population
        self._drift = self._parts.drift
        self._parts.factors[:, :2] = prior.sigmas
        self._parts.steering[:] = START_STEERING

    @property
    def prior_name(self) -> str:
        """Version and start of the hash of the population prior."""
        return named(self.prior_version, self.prior_sha256)

    @property
    def state_ms(self) -> int:
        """Effective time of the last row that was taken."""
        return int(self._flat[at.STATE_MS])

    @property
    def first_ms(self) -> int:
        return int(self._flat[at.FIRST_MS])

    @property
    def readings(self) -> int:
        return int(self._flat[at.READINGS])

    @property
    def coefficients(self) -> str:
        """Whose regression answers: "own", or below three days of data "cohort"."""
        return "own" if self._flat[at.OWN] else "cohort"

    def advance(self, rows: Sequence[Measurement]) -> None:
        """Takes rows in order of effective time; what the model does not read is passed over.

        Raises:
            LateData: a row is not later than the state; nothing was taken.
        """
        found = events(rows)
        if found and found[0].time_ms <= self.state_ms:
            raise LateData(found[0].time_ms)
        alarms.see_rows(self._parts.watch, rows)
        for event in found:
            self._take(event)

    def _take(self, event: Event) -> None:
        s = self._flat
        self._carry_to(event.time_ms // 60_000)
        s[at.STATE_MS] = event.time_ms
        if event.kind == SENSOR:
            self._take_reading(event)
        elif event.kind == FINGERSTICK:
            if s[at.STARTED]:
                s[at.FINGERS] += 1
                self._assimilate(event.value, True)
        elif event.kind > SENSOR:
            if refit.take(self._parts, event):
                self._start_from_refit()
        else:
            responses.note_day(self._parts.logbook, event, event.time_ms // 86_400_000)
            expected = responses.without(self._parts, self._base, self._basal, event)
            apply_input(s, self._parts.slots, event)
            responses.note(self._parts, self._base, self._basal, event, expected)

    def _start_from_refit(self) -> None:
        self._drift = self._parts.drift
        if self._flat[at.STARTED]:
            kernels.bound(self._parts.members, self._basal, self._base, self._persons)
        for factors in self._parts.factors:
            conformal.reset(factors)

    @property
    def alarms(self) -> tuple[alarms.Alarm, ...]:
        """Why the twin or its sensor may not be believed now (alarms.py)."""
        return alarms.alarms(self._parts)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """The last gaps between readings, ms from and to."""
        return alarms.gaps(self._parts.watch)

    @property
    def personal(self) -> refit.Personal:
        """Which parameters are this person's own by a refit, and since when."""
        return refit.personal(self._parts)

    def _carry_to(self, minute: int) -> None:
        s, parts = self._flat, self._parts
        start = int(s[at.CURSOR])
        if minute <= start:
            return
        s[at.CURSOR] = minute
        if minute - start > LONG_GAP:
            s[at.CARBS_WAITING] = s[at.INSULIN_A] = s[at.INSULIN_B] = s[at.CARBS_A] = s[at.CARBS_B] = 0.0
            s[at.NO_INSULIN] = 0.0
            if s[at.STARTED]:
                kernels.rest(parts.members, self._persons, self._basal)
            s[at.RING_N] = 0.0  # the next reading places the ensemble again
            return
        above, grams = np.empty(minute - start), np.empty(minute - start)
        kernels.inputs(s, parts.slots, start, above, grams)
        if s[at.STARTED]:
            kernels.carry(
                parts.members, self._persons, self._base, self._basal, start, above, grams, *self._key,
                kernels.STEP, 0, NOTHING, self._drift,
            )  # fmt: skip

    def _assimilate(self, value: float, finger: bool) -> None:
        score = kernels.assimilate(
            self._parts.members, self._persons, self._base, self._basal, value, finger, *self._key,
            int(self._flat[at.CURSOR]),
        )  # fmt: skip
        if not finger:
            alarms.see_score(self._parts.watch, score)
        self._flat[at.SURPRISE] += 0.01 * (min(score * score, 25.0) - self._flat[at.SURPRISE])

    def _take_reading(self, event: Event) -> None:
        s, parts = self._flat, self._parts
        s[at.READINGS] += 1
        time = event.time_ms / 60_000
        if s[at.RING_N] and time - s[at.LAST_T] < THIN_MIN:
            s[at.THINNED] += 1
            return
        alarms.see_reading(parts.watch, s[at.LAST_T], s[at.LAST_G], time, event.value)
        minute = int(s[at.CURSOR])
        if not s[at.STARTED]:
            kernels.begin(parts.members, self._persons, self._base, self._basal, *self._key, minute, parts.population)
            s[at.STARTED] = 1.0
        if not s[at.RING_N]:
            kernels.place(parts.members, self._persons, event.value, *self._key, minute)
        self._assimilate(event.value, False)
        parts.ring[int(s[at.RING_N]) % at.RING] = time, event.value
        s[at.RING_N] += 1
        s[at.LAST_T], s[at.LAST_G] = time, event.value
        responses.see(parts)
        kernels.outcomes(
            s, parts.ring, parts.pending, parts.sums, parts.targets, parts.spread_sums, parts.spread_targets,
            parts.factors, parts.steering, parts.watch,
        )  # fmt: skip
        self._refit(minute // 1440)
        kernels.announce(
            s, parts.slots, parts.ring, parts.members, self._base, self._basal, parts.knowing, parts.pending
        )

    def _refit(self, day: int) -> None:
        """Once per day of data time. Below three days coefficients are drawn to the cohort's, later to none:
        a cohort of simulated people helps a beginner and holds back who knows better (docs/evidence/glucose.md)."""
        s, parts = self._flat, self._parts
        passed = day - s[at.DAY]
        if passed < 1:
            return
        s[at.DAY] = day
        fade = 0.5 ** (passed / MEMORY_DAYS)
        parts.sums *= fade
        parts.targets *= fade
        parts.spread_sums *= fade
        parts.spread_targets *= fade
        old_enough = s[at.STATE_MS] - s[at.FIRST_MS] >= OWN_AFTER_DAYS * 86_400_000
        own = old_enough and s[at.LEARNED] >= OWN_AFTER_OUTCOMES
        for h in range(3):
            towards = NO_PRIOR if own else parts.prior_beta[h]
            solve(parts.sums[h], parts.targets[h], PENALTY, towards, parts.beta[h])
            solve(
                parts.spread_sums[h], parts.spread_targets[h], SPREAD_PENALTY, parts.prior_gamma[h], parts.gamma[h],
            )  # fmt: skip
            if own and not s[at.OWN]:  # later refits move so little that starting over would only lose a day
                conformal.reset(parts.factors[h])
        s[at.OWN] = 1.0 if own else s[at.OWN]

    def issued(self) -> at.Array:
        """The forecasts made with the last used reading: (3, 3) median, low, high at 30, 60, 120 min."""
        row = self._parts.pending[(int(self._flat[at.PENDING_N]) - 1) % at.PENDING]
        answers = row[3 + at.SHARED :].reshape(3, at.ANSWER)
        return np.array(answers[:, at.OWN_FEATURES : at.OWN_FEATURES + 3])

    def said(self, minute: int = 0) -> tuple[int, float] | None:
        """A forecast for 60 min ahead that was made with a used reading: its minute (0: the newest one, else the
        one asked for, as far as it is kept) and the median, mg/dL."""
        for back in range(min(int(self._flat[at.PENDING_N]), at.PENDING)):
            row = self._parts.pending[(int(self._flat[at.PENDING_N]) - 1 - back) % at.PENDING]
            if not minute or int(row[0]) == minute:
                answers = row[3 + at.SHARED :].reshape(3, at.ANSWER)
                return int(row[0]), float(answers[HOUR, at.OWN_FEATURES])
        return None

    def forecast(self, minutes: Sequence[int], now_ms: int) -> Forecast:
        """Glucose at each of `minutes` (1 to 120) after `now_ms`; declines with a note rather than guess.

        Raises:
            BadInput: minutes outside 1 to 120.
            LateData: `now_ms` is before the state by more than clocks differ.
        """
        seen, why = self._outlook(minutes, now_ms)
        recent = self.recent()
        return Forecast(
            seen.points if seen else (),
            tuple(([why] if why else []) + notes_of(self._flat, now_ms)),
            recent[-1] if recent else None,
            max(int(now_ms - self._flat[at.LAST_T] * 60_000), 0) if recent else 0,
            self.MODEL_VERSION,
            self.coefficients,
        )

    def _outlook(self, minutes: Sequence[int], now_ms: int) -> tuple[Outlook | None, str]:
        if now_ms < self.state_ms - SKEW_MS:
            raise LateData(now_ms)
        why = refusal(self._flat, now_ms)
        if why:
            return None, why
        return outlook(self._parts, self._persons, self._base, self._basal, self._key, minutes, now_ms), ""

    def explain(self, minutes: int, now_ms: int) -> Explanation:
        """Why `forecast([minutes], now_ms)` is what it is: contributions add up to its change from now."""
        seen, why = self._outlook([minutes], now_ms)
        told = ([why] if why else []) + notes_of(self._flat, now_ms)
        return explain(self._parts, seen, self.parameters(), tuple(told), self.MODEL_VERSION)

    def what_if(self, plans: Sequence[Plan], minutes: int, now_ms: int, limits: Limits = USUAL) -> WhatIf:
        """What each of `plans` does within `minutes` of `now_ms`, beside doing nothing more than is logged.

        Raises:
            BadInput: a plan or the horizon is out of range.
            OutsideValidity: stale data, very high glucose, or no insulin for too long.
            LateData: `now_ms` is before the state by more than clocks differ.
        """
        if now_ms < self.state_ms - SKEW_MS:
            raise LateData(now_ms)
        body = whatif.Body(self._parts, self._persons, self._base, self._basal, self._key)
        return whatif.compare(body, plans, minutes, now_ms, limits, self.MODEL_VERSION)

    def parameters(self) -> list[ParameterEstimate]:
        """The four that carry information; the others stay the population's (docs/models.md)."""
        return parameters(self._parts, self._basal) if self._flat[at.STARTED] else []

    def recent(self) -> list[Reading]:
        """The last used sensor readings, at most 36, newest last."""
        count = int(self._flat[at.RING_N])
        rows = (self._parts.ring[k % at.RING] for k in range(max(count - 36, 0), count))
        return [Reading(round(time * 60_000), float(value), "sensor") for time, value in rows]

    def dump(self) -> bytes:
        """Everything, exactly: `load` continues bit for bit."""
        body = self._flat.astype("<f8").tobytes()
        head = HEAD.pack(
            MAGIC, self.MODEL_VERSION.encode(), self.prior_version.encode(), self.prior_sha256, *self._key,
            zlib.crc32(body),
        )  # fmt: skip
        return head + zlib.compress(body, 1)

    @classmethod
    def load(cls, data: bytes) -> GlucoseTwin:
        """The twin of `dump`.

        Raises:
            Unready: another model version wrote it; replay instead.
            Malformed: not a dump, or damaged.
        """
        if len(data) < HEAD.size or not data.startswith(MAGIC):
            raise Malformed("this is not a stored glucose twin")
        _, version, prior_version, prior_sha256, key0, key1, crc = HEAD.unpack_from(data)
        if version.rstrip(b"\0") != cls.MODEL_VERSION.encode():
            raise Unready("another model version wrote this twin; replay it from the data")
        opener = zlib.decompressobj()
        try:
            body = opener.decompress(data[HEAD.size :], at.SIZE * 8 + 1)
        except zlib.error:
            raise Malformed("the stored glucose twin is damaged") from None
        if not opener.eof or opener.unused_data or len(body) != at.SIZE * 8 or zlib.crc32(body) != crc:
            raise Malformed("the stored glucose twin is damaged")
        flat = np.frombuffer(body, "<f8").astype(np.float64)
        return cls(flat, (key0, key1), prior_version.rstrip(b"\0").decode(), prior_sha256)


def _population(weight: float) -> tuple[at.Array, float]:
    base, basal = cohort.typical()
    base = base.copy()  # always: a shared, read-only array would have every kernel compiled a second time
    if weight:
        base[kernels.BW] = weight
    return base, basal


def warm() -> None:
    """Calls every kernel once, so that no patient waits for a compiler."""
    from twinward.record import CGM_GLUCOSE, INSULIN_BOLUS, Precision

    hour = 3_600_000

    def row(code: str, ms: int, value: float, unit: str) -> Measurement:
        return Measurement(code, ms, ms, value, unit, b"", precision=Precision.INSTANT)

    twin = GlucoseTwin.start(b"warm", 0, 80.0)
    rows = [row(CGM_GLUCOSE, 300_000 * k, 120.0 + k % 7, "mg/dL") for k in range(30)]
    twin.advance([row(INSULIN_BOLUS, 30_000, 1.0, "[IU]"), *rows[1:]])
    twin.what_if([Plan("warm", (Fast(0, 1.0),))], 30, twin.state_ms)
    twin.advance([row("loinc|41653-7", 3 * hour, 120.0, "mg/dL")])
    twin.forecast([30, 60, 120], 3 * hour)
    twin.explain(45, 3 * hour)
    parts = twin._parts
    solve(parts.sums[0], parts.targets[0], PENALTY, parts.prior_beta[0], parts.beta[0])
    kernels.rest(parts.members, twin._persons, twin._basal)
    conformal.reset(parts.factors[0])
    GlucoseTwin.load(twin.dump())
