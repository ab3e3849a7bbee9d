"""`twin identify`: a refit asked for by a person, and what it changes; and a twin's timeline.

The person's decision and lease are as for every question (questions.py). The refit itself is a job (jobs.py),
under a lease of the jobs program's own; the answer is read with the person's key.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from services.twin import refit, refit_store
from services.twin.eaten import Inputs
from services.twin.glucose import GlucoseTwin
from services.twin.jobs import REFIT, Job, Jobs
from services.twin.model_inputs import FIRST_REFIT, rows_for_model
from services.twin.questions import HORIZONS, Asked, Opened, Questions
from services.twin.refit import Refit
from services.twin.store import Pool
from services.twin.timeline import Line, Timelines
from twinward.errors import LeaseEnded, Unavailable, Unready
from twinward.learning.identify import NAMES
from twinward.vault.lease import Lease

LONGEST_S = 100.0  # a compiler's first minute included
LOOK_S = 0.2
MEANINGS = {
    "SI": "insulin sensitivity: how strongly insulin acts",
    "Gb": "glucose at rest with the usual basal insulin",
    "meal": "how fast meals arrive",
    "skin": "how fast injected insulin arrives",
}
REFUSALS = {
    "UNREADY": "a body is identified from five days of readings within two weeks on",
    "UNDER_18": "personal twins are for adults",
    "DENIED": "the patient's consent permits no twin",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    meaning: str
    personal: bool
    factor: float  # over the typical adult
    low: float  # 90 %
    high: float
    ratio: float  # posterior over prior deviation of the logarithm


@dataclass(frozen=True, slots=True)
class Change:
    minutes: int
    before: float  # mg/dL
    after: float


@dataclass(frozen=True, slots=True)
class Answer:
    opened: Opened
    refit: Refit
    parameters: tuple[Parameter, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


@dataclass
class Identification:
    questions: Questions
    jobs: Jobs
    pool: Pool
    site: str

    def identify(self, asked: Asked) -> Answer:
        """
        Raises:
            ConsentDenied, Denied: decided, and the answer is no.
            Unready: no twin, or too little data; says what is missing.
            Unavailable: the jobs program does not work, or not in time; the job goes on.
        """
        lease, opened = self._open(asked)
        job = self._done(self.jobs.ask(REFIT, f"ask:{opened.living.seq}:{lease.handle}", lease.handle))
        # The first lease has been given back meanwhile: whether the answer may be seen is decided now.
        lease = self.questions.granted(asked)
        self.questions.whole(lease)
        found = self._refits(lease)
        self.questions.used.note(lease, len(found))
        if not found:
            raise Unavailable(f"the refit (job {job.id}) is not shown: ask again in a moment")
        one = found[-1]
        changes, notes = changed(opened, one)
        return Answer(opened, one, parameters(one), changes, (*filter(None, [opened.note]), *notes))

    def timeline(self, asked: Asked) -> tuple[Opened, Line]:
        """From the first record on, in order of time. Raises as `identify`."""
        lease, opened = self._open(asked)
        lines = Timelines(self.pool, self.site)
        return opened, lines.line(lease, opened.living, self.questions.clock.now_ms())

    def _open(self, asked: Asked) -> tuple[Lease, Opened]:
        questions = self.questions
        lease = questions.granted(asked)
        questions.whole(lease)
        note = questions.age_note(asked, lease)
        place = questions.worker.freshen(lease.handle)
        if not place.has_twin:
            questions.used.note(lease, 0)
            raise Unready(f"no twin yet: {place.reason}")
        return lease, questions.read(lease, note=note)

    def _done(self, job_id: UUID) -> Job:
        waiting = threading.Event()
        for _ in range(int(LONGEST_S / LOOK_S)):
            job = self.jobs.show(job_id)
            if job.state == "done":
                return job
            if job.state in ("refused", "failed", "cancelled"):
                why = REFUSALS.get(job.reason, f"the job ended as {job.state}")
                raise Unready(f"not identified: {why}")
            waiting.wait(LOOK_S)
        raise Unavailable(f"the refit is not done yet (job {job_id}): is the program twin-jobs up? ask again")

    def _refits(self, lease: Lease) -> list[Refit]:
        if lease.until_ms <= self.questions.clock.now_ms():
            raise LeaseEnded("the lease ended before the answer was ready; ask again")
        with self.pool.connection() as connection:
            return refit_store.refits_of(connection, self.site, lease)


def parameters(one: Refit) -> tuple[Parameter, ...]:
    found = []
    for k, name in enumerate(NAMES):
        middle, reach = one.theta[k], 1.6449 * one.sd[k]
        factor, low, high = (float(np.exp(middle + way * reach)) for way in (0.0, -1.0, 1.0))
        found.append(Parameter(name, MEANINGS[name], name in one.personal, factor, low, high, one.ratio[k]))
    return tuple(found)


def changed(opened: Opened, one: Refit) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """What the twin forecasts now without and with the refit."""
    twin = opened.living.twin
    if twin.personal.at_ms >= one.state_ms:
        return (), ("the twin has taken this refit already: its forecasts are made with it",)
    after = GlucoseTwin.load(twin.dump())
    place = max(one.state_ms, twin.state_ms + 1)
    rows = refit.rows_of([one], FIRST_REFIT)
    rows["effective_ms"] = place
    after.advance(rows_for_model(Inputs(rows, ("twinward",))))
    now_ms = max(opened.now_ms, place)
    old, new = twin.forecast(HORIZONS, now_ms), after.forecast(HORIZONS, now_ms)
    changes = [Change(a.minutes, a.median, b.median) for a, b in zip(old.points, new.points, strict=False)]
    return tuple(changes), tuple(_why_none(changes, old.notes))


def _why_none(changes: Sequence[Change], notes: Sequence[str]) -> list[str]:
    return [] if changes else ["no forecast to compare now", *notes[:1]]
