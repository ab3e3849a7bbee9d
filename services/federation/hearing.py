"""What the database tells by itself: new events for who watches, due entries for the director."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg

from services.federation.events import CHANNEL, DUE
from twinward.settings import ProgramSettings

RETRY_S = 1.0
WAIT_S = 0.5  # how long a stop may go unnoticed


class Bell:
    """Counts how often it rang; whoever waits gives the count it knows."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def ring(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def rung(self) -> int:
        with self._changed:
            return self._count

    def wait(self, known: int, seconds: float) -> None:
        """Until it rings beyond `known`, at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != known, seconds)


def listen(settings: ProgramSettings, stop: threading.Event, bell: Bell, due: Callable[[], None]) -> None:
    """Hears the database until `stop`; comes back by itself, and rings then for what it may have missed."""
    password = settings.database_password_file.read_text().strip()
    while not stop.is_set():
        try:
            with psycopg.connect(settings.database, password=password, autocommit=True, connect_timeout=5) as line:
                line.execute(f"listen {CHANNEL}")
                line.execute(f"listen {DUE}")
                bell.ring()
                due()
                while not stop.is_set():
                    for notice in line.notifies(timeout=WAIT_S, stop_after=1):
                        if notice.channel == DUE:
                            due()
                        else:
                            bell.ring()
        except psycopg.Error:
            stop.wait(RETRY_S)
