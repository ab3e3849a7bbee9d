"""The worker's loop: what is pending, under which lease, and when something is down.

A patient is *waiting* from the moment it is taken off the queue until its twin
has been brought up. Waiting lives in memory only: the place of a twin in the
database says at the next start what was not done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from services.twin.keeper import Keeper, Place
from services.twin.leases import UpkeepLeases
from services.twin.store import TwinStore
from twinward import telemetry
from twinward.clock import Clock
from twinward.errors import ConsentDenied, Denied, LeaseEnded, TwinwardError, Unavailable
from twinward.record import Handle

WAITS = telemetry.event("worker-waits", "waiting", "pause_s")
REFUSED = telemetry.event("twin-refused", "error")
FAILED = telemetry.event("twin-failed", "id", "error", "places")
UNSAVED = telemetry.event("worker-end-unsaved", "live")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0


@dataclass
class Worker:
    store: TwinStore
    leases: UpkeepLeases
    keeper: Keeper
    clock: Clock
    take_most: int
    threads: int
    wake: threading.Event = field(default_factory=threading.Event)
    waiting: dict[Handle, int] = field(default_factory=dict)  # touched by the loop alone
    broken: dict[Handle, str] = field(default_factory=dict)  # reason word, until new rows arrive

    def run(self, stop: threading.Event, poll_s: float, before_end: Callable[[], None] = lambda: None) -> None:
        """Until `stop` is set; then `before_end`, snapshots are written and the leases given back."""
        pause = 0.0
        started = False
        with ThreadPoolExecutor(self.threads, "twin") as pool:
            while not stop.is_set():
                try:
                    if not started:
                        self.waiting.update(self.store.behind())
                        started = True
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

    def step(self, pool: ThreadPoolExecutor) -> bool:
        """One round; whether there is more to do at once.

        Raises:
            Unavailable: nothing is lost, everything not done is still waiting.
        """
        taken = self.store.take_pending(self.take_most)
        self.leases.forget_denials(taken)
        for handle, seq in taken.items():
            self.waiting[handle] = max(seq, self.waiting.get(handle, 0))
            self.broken.pop(handle, None)
        failure = self._obtain(self.leases.near_end())
        batch = list(self.waiting)[: self.take_most]
        failure = self._obtain(batch) or failure
        batch = [handle for handle in batch if self.leases.held(handle)]
        for handle, outcome in zip(batch, pool.map(self._bring_up, batch), strict=True):
            if isinstance(outcome, Unavailable):
                failure = outcome
            else:
                self.waiting.pop(handle, None)
        if failure is not None:
            raise failure
        return bool(self.waiting) or len(taken) == self.take_most

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

    def _bring_up(self, handle: Handle) -> Place | TwinwardError:
        try:
            return self.keeper.bring_up(handle, save=False)
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
        except TwinwardError:
            telemetry.warn(UNSAVED, live=self.keeper.live)
