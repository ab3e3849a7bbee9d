"""Group commit: messages that wait at the same time share one durable transaction.

Order of what happens to a message: read and find its patients (many threads), then
here, one thread: receipts looked up, sealed, written, committed; only then is the
sender answered. A crash before the commit leaves nothing, after it everything.
A message that fails alone is tried alone, so that it cannot take others with it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import psycopg

from services.ingest import books
from services.ingest.answer import Answer, encode
from services.ingest.pile import Piles
from services.ingest.work import Planner, Work
from twinward.errors import Busy, Unavailable
from twinward.vault.writer import Batch

MOST_TOGETHER = 64  # messages in one transaction
MOST_BYTES = 8 * 1024 * 1024  # larger ones commit alone
MOST_WAITING = 512
PATIENCE_S = 30.0
TRIES = 4  # somebody else wrote the same receipts at the same moment


class Writing(Protocol):
    """twinward.vault.writer.TailWriter."""

    def write(self, batch: Batch) -> object: ...


@dataclass(frozen=True, slots=True)
class Pen:
    """A connection and the writer that seals through it; replaced together when the database goes."""

    connection: books.Connection
    writer: Writing


Also = Callable[[books.Connection], None]  # written in the same transaction


def write(pen: Pen, planner: Planner, works: Sequence[Work], also: Also | None = None) -> list[Answer]:
    """One transaction for all of `works`.

    Raises:
        Unavailable: the database does not take it; nothing was written.
        MissingKeys: a patient has no valid public keys; nothing was written.
    """
    for attempt in range(TRIES):
        try:
            return _write(pen, planner, works, also)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            if attempt == TRIES - 1:
                raise Unavailable("others write the same data at this moment: send this again") from None
    raise Unavailable("others write the same data at this moment: send this again")


def _write(pen: Pen, planner: Planner, works: Sequence[Work], also: Also | None) -> list[Answer]:
    try:
        with pen.connection.transaction():
            look, piles = planner.look(pen.connection, works), Piles()
            answers = [planner.plan(look, piles, work) for work in works]
            for batch in piles.batches():
                pen.writer.write(batch)
            at_ms = works[0].received_ms
            for feed, lines in piles.unmapped.items():
                books.note_unmapped(pen.connection, feed, lines, at_ms)
            kept = [
                (work.answer_key, work.answer_hash, encode(answer)) for work, answer in zip(works, answers, strict=True)
            ]
            books.keep_answers(pen.connection, [one for one in kept if one[0] is not None], at_ms)
            if also is not None:
                also(pen.connection)
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as error:
        raise Unavailable(
            "the database has no space left: nothing was taken, free space first", detail=type(error).__name__
        ) from None
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
        raise
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(
            "the database does not answer: nothing was taken, send this again", detail=type(error).__name__
        ) from None
    return answers


class Committer:
    """Owns one pen and one thread. `put` blocks until the message is durable."""

    def __init__(self, open_pen: Callable[[], Pen], planner: Planner) -> None:
        self._open_pen = open_pen
        self._planner = planner
        self._waiting: queue.Queue[tuple[Work, Future[Answer]] | None] = queue.Queue(MOST_WAITING)
        self._pen: Pen | None = None
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commits what waits and ends."""
        self._waiting.put(None)
        self._thread.join()
        self._lay_down()

    def put(self, work: Work) -> Answer:
        """
        Raises:
            Busy: too many wait.
            Unavailable, MissingKeys: as `write`.
        """
        answered: Future[Answer] = Future()
        try:
            self._waiting.put_nowait((work, answered))
        except queue.Full:
            raise Busy("too many messages wait to be written: send this again in a moment") from None
        try:
            return answered.result(PATIENCE_S)
        except TimeoutError:
            raise Unavailable("the database takes too long: send this again, nothing is stored twice") from None

    def _run(self) -> None:
        ending = False
        while not ending:
            first = self._waiting.get()
            if first is None:
                return
            group = [first]
            size = first[0].size
            while len(group) < MOST_TOGETHER and size < MOST_BYTES:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ending = True
                    break
                group.append(following)
                size += following[0].size
            self._commit(group)

    def _commit(self, group: list[tuple[Work, Future[Answer]]]) -> None:
        try:
            answers = self._write([work for work, _ in group])
        except Exception as error:
            if len(group) == 1:
                group[0][1].set_exception(error)
                return
            for alone in group:
                self._commit([alone])
            return
        for (_, answered), answer in zip(group, answers, strict=True):
            answered.set_result(answer)

    def _write(self, works: Sequence[Work]) -> list[Answer]:
        """Once more on a fresh connection where the old one had died: receipts keep that from doubling."""
        old = self._pen is not None
        try:
            return self._once(works)
        except Unavailable:
            if not old or self._pen is not None:
                raise
            return self._once(works)

    def _once(self, works: Sequence[Work]) -> list[Answer]:
        try:
            if self._pen is None:
                self._pen = self._open_pen()
            return write(self._pen, self._planner, works)
        except (Unavailable, psycopg.OperationalError) as error:
            if self._pen is not None and self._pen.connection.broken:
                self._lay_down()
            if isinstance(error, Unavailable):
                raise
            refusal = "the database does not answer: nothing was taken, send this again"
            raise Unavailable(refusal, detail=type(error).__name__) from None

    def _lay_down(self) -> None:
        if self._pen is not None:
            self._pen.connection.close()
            self._pen = None
