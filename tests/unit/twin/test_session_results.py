"""What an instructor is told of many attempts, and what not yet."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from services.twin.session_case import shipped_case
from services.twin.session_command import Logged, Message, Rate, Role
from services.twin.session_results import Attempt, Together, _ratings, seen

CASE = shipped_case("haemorrhage")
ONE = CASE.critical[0]


def attempts(count: int, rated: int) -> Together:
    """Score and rating rise together; every third never did the first critical action."""
    made = [
        Attempt(40.0 + k % 5 * 10.0, {ONE.id: None if k % 3 == 2 else 60.0 + k % 3 * 60.0}, float(1 + k % 5))
        for k in range(count)
    ]
    return Together(tuple(a if k < rated else Attempt(a.score, a.times, None) for k, a in enumerate(made)), 0, 0)


def test_the_pass_mark_is_hidden_below_fifty_rated_attempts() -> None:
    hidden = seen(CASE, attempts(60, 49))
    assert hidden.mark is None
    assert "there are 49" in hidden.why_no_mark
    shown = seen(CASE, attempts(60, 50))
    assert shown.mark is not None
    assert shown.mark.mark == pytest.approx(60.0)  # the score at a borderline rating of 3
    assert shown.mark.r2 == pytest.approx(1.0)


def test_times_are_of_those_who_did_it_and_shares_of_all() -> None:
    found = seen(CASE, attempts(60, 0))
    first = found.critical[0]
    assert first.done == 40
    assert first.quartiles == (60.0, 90.0, 120.0)
    assert first.in_time == pytest.approx(sum(t <= ONE.within_s for t in (60.0, 120.0)) * 20 / 60)
    assert found.critical[1].quartiles is None
    assert found.scores is not None
    assert (found.scores.count, found.scores.median) == (60, 60.0)
    nobody = seen(CASE, Together((), 0, 0))
    assert nobody.scores is None


def test_the_last_rating_of_each_rater_counts() -> None:
    def said(session: UUID, command: Rate | Message) -> tuple[UUID, bytes]:
        return session, msgspec.json.encode(Logged(10, Role.INSTRUCTOR, command))

    one, other = UUID(int=1), UUID(int=2)
    rows = [said(one, Rate(2, "ida")), said(one, Rate(5, "jon")), said(one, Message("well")), said(one, Rate(4, "ida")),
            said(other, Message("hm"))]  # fmt: skip
    assert _ratings(rows) == {one: 4.5}
