"""Which share of the twins this worker keeps, beside others against one database.

Handles are divided into 64 shares (`share_of`). A worker renews its own entry and its
claims every second and a half; both end six seconds after the last renewal. Who is alive
takes its even part: free shares and those whose holder has ended are taken, surplus ones
are given back after their states were written. So a further worker just has to be started,
and a dead one's patients are with the others within eight seconds.

Nothing rests on clocks agreeing: the database's clock decides who may take, and a
snapshot is written only while the claim still stands (store.py). A worker that slept
through its time finds its shares with others and drops what it held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from services.twin.store import Pool, connected
from twinward import telemetry
from twinward.clock import Clock
from twinward.errors import TwinwardError
from twinward.record import Handle

SHARES = 64
HOLD_S = 6.0
RENEW_S = 1.5
FORGET_S = 60.0
CLAIMED = telemetry.event("twin-shares", "held", "workers")

_HERE = """
insert into twin.worker (id, address, until) values (%(me)s, %(address)s, clock_timestamp() + %(hold)s * interval '1 s')
on conflict (id) do update set address = excluded.address, until = excluded.until"""
_FORGET = "delete from twin.worker where until < clock_timestamp() - %(forget)s * interval '1 s'"
_RENEW = """
update twin.claim set until = clock_timestamp() + %(hold)s * interval '1 s' where worker = %(me)s returning share"""
_ALIVE = "select count(*) from twin.worker where until > clock_timestamp()"
_TAKE = """
update twin.claim set worker = %(me)s, until = clock_timestamp() + %(hold)s * interval '1 s' where share in (
  select share from twin.claim where worker is null or (worker <> %(me)s and until < clock_timestamp())
  order by share limit %(most)s for update skip locked)
returning share"""
_FREE = "update twin.claim set worker = null where worker = %(me)s and share = any (%(shares)s)"
_GONE = "delete from twin.worker where id = %(me)s"


def share_of(handle: Handle) -> int:
    """0 to 63; the same as twin.share_of in the database."""
    return handle.bytes[0] // 4


class Claims:
    """Thread-safe. `run` renews; the worker's loop asks what has changed."""

    def __init__(self, pool: Pool, me: UUID, address: str, clock: Clock) -> None:
        self.me = me
        self._pool, self._address, self._clock = pool, address, clock
        self._lock = threading.Lock()
        self._held: frozenset[int] = frozenset()
        self._leaving: frozenset[int] = frozenset()
        self._taken: frozenset[int] = frozenset()
        self._renewed = -HOLD_S  # monotonic, from before the renewal

    @property
    def mine(self) -> frozenset[int]:
        """Shares to work for now; none where the last renewal is too long ago."""
        with self._lock:
            if self._clock.monotonic() - self._renewed >= HOLD_S:
                return frozenset()
            return self._held - self._leaving

    @property
    def held(self) -> frozenset[int]:
        """Shares that were ours at the last renewal. Where renewing fails, nobody else may have them
        either, so what is in memory stays there until that is known."""
        with self._lock:
            return self._held

    def taken(self) -> frozenset[int]:
        """Shares that came to us since the last call: who had them may have left something undone."""
        with self._lock:
            taken, self._taken = self._taken, frozenset()
            return taken

    @property
    def leaving(self) -> frozenset[int]:
        """Held beyond an even part: to be given back once their states are written."""
        with self._lock:
            return self._leaving

    def renew(self) -> None:
        """Raises Unavailable; what is held runs out by itself if that lasts."""
        begin = self._clock.monotonic()
        values: dict[str, object] = {
            "me": self.me, "address": self._address, "hold": HOLD_S, "forget": FORGET_S, "most": 0,
        }  # fmt: skip
        with connected(self._pool) as connection:
            connection.execute(_HERE, values)
            connection.execute(_FORGET, values)
            held = {_number(share) for (share,) in connection.execute(_RENEW, values).fetchall()}
            found = connection.execute(_ALIVE).fetchone()
            workers = max(1, _number(found[0]) if found else 1)
            even, taken = -(-SHARES // workers), set[int]()
            if len(held) < even:
                values["most"] = even - len(held)
                taken = {_number(share) for (share,) in connection.execute(_TAKE, values).fetchall()}
        held |= taken
        with self._lock:
            changed = held != self._held
            self._taken |= taken
            self._held, self._renewed = frozenset(held), begin
            self._leaving = frozenset(sorted(held)[even:])
        if changed:
            telemetry.note(CLAIMED, held=len(held), workers=workers)

    def give_back(self, shares: Iterable[int] | None = None) -> None:
        """Frees `shares`, whose states are written; all, and this worker's entry, where it ends.

        Raises:
            Unavailable.
        """
        with self._lock:
            gone = self._held if shares is None else frozenset(shares)
            self._held -= gone
            self._leaving -= gone
        with connected(self._pool) as connection:
            connection.execute(_FREE, {"me": self.me, "shares": list(gone)})
            if shares is None:
                connection.execute(_GONE, {"me": self.me})

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Renews until `stop`; wakes the loop where there is something to do."""
        while not stop.is_set():
            before = self.mine
            with suppress(TwinwardError):  # said by the loop, which meets the same trouble
                self.renew()
            if self.mine != before:
                wake.set()
            stop.wait(RENEW_S)


def _number(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101  the column is not null and a number
    return value
