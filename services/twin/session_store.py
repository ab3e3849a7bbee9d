"""What the sessions program keeps in PostgreSQL, and who may see it.

Order of writes, and why:
1. opening: the ledger's entry, then the row. A kill between leaves an entry for a session that never began, never a
   session without its entry;
2. a command: the engine takes it, its entry commits, then it is acknowledged. Nothing acknowledged is lost; a command
   that comes again is found by its id and not done twice. Where the commit fails or its answer is lost, the engine in
   memory is thrown away and the session is rebuilt from the log, whichever way the commit went;
3. the end: the row says so in the transaction of its last entry, the ledger's entry follows, and `due` finds those
   that a kill left without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import psycopg

from services.twin.session_case import Case
from services.twin.session_command import Logged, Mode
from services.twin.session_results import Results, transaction
from services.twin.store import Pool
from twinward.clock import utc
from twinward.errors import Conflict, Denied, NotFound, Unready

PAGE_MOST = 100
WATCH = "session.watch"
Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of teaching.session."""

    id: UUID
    owner: str
    case_id: str
    case_version: int
    case_sha256: bytes
    seed: int
    mode: Mode
    model: str
    state: str  # open | ended
    ending: str
    reached_s: int
    parent: UUID | None
    parent_s: int | None
    created_ms: int
    touched_ms: int
    leaf: int
    end_leaf: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A row of teaching.entry."""

    n: int
    command: bytes  # 16 bytes
    at_ms: int
    logged: Logged


@dataclass(frozen=True, slots=True)
class Wish:
    """A session to be: what `open` writes."""

    id: UUID
    owner: str
    case: Case
    seed: int
    mode: Mode
    model: str
    parent: UUID | None = None
    parent_s: int | None = None
    lines: Sequence[tuple[bytes, Logged]] = ()  # of a fork: the past it shares


COLUMNS = (
    "id, owner, case_id, case_version, case_sha256, seed, mode, model, state, ending, reached_s, parent, parent_s,"
    " created, touched, leaf, end_leaf"
)


def may_see(row: Kept, person: str, watches: bool) -> None:
    """Training is the learner's own; an assessment is also for who may watch.

    Raises:
        Denied: neither.
    """
    if row.owner != person and not (watches and row.mode is Mode.ASSESSMENT):
        raise Denied("this session is somebody else's: training is seen by its learner only")


class SessionStore:
    """Every method is one transaction and raises Unavailable on database trouble."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.results = Results(pool)

    def row(self, session: UUID) -> Kept:
        """Raises NotFound."""
        with transaction(self._pool) as line:
            return _row(line, session)

    def case(self, session: UUID) -> Case:
        """As it was when the session was opened. Raises NotFound."""
        with transaction(self._pool) as line:
            found = line.execute("select case_body from teaching.session where id = %s", [session]).fetchone()
        if found is None:
            raise _unknown()
        return msgspec.json.decode(bytes(found[0]), type=Case)

    def known(self, wish: Wish) -> Kept | None:
        """The session of this id, where the same was asked for before.

        Raises:
            Conflict: the id is another session's.
            Denied: a second assessment on the case.
        """
        with transaction(self._pool) as line:
            found = line.execute(f"select {COLUMNS} from teaching.session where id = %s", [wish.id]).fetchone()  # noqa: S608
            if found is not None:
                return _same(_kept(found), wish)
            if wish.mode is Mode.ASSESSMENT:
                _first_attempt(line, wish)
        return None

    def open(self, wish: Wish, leaf: int, now_ms: int) -> Kept:
        """Writes the session, and for a fork its past. Raises as `known`."""
        with transaction(self._pool) as line:
            if wish.mode is Mode.ASSESSMENT:
                _first_attempt(line, wish)
            line.execute(
                "insert into teaching.session (id, owner, case_id, case_version, case_sha256, case_body, seed, mode,"
                " model, parent, parent_s, reached_s, created, touched, leaf)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict (id) do nothing",
                [
                    wish.id, wish.owner, wish.case.id, wish.case.version, bytes.fromhex(wish.case.sha256()),
                    msgspec.json.encode(wish.case), wish.seed, wish.mode.value, wish.model, wish.parent, wish.parent_s,
                    wish.parent_s or 0, utc(now_ms), utc(now_ms), leaf,
                ],
            )  # fmt: skip
            row = _same(_row(line, wish.id), wish)
            if row.leaf == leaf:
                if wish.mode is Mode.ASSESSMENT:
                    line.execute(
                        "insert into teaching.attempt (owner, case_id) values (%s, %s)", [wish.owner, wish.case.id]
                    )
                for n, (command, logged) in enumerate(wish.lines, 1):
                    _insert(line, wish.id, n, command, logged, now_ms)
        return row

    def append(
        self, session: UUID, n: int, command: bytes, logged: Logged, reached_s: int, now_ms: int, ending: str = ""
    ) -> None:
        """One command, durable when this returns. `reached_s`: the patient's time after it. `ending`: how the session
        has ended; empty: it has not, even if it had before the command, which then took it back."""
        with transaction(self._pool) as line:
            _insert(line, session, n, command, logged, now_ms)
            line.execute(
                "update teaching.session set touched = %s, reached_s = %s where id = %s",
                [utc(now_ms), reached_s, session],
            )
            if ending:
                _end(line, session, ending, reached_s)
            else:
                line.execute(
                    "update teaching.session set state = 'open', ending = '', end_leaf = null"
                    " where id = %s and state = 'ended'",
                    [session],
                )

    def end(self, session: UUID, ending: str, at_s: int) -> None:
        """It ended by itself."""
        with transaction(self._pool) as line:
            _end(line, session, ending, at_s)

    def reached(self, places: Mapping[UUID, int]) -> None:
        """How far the running ones are. Not waited for: lived again, it is the same."""
        with transaction(self._pool) as line:
            line.execute("set local synchronous_commit to off")
            with line.cursor() as cursor:
                cursor.executemany(
                    "update teaching.session set reached_s = %s where id = %s and state = 'open'",
                    [(at_s, session) for session, at_s in places.items()],
                )

    def lines(self, session: UUID, after: int = 0, most: int | None = None) -> list[Line]:
        with transaction(self._pool) as line:
            rows = line.execute(
                "select n, command, at, body from teaching.entry where session = %s and n > %s order by n limit %s",
                [session, after, most],
            ).fetchall()
        return [
            Line(n, bytes(command), round(at.timestamp() * 1000), msgspec.json.decode(bytes(body), type=Logged))
            for n, command, at, body in rows
        ]

    def listed(self, owner: str | None, most: int, after: str) -> tuple[list[Kept], str]:
        """One's own, newest first; without `owner` everybody's that is open. `after`: where the last page ended."""
        size = min(most or PAGE_MOST, PAGE_MOST)
        begin = int(after) if after.isdigit() else 0
        with transaction(self._pool) as line:
            rows = line.execute(
                f"select {COLUMNS} from teaching.session where (owner = %(owner)s or (%(owner)s::text is null"  # noqa: S608
                " and state = 'open')) order by created desc, id limit %(most)s offset %(begin)s",
                {"owner": owner, "most": size + 1, "begin": begin},
            ).fetchall()
        return [_kept(row) for row in rows[:size]], str(begin + size) if len(rows) > size else ""

    def due(self, most: int = 20) -> list[Kept]:
        """Ended, and the ledger does not say so yet."""
        with transaction(self._pool) as line:
            rows = line.execute(
                f"select {COLUMNS} from teaching.session where state = 'ended' and end_leaf is null limit %s",  # noqa: S608
                [most],
            ).fetchall()
        return [_kept(row) for row in rows]

    def entered(self, session: UUID, leaf: int) -> None:
        with transaction(self._pool) as line:
            line.execute("update teaching.session set end_leaf = %s where id = %s", [leaf, session])

    def old(self, before_ms: int, most: int = 20) -> list[Kept]:
        """Not touched since: the retention's to erase."""
        with transaction(self._pool) as line:
            rows = line.execute(
                f"select {COLUMNS} from teaching.session where touched < %s order by touched limit %s",  # noqa: S608
                [utc(before_ms), most],
            ).fetchall()
        return [_kept(row) for row in rows]

    def erase(self, session: UUID) -> None:
        """The session, its log, everything but that there was an attempt."""
        with transaction(self._pool) as line:
            line.execute("delete from teaching.session where id = %s", [session])


def _insert(line: psycopg.Connection[Row], session: UUID, n: int, command: bytes, logged: Logged, now_ms: int) -> None:
    line.execute(
        "insert into teaching.entry (session, n, command, at_s, at, by_role, body) values (%s, %s, %s, %s, %s, %s, %s)",
        [session, n, command, logged.at_s, utc(now_ms), logged.by.value, msgspec.json.encode(logged)],
    )


def _end(line: psycopg.Connection[Row], session: UUID, ending: str, at_s: int) -> None:
    line.execute(
        "update teaching.session set state = 'ended', ending = %s, reached_s = %s where id = %s and state = 'open'",
        [ending, at_s, session],
    )


def _first_attempt(line: psycopg.Connection[Row], wish: Wish) -> None:
    found = line.execute(
        "select 1 from teaching.attempt where owner = %s and case_id = %s", [wish.owner, wish.case.id]
    ).fetchone()
    if found is not None:
        raise Unready("you have been assessed on this case: only the first attempt counts, go on in training")


def _same(row: Kept, wish: Wish) -> Kept:
    asked = (wish.owner, wish.case.id, wish.seed, wish.mode, wish.parent, wish.parent_s)
    if asked != (row.owner, row.case_id, row.seed, row.mode, row.parent, row.parent_s):
        raise Conflict("another session has this id: take a new one")
    return row


def _row(line: psycopg.Connection[Row], session: UUID) -> Kept:
    found = line.execute(f"select {COLUMNS} from teaching.session where id = %s", [session]).fetchone()  # noqa: S608
    if found is None:
        raise _unknown()
    return _kept(found)


def _unknown() -> NotFound:
    return NotFound("there is no such session: see `twinward session list`")


def _kept(row: Row) -> Kept:
    found = dict(zip(COLUMNS.replace(" ", "").split(","), row, strict=True))
    created, touched = found.pop("created"), found.pop("touched")
    found |= {"case_sha256": bytes(found["case_sha256"]), "seed": int(found["seed"]), "mode": Mode(found["mode"])}
    return Kept(**found, created_ms=round(created.timestamp() * 1000), touched_ms=round(touched.timestamp() * 1000))
