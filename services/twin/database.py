"""Connections of the twin programs: a pool for work, one of its own for notifications."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

import psycopg

from services.twin.store import Pool
from twinward.database import RECONNECT_S, LivePool
from twinward.settings import ProgramSettings

POOL_TIMEOUT_S = 5.0
RETRY_S = 1.0
WAIT_S = 0.5  # how long a stop may go unnoticed


def open_pool(settings: ProgramSettings, most: int) -> Pool:
    """Connections of the program's own role, at most `most`. Opened in the background:
    while the database is away, work is refused with Unavailable, not the start."""
    return LivePool(
        settings.database,
        kwargs={"password": settings.database_password_file.read_text().strip()},
        min_size=1,
        max_size=most,
        timeout=POOL_TIMEOUT_S,
        reconnect_timeout=RECONNECT_S,
        open=True,
    )


def listen(
    settings: ProgramSettings,
    stop: threading.Event,
    *,
    pending: Callable[[], None],
    revoked: Callable[[bytes], None],
    connected: Callable[[set[bytes]], None],
) -> None:
    """Hears `twin_pending` and `lease_revoked` until `stop` is set; comes back by itself.

    `connected` gets the leases that the database shows as live at each (re)connection.
    """
    password = settings.database_password_file.read_text().strip()
    while not stop.is_set():
        try:
            with psycopg.connect(settings.database, password=password, autocommit=True, connect_timeout=5) as line:
                line.execute("listen twin_pending")
                line.execute("listen lease_revoked")
                found = line.execute("select id from vault.lease where until > clock_timestamp()").fetchall()
                connected({one.bytes for (one,) in found})
                pending()
                while not stop.is_set():
                    for notice in line.notifies(timeout=WAIT_S):
                        if notice.channel == "twin_pending":
                            pending()
                        elif notice.channel == "lease_revoked":
                            _revoke(notice.payload, revoked)
        except psycopg.Error:
            stop.wait(RETRY_S)


def _revoke(payload: str, revoked: Callable[[bytes], None]) -> None:
    # Any role of the database can notify: what is no id ends nothing, and stops nothing.
    try:
        lease_id = UUID(payload).bytes
    except ValueError:
        return
    revoked(lease_id)
