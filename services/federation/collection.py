"""One round: who is asked, who is waited for, what is taken. And what a round needs of the books.

Knows neither engine nor database: `rounds.py` joins the three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np

from services.federation.course import REFUSALS, Answer, Ask, Course, Sites
from services.federation.study import Study
from twinward.clock import Clock
from twinward.errors import Unready

# What the coordinator says of a hospital that gave no answer to use, beside REFUSALS.
OFFLINE, GONE, LATE, BAD_ANSWER = "OFFLINE", "GONE", "LATE", "BAD_ANSWER"
SAID = {
    OFFLINE: "the hospital was not connected",
    GONE: "the hospital's connection ended during the round",
    LATE: "the hospital did not answer in time",
    BAD_ANSWER: "the hospital's answer had a wrong length or numbers that are none",
    **REFUSALS,
}
PASSING = frozenset({"UNAVAILABLE", "INTERNAL"})  # what a kill at a hospital looks like; it may answer yet
AGAIN_S = 1.0  # after which such a one is asked once more, where it is needed; doubles each time
PRESENCE_S = 0.25  # how often the books are asked who is there
OPENING_S = 5.0  # so long a round waits, with enough hospitals, for others that are connected but not to the engine
MOST_NUMBERS = 4096  # floats in an answer's `numbers`
MOST_VECTOR = 4_000_000


class Presence(Enum):
    """What the books know of a hospital that joined and approved."""

    HERE = "here"
    AWAY = "away"  # known to be gone: not waited for
    UNKNOWN = "unknown"  # the coordinator was away itself: waited for until the deadline


class Superseded(Unready):
    """A later attempt works on this study, or nobody wants it to go on."""


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """Where an attempt goes on from."""

    hash: bytes
    study: Study
    round: int  # the last that is done
    state: bytes | None  # the course's, after that round


@dataclass(frozen=True, slots=True)
class Standing:
    """How it is now."""

    stopping: bool  # a person wants it to end
    sites: Mapping[str, Presence]  # those that joined and whose approval holds
    lives: Mapping[str, int] = field(default_factory=dict)  # of what runs there: another one knows no earlier ask


@dataclass(slots=True)
class Round:
    """One round, as it is kept and shown."""

    number: int
    step: str
    asked: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # site -> word of SAID
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)


class Books(Protocol):
    """What is kept of one attempt. Everything that writes raises Superseded where another attempt has begun."""

    def begin(self) -> Begun: ...

    def standing(self) -> Standing: ...

    def tell(self, kind: str, text: str) -> None:
        """An event."""
        ...

    def commit(self, done: Round, state: bytes) -> None:
        """Round, checkpoint, event and due entry, in one transaction."""
        ...

    def settled(self, wait_s: float) -> bool:
        """Whether no entry is due; waits so long for it."""
        ...

    def end(self, state: str, note: str) -> None:
        """The study is `stopped` or `failed`."""
        ...

    def finish(self, course: Course, note: str) -> None:
        """Result, card, report and the end `done`, in one transaction."""
        ...


class Collection:
    """The answers of one round.

    Opened when everybody who is there can be asked. A hospital that is gone is not waited for where the others
    suffice. Where they do not, the round stays open until its deadline, and who comes back is asked again.
    """

    def __init__(
        self, study: Study, ask: Ask, size: int, books: Books, sites: Sites, clock: Clock, lost: set[str]
    ) -> None:
        """`lost`: hospitals that are missing since an earlier round; goes on to the next."""
        self.round = Round(ask.round, ask.step)
        self.stopped = False  # by a person, while there were too few
        self._ask = ask
        self._size = size
        self._minimum = study.minimum_sites
        self._books = books
        self._sites = sites
        self._clock = clock
        self._lost = lost
        self._opens = clock.monotonic() + min(OPENING_S, study.deadline_s / 2)
        self._until = clock.monotonic() + study.deadline_s
        self._look_at = clock.monotonic()
        self._known: dict[str, Presence] = {}
        self._lives: Mapping[str, int] = {}
        self._pending: dict[str, int | None] = {}  # asked, and not answered: in which life
        self._again_at: dict[str, float] = {}  # after a passing refusal
        self._again_s: dict[str, float] = {}  # how long after it

    def over(self) -> bool:
        """Takes what came, asks who can be asked; True where the round is closed."""
        now = self._clock.monotonic()
        self._take(now)
        if now >= self._look_at:
            self._look_at = now + PRESENCE_S
            self._look(now)
        if now < self._until and not self.stopped and not self._complete():
            return False
        for site in self._pending:
            self.round.refused[site] = LATE
        for site in self._known:
            if site not in self.round.answers and site not in self.round.refused:
                self._lose(site, OFFLINE)
        return True

    def _lose(self, site: str, word: str) -> None:
        self.round.refused[site] = word
        if site not in self._lost:
            self._lost.add(site)
            self._books.tell("site_lost", f"{site} is missing in round {self.round.number}")

    def _find(self, site: str) -> None:
        if site in self._lost:
            self._lost.remove(site)
            self._books.tell("site_back", f"{site} is back in round {self.round.number}")

    def _complete(self) -> bool:
        """Nobody is waited for, and there are enough answers or no hope of them."""
        if self._pending:
            return False
        if len(self.round.answers) >= self._minimum:
            return True
        hopes = [site for site in self._known if site not in self.round.answers and not self._final(site)]
        return len(self.round.answers) + len(hopes) < self._minimum

    def _final(self, site: str) -> bool:
        word = self.round.refused.get(site)
        return word is not None and word != GONE and word not in PASSING

    def _take(self, now: float) -> None:
        for site, answer in self._sites.receive().items():
            # Who was taken for gone and answers after all is heard; who was never asked, or left, is not.
            if site not in self.round.asked or site in self.round.answers or site not in self._known:
                continue
            if site not in self._pending and self.round.refused.get(site) != GONE:
                continue
            self._pending.pop(site, None)
            word = self._wrong(answer)
            if not word:
                self.round.answers[site] = answer
                self.round.refused.pop(site, None)
                self._find(site)
                continue
            self.round.refused[site] = word
            pause = self._again_s.get(site, AGAIN_S)
            self._again_at[site], self._again_s[site] = now + pause, 2 * pause

    def _wrong(self, answer: Answer) -> str:
        """The word of a refusal; empty for an answer that the course may take."""
        if answer.refusal:
            return answer.refusal if answer.refusal in REFUSALS else "INTERNAL"
        vector = answer.vector
        if not isinstance(vector, np.ndarray) or vector.ndim != 1 or vector.dtype != np.float64:
            return BAD_ANSWER
        if len(vector) > MOST_VECTOR or (self._size >= 0 and len(vector) != self._size):
            return BAD_ANSWER
        numbers = answer.numbers
        if len(numbers) > MOST_NUMBERS or not np.isfinite(np.array(list(numbers.values()), dtype=np.float64)).all():
            return BAD_ANSWER
        return "" if bool(np.isfinite(vector).all()) else BAD_ANSWER

    def _look(self, now: float) -> None:
        standing = self._books.standing()
        self._known, self._lives = dict(standing.sites), standing.lives
        for site, life in sorted(self._pending.items()):
            if self._known.get(site, Presence.AWAY) is Presence.AWAY or self._lives.get(site) not in (0, life):
                del self._pending[site]
                self._lose(site, GONE)
        if len(self.round.answers) + len(self._pending) >= self._minimum:
            return
        if standing.stopping and not self._pending:
            self.stopped = True
            return
        reachable = frozenset(self._sites.online())
        wanted = [site for site in sorted(self._known) if site in reachable and self._can_be_asked(site, now)]
        if self.round.asked or self._may_open(wanted, now):
            self._send(wanted)

    def _can_be_asked(self, site: str, now: float) -> bool:
        if site in self._pending or site in self.round.answers or self._known[site] is Presence.AWAY:
            return False
        word = self.round.refused.get(site)
        return word in (None, GONE) or (word in PASSING and now >= self._again_at[site])

    def _may_open(self, wanted: list[str], now: float) -> bool:
        if len(wanted) < self._minimum:
            return False
        there = [site for site, presence in self._known.items() if presence is not Presence.AWAY]
        return len(wanted) == len(there) or now >= self._opens

    def _send(self, wanted: list[str]) -> None:
        if not wanted:
            return
        self._sites.send(dict.fromkeys(wanted, self._ask))
        self._pending.update({site: self._lives.get(site) for site in wanted})
        for site in wanted:
            self.round.refused.pop(site, None)
            self._find(site)
            if site not in self.round.asked:
                self.round.asked.append(site)
