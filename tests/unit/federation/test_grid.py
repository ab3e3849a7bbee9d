"""Asks and answers over a grid of Flower: who is asked, whose answer counts, and what an error becomes."""

from __future__ import annotations

import numpy as np
import pytest

from services.federation.course import Answer, Ask
from services.federation.flower import client_app
from services.federation.flower.grid import GridSites
from services.federation.flower.local_grid import CRASHED, LocalGrid, local_sites
from twinward.clock import SetClock
from twinward.errors import TwinwardError, Unavailable

STUDY = bytes(32)


def doubled(ask: Ask) -> Answer:
    return Answer(ask.vector * 2, {"round": ask.round})


def ask(number: int, value: float = 1.0) -> Ask:
    return Ask(STUDY, number, "step", np.array([value, np.nan]))


def test_every_site_answers_for_itself() -> None:
    sites = local_sites({"a.demo": doubled, "b.demo": doubled})
    assert sites.online() == ["a.demo", "b.demo"]
    sites.send({"a.demo": ask(1, 1.0), "b.demo": ask(1, 5.0)})
    answers = sites.receive()
    assert {site: answer.vector[0] for site, answer in answers.items()} == {"a.demo": 2.0, "b.demo": 10.0}
    assert all(np.isnan(answer.vector[1]) for answer in answers.values())
    assert sites.receive() == {}


class Slow(LocalGrid):
    """Holds replies back until they are let go."""

    held = True

    def pull_messages(self, message_ids: object) -> object:
        return [] if self.held else super().pull_messages(message_ids)  # type: ignore[arg-type]


def test_a_late_answer_of_an_earlier_round_is_never_given() -> None:
    grid = Slow({"a.demo": doubled, "b.demo": doubled})
    sites = GridSites(grid)
    sites.send({"a.demo": ask(1), "b.demo": ask(1)})
    assert sites.receive() == {}
    grid.held = False  # both answers of round 1 are there now, and round 2 begins without b
    sites.send({"a.demo": ask(2)})
    assert {site: answer.numbers["round"] for site, answer in sites.receive().items()} == {"a.demo": 2}
    assert sites.receive() == {}


def test_a_site_that_is_asked_again_leaves_the_others_waited_for() -> None:
    grid = Slow({"a.demo": doubled, "b.demo": doubled})
    sites = GridSites(grid)
    sites.send({"a.demo": ask(1, 1.0), "b.demo": ask(1, 1.0)})
    sites.send({"a.demo": ask(1, 9.0)})
    grid.held = False
    assert {site: one.vector[0] for site, one in sites.receive().items()} == {"a.demo": 18.0, "b.demo": 2.0}


def test_a_site_that_is_gone_is_not_asked() -> None:
    grid = LocalGrid({"a.demo": doubled, "b.demo": doubled})
    sites = GridSites(grid)
    grid.down.add("b.demo")
    sites.send({"a.demo": ask(1), "b.demo": ask(1), "c.demo": ask(1)})
    assert list(sites.receive()) == ["a.demo"]


def test_an_app_that_died_is_a_refusal_of_its_own_site() -> None:
    grid = LocalGrid({"a.demo": doubled, "b.demo": doubled})
    grid.dying.add("a.demo")
    sites = GridSites(grid)
    sites.send({"a.demo": ask(1), "b.demo": ask(1)})
    assert {site: one.refusal for site, one in sites.receive().items()} == {"a.demo": "INTERNAL", "b.demo": ""}
    assert CRASHED != 7


@pytest.mark.parametrize(
    ("raised", "word"),
    [
        (ZeroDivisionError("Anna Muster"), "INTERNAL"),
        (TwinwardError("of Anna Muster"), "INTERNAL"),
        (Unavailable("no store"), "UNAVAILABLE"),
    ],
)
def test_no_text_of_an_error_leaves_the_client_app(raised: Exception, word: str) -> None:
    def fail(asked: Ask) -> Answer:
        raise raised

    grid = LocalGrid({"a.demo": fail})
    sites = GridSites(grid)
    sites.send({"a.demo": ask(1)})
    [reply] = grid._replies.values()
    assert "Anna" not in repr(reply.__dict__)
    assert not reply.has_error()
    assert sites.receive()["a.demo"].refusal == word
    assert client_app.Here.hospital is None


def test_the_superlink_is_not_asked_more_often_than_it_bears() -> None:
    class Counted(LocalGrid):
        looks = 0

        def pull_messages(self, message_ids: object) -> object:
            self.looks += 1
            return []

    clock = SetClock(0)
    grid = Counted({"a.demo": doubled})
    sites = GridSites(grid, clock)
    sites.send({"a.demo": ask(1)})
    for _ in range(100):  # one second
        sites.receive()
        clock.ms += 10
    assert grid.looks == 7
    sites.send({"a.demo": ask(2)})
    sites.receive()
    assert grid.looks == 8
