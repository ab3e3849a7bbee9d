"""Between a session and one who looks at it: a queue that a slow reader cannot make grow.

Waves are worth something only now: where too many wait, the oldest goes and is counted. Numerics give way to newer
ones. What happened and what was answered is never left out; a reader who lets too much of that wait has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from services.twin.session_command import Alarm, Entry, Reading
from twinward.errors import Busy

SLICES_MOST = 25  # 5 s of waves at speed 1
KEPT_MOST = 500  # answers and entries that wait


@dataclass(frozen=True, slots=True)
class Answer:
    """To one command."""

    id: bytes
    done: bool
    entry: int = 0
    at_s: int = 0
    error: str = ""
    message: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of a session's time, or an answer in between."""

    at_s: float
    state: str  # running | paused | ended
    speed: float
    due_ms: float
    numerics: Mapping[str, Reading] | None = None
    waves: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # float32
    hz: int = 0
    from_s: float = 0.0  # of the first sample
    alarms: tuple[Alarm, ...] | None = None
    entries: tuple[Entry, ...] = ()
    waiting: tuple[str, ...] = ()
    ended: str = ""
    answer: Answer | None = None
    why: tuple[str, ...] = ()

    @property
    def must(self) -> bool:
        """It is never left out."""
        return self.answer is not None or bool(self.entries or self.why or self.ended)


class Reader:
    """Of one stream. Only the loop's thread touches it."""

    def __init__(self, hz: int) -> None:
        self.hz = hz
        self.left_out = 0
        self._waiting: deque[Slice] = deque()
        self._some = asyncio.Event()
        self._failed: Exception | None = None

    def put(self, one: Slice) -> None:
        if self._failed is not None:
            return
        if one.waves and not self.hz:
            one = replace(one, waves={}, hz=0)
        self._waiting.append(one)
        if len(self._waiting) > SLICES_MOST:
            self._make_room()
        self._some.set()

    def fail(self, error: Exception) -> None:
        """What waits is still read; then the stream ends with this."""
        self._failed = error
        self._some.set()

    async def get(self) -> Slice:
        """Raises what the session failed with, or Busy: the reader was too slow."""
        while not self._waiting:
            if self._failed is not None:
                raise self._failed
            self._some.clear()
            await self._some.wait()
        return self._waiting.popleft()

    def __len__(self) -> int:
        return len(self._waiting)

    def _make_room(self) -> None:
        for place, one in enumerate(self._waiting):
            if not one.must:
                del self._waiting[place]
                self.left_out += 1
                return
            if one.waves:
                self._waiting[place] = replace(one, waves={}, hz=0)
                self.left_out += 1
        if len(self._waiting) > KEPT_MOST:
            self._waiting.clear()
            self.fail(Busy("this stream was not read for too long: attach again, the session's log has everything"))
