"""Keeps running what should run, whoever was killed.

Each look, in this order, every step safe to repeat:

1. the pulse: while it beats, a hospital that is not heard of is away
2. due entries go to the ledger in order, each then off the list (`rounds.py` tells why there is a list)
3. a study that should run and has no run gets its next attempt: the attempt's number is committed first, and fences
   off every attempt before; then the engine is asked to start it; then the engine's number is kept. Killed in
   between: the attempt has no number of the engine's, counts as lost, and the next begins.
4. a run that ended by itself while its study goes on is an interruption: the next attempt goes on from the last
   checkpoint after a pause. More than `most_attempts` of them without one round in between: the study failed.
5. runs and nodes that nobody wants any more are ended at the engine; at the start, and when the engine has lost a run
   and so perhaps everything, the hospitals' nodes are registered again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg

from services.federation import books as sites
from services.federation import director_books as books
from services.federation.books import Pool
from services.federation.director_books import Going
from services.federation.neighbours import Control, Ledger
from twinward import telemetry
from twinward.clock import Clock, utc
from twinward.errors import TwinwardError, Unavailable

FIRST_PAUSE_S = 0.5  # before the next attempt; doubles with every failure in a row
LONGEST_PAUSE_S = 30.0
KIND_ROUND = "fed_round"
KIND_END = "study_approval"

STEP_FAILED = telemetry.event("director_step_failed", "step", "error")
ATTEMPT = telemetry.event("study_attempt", "study", "attempt", "failures")
INTERRUPTED = telemetry.event("study_interrupted", "study", "attempt", "failures")


class Director:
    def __init__(
        self, pool: Pool, ledger: Ledger, control: Control, clock: Clock, *, poll_s: float, most_attempts: int
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._control = control
        self._clock = clock
        self._poll_s = poll_s
        self._most_attempts = most_attempts
        self._first = True
        self._register = True  # the engine may not know the hospitals
        self._wake = threading.Event()
        self._failing: set[int] = set()  # steps

    def wake(self) -> None:
        """There is something to do now."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`, which also needs a `wake`."""
        while not stop.is_set():
            self.look()
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def look(self) -> None:
        """One time over everything. What fails is tried again at the next look, and does not keep the rest."""
        steps: list[Callable[[], None]] = [
            self._beat,
            self._enter,
            self._nodes,
            self._go_on,
            self._clear,
            self._unregister,
        ]
        for number, step in enumerate(steps):
            try:
                step()
                self._failing.discard(number)
            except Exception as error:  # without a director nothing would go on: it has to outlive what nobody foresaw
                if number not in self._failing:
                    _say(number, error)
                self._failing.add(number)  # said once, however long it lasts

    def _beat(self) -> None:
        with self._pool.connection() as connection:
            books.beat(connection, first=self._first)
        self._first = False

    def _enter(self) -> None:
        with self._pool.connection() as connection:
            waiting = books.due(connection)
        for one in waiting:
            leaf = self._ledger.record(KIND_END if one.round is None else KIND_ROUND, one.body)
            with self._pool.connection() as connection:
                books.entered(connection, one, leaf)

    def _go_on(self) -> None:
        with self._pool.connection() as connection:
            found = books.going(connection)
        trouble = None
        for one in found:
            try:
                self._attend(one)
            except TwinwardError as error:  # the others have their turn all the same
                trouble = error
        if trouble is not None:
            raise trouble

    def _attend(self, one: Going) -> None:
        if not one.open:
            self._without_run(one)
            return
        state = "unknown" if one.run is None else self._control.state(one.run)
        self._register |= state == "unknown"
        if state in ("pending", "running"):
            if not one.dead:
                return
            # The engine finds out by a heartbeat that stays away; the database knew at once.
            state = "killed"
            if one.run is not None:
                self._control.stop(one.run)
        now = self._now()
        with self._pool.connection() as connection:
            if books.ended(connection, one.number, one.attempt, state, now):
                books.failed_once(connection, one, f"attempt {one.attempt} was interrupted", now)
        telemetry.note(INTERRUPTED, study=one.number, attempt=one.attempt, failures=one.failures + 1)

    def _without_run(self, one: Going) -> None:
        now = self._now()
        if one.state == "stopping":
            self._over(one, "stopped", "stopped by a person")
        elif one.failures >= self._most_attempts:
            self._over(one, "failed", f"{one.failures} attempts ended without a round; `study resume` tries again")
        elif one.ended is None or now >= one.ended + _pause(one.failures):
            self._begin(one, now)

    def _over(self, one: Going, state: str, note: str) -> None:
        with self._pool.connection() as connection:
            books.over(connection, one, state, note, self._now())
        self.wake()  # its entry is due

    def _begin(self, one: Going, now: datetime) -> None:
        self._control.state(one.run or 0)  # an engine that is away costs no attempt
        with self._pool.connection() as connection:
            attempt = books.begin(connection, one, now)
        if attempt is None:
            return
        telemetry.note(ATTEMPT, study=one.number, attempt=attempt, failures=one.failures)
        run = self._control.start(one.hash, attempt)
        with self._pool.connection() as connection:
            books.begun(connection, one.number, attempt, run)

    def _clear(self) -> None:
        with self._pool.connection() as connection:
            found = books.leftover(connection)
        for study, attempt, run in found:
            state = "unknown" if run is None else self._control.state(run)
            if run is not None and state in ("pending", "running"):
                self._control.stop(run)
            with self._pool.connection() as connection:
                books.ended(connection, study, attempt, state, self._now())

    def _nodes(self) -> None:
        """Safe to repeat at the engine, which keeps a node that it knows."""
        if not self._register:
            return
        with self._pool.connection() as connection:
            found = sites.node_keys(connection)
        for site, key in found:
            node = self._control.register(site, key)
            with self._pool.connection() as connection:
                sites.registered(connection, site, key, node)
        self._register = False

    def _unregister(self) -> None:
        with self._pool.connection() as connection:
            found = sites.nodes_to_unregister(connection)
        for site, node in found:
            self._control.unregister(node)
            with self._pool.connection() as connection:
                sites.unregistered(connection, site, node)

    def _now(self) -> datetime:
        return utc(self._clock.now_ms())


def _say(step: int, error: Exception) -> None:
    if isinstance(error, psycopg.OperationalError):
        error = Unavailable("the database does not answer")
    if isinstance(error, TwinwardError):
        telemetry.warn(STEP_FAILED, step=step, error=error)
    else:
        telemetry.LOG.unexpected(error, step)


def _pause(failures: int) -> timedelta:
    return timedelta(seconds=0 if failures == 0 else min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1)))
