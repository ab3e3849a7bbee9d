"""Patients whom auth defers: something sensitive of them waits for the night.

They are no trouble and do not fill the backlog's window; asking for them again before
their time would only make auth say the same. A restart forgets them: they are asked
for once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from twinward.clock import Clock
from twinward.record import Handle

SHORTEST_MS = 60_000  # a clock ahead of auth's does not make it ask all the time
MOST = 200_000  # patients remembered: some 40 MB


@dataclass
class Deferred:
    clock: Clock
    most: int = MOST
    _until_ms: dict[Handle, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._until_ms)

    def put(self, found: Mapping[Handle, int]) -> set[Handle]:
        """Those who will be remembered: there may be no room for all."""
        least_ms = self.clock.now_ms() + SHORTEST_MS
        kept = set()
        for handle, until_ms in found.items():
            if handle in self._until_ms or len(self._until_ms) < self.most:
                self._until_ms[handle] = max(until_ms, least_ms)
                kept.add(handle)
        return kept

    def waiting(self) -> list[Handle]:
        """Whom not to ask for now; those whose time has come are forgotten."""
        now_ms = self.clock.now_ms()
        for handle in [one for one, until_ms in self._until_ms.items() if until_ms <= now_ms]:
            del self._until_ms[handle]
        return list(self._until_ms)

    def forget(self, handles: Iterable[Handle]) -> None:
        """They were filed: what comes next may be nothing sensitive."""
        for handle in handles:
            self._until_ms.pop(handle, None)
