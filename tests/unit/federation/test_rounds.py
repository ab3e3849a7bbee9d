"""Rounds without engine and database: who is asked, who is waited for, what is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.federation.collection import Begun, Presence, Round, Standing, Superseded
from services.federation.course import REFUSALS, Answer, Ask, Course
from services.federation.rounds import Rounds
from tests.unit.federation.hall import NOW_MS, SITES, Halls, Sums, refusing, reply, saying, study
from twinward.clock import SetClock
from twinward.errors import BadInput


@dataclass
class Remembered:
    """Books in memory, that a test changes while rounds go on."""

    begun: Begun
    sites: dict[str, Presence] = field(default_factory=lambda: dict.fromkeys(SITES, Presence.HERE))
    lives: dict[str, int] = field(default_factory=dict)
    stopping: bool = False
    unsettled: int = 0  # so often the ledger is not there yet
    rounds: list[Round] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    ended: tuple[str, str] | None = None
    model: object = None

    def begin(self) -> Begun:
        return self.begun

    def standing(self) -> Standing:
        return Standing(self.stopping, dict(self.sites), dict(self.lives))

    def tell(self, kind: str, text: str) -> None:
        self.told.append((kind, text))

    def commit(self, done: Round, state: bytes) -> None:
        self.rounds.append(done)
        self.states.append(state)

    def settled(self, wait_s: float) -> bool:
        self.unsettled -= 1
        return self.unsettled < 0

    def end(self, state: str, note: str) -> None:
        assert self.ended is None
        self.ended = (state, note)

    def finish(self, course: Course, note: str) -> None:
        self.model = course.result()
        self.end("done", note)


class World:
    def __init__(self, halls: Halls | None = None, **more: object) -> None:
        self.study = study(**more)
        self.clock = SetClock(NOW_MS)
        self.halls = halls or Halls.honest()
        self.books = Remembered(Begun(bytes(32), self.study, 0, None))
        self.at: dict[float, Callable[[], object]] = {}  # seconds from the start -> what happens then
        self.begin = self.clock.monotonic()

    def kill(self, site: str) -> None:
        self.halls.lose(site)
        self.books.sites[site] = Presence.AWAY

    @property
    def elapsed(self) -> float:
        return self.clock.monotonic() - self.begin

    def pause(self, seconds: float) -> None:
        self.clock.ms += round(seconds * 1000)
        for moment in [one for one in self.at if one <= self.elapsed]:
            self.at.pop(moment)()

    def run(self, rounds: int = 3) -> Remembered:
        def course_of(begun: Begun) -> Course:
            return Sums(rounds, begun.state)

        Rounds(self.books, self.halls, course_of, clock=self.clock, pause=self.pause, poll_s=0.05).run()
        return self.books

    def word(self, site: str, number: int = 1) -> str:
        return self.books.rounds[number - 1].refused.get(site, "")


def test_every_hospital_is_asked_once_a_round_and_the_study_is_done() -> None:
    world = World()
    books = world.run()
    assert books.ended == ("done", "")
    assert sorted(world.halls.asked) == sorted((site, number) for site in SITES for number in (1, 2, 3))
    assert [one.number for one in books.rounds] == [1, 2, 3]
    assert books.rounds[0].metrics == {"n": 3.0}  # a metric that is no number is not kept
    expected = np.zeros(2)
    for number in (1, 2, 3):
        answers = [reply(site, Ask(bytes(32), number, "add", expected)).vector for site in SITES]
        expected = 0.5 * expected + np.sum(answers, axis=0)
    assert books.model == {"sum": expected.tolist()}


@pytest.mark.parametrize(
    "answer",
    [
        saying(np.array([1.0, np.nan])),
        saying(np.array([1.0, np.inf])),
        saying(np.array([1.0])),
        saying(np.zeros(3)),
        saying(np.zeros((2, 1))),
        saying(np.zeros(2, dtype=np.float32)),  # type: ignore[arg-type]
        saying([0.0, 0.0]),  # type: ignore[arg-type]
        saying(np.zeros(2), n=float("nan")),
        saying(np.zeros(2), **{f"n{at}": 0.0 for at in range(5000)}),
    ],
)
def test_an_answer_that_is_none_counts_as_that_hospitals_refusal(answer: Callable[[Ask], Answer]) -> None:
    world = World()
    world.halls.answers["b.demo"] = answer
    books = world.run(1)
    assert world.word("b.demo") == "BAD_ANSWER"
    assert sorted(books.rounds[0].answers) == ["a.demo", "c.demo"]
    assert books.ended == ("done", "")


@pytest.mark.parametrize("word", [*REFUSALS, "Anna Muster, born 1950"])
def test_a_refusal_is_counted_by_its_word_alone(word: str) -> None:
    world = World()
    world.halls.answers["b.demo"] = refusing(word)
    world.run(1)
    assert world.word("b.demo") == (word if word in REFUSALS else "INTERNAL")


def test_too_few_answers_stop_the_study_with_each_reason() -> None:
    world = World()
    world.halls.answers["a.demo"] = refusing("COHORT")
    world.halls.answers["b.demo"] = refusing("POLICY")
    books = world.run()
    assert books.rounds == []
    assert books.ended is not None
    state, note = books.ended
    assert state == "stopped"
    assert "1 of at least 2 hospitals answered" in note
    assert REFUSALS["COHORT"] in note
    assert REFUSALS["POLICY"] in note
    assert world.elapsed < 5  # nobody is waited for who has refused for good


def test_a_round_ends_at_its_deadline_with_those_who_answered() -> None:
    world = World(deadline_s=30.0)
    world.halls.answers["b.demo"] = lambda _: None
    world.run(1)
    assert world.word("b.demo") == "LATE"
    assert 30 <= world.elapsed < 31
    assert sorted(world.books.rounds[0].answers) == ["a.demo", "c.demo"]


def test_a_hospital_that_is_gone_in_mid_round_is_not_waited_for() -> None:
    world = World()
    world.halls.answers["b.demo"] = lambda _: None
    world.at[2.0] = lambda: world.books.sites.update({"b.demo": Presence.AWAY})
    world.run(1)
    assert world.word("b.demo") == "GONE"
    assert world.elapsed < 3
    assert [kind for kind, _ in world.books.told] == ["site_lost"]


def test_a_hospital_that_was_killed_and_is_back_before_anybody_saw_it_is_not_waited_for() -> None:
    world = World()
    world.books.lives = dict.fromkeys(SITES, 1)
    world.halls.answers["b.demo"] = lambda _: None
    world.at[2.0] = lambda: world.books.lives.update({"b.demo": 2})
    world.run(1)
    assert world.word("b.demo") == "GONE"
    assert world.elapsed < 3


def test_a_hospital_that_is_needed_and_gone_is_asked_again_when_it_is_back() -> None:
    world = World(minimum_sites=3)
    silent = world.halls.answers["b.demo"]
    world.halls.answers["b.demo"] = lambda _: None

    def back() -> None:
        world.books.sites["b.demo"] = Presence.HERE
        world.halls.answers["b.demo"] = silent

    world.at[1.0] = lambda: world.kill("b.demo")
    world.at[20.0] = back
    books = world.run(1)
    assert books.ended == ("done", "")
    assert sorted(books.rounds[0].answers) == list(SITES)
    assert books.rounds[0].refused == {}
    assert [kind for kind, _ in books.told] == ["site_lost", "site_back"]
    assert world.halls.asked.count(("b.demo", 1)) == 2
    assert world.halls.asked.count(("a.demo", 1)) == 1


def test_who_was_taken_for_gone_and_answers_after_all_is_heard() -> None:
    world = World(minimum_sites=3)
    honest = world.halls.answers["b.demo"]
    world.halls.answers["b.demo"] = lambda _: None
    world.at[1.0] = lambda: world.books.sites.update({"b.demo": Presence.AWAY})
    world.at[5.0] = lambda: world.halls.answers.update({"b.demo": honest})
    books = world.run(1)
    assert sorted(books.rounds[0].answers) == list(SITES)
    assert [kind for kind, _ in books.told] == ["site_lost", "site_back"]


def test_nobody_is_asked_twice_by_the_same_outage_when_the_others_suffice() -> None:
    """It comes back in mid-round: from the next round on it takes part."""
    world = World()
    honest = world.halls.answers["b.demo"]
    world.halls.answers["b.demo"] = lambda _: None
    slow = world.halls.answers["a.demo"]
    world.halls.answers["a.demo"] = lambda ask: slow(ask) if world.elapsed > 10 else None

    def back() -> None:
        world.books.sites["b.demo"] = Presence.HERE
        world.halls.answers["b.demo"] = honest

    world.at[1.0] = lambda: world.kill("b.demo")
    world.at[5.0] = back
    books = world.run(2)
    assert world.word("b.demo", 1) == "GONE"
    assert sorted(books.rounds[1].answers) == list(SITES)
    assert [text for _, text in books.told] == ["b.demo is missing in round 1", "b.demo is back in round 2"]


def test_a_hospital_that_goes_between_rounds_is_missed_once_and_welcomed_once() -> None:
    world = World(rounds=5)
    commit = world.books.commit

    def committed(done: Round, state: bytes) -> None:
        commit(done, state)
        world.books.sites["b.demo"] = Presence.AWAY if done.number < 3 else Presence.HERE

    world.books.commit = committed  # type: ignore[method-assign]
    books = world.run(5)
    assert [sorted(one.refused) for one in books.rounds] == [[], ["b.demo"], ["b.demo"], [], []]
    assert [text for _, text in books.told] == ["b.demo is missing in round 2", "b.demo is back in round 4"]


def test_while_the_coordinator_was_away_itself_nobody_counts_as_gone() -> None:
    world = World()
    slow = world.halls.answers["b.demo"]
    world.halls.answers["b.demo"] = lambda ask: slow(ask) if world.elapsed > 20 else None
    world.at[1.0] = lambda: world.books.sites.update(dict.fromkeys(SITES, Presence.UNKNOWN))
    books = world.run(1)
    assert sorted(books.rounds[0].answers) == list(SITES)
    assert books.told == []


def test_too_few_online_waits_until_the_deadline_and_says_who_was_missing() -> None:
    world = World(deadline_s=40.0)
    world.halls.connected = {"a.demo"}
    books = world.run()
    assert books.ended is not None
    assert books.ended[0] == "stopped"
    assert "b.demo: the hospital was not connected" in books.ended[1]
    assert 40 <= world.elapsed < 41
    assert world.halls.asked == []


def test_a_hospital_that_comes_before_the_deadline_lets_the_round_begin() -> None:
    world = World(deadline_s=40.0)
    world.halls.connected = {"a.demo"}
    world.at[25.0] = lambda: world.halls.connected.update(SITES)
    books = world.run(1)
    assert books.ended == ("done", "")
    assert sorted(books.rounds[0].answers) == list(SITES)


def test_a_round_waits_a_moment_for_who_is_there_but_not_connected_yet() -> None:
    world = World()
    world.halls.connected.discard("c.demo")
    world.at[1.5] = lambda: world.halls.connected.add("c.demo")
    books = world.run(1)
    assert sorted(books.rounds[0].answers) == list(SITES)


def test_and_not_longer_than_a_moment() -> None:
    world = World()
    world.halls.connected.discard("c.demo")
    world.run(1)
    assert world.word("c.demo") == "OFFLINE"
    assert world.elapsed < 6


def test_a_store_that_does_not_answer_is_asked_again_where_it_is_needed() -> None:
    world = World(minimum_sites=3)
    honest = world.halls.answers["b.demo"]
    world.halls.answers["b.demo"] = refusing("UNAVAILABLE")
    world.at[8.0] = lambda: world.halls.answers.update({"b.demo": honest})
    books = world.run(1)
    assert books.ended == ("done", "")
    assert world.halls.asked.count(("b.demo", 1)) == 5  # the pauses double


def test_fewer_hospitals_approve_than_are_needed() -> None:
    world = World()
    world.books.sites = {"a.demo": Presence.HERE}
    books = world.run()
    assert books.ended is not None
    assert books.ended[0] == "stopped"
    assert world.elapsed < 1


def test_a_hospital_that_left_in_mid_round_is_not_heard_any_more() -> None:
    world = World(minimum_sites=2)
    honest = world.halls.answers["b.demo"]
    world.halls.answers["b.demo"] = lambda _: None
    slow = world.halls.answers["a.demo"]
    world.halls.answers["a.demo"] = lambda ask: slow(ask) if world.elapsed > 4 else None
    world.at[1.0] = lambda: world.books.sites.pop("b.demo")
    world.at[2.0] = lambda: world.halls.answers.update({"b.demo": honest})
    world.run(1)
    assert sorted(world.books.rounds[0].answers) == ["a.demo", "c.demo"]
    assert world.word("b.demo") == "GONE"


def test_a_stop_takes_effect_after_the_round_in_progress() -> None:
    world = World()
    slow = world.halls.answers["a.demo"]
    world.halls.answers["a.demo"] = lambda ask: slow(ask) if world.elapsed > 3 else None
    world.at[1.0] = lambda: setattr(world.books, "stopping", True)
    books = world.run()
    assert len(books.rounds) == 1
    assert books.ended == ("stopped", "stopped by a person")


def test_a_stop_ends_the_waiting_for_hospitals() -> None:
    world = World()
    world.halls.connected = set()
    world.at[2.0] = lambda: setattr(world.books, "stopping", True)
    books = world.run()
    assert books.ended == ("stopped", "stopped by a person")
    assert world.elapsed < 3


def test_no_round_is_asked_while_the_ledger_lacks_the_one_before() -> None:
    world = World()
    asked_when_unsettled: list[int] = []
    settled = world.books.settled

    def watched(wait_s: float) -> bool:
        found = settled(wait_s)
        if not found:
            asked_when_unsettled.append(len(world.halls.asked))
        return found

    world.books.settled = watched  # type: ignore[method-assign]
    commit = world.books.commit

    def committed(done: Round, state: bytes) -> None:
        commit(done, state)
        world.books.unsettled = 5

    world.books.commit = committed  # type: ignore[method-assign]
    world.run(2)
    assert asked_when_unsettled == [3] * 5 + [6] * 5


def test_what_cannot_be_combined_fails_the_study_with_the_recipes_sentence() -> None:
    class Picky(Sums):
        def take(self, answers: object) -> dict[str, float]:
            raise BadInput("age is the same for every patient: leave it out")

    world = World()
    Rounds(
        world.books, world.halls, lambda begun: Picky(3, begun.state), clock=world.clock, pause=world.pause, poll_s=0.05
    ).run()
    assert world.books.ended == ("failed", "round 1: age is the same for every patient: leave it out")
    assert world.books.rounds == []


def test_rounds_end_where_the_study_says_at_most() -> None:
    world = World(rounds=2)
    books = world.run(10)
    assert len(books.rounds) == 2
    assert books.ended == ("done", "the study's 2 rounds are used up")


def test_an_attempt_goes_on_from_its_checkpoint() -> None:
    whole = World().run(4)
    for at in range(1, 4):
        again = World()
        again.books.begun = Begun(bytes(32), again.study, at, whole.states[at - 1])
        books = again.run(4)
        assert books.model == whole.model
        assert [one.number for one in books.rounds] == list(range(at + 1, 5))


def test_who_is_superseded_asks_nobody_and_ends_nothing() -> None:
    world = World()

    def superseded() -> Standing:
        raise Superseded("a later attempt works on this study")

    world.books.standing = superseded  # type: ignore[method-assign]
    with pytest.raises(Superseded):
        world.run()
    assert world.halls.asked == []
    assert world.books.ended is None
