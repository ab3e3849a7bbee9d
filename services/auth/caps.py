"""How many different patients one certificate may ask for in a minute.

Whoever steals a program or a session gets its rights, at the pace of a human
being: above the cap nothing more is decided until the minute is over.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from twinward.clock import Clock
from twinward.errors import Busy
from twinward.record import Handle

FLOOR = 500
_MINUTE_MS = 60_000
_MOST_CERTIFICATES = 10_000


class Caps:
    """Thread-safe; the minutes are those of the clock, not sliding."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[bytes, tuple[int, set[Handle]]] = OrderedDict()

    def count(self, certificate: bytes, handles: Iterable[Handle], most: int = FLOOR) -> None:
        """Raises Busy where `handles` would bring the certificate above `most` patients this minute."""
        minute = self._clock.now_ms() // _MINUTE_MS
        with self._lock:
            then, seen = self._seen.get(certificate, (minute, set()))
            if then != minute:
                seen = set()
            wanted = seen.union(handles)
            if len(wanted) > max(most, FLOOR):
                raise Busy(
                    f"more than {max(most, FLOOR)} patients in one minute with this certificate; "
                    "wait a minute, and tell the data steward if this is not your doing"
                )
            self._seen[certificate] = (minute, wanted)
            self._seen.move_to_end(certificate)
            if len(self._seen) > _MOST_CERTIFICATES:
                self._seen.popitem(last=False)
