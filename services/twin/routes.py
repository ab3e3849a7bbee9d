"""The door's way to the worker that keeps a patient's twin."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from services.twin.keeper import Place
from services.twin.store import Pool, connected
from twinward.errors import Unavailable
from twinward.record import Handle

_WHERE = """
select w.address from twin.claim c join twin.worker w on w.id = c.worker
where c.share = twin.share_of(%s) and c.until > clock_timestamp()"""


class Freshens(Protocol):
    def freshen(self, handle: Handle) -> Place: ...


class Routes:
    """Thread-safe. `calls` opens the calls to a worker at host:port; mTLS insists that one is there."""

    def __init__(self, pool: Pool, calls: Callable[[str], Freshens], usual: str) -> None:
        """`usual`: whom to ask while nobody holds a patient's share."""
        self._pool, self._calls, self._usual = pool, calls, usual
        self._open: dict[str, Freshens] = {}
        self._lock = threading.Lock()

    def freshen(self, handle: Handle) -> Place:
        """Raises Unavailable while the patient's share changes hands, and what the worker raises."""
        first = self._address(handle)
        try:
            return self._to(first).freshen(handle)
        except Unavailable:
            now = self._address(handle)
            if now == first:
                raise
            return self._to(now).freshen(handle)

    def _to(self, address: str) -> Freshens:
        with self._lock:
            if address not in self._open:
                self._open[address] = self._calls(address)
            return self._open[address]

    def _address(self, handle: Handle) -> str:
        with connected(self._pool) as connection:
            found = connection.execute(_WHERE, (handle,)).fetchone()
        return str(found[0]) if found else self._usual
