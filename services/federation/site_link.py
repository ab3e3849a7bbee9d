"""The hospital's side of the line to its coordinator: every second or so it tells how it is and hears what is new.

Always outbound, always by the certificate that the coordinator gave, which is renewed at half of its life: the new
one is in the file before it is used, and the coordinator honours both. A coordinator that is away, for days too,
costs one quiet thread that asks more and more seldom; nothing of the hospital waits for it. It comes back by itself.

Decisions go until the coordinator says that they are durable there; after a start every one goes once more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.federation import membership
from services.federation.decisions import Decisions
from services.federation.membership import Membership, MembershipFile
from services.federation.site_joining import Certified, Joining
from services.federation.site_studies import SiteStudies
from twinward import telemetry
from twinward.clock import Chance, Clock
from twinward.errors import Denied, TwinwardError, Unauthenticated, Unavailable
from twinward.wire.codec.cohort import DecidedStudy

LONGEST_S = 30.0  # between two tries while the coordinator is away
AWAY_S = 10.0  # not heard of for so long: not reachable
ASK_AGAIN_S = 30.0  # auth is asked for decisions even when nothing changed here
MOST_DECISIONS = 100  # told at once

LOST = telemetry.event("coordinator_lost", "error")
BACK = telemetry.event("coordinator_back", "tries")
RENEWED = telemetry.event("certificate_renewed", "until_ms")
UNEXPECTED = telemetry.event("sync_unexpected", "id", "error", "places")


@dataclass(frozen=True, slots=True)
class Told:
    """What goes with one sync."""

    life: int  # of SuperNode and executor; 0: they do not run
    decisions: Sequence[DecidedStudy]
    after: int


@dataclass(frozen=True, slots=True)
class OfferedRaw:
    """A study as it came, not checked."""

    number: int
    study: bytes
    canonical: bytes
    bundle: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    studies: Sequence[OfferedRaw]
    states: Mapping[bytes, str]
    acknowledged: Sequence[bytes]


class Syncs(Protocol):
    """The coordinator's door for hospitals, with the membership's certificate."""

    def sync(self, member: Membership, told: Told) -> Heard: ...
    def renew(self, member: Membership, signing_request: bytes) -> Certified: ...


@dataclass
class Link:
    """`run` blocks; `status` may be asked from any thread."""

    site: str
    file: MembershipFile
    joining: Joining
    coordinator: Syncs
    studies: SiteStudies
    decisions: Decisions
    life: Callable[[], int]
    ended: Callable[[Sequence[bytes]], None]  # studies that do not run any more: their tables can go
    clock: Clock
    chance: Chance
    sync_s: float
    wake: threading.Event = field(default_factory=threading.Event)
    last_ms: int = 0  # of the last answer; 0: none since the start
    _failures: int = 0
    _leaf: int = 0  # of the joining that is held
    _acknowledged: dict[bytes, int] = field(default_factory=dict)  # study -> leaf of the decision
    _to_tell: list[DecidedStudy] = field(default_factory=list)
    _asked: float | None = None  # monotonic: when auth was last asked for decisions
    _again: bool = True

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.wake.wait(self.once())
            self.wake.clear()

    def once(self) -> float:
        """One turn; seconds until the next."""
        try:
            self._turn()
        except TwinwardError as error:
            return self._lost(error)
        except Exception as error:  # nothing that a coordinator sends may end the thread
            telemetry.LOG.unexpected(error, int.from_bytes(self.chance.bytes(5), "big"), UNEXPECTED)
            return self._lost(Unavailable("the coordinator's answer could not be used"))
        if self._failures:
            telemetry.note(BACK, tries=self._failures)
            self._failures = 0
        return self.sync_s

    def reachable(self) -> bool:
        return self.last_ms > 0 and self.clock.now_ms() - self.last_ms < AWAY_S * 1000

    def decided(self) -> None:
        """Somebody decided: it is told at once."""
        self._again = True
        self.wake.set()

    def _turn(self) -> None:
        self.joining.settle()
        member = self.file.now()
        self._belongs(member)
        if member is None or not member.open:
            return
        if self.clock.now_ms() >= member.renew_ms:
            member = self._renew(member)
        told = Told(self.life(), self._decisions(), self.studies.newest)
        heard = self.coordinator.sync(member, told)
        self.last_ms = self.clock.now_ms()
        for one in heard.studies:
            self.studies.hear(one.number, one.study, one.canonical, one.bundle)
        if heard.studies:
            self._again = True  # decided before: a study that was forgotten here and came back
        self._acknowledge(told.decisions, heard.acknowledged)
        self.ended(self.studies.hear_states(heard.states))

    def _belongs(self, member: Membership | None) -> None:
        """Joined anew: nothing that was acknowledged or heard before counts."""
        leaf = member.leaf if member is not None else 0
        if leaf != self._leaf:
            self._leaf = leaf
            self._acknowledged.clear()
            self._again = True
            self.last_ms = 0

    def _renew(self, member: Membership) -> Membership:
        """A new key each time. A coordinator that does not renew now is asked at the next turn; the old one holds."""
        key = membership.new_key()
        try:
            made = self.coordinator.renew(member, membership.signing_request(key, self.site))
        except Unavailable:
            if self.clock.now_ms() >= member.until_ms:
                raise
            return member
        new = self.joining.renewed(member, key, made)
        telemetry.note(RENEWED, until_ms=made.until_ms)
        return new if new is not None else member

    def _decisions(self) -> list[DecidedStudy]:
        """Those that the coordinator has not acknowledged. While auth is away: those known before."""
        now = self.clock.monotonic()
        if self._again or self._asked is None or now - self._asked > ASK_AGAIN_S:
            try:
                found = [decided for _, decided in self.decisions.listed() if decided is not None]
            except Unavailable:
                found = self._to_tell
            else:
                self._again, self._asked = False, now
            self._to_tell = [one for one in found if self._acknowledged.get(one.study) != one.leaf]
        return self._to_tell[:MOST_DECISIONS]

    def _acknowledge(self, told: Sequence[DecidedStudy], acknowledged: Sequence[bytes]) -> None:
        durable = set(acknowledged)
        for one in told:
            if one.study in durable:
                self._acknowledged[one.study] = one.leaf
        self._to_tell = [one for one in self._to_tell if self._acknowledged.get(one.study) != one.leaf]

    def _lost(self, error: TwinwardError) -> float:
        """Doubles up to half a minute; a hospital that is not let in any more asks at that pace at once."""
        if not self._failures:
            telemetry.warn(LOST, error=error)
        self._failures += 1
        step = LONGEST_S if isinstance(error, Denied | Unauthenticated) else self.sync_s * 2 ** min(self._failures, 10)
        jitter = 0.5 + int.from_bytes(self.chance.bytes(2), "big") / 131_072  # 0.5 to 1: hospitals do not come together
        return min(step, LONGEST_S) * jitter
