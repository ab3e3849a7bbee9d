"""An engine's control that runs nothing by itself: a test says what becomes of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from twinward.errors import Unavailable


@dataclass
class Engine:
    nodes: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    runs: dict[int, str] = field(default_factory=dict)  # number -> state
    started: list[tuple[bytes, int]] = field(default_factory=list)  # (study, attempt)
    stopped: list[int] = field(default_factory=list)
    away: bool = False
    lost_answers: int = 0  # so many starts do begin, and their answer gets lost
    _last: int = 2**63  # the engine's numbers need all 64 bits

    def register(self, site: str, node_key: bytes) -> int:
        self._there()
        for number, (name, key) in list(self.nodes.items()):
            if name == site:
                if key == node_key:
                    return number
                del self.nodes[number]
        self._last += 1
        self.nodes[self._last] = (site, node_key)
        return self._last

    def unregister(self, node_id: int) -> None:
        self._there()
        self.nodes.pop(node_id, None)

    def start(self, study: bytes, attempt: int) -> int:
        self._there()
        self._last += 1
        self.runs[self._last] = "running"
        self.started.append((study, attempt))
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("the SuperLink does not answer")
        return self._last

    def state(self, run_id: int) -> str:
        self._there()
        return self.runs.get(run_id, "unknown")

    def stop(self, run_id: int) -> None:
        self._there()
        if self.runs.get(run_id) == "running":
            self.runs[run_id] = "finished:stopped"
            self.stopped.append(run_id)

    @property
    def newest(self) -> int:
        return max(self.runs)

    def _there(self) -> None:
        if self.away:
            raise Unavailable("the SuperLink does not answer")
