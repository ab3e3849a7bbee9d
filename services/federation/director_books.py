"""What the director reads and writes: runs, due entries, the coordinator's pulse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.federation.books import Connection
from services.federation.events import add_event

MOST_GOING = 100  # studies looked at in one go
LOCK = 0x7477_6665  # advisory locks (this, study number): one attempt works at a time, and while it lives


@dataclass(frozen=True, slots=True)
class Going:
    """A study that runs, with its newest attempt."""

    number: int
    hash: bytes
    state: str  # running | stopping
    attempt: int
    failures: int
    run: int | None  # the engine's number; None: it was not told
    open: bool  # whether the attempt's run is not known to have ended
    dead: bool  # its ServerApp had begun and its connection is gone: killed, or at its end this very moment
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Due:
    number: int
    study: int
    round: int | None
    body: dict[str, object]


def going(connection: Connection) -> list[Going]:
    found = connection.execute(
        """
        select study.number, study.hash, study.state, study.attempt, study.failures, run.flower,
          run.study is not null and run.ended is null,
          run.began is not null and run.ended is null and not exists (
            select from pg_locks where locktype = 'advisory' and classid = %s and objid = study.number
              and database = (select oid from pg_database where datname = current_database())),
          run.ended
        from fed.study study left join fed.run run on run.study = study.number and run.attempt = study.attempt
        where study.state in ('running', 'stopping') order by study.number limit %s
        """,
        (LOCK, MOST_GOING),
    ).fetchall()
    return [
        Going(number, hash_, state, attempt, failures, None if run is None else int(run), *more)
        for number, hash_, state, attempt, failures, run, *more in found
    ]


def leftover(connection: Connection) -> list[tuple[int, int, int | None]]:
    """(study, attempt, run) of runs that are open though their study has ended or gone on without them."""
    found = connection.execute(
        """
        select run.study, run.attempt, run.flower from fed.run run join fed.study study on study.number = run.study
        where run.ended is null and (study.state not in ('running', 'stopping') or run.attempt <> study.attempt)
        order by run.study, run.attempt limit %s
        """,
        (MOST_GOING,),
    ).fetchall()
    return [(study, attempt, None if run is None else int(run)) for study, attempt, run in found]


def begin(connection: Connection, one: Going, now: datetime) -> int | None:
    """The next attempt's number, from its commit on the only one that may write; None where it is not wanted now."""
    found: Any = connection.execute(
        "update fed.study set attempt = greatest(1, attempt + exists (select from fed.run where study = number"
        " and run.attempt = fed.study.attempt)::int) where number = %s and attempt = %s and state = 'running'"
        " returning attempt",
        (one.number, one.attempt),
    ).fetchone()
    if found is None:
        return None
    connection.execute("insert into fed.run (study, attempt, started) values (%s, %s, %s)", (one.number, found[0], now))
    return int(found[0])


def begun(connection: Connection, study: int, attempt: int, run: int) -> None:
    connection.execute("update fed.run set flower = %s where study = %s and attempt = %s", (run, study, attempt))


def ended(connection: Connection, study: int, attempt: int, outcome: str, now: datetime) -> bool:
    """Whether it was open until now."""
    changed = connection.execute(
        "update fed.run set ended = %s, outcome = %s where study = %s and attempt = %s and ended is null",
        (now, outcome[:100], study, attempt),
    )
    return changed.rowcount == 1


def failed_once(connection: Connection, one: Going, text: str, now: datetime) -> None:
    """The attempt ended by itself though the study is not over."""
    changed = connection.execute(
        "update fed.study set failures = failures + 1 where number = %s and attempt = %s and state = 'running'",
        (one.number, one.attempt),
    )
    if changed.rowcount == 1:
        add_event(connection, one.number, "interrupted", text, now)


def over(connection: Connection, one: Going, state: str, note: str, now: datetime) -> None:
    """The director's own end of a study, where no attempt lives that could write it; its entry is due with it."""
    changed = connection.execute(
        "update fed.study set state = %s, note = %s, changed = %s, end_leaf = null"
        " where number = %s and attempt = %s and state in ('running', 'stopping')",
        (state, note, now, one.number, one.attempt),
    )
    if changed.rowcount == 1:
        add_event(connection, one.number, state, note, now)
        body = {"act": f"study_{state}", "study": one.hash.hex(), "attempt": one.attempt}
        connection.execute("insert into fed.due (study, body) values (%s, %s)", (one.number, json.dumps(body)))


def due(connection: Connection) -> list[Due]:
    found = connection.execute("select number, study, round, body from fed.due order by number limit 100").fetchall()
    return [Due(*row) for row in found]


def entered(connection: Connection, one: Due, leaf: int) -> None:
    """The ledger has it."""
    if one.round is None:
        connection.execute("update fed.study set end_leaf = %s where number = %s", (leaf, one.study))
    else:
        connection.execute(
            "update fed.round set leaf = %s where study = %s and number = %s", (leaf, one.study, one.round)
        )
    connection.execute("delete from fed.due where number = %s", (one.number,))


def beat(connection: Connection, *, first: bool) -> None:
    """The coordinator is here; `first`: from now on."""
    connection.execute(
        "insert into fed.pulse as old (since, at) values (clock_timestamp(), clock_timestamp()) on conflict (one) do"
        " update set at = clock_timestamp(), since = case when %s then clock_timestamp() else old.since end",
        (first,),
    )
