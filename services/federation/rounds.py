"""Works off a study round by round, whatever carries the asks and whatever keeps the books.

The order of durable writes, of one round and of the end (docs/federation.md, "A round"):

1. the hospitals are asked; nothing is written. Killed here: the round is asked again from the checkpoint before.
2. one transaction: round, checkpoint, event, and the ledger's entry as *due* (`fed.due`).
3. the coordinator's program, which has an identity and this fork has not, writes the due entry to its ledger and
   takes it off. Killed between the two: it is written twice, never not at all.
4. only when no entry is due the next round is asked. So no hospital computes on a model whose round is not in the
   ledger, and a ledger that is away holds the study up instead of being passed by.

Every write names its attempt and is refused where a later one has begun (`Superseded`): a ServerApp that was given
up, and lives on somewhere, changes nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np

from services.federation.collection import PRESENCE_S, SAID, Begun, Books, Collection, Round, Superseded
from services.federation.course import Ask, Course, Sites, Step
from services.federation.recipes import recipe_of
from services.federation.round_books import AttemptBooks, opened
from services.federation.settings import RoundsSettings
from services.federation.study import Study
from twinward.clock import Clock, SystemClock
from twinward.errors import BadInput


class Rounds:
    """One attempt: from the last checkpoint to the study's end."""

    def __init__(
        self,
        books: Books,
        sites: Sites,
        course_of: Callable[[Begun], Course],
        *,
        clock: Clock,
        pause: Callable[[float], None],
        poll_s: float,
    ) -> None:
        self._books = books
        self._sites = sites
        self._course_of = course_of
        self._clock = clock
        self._pause = pause
        self._poll_s = poll_s
        self._lost: set[str] = set()  # hospitals that are missing: said once, and once when they are back

    def run(self) -> None:
        """Until the study is done, stopped or failed.

        Raises:
            Superseded: nothing more to do here.
        """
        begun = self._books.begin()
        number = begun.round
        try:
            course = self._course_of(begun)
            while self._settled():
                step = course.next()
                if step is None or number >= begun.study.rounds:
                    note = "" if step is None else f"the study's {begun.study.rounds} rounds are used up"
                    self._books.finish(course, note)
                    return
                number += 1
                if not self._round(begun, course, number, step):
                    return
        except BadInput as error:  # of the recipe: asking again gives the same
            self._books.end("failed", f"round {number}: {error.public}")

    def _settled(self) -> bool:
        """Waits until the ledger has every round; False where the study was stopped by a person."""
        while True:
            settled = self._books.settled(PRESENCE_S)
            if self._books.standing().stopping:
                self._books.end("stopped", "stopped by a person")
                return False
            if settled:
                return True

    def _round(self, begun: Begun, course: Course, number: int, step: Step) -> bool:
        """False where the study ended in it."""
        study, begin = begun.study, self._clock.monotonic()
        ask = Ask(begun.hash, number, step.name, step.vector, step.config)
        collected = Collection(study, ask, step.size, self._books, self._sites, self._clock, self._lost)
        while not collected.over():
            self._pause(self._poll_s)
        done = collected.round
        done.seconds = self._clock.monotonic() - begin
        if collected.stopped:
            self._books.end("stopped", "stopped by a person")
            return False
        if len(done.answers) < study.minimum_sites:
            self._books.end("stopped", too_few(study, done))
            return False
        taken = course.take(dict(sorted(done.answers.items())))
        done.metrics = {name: float(value) for name, value in sorted(taken.items()) if np.isfinite(value)}
        self._books.commit(done, course.state())
        return True


def too_few(study: Study, done: Round) -> str:
    """The sentence that says who is missing and why."""
    why = "; ".join(f"{site}: {SAID[word]}" for site, word in sorted(done.refused.items()))
    return (
        f"round {done.number}: {len(done.answers)} of at least {study.minimum_sites} hospitals answered"
        f"{f' ({why})' if why else ''}; `study resume` goes on from the last checkpoint"
    )


def course_of(begun: Begun) -> Course:
    return recipe_of(begun.study).course(begun.study, begun.state)


def run_attempt(study: bytes, attempt: int, sites: Sites, chosen: RoundsSettings) -> None:
    """The whole of a ServerApp: works off the study with this hash until it ends or a later attempt begins.

    Raises:
        Unavailable: the database, or an attempt before that does not let go.
    """
    clock = SystemClock()
    with contextlib.suppress(Superseded), opened(chosen) as connection:
        books = AttemptBooks(connection, study, attempt, away_s=chosen.away_s, clock=clock)
        rounds = Rounds(books, sites, course_of, clock=clock, pause=time.sleep, poll_s=chosen.poll_s)
        with books.alone():
            rounds.run()
