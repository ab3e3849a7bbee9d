"""Ends readers that opened a transaction before a lease was ended.

Row-level security reads the lease row of the reader's own snapshot. A program that
keeps a transaction open from before a withdrawal would go on seeing the lease as it
was, up to its former end. So some seconds after each revocation every transaction of
a reading role that began before it is ended; an honest read is over long since. An
auth that was down in between does the same when it starts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg

from services.auth.facts import Connection

GRACE_S = 5.0
_RETRY_S = 2.0
_LISTEN = "listen lease_revoked"
_NOW = "select clock_timestamp()"
_END = "select vault.end_readers_before(%s)"


class OlderReaders:
    """Listens on `lease_revoked` in a thread and on a connection of its own."""

    def __init__(self, connect: Callable[[], Connection], grace_s: float = GRACE_S) -> None:
        self._connect = connect
        self._grace_s = grace_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="older-readers", daemon=True)
        self.ended = 0

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(psycopg.Error), self._connect() as line:
                line.autocommit = True
                line.execute(_LISTEN)
                self._end(line)  # what was revoked while nobody listened
                while not self._stop.is_set():
                    if any(True for _ in line.notifies(timeout=1.0, stop_after=1)):
                        self._end(line)
            self._stop.wait(_RETRY_S)

    def _end(self, line: Connection) -> None:
        """After the grace. Revocations that come meanwhile are still waiting on the connection."""
        row = line.execute(_NOW).fetchone()
        if self._stop.wait(self._grace_s) or row is None:
            return
        ended = line.execute(_END, row).fetchone()
        self.ended += ended[0] if ended else 0
