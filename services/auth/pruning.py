"""What auth keeps no longer: leases that ended long ago, and public keys whose months are over.

The ledger remembers both; the rows only serve what runs. Each statement deletes a
bounded number by index, so that no decision waits for it.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from services.auth.facts import Pool, connection_of
from twinward.clock import Clock, utc
from twinward.errors import Unavailable

KEPT_MS = 7 * 24 * 3_600_000  # after the end: use is reported late, and disputes are settled with the rows at hand
EVERY_S = 600.0
MOST = 1_000

LEASES = """
delete from vault.lease where id = any (array(select id from vault.lease where until < %s order by until limit %s))"""
KEYS = """
delete from vault.public_key_set where id = any (array(
  select id from vault.public_key_set where valid_until < %s order by valid_until limit %s))"""


class Pruner:
    """Prunes every `every_s` seconds in a thread of its own."""

    def __init__(self, pool: Pool, clock: Clock, every_s: float = EVERY_S) -> None:
        self._pool = pool
        self._clock = clock
        self._every_s = every_s
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pruner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def prune(self, most: int = MOST) -> tuple[int, int]:
        """Deletes what is over for KEPT_MS: (leases, sets of public keys). Raises Unavailable."""
        before = utc(self._clock.now_ms() - KEPT_MS)
        leases, keys = (self._all(statement, before, most) for statement in (LEASES, KEYS))
        return leases, keys

    def _all(self, statement: str, before: object, most: int) -> int:
        gone = 0
        while not self._wake.is_set():
            with connection_of(self._pool) as connection:
                deleted = connection.execute(statement.encode(), (before, most)).rowcount
            gone += deleted
            if deleted < most:
                break
        return gone

    def _run(self) -> None:
        while not self._wake.wait(self._every_s):
            with suppress(Unavailable):  # the next round finds it, too
                self.prune()
