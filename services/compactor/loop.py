"""When a run is made: at a reader's wish, when enough waits, and every so often for the rest.

A wish for one patient is served at once and alone (`wishes.py`); for the rest the loop
looks by itself, again at once where something was filed or deferred: more may wait.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import Counter, Gauge
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from services.compactor.door import AuthDoor
from services.compactor.run import Compaction, Counts
from services.compactor.settings import CompactorSettings
from services.compactor.wishes import Wishes
from twinward import telemetry
from twinward.clock import Chance, Clock
from twinward.errors import TwinwardError, Unavailable
from twinward.record import Handle

Connection = psycopg.Connection[TupleRow]

LONGEST_PAUSE_S = 5.0  # a database that is back is asked again soon
TICK_S = 0.2  # how long a stop may go unnoticed
IDLE = 10  # pauses after a look that found nothing are so many times as long: much deferred tail makes looks slow
NEVER = float("-inf")  # monotonic: long ago

FILED = telemetry.event("compacted", "patients", "units", "tail_rows", "items", "superseded", "blocks", "ms")
REFUSED = telemetry.event("compaction_refused", "patients", "error")
TROUBLE = telemetry.event("compactor_waits", "error", "pause_s")

ITEMS = Counter("twinward_compacted_items", "Items moved from tail to blocks.")
REFUSALS = Counter("twinward_compaction_refused", "Patients whose tail or blocks did not prove themselves.")
DEFERRED = Gauge("twinward_compaction_deferred", "Patients whose tail waits for the night.")


@dataclass
class Loop:
    chosen: CompactorSettings
    door: AuthDoor
    authority: Ed25519PublicKey
    clock: Clock
    chance: Chance

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; comes back by itself when the database or auth were away."""
        pause = self.chosen.poll_s
        while not stop.is_set():
            try:
                with self._connect() as connection:
                    pause = self.chosen.poll_s
                    self._work(connection, stop)
            except (TwinwardError, psycopg.OperationalError) as error:
                pause = min(pause * 2, LONGEST_PAUSE_S)
                known = error if isinstance(error, TwinwardError) else Unavailable("the store does not answer")
                telemetry.warn(TROUBLE, error=known, pause_s=pause)
                stop.wait(pause * (0.75 + self.chance.bytes(1)[0] / 512))

    def _connect(self) -> Connection:
        password = self.chosen.database_password_file.read_text().strip()
        dsn = make_conninfo(self.chosen.database, password=password, application_name=self.chosen.program)
        return psycopg.connect(dsn, autocommit=True, connect_timeout=10)

    def _work(self, connection: Connection, stop: threading.Event) -> None:
        compaction = Compaction(
            connection,
            self.door,
            self.chosen.site,
            self.authority,
            self.clock,
            self.chance,
            most_units=self.chosen.run_units,
            most_rows=self.chosen.run_rows,
        )
        connection.execute("listen compact")
        wishes, swept, look = Wishes(), NEVER, NEVER
        while not stop.is_set():
            if not compaction.alone():
                wishes, look = Wishes(), self.clock.monotonic() + self.chosen.poll_s
            if asked := wishes.take():
                self._run(compaction, 1, asked)
            if (began := self.clock.monotonic()) >= look:
                sweep = wishes.everybody or began - swept >= self.chosen.sweep_s
                counts = self._run(compaction, 1 if sweep else self.chosen.least_rows)
                look = self._next_look(counts, began)
                if sweep and not (counts.tail_rows or counts.put_aside or counts.deferred):
                    wishes.everybody, swept = False, began
            if self._hear(connection, stop, wishes, look):
                look = NEVER

    def _next_look(self, counts: Counts, began: float) -> float:
        """Monotonic time; at once where more may wait."""
        if counts.tail_rows or counts.deferred:
            return NEVER
        now = self.clock.monotonic()
        return now + max(self.chosen.poll_s, 0.0 if counts.put_aside else (now - began) * IDLE)

    def _run(self, compaction: Compaction, least_rows: int, asked: Sequence[Handle] = ()) -> Counts:
        began = self.clock.monotonic()
        counts = compaction.run(least_rows, asked)
        DEFERRED.set(compaction.deferred)
        if counts.tail_rows:
            ITEMS.inc(counts.items)
            telemetry.note(
                FILED,
                patients=counts.patients,
                units=counts.units,
                tail_rows=counts.tail_rows,
                items=counts.items,
                superseded=counts.superseded,
                blocks=counts.blocks,
                ms=round((self.clock.monotonic() - began) * 1000),
            )
        if counts.refused:
            REFUSALS.inc(counts.refused)
            telemetry.warn(REFUSED, patients=counts.refused, error=counts.trouble)
        return counts

    def _hear(self, connection: Connection, stop: threading.Event, wishes: Wishes, until: float) -> bool:
        """Takes what readers ask for, and waits for the first of it until `until`; whether it is for everybody."""
        while True:
            left = 0.0 if wishes.named else max(0.0, min(until - self.clock.monotonic(), TICK_S))
            heard = list(connection.notifies(timeout=left, stop_after=1))
            for one in heard:
                wishes.note(one.payload)
            if heard or wishes.named or stop.is_set() or self.clock.monotonic() >= until:
                return any(not one.payload for one in heard)
