"""Connections of the twin programs: a pool for work, one of its own for notifications."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO
from uuid import UUID

import psycopg

from services.twin.store import Pool
from twinward.clock import Chance
from twinward.database import RECONNECT_S, LivePool
from twinward.errors import Unready
from twinward.settings import ProgramSettings

POOL_TIMEOUT_S = 5.0
RETRY_S = 1.0
WAIT_S = 0.5  # how long a stop may go unnoticed
_HELD: list[IO[bytes]] = []


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


def worker_id(data_dir: Path, chance: Chance) -> UUID:
    """This worker's own number, the same after a restart: so it goes on with its shares at once.

    Raises:
        Unready: another worker runs with the same folder.
    """
    file = (data_dir / "worker.id").open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Unready("another twin worker runs with this data_dir: give each worker a folder of its own") from None
    _HELD.append(file)  # the lock lives as long as the process
    file.seek(0)
    found = file.read(16)
    if len(found) != 16:
        found = UUID(bytes=chance.bytes(16), version=4).bytes
        file.truncate(0)
        file.write(found)
        file.flush()
    return UUID(bytes=found)


def listen(
    settings: ProgramSettings,
    stop: threading.Event,
    *,
    pending: Callable[[], None],
    revoked: Callable[[bytes], None],
    connected: Callable[[set[bytes]], None],
    refitted: Callable[[set[UUID]], None],
    adopted: Callable[[], None],
) -> None:
    """Hears `twin_pending`, `lease_revoked`, `twin_refit` and `twin_prior` until `stop` is set; comes back by itself.

    `connected` gets the leases that the database shows as live at each (re)connection, `refitted` then those of
    whom a refit may have been written while nobody listened. Then another prior may have been `adopted`, too.
    """
    since: object = None  # the last connection's begin, by the database's clock
    password = settings.database_password_file.read_text().strip()
    while not stop.is_set():
        try:
            with psycopg.connect(settings.database, password=password, autocommit=True, connect_timeout=5) as line:
                line.execute("listen twin_pending")
                line.execute("listen lease_revoked")
                line.execute("listen twin_refit")
                line.execute("listen twin_prior")
                found = line.execute("select id from vault.lease where until > clock_timestamp()").fetchall()
                connected({one.bytes for (one,) in found})
                pending()
                adopted()
                if since is not None:  # at the first connection nothing lives yet
                    missed = line.execute("select distinct handle from twin.refit where at >= %s", (since,)).fetchall()
                    refitted({one for (one,) in missed})
                (since,) = line.execute("select clock_timestamp()").fetchone() or (None,)
                while not stop.is_set():
                    for notice in line.notifies(timeout=WAIT_S):
                        if notice.channel == "twin_pending":
                            pending()
                        elif notice.channel == "lease_revoked":
                            _with_id(notice.payload, lambda one: revoked(one.bytes))
                        elif notice.channel == "twin_prior":
                            adopted()
                        elif notice.channel == "twin_refit":
                            _with_id(notice.payload, lambda one: refitted({one}))
        except psycopg.Error:
            stop.wait(RETRY_S)


def _with_id(payload: str, told: Callable[[UUID], None]) -> None:
    # Any role of the database can notify: what is no id ends nothing, and stops nothing.
    try:
        found = UUID(payload)
    except ValueError:
        return
    told(found)
