"""What should run runs, whoever was killed; what was decided reaches the ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.federation import study_books
from services.federation.books import Pool
from services.federation.collection import Round
from services.federation.director import Director
from services.federation.round_books import AttemptBooks
from tests.conftest import Database
from tests.unit.federation.engine import Engine
from tests.unit.federation.hall import NOW_MS, Ledgered, add_sites, add_study, study
from twinward.clock import SetClock, utc
from twinward.errors import Unavailable


class Office:
    def __init__(self, pool: Pool, books: Database) -> None:
        add_sites(books)
        with books.connect("coordinator") as connection:
            connection.execute("update fed.site set node_key = decode(md5(id), 'hex')")
        self.pool, self.books = pool, books
        self.clock, self.ledger, self.engine = SetClock(NOW_MS), Ledgered(), Engine()
        self.number, self.hash = add_study(books, study(), attempt=0)
        self.restart()

    def restart(self) -> None:
        """The coordinator was killed: nothing of it is left but its books."""
        self.director = Director(self.pool, self.ledger, self.engine, self.clock, poll_s=1, most_attempts=3)

    def look(self, times: int = 1, seconds: float = 0.0) -> None:
        for _ in range(times):
            self.clock.ms += round(seconds * 1000)
            self.director.look()

    def rows(self, statement: str, *given: object) -> list[Any]:
        with self.books.connect("coordinator") as connection:
            return connection.execute(statement, given).fetchall()

    def state(self) -> tuple[Any, ...]:
        [found] = self.rows("select state, attempt, failures from fed.study where number = %s", self.number)
        return tuple(found)

    def set(self, **columns: object) -> None:
        with self.books.connect("coordinator") as connection:
            for name, value in columns.items():
                connection.execute(
                    f"update fed.study set {name} = %s where number = %s",  # noqa: S608
                    (value, self.number),
                )

    def kinds(self) -> list[str]:
        return [kind for (kind,) in self.rows("select kind from fed.event order by number")]


@pytest.fixture
def office(pool: Pool, books: Database) -> Office:
    return Office(pool, books)


def test_a_study_that_should_run_gets_one_run(office: Office) -> None:
    office.look(5)
    assert office.engine.started == [(office.hash, 1)]
    assert office.state() == ("running", 1, 0)


@pytest.mark.parametrize("ends", ["finished:failed", "finished:completed", "finished:stopped", None])
def test_a_run_that_ends_by_itself_is_followed_by_the_next_attempt(office: Office, ends: str | None) -> None:
    office.look()
    if ends is None:  # the SuperLink lost its books
        office.engine.runs.clear()
    else:
        office.engine.runs[office.engine.newest] = ends
    office.look()
    assert office.state() == ("running", 1, 1)
    office.look()  # not at once
    assert len(office.engine.started) == 1
    office.look(1, seconds=1)
    assert office.engine.started == [(office.hash, 1), (office.hash, 2)]
    assert office.kinds() == ["interrupted"]


def test_too_many_attempts_without_a_round_fail_the_study_with_a_note_and_an_entry(office: Office) -> None:
    for _ in range(10):
        office.look(1, seconds=60)
        for number in office.engine.runs:
            office.engine.runs[number] = "finished:failed"
    office.look(2)
    assert office.state() == ("failed", 3, 3)
    assert len(office.engine.started) == 3
    [(note, leaf)] = office.rows("select note, end_leaf from fed.study")
    assert "3 attempts" in note
    assert office.ledger.entries[leaf - 1][1]["act"] == "study_failed"
    assert office.kinds() == ["interrupted"] * 3 + ["failed"]


def test_a_round_makes_the_count_of_failures_begin_anew(office: Office) -> None:
    for at in range(1, 8):
        office.look(1, seconds=60)
        with office.books.connect("coordinator", autocommit=True) as connection:
            attempt = office.state()[1]
            books = AttemptBooks(connection, office.hash, attempt, away_s=3.0, clock=office.clock)
            books.commit(Round(at, "add"), b"{}")
        office.engine.runs[office.engine.newest] = "finished:failed"
        office.look()
    assert office.state() == ("running", 7, 1)


def test_a_coordinator_that_was_killed_goes_on_with_the_run_that_lives(office: Office) -> None:
    office.look()
    office.restart()
    office.look(3, seconds=10)
    assert office.engine.started == [(office.hash, 1)]


def test_a_start_whose_answer_got_lost_is_fenced_off_and_counts_as_interrupted(office: Office) -> None:
    office.engine.lost_answers = 1
    office.look()
    office.restart()
    office.look(3, seconds=10)
    assert office.engine.started == [(office.hash, 1), (office.hash, 2)]
    assert office.state() == ("running", 2, 1)


def test_an_engine_that_is_away_costs_no_attempt(office: Office) -> None:
    office.engine.away = True
    office.look(20, seconds=10)
    assert office.state() == ("running", 0, 0)
    office.engine.away = False
    office.look()
    assert office.engine.started == [(office.hash, 1)]
    office.engine.away = True
    office.look(20, seconds=10)
    assert office.state() == ("running", 1, 0)


def test_a_serverapp_that_was_killed_is_noticed_by_the_database(office: Office) -> None:
    office.look()
    connection = office.books.connect("coordinator", autocommit=True)
    books = AttemptBooks(connection, office.hash, 1, away_s=3.0, clock=office.clock)
    with books.alone():
        books.begin()
        office.look(3)
        assert office.state() == ("running", 1, 0)
        connection.close()  # as its end by kill -9 does
    while office.rows("select from pg_locks where locktype = 'advisory' and objid = %s", office.number):
        pass
    office.look()
    assert office.engine.stopped == [office.engine.newest]
    office.look(1, seconds=10)
    assert office.engine.started == [(office.hash, 1), (office.hash, 2)]


@pytest.mark.parametrize("state", ["stopped", "done", "failed"])
def test_a_run_that_nobody_wants_any_more_is_ended(office: Office, state: str) -> None:
    office.look()
    office.set(state=state)
    office.look()
    assert office.engine.stopped == [office.engine.newest]
    assert office.rows("select count(*) from fed.run where ended is null") == [(0,)]


def test_a_resume_at_the_very_end_of_an_attempt_is_no_interruption(office: Office) -> None:
    office.look()
    office.set(state="stopped")  # its ServerApp has just said so, and the engine does not know yet
    with office.pool.connection() as connection:
        study_books.wish(connection, office.number, "running", 9, utc(NOW_MS))
    office.look(2)
    assert office.engine.started == [(office.hash, 1), (office.hash, 2)]
    assert office.state() == ("running", 2, 0)
    assert len(office.engine.stopped) == 1
    assert office.kinds() == []


def test_a_stop_without_a_run_is_carried_out_here(office: Office) -> None:
    office.look()
    office.engine.runs[office.engine.newest] = "finished:failed"
    office.set(state="stopping")
    office.look(3)
    assert office.state()[0] == "stopped"
    assert office.ledger.acts() == ["study_stopped"]
    assert office.kinds() == ["stopped"]


def test_due_entries_reach_the_ledger_in_order_and_each_before_it_is_off_the_list(office: Office) -> None:
    office.look()
    with office.books.connect("coordinator", autocommit=True) as connection:
        books = AttemptBooks(connection, office.hash, 1, away_s=3.0, clock=office.clock)
        office.ledger.away = Unavailable("auth does not answer")
        for number in (1, 2):
            books.commit(Round(number, "add"), b"{}")
        office.look(3)
        assert not books.settled(0)
        office.ledger.away = None
        office.look()
        assert books.settled(0)
    assert [(kind, body["round"]) for kind, body in office.ledger.entries] == [("fed_round", 1), ("fed_round", 2)]
    assert office.rows("select number, leaf from fed.round order by 1") == [(1, 1), (2, 2)]
    assert all(len(json.dumps(body)) < 2000 for _, body in office.ledger.entries)


def test_an_entry_whose_commit_was_lost_is_written_again_not_lost(office: Office) -> None:
    office.look()
    with office.books.connect("coordinator", autocommit=True) as connection:
        books = AttemptBooks(connection, office.hash, 1, away_s=3.0, clock=office.clock)
        books.commit(Round(1, "add"), b"{}")
    record = office.ledger.record

    def killed(kind: str, body: Any) -> int:
        record(kind, body)
        raise Unavailable("auth does not answer")

    office.ledger.record = killed  # type: ignore[method-assign]
    office.look()
    office.ledger.record = record  # type: ignore[method-assign]
    office.restart()
    office.look()
    assert [body["round"] for _, body in office.ledger.entries] == [1, 1]
    assert office.rows("select leaf from fed.round") == [(2,)]


def test_hospitals_are_registered_again_where_the_engine_may_have_forgotten_them(office: Office) -> None:
    office.look()
    assert sorted(name for name, _ in office.engine.nodes.values()) == ["a.demo", "b.demo", "c.demo"]
    office.engine.nodes.clear()
    office.engine.runs.clear()
    office.look(2)
    assert len(office.engine.nodes) == 3
    kept = {int(node) for (node,) in office.rows("select node from fed.site")}
    assert kept == set(office.engine.nodes)


def test_nodes_of_hospitals_that_went_while_the_engine_was_away_are_taken_off(office: Office) -> None:
    office.look()
    with office.books.connect("coordinator") as connection:
        connection.execute("update fed.site set state = 'removed' where id = 'b.demo'")
    office.look()
    assert sorted(name for name, _ in office.engine.nodes.values()) == ["a.demo", "c.demo"]
    assert office.rows("select node from fed.site where id = 'b.demo'") == [(None,)]
