"""How much may be on its way at once: beyond it senders wait, not our memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from twinward.errors import Busy

IN_FLIGHT_BYTES = 96 * 1024 * 1024


class Budget:
    """Bytes of messages that are being taken. Safe for many threads."""

    def __init__(self, most: int = IN_FLIGHT_BYTES) -> None:
        self._most = most
        self._used = 0
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Raises Busy where `size` more bytes would be too many; one alone always fits."""
        with self._lock:
            if self._used and self._used + size > self._most:
                raise Busy("too much is being taken at once: send this again in a moment")
            self._used += size
        try:
            yield
        finally:
            with self._lock:
                self._used -= size
