"""When a run is made: at a reader's wish, when enough waits, and every so often for the rest."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import Counter
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from services.compactor.door import AuthDoor
from services.compactor.run import Compaction, Counts
from services.compactor.settings import CompactorSettings
from twinward import telemetry
from twinward.clock import Chance, Clock
from twinward.errors import TwinwardError, Unavailable

Connection = psycopg.Connection[TupleRow]

LONGEST_PAUSE_S = 5.0  # a database that is back is asked again soon
TICK_S = 0.2  # how long a stop may go unnoticed

FILED = telemetry.event("compacted", "patients", "units", "tail_rows", "items", "superseded", "blocks", "ms")
REFUSED = telemetry.event("compaction_refused", "patients", "error")
TROUBLE = telemetry.event("compactor_waits", "error", "pause_s")

ITEMS = Counter("twinward_compacted_items", "Items moved from tail to blocks.")
REFUSALS = Counter("twinward_compaction_refused", "Patients whose tail or blocks did not prove themselves.")


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
        asked, swept = True, float("-inf")  # what waited while nobody was there is filed at once
        while not stop.is_set():
            if compaction.alone():
                now = self.clock.monotonic()
                sweep = asked or now - swept >= self.chosen.sweep_s
                counts = self._run(compaction, 1 if sweep else self.chosen.least_rows)
                if sweep and counts.tail_rows == counts.put_aside == 0:
                    asked, swept = False, now
                if counts.tail_rows:
                    continue  # more may wait
            asked |= self._heard(connection, stop)

    def _run(self, compaction: Compaction, least_rows: int) -> Counts:
        began = self.clock.monotonic()
        counts = compaction.run(least_rows)
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

    def _heard(self, connection: Connection, stop: threading.Event) -> bool:
        """Waits for the next poll; True as soon as a reader asks."""
        until = self.clock.monotonic() + self.chosen.poll_s
        while not stop.is_set() and (left := until - self.clock.monotonic()) > 0:
            for _ in connection.notifies(timeout=min(left, TICK_S), stop_after=1):
                return True
        return False
