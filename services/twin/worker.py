"""The worker's loop: what is pending, under which lease, and when something is down.

A patient is *waiting* from the moment it is taken off the queue until its twin
has been brought up. Waiting lives in memory only: the place of a twin in the
database says at the next start what was not done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from prometheus_client import Counter

from services.twin.claims import Claims, share_of
from services.twin.keeper import Keeper, Place
from services.twin.leases import UpkeepLeases
from services.twin.store import EVERY_SHARE, TwinStore
from twinward import telemetry
from twinward.clock import Clock
from twinward.errors import ConsentDenied, Denied, LeaseEnded, TwinwardError, Unavailable
from twinward.record import Handle
from twinward.vault.growth import Grown

WAITS = telemetry.event("worker-waits", "waiting", "pause_s")
REFUSED = telemetry.event("twin-refused", "error")
FAILED = telemetry.event("twin-failed", "id", "error", "places")
UNSAVED = telemetry.event("worker-end-unsaved", "live")
BROUGHT_UP = Counter("twinward_twins_brought_up", "Times that a patient's twin was looked at because rows had come.")

RENEW_EVERY_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0


class Again:
    """Thread-safe: whose twin must look at everything stored again, from the listener to the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: set[Handle] = set()

    def add(self, handles: Collection[Handle]) -> None:
        with self._lock:
            self._handles |= set(handles)

    def take(self) -> set[Handle]:
        with self._lock:
            taken, self._handles = self._handles, set()
        return taken


@dataclass
class Worker:
    store: TwinStore
    leases: UpkeepLeases
    keeper: Keeper
    clock: Clock
    take_most: int
    threads: int
    claims: Claims | None = None  # None: the only worker, so every patient is its own
    wake: threading.Event = field(default_factory=threading.Event)
    waiting: dict[Handle, int] = field(default_factory=dict)  # touched by the loop alone
    broken: dict[Handle, str] = field(default_factory=dict)  # reason word, until new rows arrive
    prior_known: threading.Event = field(default_factory=threading.Event)  # the keeper has the prior in force
    again: Again = field(default_factory=Again)  # twins that a refit or a prior was written for
    _renew_at: float = 0.0  # monotonic
    _begun: frozenset[int] = frozenset()  # shares whose patients were compared with what is stored

    def run(self, stop: threading.Event, poll_s: float, before_end: Callable[[], None] = lambda: None) -> None:
        """Until `stop` is set; then `before_end`, snapshots are written and the leases given back."""
        pause = 0.0
        with ThreadPoolExecutor(self.threads, "twin") as pool:
            while not stop.is_set():
                try:
                    self._believe()
                    self._shares()
                    busy = self.step(pool)
                    pause = 0.0
                except Unavailable:
                    # Auth or the database is away: what was taken keeps waiting here,
                    # what arrives keeps waiting in the queue.
                    pause = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, pause * 2))
                    telemetry.warn(WAITS, waiting=len(self.waiting), pause_s=pause)
                    self._rest(stop, pause)
                    continue
                if not busy:
                    self.wake.wait(poll_s)
                self.wake.clear()
        before_end()
        self._end()

    def _rest(self, stop: threading.Event, pause_s: float) -> None:
        """Waits, but not when something new arrives: what is down for one patient need not be for another."""
        end = self.clock.monotonic() + pause_s
        while not stop.wait(FIRST_PAUSE_S) and not self.wake.is_set() and self.clock.monotonic() < end:
            pass
        self.wake.clear()

    def _shares(self) -> None:
        """Goes on with whom this worker has newly got, and lets go of whom it has lost.

        Raises:
            Unavailable.
        """
        if self.claims is None:
            held = mine = self._mine
            leaving = taken = frozenset[int]()
        else:
            held, mine, leaving, taken = self.claims.held, self.claims.mine, self.claims.leaving, self.claims.taken()
        self._begun -= taken
        gone = (self._begun - held) | leaving
        if gone:
            handles = {one for one in (*self.keeper.handles, *self.leases.handles) if share_of(one) in gone}
            self.keeper.save_all({one for one in handles if share_of(one) in leaving})
            for handle in handles:
                self.keeper.drop(handle)
            for handle in [one for one in self.waiting if share_of(one) in gone]:
                del self.waiting[handle]
            with suppress(TwinwardError):  # else they end by themselves
                self.leases.give_back_of(handles)
            self._begun -= gone
        if leaving and self.claims is not None:
            self.claims.give_back(leaving)
        fresh = mine - self._begun
        if fresh:
            self.waiting.update(self.store.behind(fresh, self.keeper.made))
            self._begun |= fresh

    @property
    def _mine(self) -> frozenset[int]:
        return frozenset(EVERY_SHARE) if self.claims is None else self.claims.mine

    def step(self, pool: ThreadPoolExecutor) -> bool:
        """One round; whether there is more to do at once.

        Raises:
            Unavailable: nothing is lost, everything not done is still waiting.
        """
        taken = self.store.take_pending(self.take_most, self._mine)
        self.leases.forget_denials(taken)
        for handle, seq in taken.items():
            self.waiting[handle] = max(seq, self.waiting.get(handle, 0))
            self.broken.pop(handle, None)
        self._look_again()
        failure = self._renewed()
        batch = list(self.waiting)[: self.take_most]
        failure = self._obtain(batch) or failure
        batch = [handle for handle in batch if self.leases.held(handle)]
        grown = self.keeper.grown(batch)
        outcomes = pool.map(self._bring_up, batch, [grown.get(handle) for handle in batch])
        for handle, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Unavailable):
                failure = outcome
            else:
                BROUGHT_UP.inc()
                self.waiting.pop(handle, None)
        if failure is not None:
            raise failure
        return bool(self.waiting) or len(taken) == self.take_most

    def adopted(self) -> None:
        """Another prior is in force, or may be."""
        self.prior_known.clear()
        self.wake.set()

    def _believe(self) -> None:
        """Raises Unavailable."""
        if not self.prior_known.is_set():
            self.prior_known.set()
            try:
                self.keeper.believe(self.store.prior())
            except Unavailable:
                self.prior_known.clear()
                raise

    def refitted(self, handles: Collection[Handle]) -> None:
        """Something was stored that no row tells of: these twins take it at once."""
        self.again.add(handles)
        self.wake.set()

    def _look_again(self) -> None:
        """Another worker's patients are left to it: whoever gets a share reads its patients in full."""
        mine = self._mine
        for handle in self.again.take():
            if share_of(handle) in mine:
                self.keeper.forget(handle)
                self.waiting.setdefault(handle, 0)
                self.broken.pop(handle, None)

    def _renewed(self) -> Unavailable | None:
        """Leases near their end, looked for now and then: it takes a look at every one."""
        if self.clock.monotonic() < self._renew_at:
            return None
        self._renew_at = self.clock.monotonic() + RENEW_EVERY_S
        return self._obtain(self.leases.near_end())

    def _obtain(self, handles: Sequence[Handle]) -> Unavailable | None:
        """Leases for `handles`. Without auth, those who have one go on; the others wait."""
        try:
            for refused in self.leases.obtain(handles):
                self.keeper.drop(refused)
        except Unavailable as error:
            return error
        except TwinwardError as error:  # too busy, or our own login refused: not decided, so asked again
            telemetry.warn(REFUSED, error=error)
            return Unavailable("auth does not decide now", detail=error.reason)
        return None

    def _bring_up(self, handle: Handle, grown: Grown | None = None) -> Place | TwinwardError:
        try:
            return self.keeper.bring_up(handle, save=False, grown=grown)
        except (KeyError, LeaseEnded):
            # It ended between the asking and the reading; asked again next round.
            self.leases.forget(handle)
            self.keeper.drop(handle)
            return Unavailable("the lease ended while it was used")
        except Unavailable as error:
            return error
        except Denied as error:
            return error
        except TwinwardError as error:
            # One patient's stored rows do not open or do not fit: named to the node's
            # keeper by its reason, and never in the way of the others.
            self.broken[handle] = error.reason
            telemetry.warn(REFUSED, error=type(error))
            return error
        except Exception as error:
            # A defect of ours in one patient's rows must not stop the other patients' twins.
            self.broken[handle] = "INTERNAL"
            telemetry.LOG.unexpected(error, 0, FAILED)
            return TwinwardError("internal error", detail=type(error).__name__)

    def freshen(self, handle: Handle) -> Place:
        """For a question being asked now: current, with a snapshot that says so.

        Raises:
            Unavailable, Tampered, Incomplete.
        """
        if share_of(handle) not in self._mine:
            raise Unavailable("another worker keeps this twin; ask again in a moment")
        try:
            for refused in self.leases.obtain([handle]):
                self.keeper.drop(refused)
            return self.keeper.bring_up(handle, save=True)
        except (KeyError, LeaseEnded):
            self.leases.forget(handle)
            self.keeper.drop(handle)
            raise Unavailable("the twin's lease has just ended; ask again") from None
        except ConsentDenied as refusal:
            return Place(0, False, refusal.public)

    def revoked(self, lease_id: bytes) -> None:
        """Keys and living state go at once; the next question or reading asks auth again."""
        handle = self.leases.ended(lease_id)
        if handle is not None:
            self.keeper.drop(handle)

    def check_leases(self, live: Collection[bytes]) -> None:
        """Drops what the database no longer shows as live: an end that was announced while
        nobody listened."""
        for lease_id in self.leases.ids:
            if lease_id not in live:
                self.revoked(lease_id)

    def _end(self) -> None:
        try:
            self.keeper.save_all()
            self.leases.give_back()
            if self.claims is not None:
                self.claims.give_back()
        except TwinwardError:
            telemetry.warn(UNSAVED, live=self.keeper.live)
