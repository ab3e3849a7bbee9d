"""Refused tokens: counted, one leaf a source and minute.

A leaf for each would let anybody who can reach the port fill the ledger, so the
door only counts, and a thread writes what was counted once the minute is over.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter

from services.auth.sequencer import Proposal, Sequencer
from twinward.clock import Clock
from twinward.errors import TwinwardError
from twinward.ledger.kinds import Kind

_MINUTE_MS = 60_000
_MOST_SOURCES = 200  # of one minute; the rest is counted together
_OTHERS = "others"


class Refusals:
    """`count` is the door's hook; `start` and `close` the thread's."""

    def __init__(self, sequencer: Sequencer, clock: Clock, every_s: float = 5.0) -> None:
        self._sequencer, self._clock, self._every_s = sequencer, clock, every_s
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str], Counter[str]] = {}
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refusals", daemon=True)

    def count(self, source: str, why: str) -> None:
        minute = self._clock.now_ms() // _MINUTE_MS
        with self._lock:
            place = (minute, source)
            if place not in self._counts and sum(1 for at, _ in self._counts if at == minute) >= _MOST_SOURCES:
                place = (minute, _OTHERS)
            self._counts.setdefault(place, Counter())[why[:40] or "other"] += 1

    def write(self, *, everything: bool = False) -> int:
        """Writes the minutes that are over; how many leaves. Raises Unavailable: they wait on."""
        now = self._clock.now_ms() // _MINUTE_MS
        with self._lock:
            over = {place: counts for place, counts in self._counts.items() if everything or place[0] < now}
            for place in over:
                del self._counts[place]
        proposals = [_proposal(minute, source, counts) for (minute, source), counts in over.items()]
        try:
            self._sequencer.commit(proposals)
        except TwinwardError:
            with self._lock:
                for place, counts in over.items():
                    self._counts.setdefault(place, Counter()).update(counts)
            raise
        return len(proposals)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(TwinwardError):
            self.write(everything=True)

    def _run(self) -> None:
        while not self._wake.wait(self._every_s):
            with contextlib.suppress(TwinwardError):  # counted on, written when the ledger is back
                self.write()


def _proposal(minute: int, source: str, counts: Counter[str]) -> Proposal:
    # An address is personal data; its hash still tells one source from another.
    name = source if source.startswith("spiffe://") or source == _OTHERS else _hashed(source)
    body = {
        "source": name,
        "minute_ms": minute * _MINUTE_MS,
        "count": counts.total(),
        "causes": [f"{why}:{count}" for why, count in sorted(counts.items())[:20]],
    }
    return Proposal(Kind.TOKEN_REFUSALS, body)


def _hashed(source: str) -> str:
    return f"address:{hashlib.sha256(source.encode()).hexdigest()[:16]}"
