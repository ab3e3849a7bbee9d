"""A person's question to a twin, from the decision to the model's answer.

1. auth decides with the person and this program; the decision is a leaf, the
   answer a lease with the keys for exactly what was decided;
2. the worker brings the twin up to date and writes a sealed snapshot;
3. the snapshot is read through row-level security, which looks at the lease,
   and opened with the granted model-state key;
4. the model answers from that state; nothing of it is kept;
5. the use of the lease is reported and the lease given back, soon after.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.twin import living as states
from services.twin.ages import Ages
from services.twin.keeper import Place, Seals
from services.twin.living import Living
from services.twin.store import SnapshotReader
from services.twin.timeline import Line, Timelines
from twinward import telemetry
from twinward.clock import Clock, month_of
from twinward.errors import (
    BadInput,
    ConsentDenied,
    Denied,
    Incomplete,
    LeaseEnded,
    NotFound,
    TwinwardError,
    Underage,
    Unready,
)
from twinward.record import TWIN_INPUTS, Category, Handle
from twinward.vault.lease import Lease

UNSETTLED = telemetry.event("use-unreported", "error")

ASKED = (*TWIN_INPUTS, Category.MODEL_STATE)
BANNER = "education and research; not a medical device"
HORIZONS = (30, 60, 120)
LONGEST_MINUTES = 120
MOST_HORIZONS = 48
# 90 % of the noise of a sensor's value, mg/dL: 1.645 standard deviations of the AR(2)
# process of Vettoretti 2019 (1.26, -0.402, 3.25); an error of calibration comes on top.
SENSOR_NOISE_90 = 13.3


def check_minutes(minutes: Sequence[int]) -> tuple[int, ...]:
    """Raises BadInput where a horizon is outside 1 to 120 minutes, or there are too many."""
    if len(minutes) > MOST_HORIZONS or not all(1 <= each <= LONGEST_MINUTES for each in minutes):
        raise BadInput(f"ask for at most {MOST_HORIZONS} horizons of 1 to {LONGEST_MINUTES} minutes")
    return tuple(minutes)


@dataclass(frozen=True, slots=True)
class Named:
    """A patient by exact medical record number."""

    system: str
    value: str


Whom = Handle | Named


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: whose token, about whom, what for."""

    token: str
    whom: Whom
    act: str


@dataclass(frozen=True, slots=True)
class Listed:
    handle: Handle
    has_twin: bool


class Decides(Protocol):
    """What the door asks of `auth`, each time with the person's own token."""

    def grant(self, token: str, whom: Whom, categories: Sequence[int], month: int, act: str) -> Lease: ...
    def list_patients(
        self, token: str, whom: Named | None, page_size: int, page_token: str
    ) -> tuple[list[Listed], str]: ...
    def report_use(self, uses: Sequence[tuple[bytes, int]]) -> None: ...
    def return_leases(self, lease_ids: Sequence[bytes]) -> None: ...


class Freshens(Protocol):
    def freshen(self, handle: Handle) -> Place: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A twin opened for one question."""

    living: Living
    handle: Handle
    leaf: int
    now_ms: int
    note: str = ""  # what a reader has to know of this patient
    lease: Lease | None = None  # under which it was opened

    @property
    def model(self) -> str:
        """The source of every number the model answers with."""
        return f"{self.living.twin.MODEL_VERSION} ({self.living.twin.coefficients} regression)"


@dataclass(frozen=True, slots=True)
class Summary:
    handle: Handle
    opened: Opened | None
    has_twin: bool
    note: str


@dataclass
class Used:
    """Leases that served a question; reported and given back by `settle`."""

    decides: Decides
    _uses: list[tuple[bytes, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, lease: Lease, rows: int) -> None:
        with self._lock:
            self._uses.append((lease.lease_id, rows))

    def settle(self) -> None:
        """Raises Unavailable; what could not be reported is kept for the next time."""
        with self._lock:
            uses, self._uses = self._uses, []
        if not uses:
            return
        try:
            self.decides.report_use([use for use in uses if use[1]])
            self.decides.return_leases([lease_id for lease_id, _ in uses])
        except (Denied, NotFound):
            return  # auth does not know one of them any more: nothing to reconcile
        except TwinwardError:
            with self._lock:
                self._uses = uses + self._uses
            raise


@dataclass
class Questions:
    decides: Decides
    worker: Freshens
    snapshots: SnapshotReader
    seals: Seals
    clock: Clock
    used: Used
    demo: bool  # profile demo: questions may be asked as of another time
    ages: Ages | None = None  # None: nobody's age is asked for
    timelines: Timelines | None = None

    def open(self, asked: Asked, as_of_ms: int = 0) -> Opened:
        """The patient's twin, current; `as_of_ms` (profile demo) answers as if it were then.

        Raises:
            ConsentDenied, Denied: decided, and the answer is no.
            Unready: no twin yet; says what is missing.
            LeaseEnded: the decision was withdrawn while we worked.
            Unavailable, Tampered, Incomplete.
        """
        if as_of_ms and not self.demo:
            raise BadInput("a question as of another time is for the replayed day of profile demo only")
        lease = self.granted(asked)
        self.whole(lease)
        note = self.age_note(asked, lease)
        place = self.worker.freshen(lease.handle)
        if not place.has_twin:
            self.used.note(lease, 0)
            raise Unready(f"no twin yet: {place.reason}")
        if place.month != month_of(self.clock.now_ms()):
            raise Unready("the month has just changed; ask again")
        return self.read(lease, as_of_ms, note)

    def line(self, opened: Opened, most: int) -> Line | None:
        """The newest of the twin's timeline. Raises LeaseEnded."""
        if self.timelines is None or opened.lease is None:
            return None
        return self.timelines.line(opened.lease, opened.living, self.clock.now_ms(), most)

    def age_note(self, asked: Asked, lease: Lease) -> str:
        """Raises Underage where the patient is under 18."""
        try:
            return self.ages.check(asked.token, lease.handle) if self.ages else ""
        except Underage:
            self.used.note(lease, 0)
            raise

    def whole(self, lease: Lease) -> None:
        """A state cannot be shown in parts: it is refused where any of its inputs is."""
        if not set(ASKED) <= set(lease.tags):
            self.used.note(lease, 0)
            raise ConsentDenied("the patient's consent leaves out a part of what the twin is made of")

    def granted(self, asked: Asked) -> Lease:
        return self.decides.grant(asked.token, asked.whom, ASKED, month_of(self.clock.now_ms()), asked.act)

    def read(self, lease: Lease, as_of_ms: int = 0, note: str = "") -> Opened:
        sealed, known = self.snapshots.newest(lease.handle)
        if sealed is None:
            self.used.note(lease, 0)
            if lease.until_ms <= self.clock.now_ms():
                raise LeaseEnded("the lease ended before the answer was ready; ask again")
            if known:
                raise Incomplete(
                    "the twin's newest snapshot is not served: consent was withdrawn just now, or the row is damaged"
                )
            raise Unready("no twin yet: it has not been started; ask again in a moment")
        self.used.note(lease, 1)
        plain = self.seals.open(lease, sealed)
        if plain is None:
            raise Unready("the twin was last kept under an older key; ask again in a moment")
        living = states.load(lease.handle, plain)
        if living is None:
            raise Unready("the twin was kept by another version of the model; ask again in a moment")
        return Opened(living, lease.handle, lease.leaf, as_of_ms or self.clock.now_ms(), note, lease)

    def list(self, token: str, whom: Named | None, page_size: int, page_token: str) -> tuple[list[Summary], str]:
        """Patients of the person's care team (or the one named) and what each twin last knew.

        Each number shown is a decision of its own; a refusal becomes the line's note.
        """
        listed, more = self.decides.list_patients(token, whom, page_size, page_token)
        return [self._summary(token, one) for one in listed], more

    def _summary(self, token: str, one: Listed) -> Summary:
        if not one.has_twin:
            return Summary(one.handle, None, False, "no twin yet")
        try:
            lease = self.granted(Asked(token, one.handle, "list"))
            self.whole(lease)
            return Summary(one.handle, self.read(lease), True, "")
        except (Denied, Unready, Incomplete) as refusal:
            return Summary(one.handle, None, True, refusal.public)
