"""What tests of every part use: a real PostgreSQL, and (see hospital.py) a real node."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from infra.embedded.postgres import OWNER, SUPERUSER, Postgres
from infra.postgres.migrate import migrate
from twinward.clock import SystemChance

if TYPE_CHECKING:
    from tests.coordinator import Coordinator
    from tests.hospital import Hospital

TEMPLATE = "migrated"
REAL_DATA = Path(os.environ.get("TWINWARD_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stories first: they take longest, and what runs beside them should not end before them."""
    items.sort(key=lambda item: "scenario" not in item.path.parts)


@dataclass(frozen=True, slots=True)
class Database:
    """One migrated database on the session's server."""

    server: Postgres
    name: str

    def dsn(self, role: str) -> str:
        """A libpq connection string of `role`, password included: auth, ingest, filer, compactor,
        twin, twin_worker, twinward (owner) or postgres (superuser)."""
        password = self.server.password_file(role).read_text()
        return f"{self.server.dsn(role, self.name)} password={password}"

    def connect(self, role: str, *, autocommit: bool = False) -> psycopg.Connection:
        return psycopg.connect(self.dsn(role), autocommit=autocommit)

    def for_settings(self, role: str) -> tuple[str, Path]:
        """`database` and `database_password_file` of a program's settings."""
        return self.server.dsn(role, self.name), self.server.password_file(role)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files; skipped visibly without it."""
    if not REAL_DATA.is_dir():
        pytest.skip("no folder with real data: set TWINWARD_DATA")
    return REAL_DATA


@contextmanager
def running_server(database: str) -> Iterator[Postgres]:
    """A PostgreSQL of the wheel with all roles and one migrated database; ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="tw-pg-"))
    folder.chmod(0o711)  # as root the server's account must walk through
    server = Postgres(folder / "postgres", folder / "secrets", folder / "postgres.log", SystemChance())
    try:
        server.initialise()
        server.start()
        server.make_roles()
        server.make_database(database)
        migrate(server.dsn(OWNER, database), server.password_file(OWNER).read_text())
        yield server
    finally:
        server.stop()
        if server.home.is_symlink():
            shutil.rmtree(server.home.resolve(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The server of all tests; its template is copied for every module."""
    with running_server(TEMPLATE) as server:
        yield server


@pytest.fixture(scope="module")
def postgres(postgres_server: Postgres, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A fresh migrated database for every test module."""
    name = "t_" + "".join(c if c.isalnum() else "_" for c in request.module.__name__.rsplit(".", 1)[-1].lower())[:50]
    postgres_server.make_database(name, TEMPLATE)
    yield Database(postgres_server, name)
    with postgres_server.connect(SUPERUSER, "postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    """A node with all its processes, one for every test module that asks; ends with the module."""
    from tests.hospital import Hospital  # here: most tests need none of it

    running = Hospital()
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def coordinator() -> Iterator[Coordinator]:
    """A coordinator with all its processes, one for every test module that asks."""
    from tests.coordinator import Coordinator

    running = Coordinator()
    try:
        yield running
    finally:
        running.close()
