"""Every session of the program: which are in memory, who may do what with them, and what the ledger is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar
from uuid import UUID

from services.twin.session_body import BodyMaker
from services.twin.session_case import Case
from services.twin.session_cohort import times_to_critical
from services.twin.session_command import Command, Logged, Mode, Pause, Rate, Resume, Role
from services.twin.session_engine import Session, replay
from services.twin.session_running import Means, Running
from services.twin.session_score import score
from services.twin.session_snapshots import position
from services.twin.session_store import Kept, SessionStore, Wish, may_see
from services.twin.session_virtual import case_of, is_virtual
from twinward import telemetry
from twinward.errors import BadInput, Busy, Denied, Malformed, NotFound, TwinwardError, Unready

T = TypeVar("T")
SEED_MOST = 1 << 64
DAY_MS = 86_400_000
UNSCORED = telemetry.event("session_unscored", "error")
OVERDUE = telemetry.event("session_books_overdue", "error")


class Ledger(Protocol):
    """auth."""

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        """The leaf. Raises Unavailable."""
        ...


class Register:
    """Only the loop's thread calls it, but `books` and what says so, which workers do."""

    def __init__(
        self,
        means: Means,
        bodies: BodyMaker,
        cases: Mapping[str, Case],
        ledger: Ledger,
        *,
        most: int,
        idle_s: float,
        keep_days: int,
    ) -> None:
        """`most` sessions in memory; one that nobody looks at leaves it after `idle_s`, and is erased `keep_days` after
        anybody last did something in it."""
        self.means, self.bodies, self.cases = means, bodies, cases
        self._ledger = ledger
        self._most, self._idle_s, self._keep_days = most, idle_s, keep_days
        self._running: dict[UUID, Running] = {}
        self._building: dict[UUID, asyncio.Lock] = {}

    @property
    def store(self) -> SessionStore:
        return self.means.store

    def case(self, id: str) -> Case:
        """Raises NotFound."""
        found = self.cases.get(id)
        if found is None and is_virtual(id):
            return case_of(id)
        if found is None:
            raise NotFound("there is no such case: see `twinward session cases`")
        return found

    def running(self, session: UUID) -> Running | None:
        return self._running.get(session)

    # In worker threads.

    def open(self, id: bytes, person: str, case: str, seed: int, mode: str) -> Kept:
        """
        Raises:
            NotFound, BadInput: no such case or mode.
            Unready: assessed on this case before.
            Conflict: the id is taken.
        """
        if mode not in list(Mode):
            raise BadInput(f"a session's mode is {' or '.join(Mode)}")
        if not 0 <= seed < SEED_MOST:
            raise BadInput("a seed is a whole number below 2^64")
        found = self.case(case)
        if mode == Mode.ASSESSMENT and not found.scored:
            raise BadInput("free practice is not scored, so nobody is assessed on it: open it as training")
        model = Session.open(found, seed, Mode(mode), self.bodies).body.MODEL
        return self._write(Wish(session_id(id), person, found, seed, Mode(mode), model))

    def fork(self, session: UUID, id: bytes, person: str, at_s: int) -> Kept:
        """Another session of the same person with the same past up to `at_s`. Raises as `open`, and Denied."""
        row = self.store.row(session)
        if row.owner != person:
            raise Denied("only a session of one's own is forked")
        child = self.rebuilt(row).fork(at_s)
        lines = [(session_id(id).bytes[:12] + n.to_bytes(4, "big"), one) for n, one in enumerate(child.log, 1)]
        case = self.store.case(session)
        return self._write(Wish(session_id(id), person, case, row.seed, row.mode, row.model, session, at_s, lines))

    def rebuilt(self, row: Kept) -> Session:
        """The engine as the log says, at the place that was reached. Raises Malformed, Unready: of another model."""
        lines = self.store.lines(row.id)
        return self._replayed(row, [one.logged for one in lines])

    def _replayed(self, row: Kept, log: list[Logged]) -> Session:
        session = replay(self.store.case(row.id), row.seed, log, row.mode, self.bodies, _place(row, log))
        if row.model != session.body.MODEL:
            raise Unready(f"this session was made with {row.model}, which is not what is installed")
        return session

    def seen(self, session: UUID, person: str, watches: bool) -> Kept:
        """Raises NotFound, Denied."""
        row = self.store.row(session)
        may_see(row, person, watches)
        return row

    def erase(self, session: UUID, person: str) -> int:
        """The leaf. Raises Denied: not one's own; Unready: it is open in a stream."""
        row = self.store.row(session)
        if row.owner != person:
            raise Denied("only its learner erases a session")
        running = self._running.get(session)
        if running is not None and running.readers:
            raise Unready("end the stream that shows this session first")
        return self._erased(row, "learner")

    def books(self) -> None:
        """Ends the ledger does not know yet, and sessions that were kept long enough."""
        try:
            for row in self.store.due():
                self.store.entered(row.id, self._ledger.record("session_end", _body(row, end=row.ending)))
            for session in self.store.results.due():
                self._score(session)
            for row in self.store.old(self.means.clock.now_ms() - self._keep_days * DAY_MS):
                self._erased(row, "retention")
        except TwinwardError as error:  # the next round does it
            telemetry.warn(OVERDUE, error=error)

    def _score(self, session: UUID) -> None:
        """An assessment that has ended, once."""
        found, times = None, {}
        try:
            engine = self.rebuilt(self.store.row(session))
            found, times = score(engine).total, times_to_critical(engine)
        except (Malformed, Unready) as error:  # of a model that is not installed any more: nobody waits for it
            telemetry.warn(UNSCORED, error=error)
        self.store.results.keep(session, found, times, self.means.clock.now_ms())

    def _erased(self, row: Kept, why: str) -> int:
        leaf = self._ledger.record("session_erase", _body(row, why=why))
        self.store.erase(row.id)
        return leaf

    def _write(self, wish: Wish) -> Kept:
        known = self.store.known(wish)
        if known is not None:
            return known
        body = {
            "session": wish.id.hex, "person": wish.owner, "case": wish.case.id, "mode": wish.mode.value,
            "model": wish.model,
        }  # fmt: skip
        leaf = self._ledger.record("session_open", body)
        return self.store.open(wish, leaf, self.means.clock.now_ms())

    # On the loop.

    async def attach(self, session: UUID, person: str, watches: bool, paused: bool = False) -> Running:
        """The session in memory, from its log where it is not there.

        Raises:
            NotFound, Denied: not this person's to see.
            Busy: as many run as this program takes.
        """
        row = await self._work(self.seen, session, person, watches)
        async with self._building.setdefault(session, asyncio.Lock()):
            found = self._running.get(session)
            if found is not None and found.failed is None:
                return found
            if found is not None:
                await self._drop(session)
            if len(self._running) >= self._most and not await self._made_room():
                raise Busy("as many sessions run as this program takes: try again later")
            found = await self._built(row)
            self._running[session] = found
        if paused and found.state == "running":
            await found.take(self.means.chance.bytes(16), Pause(), Role.LEADER)
        found.start()
        return found

    async def _built(self, row: Kept) -> Running:
        lines = await self._work(self.store.lines, row.id)
        row = await self._work(self.store.row, row.id)
        engine = await self._work(self._replayed, row, [one.logged for one in lines])
        done = {one.command: (one.n, one.logged.at_s) for one in lines}
        pauses = [one.at_ms for one in lines if isinstance(one.logged.command, Pause)]
        return Running(row, engine, done, pauses[-1] if pauses else self.means.clock.now_ms(), self.means)

    async def steer(self, session: UUID | None, id: bytes, command: Command) -> int:
        """An instructor's word into one session in memory, or into all; how many it reached. An assessment that has
        ended is lived again to be rated."""
        if session is not None:
            running = self._running.get(session)
            if running is None and isinstance(command, Rate):
                running = await self._to_be_rated(session)
            if running is None:
                raise Unready("nobody is in this session now: it is steered while its learner is there")
            answer = await running.take(id, command, Role.INSTRUCTOR)
            if not answer.done:
                raise BadInput(answer.message)
            return 1
        reached = 0
        for one in list(self._running.values()):
            wanted = "running" if isinstance(command, Pause) else "paused" if isinstance(command, Resume) else one.state
            if one.failed is None and one.state == wanted != "ended":
                reached += (await one.take(id, command, Role.INSTRUCTOR)).done
        return reached

    async def _to_be_rated(self, session: UUID) -> Running | None:
        row = await self._work(self.store.row, session)
        if row.mode is not Mode.ASSESSMENT or row.state != "ended":
            return None
        return await self.attach(session, "", True)

    async def watch(self, every_s: float) -> None:
        """Writes the places of running ones, forgets those nobody looks at, keeps the books; until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            places = {id: one.at_s for id, one in self._running.items() if one.state == "running"}
            try:
                if places:
                    await self._work(self.store.reached, places)
            except TwinwardError as error:
                telemetry.warn(OVERDUE, error=error)
            await self._made_room()
            await self._work(self.books)

    async def close(self) -> None:
        """Every session's time stands; where it stood is written."""
        places = {id: one.at_s for id, one in self._running.items() if one.failed is None}
        for session in list(self._running):
            await self._drop(session)
        if places:
            await self._work(self.store.reached, places)

    async def forget(self, session: UUID) -> None:
        """It is erased."""
        await self._drop(session)

    async def _made_room(self) -> bool:
        now = self.means.clock.monotonic()
        idle = [
            id for id, one in self._running.items()
            if not one.readers and one.state != "running" and now - one.idle_since >= self._idle_s
        ]  # fmt: skip
        for session in idle:
            await self._drop(session)
        return bool(idle)

    async def _drop(self, session: UUID) -> None:
        found = self._running.pop(session, None)
        self._building.pop(session, None)
        if found is not None:
            await found.stop()

    async def _work(self, act: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.means.workers, act, *arguments)


def session_id(id: bytes) -> UUID:
    """Raises BadInput."""
    if len(id) != 16:
        raise BadInput("a session's id is 16 bytes")
    return UUID(bytes=id)


def _place(row: Kept, log: list[Logged]) -> int:
    """How far to live: what was written of its time, and never before the last command."""
    return max(row.reached_s - row.reached_s % 2, position(log))


def _body(row: Kept, **more: object) -> dict[str, object]:
    return {"session": row.id.hex, "person": row.owner, "case": row.case_id, "mode": row.mode.value, **more}
