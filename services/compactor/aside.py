"""Patients that a run could do nothing for: others come first for a while.

The backlog lists those with most tail first. Whom auth refuses, or whose tail does
not prove itself, would keep that place for ever and starve the others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from twinward.clock import Clock
from twinward.record import Handle

FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 600.0


@dataclass(frozen=True, slots=True)
class _Pause:
    until_s: float  # monotonic
    length_s: float


@dataclass
class Aside:
    clock: Clock
    most: int = 10_000  # patients remembered; the one that waited longest is tried again first
    _paused: OrderedDict[Handle, _Pause] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._paused)

    def waits(self, handle: Handle) -> bool:
        paused = self._paused.get(handle)
        return paused is not None and self.clock.monotonic() < paused.until_s

    def waiting(self) -> list[Handle]:
        return [handle for handle in self._paused if self.waits(handle)]

    def put(self, handles: Iterable[Handle]) -> None:
        """Each waits twice as long as the last time."""
        now = self.clock.monotonic()
        for handle in handles:
            before = self._paused.pop(handle, None)
            length_s = FIRST_PAUSE_S if before is None else min(before.length_s * 2, LONGEST_PAUSE_S)
            self._paused[handle] = _Pause(now + length_s, length_s)
        while len(self._paused) > self.most:
            self._paused.popitem(last=False)

    def forget(self, handles: Iterable[Handle]) -> None:
        """Something was filed for them: nothing is held against them any more."""
        for handle in handles:
            self._paused.pop(handle, None)
