"""What one attempt of a study writes. `rounds.py` tells the order and why.

Each transaction begins by taking the study's row for this attempt alone: an attempt that was given up finds that the
row's number is no longer its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from services.federation.books import Connection
from services.federation.collection import Begun, Presence, Round, Standing, Superseded
from services.federation.course import Course, Json
from services.federation.director_books import LOCK
from services.federation.events import DUE, add_event
from services.federation.released import Released, released
from services.federation.settings import RoundsSettings
from services.federation.study import from_canonical
from services.federation.study_books import Kept, by_hash
from twinward.clock import Clock, utc
from twinward.errors import Tampered, Unavailable, Unready

Release = Callable[[Connection, Kept, Json, str, datetime], Released]

CHECKPOINTS = 3  # of a study that are kept
ALONE_S = 30.0  # an attempt waits so long for the one before
GOING = ("running", "stopping")


@contextlib.contextmanager
def opened(chosen: RoundsSettings) -> Iterator[psycopg.Connection]:
    """A connection of role coordinator, statement by statement its own transaction unless told otherwise.

    Raises:
        Unready: the password cannot be read.
        Unavailable: the database does not answer.
    """
    try:
        password = chosen.database_password_file.read_text().strip()
    except OSError as error:
        raise Unready("cannot read the database password; check the file's owner", detail=str(error)) from None
    try:
        connection = psycopg.connect(chosen.database, password=password, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Unavailable("the database does not answer: try again", detail=type(error).__name__) from None
    with connection:
        yield connection


class AttemptBooks:
    """`rounds.Books` in PostgreSQL."""

    def __init__(
        self, connection: Connection, study: bytes, attempt: int, *, away_s: float, clock: Clock,
        release: Release = released,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._hash = study
        self._attempt = attempt
        self._away_s = away_s
        self._clock = clock
        self._release = release
        found = connection.execute("select number from fed.study where hash = %s", (study,)).fetchone()
        if found is None:
            raise Superseded("this study is not known")
        self._number: int = found[0]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works on this study inside the block.

        Raises:
            Unavailable: the attempt before does not let go.
        """
        until = self._clock.monotonic() + ALONE_S
        lock = (LOCK, self._number)
        while not self._one("select pg_try_advisory_lock(%s, %s::int)", lock)[0]:
            if self._clock.monotonic() > until:
                raise Unavailable("an attempt before this one still holds the study")
            time.sleep(0.05)
        try:
            yield
        finally:
            with contextlib.suppress(psycopg.Error):  # a connection that is gone holds nothing
                self._connection.execute("select pg_advisory_unlock(%s, %s::int)", lock)

    def begin(self) -> Begun:
        """
        Raises:
            Tampered: what is stored is not what was stored.
        """
        with self._mine():
            canonical, number = self._one("select canonical, round from fed.study where number = %s", (self._number,))
            self._connection.execute(
                "update fed.run set began = %s where study = %s and attempt = %s",
                (self._now(), self._number, self._attempt),
            )
            kept = self._connection.execute(
                "select state, sha256 from fed.checkpoint where study = %s and round = %s", (self._number, number)
            ).fetchone()
        if hashlib.sha256(canonical).digest() != self._hash:
            raise Tampered("the study's bytes are not those of its hash")
        if number and kept is None:
            raise Tampered("the study's last checkpoint is missing")
        if kept is not None and hashlib.sha256(kept[0]).digest() != kept[1]:
            raise Tampered("the study's last checkpoint is not what was stored")
        return Begun(self._hash, from_canonical(canonical), number, None if kept is None else kept[0])

    def standing(self) -> Standing:
        attempt, state = self._one("select attempt, state from fed.study where number = %s", (self._number,))
        if attempt != self._attempt or state not in GOING:
            raise Superseded("a later attempt works on this study")
        # While the coordinator is away nobody is heard of, and for a moment after: that is no hospital's absence.
        found = self._connection.execute(
            """
            select site.id,
              coalesce(site.life <> 0 and site.seen > clock_timestamp() - make_interval(secs => %(away)s), false),
              coalesce((select at > clock_timestamp() - make_interval(secs => %(away)s)
                          and since < clock_timestamp() - make_interval(secs => %(away)s) from fed.pulse), false),
              site.life
            from fed.answer answer join fed.site site on site.id = answer.site
            where answer.study = %(study)s and answer.decision = 'approve' and answer.expires > %(now)s
              and site.state = 'joined'
            """,
            {"away": self._away_s, "study": self._number, "now": utc(self._clock.now_ms())},
        ).fetchall()
        sites = {
            site: Presence.HERE if here else Presence.AWAY if heard else Presence.UNKNOWN
            for site, here, heard, _ in found
        }
        return Standing(state == "stopping", sites, {site: life for site, _, _, life in found})

    def tell(self, kind: str, text: str) -> None:
        with self._mine():
            self._event(kind, text)

    def commit(self, done: Round, state: bytes) -> None:
        """Every hospital that was asked has an answer or a word: nothing of a round is left open."""
        with self._mine():
            moved = self._connection.execute(
                "update fed.study set round = %s, failures = 0, changed = %s where number = %s and round = %s",
                (done.number, self._now(), self._number, done.number - 1),
            )
            if moved.rowcount != 1:
                raise Superseded("this round is done already")
            self._connection.execute(
                "insert into fed.round (study, number, attempt, step, asked, answered, refused, seconds, metrics)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    self._number, done.number, self._attempt, done.step, sorted(done.asked), sorted(done.answers),
                    Jsonb(done.refused), done.seconds, Jsonb(done.metrics),
                ),
            )  # fmt: skip
            self._connection.execute(
                "insert into fed.checkpoint (study, round, state, sha256) values (%s, %s, %s, %s)",
                (self._number, done.number, state, hashlib.sha256(state).digest()),
            )
            self._connection.execute(
                "delete from fed.checkpoint where study = %s and round <= %s",
                (self._number, done.number - CHECKPOINTS),
            )
            self._event("round", f"round {done.number} ({done.step}): {len(done.answers)} hospitals", done.number)
            self._due(done.number, self._entry(done, state))

    def settled(self, wait_s: float) -> bool:
        until = self._clock.monotonic() + wait_s
        while True:
            waits = "select exists (select from fed.due where study = %s)"
            if not self._one(waits, (self._number,))[0]:
                return True
            if self._clock.monotonic() >= until:
                return False
            time.sleep(0.01)

    def end(self, state: str, note: str) -> None:
        with self._mine():
            self._end(state, note)

    def finish(self, course: Course, note: str) -> None:
        with self._mine():
            kept = by_hash(self._connection, self._hash)
            assert kept is not None  # noqa: S101  its row is locked
            model, card, report = self._release(self._connection, kept, course.result(), note, self._now())
            self._connection.execute(
                "insert into fed.result (study, model, card, report) values (%s, %s, %s, %s)"
                " on conflict (study) do update set model = excluded.model, card = excluded.card,"
                " report = excluded.report",
                (self._number, model, card, report),
            )
            self._end("done", note, hashlib.sha256(model).hexdigest())

    def _end(self, state: str, note: str, model: str = "") -> None:
        self._connection.execute(
            "update fed.study set state = %s, note = %s, changed = %s, end_leaf = null where number = %s",
            (state, note, self._now(), self._number),
        )
        self._event(state, note or "the study is done")
        body: dict[str, object] = {"act": f"study_{state}", "study": self._hash.hex(), "attempt": self._attempt}
        self._due(None, body | ({"model": model} if model else {}))

    def _entry(self, done: Round, state: bytes) -> dict[str, object]:
        """Counts and hashes: an entry has at most 2 kB, whatever the number of hospitals."""
        said = "\n".join(
            [*sorted(done.answers), "", *(f"{site} {word}" for site, word in sorted(done.refused.items()))]
        )
        return {
            "act": "study_round", "study": self._hash.hex(), "round": done.number, "step": done.step,
            "attempt": self._attempt, "answered": len(done.answers), "refused": len(done.refused),
            "sites": hashlib.sha256(said.encode()).hexdigest(), "state": hashlib.sha256(state).hexdigest(),
        }  # fmt: skip

    def _due(self, number: int | None, body: dict[str, object]) -> None:
        self._connection.execute(
            "insert into fed.due (study, round, body) values (%s, %s, %s)", (self._number, number, Jsonb(body))
        )
        self._connection.execute("select pg_notify(%s, '')", (DUE,))

    def _event(self, kind: str, text: str, number: int | None = None) -> None:
        add_event(self._connection, self._number, kind, text, self._now(), number)

    @contextlib.contextmanager
    def _mine(self) -> Iterator[None]:
        """A transaction that holds the study's row, if it is still this attempt's."""
        with self._connection.transaction():
            attempt, state = self._one(
                "select attempt, state from fed.study where number = %s for update", (self._number,)
            )
            if attempt != self._attempt or state not in GOING:
                raise Superseded("a later attempt works on this study")
            yield

    def _now(self) -> datetime:
        return utc(self._clock.now_ms())

    def _one(self, statement: LiteralString, given: tuple[object, ...]) -> tuple[Any, ...]:
        found: tuple[Any, ...] | None = self._connection.execute(statement, given).fetchone()
        if found is None:
            raise Superseded("this study is not known")
        return found
