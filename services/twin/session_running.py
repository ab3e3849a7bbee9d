"""One session in memory: its engine in a worker thread, its time on the loop, its readers.

Time: an exchange of 2 s is lived when it is due and shown in slices over the wall time that it takes at the session's
speed. Where the machine is too slow the patient's time slows; nothing piles up. Commands are taken between exchanges,
one at a time, each durable before it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from numpy.typing import NDArray

from services.twin.session_body import EXCHANGE_S
from services.twin.session_command import Command, Frame, Logged, Pause, Resume, Rewind, Role
from services.twin.session_engine import Session
from services.twin.session_policies import STEP_S, Policy, View
from services.twin.session_reader import Answer, Reader, Slice
from services.twin.session_store import Kept, SessionStore
from twinward import telemetry
from twinward.clock import Chance, Clock
from twinward.errors import BadInput, TwinwardError, Unavailable

SLICE_S = 0.2  # wall time of a slice
RECONNECT_S = 2.0  # the shortest patience with a reader that is gone
BEHIND_S = 1.0  # so late, and the patient's time is let slip
T = TypeVar("T")

LOST = telemetry.event("session_lost", "error")


@dataclass(frozen=True, slots=True)
class Means:
    """What every running session uses."""

    store: SessionStore
    workers: Executor
    clock: Clock
    chance: Chance
    vanish_s: float  # so long without its learner, and a session pauses


class Running:
    """Made by the register; `start` lets its time go on. Only the loop's thread calls it."""

    def __init__(
        self, row: Kept, engine: Session, done: dict[bytes, tuple[int, int]], paused_ms: int, means: Means
    ) -> None:
        self.row = row
        self.engine = engine
        self.readers: list[Reader] = []
        self.newest: Frame = engine.frame()
        self.failed: TwinwardError | None = None
        self.idle_since = means.clock.monotonic()
        self._script: tuple[Policy, View] | None = None
        self._done = done  # command id -> (entry, second)
        self._lines = max((n for n, _ in done.values()), default=0)
        self._paused_ms = paused_ms
        self._rewinds = 0
        self._means = means
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        return "ended" if self.engine.ended else "paused" if self.engine.paused else "running"

    @property
    def at_s(self) -> int:
        return self.engine.now_s

    @property
    def now_ms(self) -> int:
        return self._means.clock.now_ms()

    def start(self) -> None:
        """Once; again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._live(), name="session")

    async def stop(self) -> None:
        """Its time stands; the log has everything."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def join(self, reader: Reader) -> None:
        """A reader sees from now on, first of all the present."""
        self.readers.append(reader)
        reader.put(replace(self._slice(self.newest, self._now_ms()), entries=()))
        self._wake.set()

    def leave(self, reader: Reader) -> None:
        if reader in self.readers:
            self.readers.remove(reader)
        self.idle_since = self._means.clock.monotonic()

    async def play(self, policy: Policy) -> None:
        """A scripted person acts from now on, as long as this program lives."""
        async with self._turn:
            present = replace(self.engine.frame(), entries=tuple(self.engine.entries))
            view = View(self.engine.case, present)
            view.take(present)
            self._script = (policy, view)

    async def take(self, id: bytes, command: Command, by: Role) -> Answer:
        """A command, done once. A refusal is an answer too.

        Raises:
            Unavailable: it could not be made durable; the session is rebuilt from its log at the next attach.
        """
        if len(id) != 16:
            raise BadInput("a command's id is 16 bytes of chance")
        async with self._turn:
            if id in self._done:
                entry, at_s = self._done[id]
                return Answer(id, True, entry, at_s, again=True)
            if self.failed is not None:
                raise self.failed
            return await self._take(id, command, by)

    async def why(self) -> tuple[str, ...]:
        async with self._turn:
            return tuple(await self._work(self.engine.why))

    async def ask(self, question: Callable[[Session], T]) -> T:
        """Something of the engine between two exchanges."""
        async with self._turn:
            return await self._work(question, self.engine)

    async def _take(self, id: bytes, command: Command, by: Role) -> Answer:
        now_ms, at_s = self._means.clock.now_ms(), self.engine.now_s
        if isinstance(command, Resume):
            command = Resume(paused_s=max(0, now_ms - self._paused_ms) / 1000)
        try:
            await self._work(self.engine.do, command, by)
        except TwinwardError as error:
            return Answer(id, False, at_s=at_s, error=error.reason, message=error.public)
        n, logged = self._lines + 1, Logged(at_s, by, command)
        try:
            await self._work(
                self._means.store.append, self.row.id, n, id, logged, self.engine.now_s, now_ms, self.engine.ended
            )
        except TwinwardError as error:
            self._lose(error)
            raise
        self._lines, self._done[id] = n, (n, at_s)
        if isinstance(command, Pause):
            self._paused_ms = now_ms
        self._rewinds += isinstance(command, Rewind)
        frame = self.engine.frame()
        if self._script is not None:
            self._script[1].take(frame)
        self._show(frame)
        self._wake.set()
        return Answer(id, True, n, at_s)

    def _lose(self, error: TwinwardError) -> None:
        """Memory may be ahead of the log, or behind: it is worth nothing now."""
        telemetry.warn(LOST, error=error)
        self.failed = Unavailable("the session's log could not be written: attach again, it goes on from there")
        for reader in self.readers:
            reader.fail(self.failed)
        self._wake.set()

    # Time.

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.failed is None:
            if self.engine.ended or self.engine.paused:
                await self._rest()
                due = loop.time()
                continue
            if not self._watched():
                await self._absent()
                continue
            try:
                begin = self.engine.now_s
                async with self._turn:
                    frame = await self._exchange()
            except TwinwardError as error:
                self._lose(error)
                return
            if frame is None:
                continue
            self.newest = frame
            wall = EXCHANGE_S / self.engine.speed
            if loop.time() - due > BEHIND_S:
                due = loop.time()
            await self._spread(frame, begin, due, wall)
            due += wall

    async def _exchange(self) -> Frame | None:
        """Two seconds more, and what a scripted person does first. None: it may not go on after all."""
        if self._script is not None and self.engine.now_s % STEP_S == 0:
            policy, view = self._script
            for command in await self._work(policy, view):
                await self._take(self._means.chance.bytes(16), command, Role.LEADER)
        if self.engine.paused or self.engine.ended:
            return None
        hz = max((reader.hz for reader in self.readers), default=0)
        frame: Frame = await self._work(self.engine.advance, float(EXCHANGE_S), hz)
        if self._script is not None:
            self._script[1].take(frame)
        if frame.ended:
            await self._work(self._means.store.end, self.row.id, frame.ended, frame.at_s)
        return frame

    async def _spread(self, frame: Frame, begin: int, due: float, wall: float) -> None:
        """The exchange in slices, each when it is due; the first has all that is no wave."""
        loop, rewinds = asyncio.get_running_loop(), self._rewinds
        count = max(1, round(wall / SLICE_S)) if self.readers else 1
        for k in range(count):
            at = due + k * wall / count
            left = at - loop.time()
            if left > 0:
                await asyncio.sleep(left)
            if rewinds != self._rewinds:
                return  # what is left of it was taken back
            whole = self._slice(frame, self._now_ms() + (at - loop.time()) * 1000)
            share = EXCHANGE_S / count
            cut = {name: _part(wave, k, count) for name, wave in frame.waves.items()}
            one = replace(whole, waves=cut, from_s=begin + k * share, at_s=begin + (k + 1) * share)
            if k:
                one = replace(one, numerics=None, alarms=None, entries=(), waiting=(), ended="")
            for reader in self.readers:
                reader.put(one)
        left = due + wall - loop.time()
        if left > 0:
            await asyncio.sleep(left)

    async def _rest(self) -> None:
        """Until something is said."""
        self._wake.clear()
        await self._wake.wait()

    async def _absent(self) -> None:
        """Its learner has gone: the patient waits."""
        with contextlib.suppress(TwinwardError):  # a store that is away has failed the session
            answer = await self.take(self._means.chance.bytes(16), Pause(), Role.LEADER)
            if not answer.done:
                await self._rest()

    def _watched(self) -> bool:
        """Somebody looks, or did so a moment ago, of the patient's time."""
        gone = self._means.clock.monotonic() - self.idle_since
        patience = max(self._means.vanish_s / self.engine.speed, min(self._means.vanish_s, RECONNECT_S))
        return bool(self.readers) or gone < patience

    def _show(self, frame: Frame) -> None:
        """What a command changed, at once."""
        self.newest = frame
        one = self._slice(frame, self._now_ms())
        for reader in self.readers:
            reader.put(one)

    def _slice(self, frame: Frame, due_ms: float) -> Slice:
        return Slice(
            frame.at_s, self.state, self.engine.speed, due_ms, frame.numerics, hz=frame.hz, alarms=frame.alarms,
            entries=frame.entries, waiting=frame.waiting, ended=frame.ended,
        )  # fmt: skip

    def _now_ms(self) -> float:
        return float(self._means.clock.now_ms())

    def _work(self, act: Callable[..., T], *arguments: object) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._means.workers, act, *arguments)


def _part(wave: NDArray[Any], k: int, count: int) -> NDArray[Any]:
    return wave[k * len(wave) // count : (k + 1) * len(wave) // count]
