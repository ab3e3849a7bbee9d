"""Rounds with the real database: kill -9 at every statement, fencing, stop and resume, presence."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from typing import Any

import psycopg
import pytest

from services.federation import study_books
from services.federation.books import Pool
from services.federation.collection import Begun, Presence, Round, Superseded
from services.federation.course import Course
from services.federation.director import Director
from services.federation.released import Released, as_json
from services.federation.round_books import AttemptBooks
from services.federation.rounds import Rounds
from services.federation.study import Study
from tests.conftest import Database
from tests.fuse import Fuse, Fused
from tests.unit.federation.engine import Engine
from tests.unit.federation.hall import NOW_MS, SITES, Halls, Ledgered, Sums, add_sites, add_study, refusing, study
from twinward.clock import SetClock
from twinward.errors import Tampered

ROUNDS = 3


class Clerk:
    """Stands where the director does: every due entry goes to the ledger while rounds wait."""

    def __init__(self, connection: psycopg.Connection, books: AttemptBooks) -> None:
        self.connection, self.books = connection, books
        self.settled = books.settled

    def __call__(self, wait_s: float) -> bool:
        self.connection.execute("update fed.round set leaf = 7 where leaf is null")
        self.connection.execute("delete from fed.due")
        return self.settled(0)


def plainly(connection: Any, kept: Any, result: Any, note: str, now: Any) -> Released:
    """The course here is no recipe's, so no report knows it."""
    return as_json(result), b"{}", b""


def attempt(
    database: Database, hash_: bytes, number: int = 1, halls: Halls | None = None, *, kind: Any = psycopg.Connection,
    rounds: int = ROUNDS,
) -> None:  # fmt: skip
    """One attempt to its end, in this process."""
    with kind.connect(database.dsn("coordinator"), autocommit=True) as connection:
        clock = SetClock(NOW_MS)
        books = AttemptBooks(connection, hash_, number, away_s=3.0, clock=clock, release=plainly)
        books.settled = Clerk(connection, books)  # type: ignore[method-assign]

        def course_of(begun: Begun) -> Course:
            return Sums(rounds, begun.state)

        def pause(seconds: float) -> None:
            clock.ms += round(seconds * 1000)

        with books.alone():
            Rounds(books, halls or Halls.honest(), course_of, clock=clock, pause=pause, poll_s=0.05).run()


def killed(database: Database, hash_: bytes, number: int, at: int) -> bool:
    """An attempt in a process of its own that dies at its n-th statement; False where it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            Fused.fuse = Fuse(at)
            attempt(database, hash_, number, kind=Fused, rounds=2)
            os._exit(0)
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def rows(database: Database, statement: str, *given: object) -> list[Any]:
    with database.connect("coordinator") as connection:
        return connection.execute(statement, given).fetchall()


def outcome(database: Database, number: int) -> tuple[Any, ...]:
    """All that people see of a study, without times."""
    return (
        rows(database, "select state, note, round from fed.study where number = %s", number),
        rows(
            database,
            "select number, step, asked, answered, refused, metrics from fed.round where study = %s order by number",
            number,
        ),
        rows(database, "select round, state from fed.checkpoint where study = %s order by round", number),
        rows(database, "select number, kind, text, round from fed.event where study = %s order by number", number),
        rows(database, "select model from fed.result where study = %s", number),
    )


@pytest.fixture
def given(books: Database) -> Study:
    add_sites(books)
    return study()


def test_a_kill_at_every_statement_changes_nothing_of_what_comes_out(books: Database, given: Study) -> None:
    number, hash_ = add_study(books, given)
    attempt(books, hash_, rounds=2)
    expected = outcome(books, number)
    assert expected[0] == [("done", "", 2)]
    at, died = 0, True
    while died:
        at += 1
        other, hash_ = add_study(books, study(title=f"Sums {at}"))
        died = killed(books, hash_, 1, at)
        if died:
            with books.connect("coordinator") as connection:
                connection.execute("update fed.study set attempt = 2 where number = %s", (other,))
            if rows(books, "select state from fed.study where number = %s", other) != [("done",)]:
                attempt(books, hash_, 2, rounds=2)
        assert outcome(books, other) == expected, f"killed at statement {at}"
        events = rows(books, "select number from fed.event where study = %s order by number", other)
        assert events == [(one,) for one in range(1, 4)]
    assert at > 30


def test_an_attempt_that_was_given_up_writes_nothing(books: Database, given: Study) -> None:
    number, hash_ = add_study(books, given)
    halls = Halls.honest()
    honest = halls.answers["a.demo"]

    def overtaken(ask: Any) -> Any:
        if ask.round == 2:
            with books.connect("coordinator") as connection:
                connection.execute("update fed.study set attempt = 2 where number = %s", (number,))
        return honest(ask)

    halls.answers["a.demo"] = overtaken
    with pytest.raises(Superseded):
        attempt(books, hash_, 1, halls)
    assert rows(books, "select number, attempt from fed.round where study = %s", number) == [(1, 1)]
    attempt(books, hash_, 2)
    assert rows(books, "select number, attempt from fed.round where study = %s order by 1", number) == [
        (1, 1), (2, 2), (3, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["submitted", "stopped", "failed", "done"])
def test_a_study_that_should_not_run_is_not_worked_off(books: Database, given: Study, state: str) -> None:
    number, hash_ = add_study(books, given, state=state)
    halls = Halls.honest()
    with pytest.raises(Superseded):
        attempt(books, hash_, 1, halls)
    assert halls.asked == []
    assert rows(books, "select count(*) from fed.event where study = %s", number) == [(0,)]


def test_stop_and_resume_give_the_bits_of_a_study_that_was_left_alone(books: Database, given: Study) -> None:
    whole, hash_ = add_study(books, given)
    attempt(books, hash_)
    parts, hash_ = add_study(books, study(title="in parts"))
    for number in range(1, ROUNDS + 1):
        halls = Halls.honest()
        honest = halls.answers["b.demo"]

        def stopping(ask: Any, honest: Any = honest) -> Any:
            with books.connect("coordinator") as connection:
                connection.execute("update fed.study set state = 'stopping' where number = %s", (parts,))
            return honest(ask)

        halls.answers["b.demo"] = stopping
        attempt(books, hash_, number, halls)
        assert rows(books, "select state, round from fed.study where number = %s", parts) == [("stopped", number)]
        with books.connect("coordinator") as connection:
            connection.execute(
                "update fed.study set state = 'running', attempt = %s where number = %s", (number + 1, parts)
            )
    attempt(books, hash_, ROUNDS + 1)
    states = "select round, state from fed.checkpoint where study = %s order by 1"
    assert rows(books, states, parts) == rows(books, states, whole)
    model = "select model from fed.result where study = %s"
    assert rows(books, model, parts) == rows(books, model, whole)


def test_too_few_hospitals_leave_the_last_checkpoint_and_a_due_entry(books: Database, given: Study) -> None:
    number, hash_ = add_study(books, given)
    halls = Halls.honest()
    honest = dict(halls.answers)
    for site in ("a.demo", "b.demo"):
        halls.answers[site] = lambda ask, site=site: honest[site](ask) if ask.round == 1 else refusing("EXPIRED")(ask)  # type: ignore[misc]
    attempt(books, hash_, 1, halls)
    assert rows(books, "select round from fed.checkpoint where study = %s", number) == [(1,)]
    [(state, note)] = rows(books, "select state, note from fed.study where number = %s", number)
    assert state == "stopped"
    assert "approval has ended" in note
    [(body,)] = rows(books, "select body from fed.due where study = %s", number)
    assert body == {"act": "study_stopped", "study": hash_.hex(), "attempt": 1}


def test_checkpoints_do_not_pile_up(books: Database, given: Study) -> None:
    number, hash_ = add_study(books, study(rounds=30))
    attempt(books, hash_, rounds=8)
    assert rows(books, "select round from fed.checkpoint where study = %s order by 1", number) == [(6,), (7,), (8,)]


@pytest.mark.parametrize("broken", ["state = '{}'", "sha256 = '\\x00'"])
def test_a_checkpoint_that_is_not_what_was_stored_is_not_gone_on_from(
    books: Database, given: Study, broken: str
) -> None:
    number, hash_ = add_study(books, given)
    halls = Halls.honest()
    halls.answers["a.demo"] = halls.answers["b.demo"] = lambda ask: (
        None if ask.round > 1 else Halls.honest().answers["a.demo"](ask)
    )
    attempt(books, hash_, 1, halls)  # stops in its second round
    with books.connect("twinward") as connection:
        connection.execute(f"update fed.checkpoint set {broken} where study = %s", (number,))  # noqa: S608
        connection.execute("update fed.study set state = 'running', attempt = 2 where number = %s", (number,))
    with pytest.raises(Tampered):
        attempt(books, hash_, 2)


def test_presence_is_what_the_books_last_heard(books: Database, given: Study, pool: Pool) -> None:
    number, hash_ = add_study(books, given)
    with books.connect("coordinator", autocommit=True) as connection:
        attempting = AttemptBooks(connection, hash_, 1, away_s=3.0, clock=SetClock(NOW_MS))
        age = "update fed.site set seen = clock_timestamp() - interval '10 s' where id = 'b.demo'"
        connection.execute(age)
        assert attempting.standing().sites["b.demo"] is Presence.UNKNOWN  # no coordinator: nobody is known to be gone
        Director(pool, Ledgered(), Engine(), SetClock(NOW_MS), poll_s=1, most_attempts=5)._beat()
        assert attempting.standing().sites["b.demo"] is Presence.UNKNOWN  # it has only just begun to listen
        connection.execute("update fed.pulse set since = clock_timestamp() - interval '1 minute'")
        assert attempting.standing().sites == {
            "a.demo": Presence.HERE, "b.demo": Presence.AWAY, "c.demo": Presence.HERE,
        }  # fmt: skip
        connection.execute("update fed.site set life = 0 where id = 'a.demo'")
        connection.execute("update fed.site set state = 'removed' where id = 'c.demo'")
        assert attempting.standing().sites == {"a.demo": Presence.AWAY, "b.demo": Presence.AWAY}
        connection.execute("update fed.answer set decision = 'refuse' where site = 'a.demo'")
        connection.execute("update fed.answer set expires = '2001-01-01' where site = 'b.demo'")
        assert attempting.standing().sites == {}
        with connection.transaction():
            connection.execute("update fed.study set attempt = 2 where number = %s", (number,))
        with pytest.raises(Superseded):
            attempting.standing()


def test_two_attempts_never_work_at_once(books: Database, given: Study) -> None:
    _, hash_ = add_study(books, given)
    with books.connect("coordinator", autocommit=True) as one, books.connect("coordinator", autocommit=True) as two:
        first = AttemptBooks(one, hash_, 1, away_s=3.0, clock=SetClock(NOW_MS))
        second = AttemptBooks(two, hash_, 1, away_s=3.0, clock=SetClock(NOW_MS))
        entered: list[str] = []

        def wait() -> None:
            with second.alone():
                entered.append("second")

        with first.alone():
            waiting = threading.Thread(target=wait)
            waiting.start()
            time.sleep(0.3)
            assert entered == []
        waiting.join(10)
        assert entered == ["second"]


def test_an_entry_names_hospitals_and_state_by_their_hash(books: Database, given: Study) -> None:
    """However many hospitals take part it stays far below what an entry may have."""
    number, hash_ = add_study(books, given)
    with books.connect("coordinator", autocommit=True) as connection:
        attempting = AttemptBooks(connection, hash_, 1, away_s=3.0, clock=SetClock(NOW_MS))
        attempting.begin()
        many = {f"hospital-{at}.demo": "OFFLINE" for at in range(500)}
        attempting.commit(Round(1, "add", list(many), {}, many, 1.0, {}), b"state")
    [(body,)] = rows(books, "select body from fed.due where study = %s", number)
    assert body["state"] == hashlib.sha256(b"state").hexdigest()
    assert body["refused"] == 500
    assert len(json.dumps(body)) < 1000


def test_a_page_of_events_is_told_in_order_with_its_rounds(books: Database, given: Study, pool: Pool) -> None:
    number, hash_ = add_study(books, given)
    attempt(books, hash_)
    with pool.connection() as connection:
        found = study_books.events(connection, number, 0)
        assert [(one.number, one.kind) for one in found] == [(1, "round"), (2, "round"), (3, "round"), (4, "done")]
        assert [one.round.number if one.round else None for one in found] == [1, 2, 3, None]
        assert found[0].round is not None
        assert found[0].round.answered == list(SITES)
        assert [one.number for one in study_books.events(connection, number, 3)] == [4]
