"""After the database was killed, everybody is served again at once, by connections that live."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import psutil
import psycopg
import pytest
from psycopg_pool import PoolTimeout

from services.auth.settings import AuthSettings
from services.ingest.__main__ import lookups
from services.ingest.settings import IngestSettings
from services.twin.database import open_pool
from services.twin.store import Pool
from tests.conftest import Database, running_server
from tests.unit.auth.office import Office, opened, settings_of
from twinward.database import RECONNECT_S, LivePool, hung_up
from twinward.errors import Unavailable
from twinward.ledger.kinds import Kind
from twinward.record import Purpose


@pytest.fixture(scope="module")
def own() -> Iterator[Database]:
    """A server of this module alone: it is killed."""
    with running_server("own") as server:
        yield Database(server, "own")


def kill(database: Database) -> None:
    """SIGKILL to the server; returns when its backends have noticed, which on a busy machine takes them a moment:
    until then they answer, and hold the memory that the next server needs."""
    process = database.server.process
    assert process is not None
    backends = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    _, alive = psutil.wait_procs(backends, timeout=30)
    assert not alive


def kill_and_restart(database: Database) -> None:
    kill(database)
    database.server.start()


def fill(pool: Pool, n: int) -> None:
    """`n` connections, all idle."""
    with ExitStack() as stack:
        for _ in range(n):
            stack.enter_context(pool.connection()).execute("select 1")


def of_ingest(chosen: AuthSettings) -> Pool:
    return cast("Pool", lookups(cast("IngestSettings", chosen)))


def of_twin(chosen: AuthSettings) -> Pool:
    return open_pool(chosen, 6)


def of_auth(chosen: AuthSettings) -> Pool:
    password = chosen.database_password_file.read_text().strip()
    return LivePool(
        chosen.database, kwargs={"password": password}, max_size=6, timeout=2.0, open=True,
        reconnect_timeout=RECONNECT_S,
    )  # fmt: skip


@pytest.mark.parametrize(("role", "make"), [("auth", of_auth), ("ingest", of_ingest), ("twin", of_twin)])
def test_no_dead_connection_is_handed_out(
    own: Database, tmp_path: Path, role: str, make: Callable[[AuthSettings], Pool]
) -> None:
    database, password = own.for_settings(role)
    chosen = replace(settings_of(tmp_path, own), database=database, database_password_file=password, program=role)
    with make(chosen) as pool:
        fill(pool, 6)
        kill_and_restart(own)
        with ExitStack() as stack:
            for _ in range(6):
                assert stack.enter_context(pool.connection()).execute("select 1").fetchone() == (1,)
        kill(own)
        for _ in range(2):
            with pytest.raises((PoolTimeout, psycopg.OperationalError)), pool.connection(timeout=0.2) as connection:
                connection.execute("select 1")
        own.server.start()
        with pool.connection() as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_live_connection_is_none_that_hung_up_even_with_messages_waiting(own: Database) -> None:
    with own.connect("auth", autocommit=True) as heard, own.connect("auth", autocommit=True) as other:
        heard.execute("listen compact")
        assert not hung_up(heard)
        other.execute("notify compact")
        other.execute("select 1")
        assert not hung_up(heard)
        assert heard.execute("select 1").fetchone() == (1,)
        with own.connect("postgres", autocommit=True) as owner:
            owner.execute("select pg_terminate_backend(%s, 10000)", [heard.info.backend_pid])
        assert hung_up(heard)
        assert not hung_up(other)
    assert hung_up(other)


def test_auth_decides_again_after_its_database_was_killed(own: Database, tmp_path: Path) -> None:
    with opened(tmp_path, own) as office:
        found: Office = office
        handle = found.patient()
        found.team(handle, "dr-1")
        before = found.ask(handle)
        kill_and_restart(own)
        after = found.ask(handle, purpose=Purpose.TREATMENT.value)  # at the first try
        assert after.leaf > before.leaf
        assert found.kinds()[after.leaf] == Kind.GRANT
        kill(own)
        with pytest.raises(Unavailable):
            found.ask(handle)
        own.server.start()
        assert found.ask(handle).leaf > after.leaf
