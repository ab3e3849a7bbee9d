"""What is planned in the site's night, and how the table's jobs get to the broker."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from services.twin.jobs import REFIT, Jobs
from services.twin.jobs_broker import VISIBILITY_S
from twinward import telemetry
from twinward.clock import Clock, utc
from twinward.errors import BadInput, TwinwardError, Unavailable

HOUR_MS = 3_600_000
PLANNED = telemetry.event("refits-planned", "jobs")
WAITS = telemetry.event("jobs-wait", "error")
UNSENT = telemetry.event("jobs-unsent", "jobs")


class Sends(Protocol):
    def send(self, job: UUID) -> None: ...


@dataclass(frozen=True, slots=True)
class Night:
    """Hours of the day in UTC, across midnight where `until` is the smaller one; as auth's (services/auth/night.py).

    Raises:
        BadInput: hours that no day has.
    """

    from_utc_h: int
    until_utc_h: int

    def __post_init__(self) -> None:
        if not (0 <= self.from_utc_h <= 23 and 0 <= self.until_utc_h <= 24):
            raise BadInput("the night of refits is from hour 0 to 23 until hour 0 to 24, UTC")

    def holds(self, now_ms: int) -> bool:
        hours = self.until_utc_h - self.from_utc_h
        length = (hours if hours >= 0 else hours + 24) * HOUR_MS
        return (now_ms - self.from_utc_h * HOUR_MS) % (24 * HOUR_MS) < length

    def name(self, now_ms: int) -> str:
        """The day that this night began on."""
        return utc(now_ms - self.from_utc_h * HOUR_MS).strftime("%Y-%m-%d")


@dataclass
class Planner:
    jobs: Jobs
    clock: Clock
    night: Night
    days: float
    most: int
    _planned: str = ""  # the night that was, as long as this program runs: every twin is looked at

    def plan(self) -> int:
        """Once a night: a job for every twin that is due then. How many."""
        now = self.clock.now_ms()
        night = self.night.name(now)
        if night == self._planned or not self.night.holds(now):
            return 0
        due = self.jobs.due(self.days, self.most)
        for handle, _ in due:
            self.jobs.ask(REFIT, f"night:{night}:{handle}", handle)
        self._planned = night
        return len(due)


@dataclass
class Relay:
    """The outbox: what the table has and the broker has not."""

    jobs: Jobs
    broker: Sends
    again_s: float = VISIBILITY_S + 60.0

    def relay(self) -> int:
        """How many were sent.

        Raises:
            Unavailable: the broker does not answer; what it did not take is sent the next time.
        """
        waiting = self.jobs.unsent(self.again_s)
        for k, job in enumerate(waiting):
            try:
                self.broker.send(job)
            except Exception as error:  # kombu's errors differ by transport; none of them may end the program
                telemetry.warn(UNSENT, jobs=len(waiting) - k)
                self.jobs.unsend(waiting[k:])
                raise Unavailable("the broker does not take jobs", detail=type(error).__name__) from error
        return len(waiting)


def watch(stop: threading.Event, relay: Relay, planner: Planner, relay_s: float, plan_s: float) -> None:
    """Sends and plans until `stop`; what is down is tried again."""
    next_plan, started = 0.0, False
    while not stop.wait(relay_s):
        try:
            if not started:
                relay.jobs.orphans()
                started = True
            relay.relay()
            if planner.clock.monotonic() >= next_plan:
                next_plan = planner.clock.monotonic() + plan_s
                if due := planner.plan():
                    telemetry.note(PLANNED, jobs=due)
        except TwinwardError as error:
            telemetry.warn(WAITS, error=error)
            stop.wait(1.0)
