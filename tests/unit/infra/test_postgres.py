"""The embedded database: private, durable, wherever the directory lies and whoever runs it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from infra.embedded.postgres import OWNER, ROLES, SUPERUSER, Postgres
from infra.postgres.migrate import migrate, newest
from tests.conftest import Database
from twinward.clock import SystemChance
from twinward.errors import Unavailable, Unready

ROOT = Path(__file__).parent.parent.parent.parent
CANARY = "Example, Mary"


def made(folder: Path) -> Postgres:
    return Postgres(folder / "postgres", folder / "secrets", folder / "postgres.log", SystemChance())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Deep, with spaces and quotes in its name, and closed to everybody else."""
    top = Path(tempfile.mkdtemp(prefix="tw-deep-"))  # 0700: as root the database's account cannot walk in
    deep = top / ("it's a «deep» one " * 3) / ("x" * 60)
    deep.mkdir(parents=True)
    yield deep
    server = made(deep)
    server.stop()
    if server.home.is_symlink():
        shutil.rmtree(server.home.resolve())
    shutil.rmtree(top)


def test_a_deep_closed_folder_does(folder: Path) -> None:
    server = made(folder)
    assert server.initialise()
    assert not server.initialise()
    pid = server.start()
    assert server.start() == pid
    server.make_roles()
    server.make_roles()
    server.make_database()
    with server.connect("auth") as connection:
        assert connection.execute("show fsync").fetchone() == ("on",)
        assert connection.execute("show listen_addresses").fetchone() == ("",)
        version = connection.execute("show server_version_num").fetchone()
        assert version is not None
        assert version[0].startswith("18")
    path = server.sockets / ".s.PGSQL.5432"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert len(os.fsencode(path)) <= 107
    assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert psutil.Process(pid).uids().effective != 0
    listening = [one for one in psutil.Process(pid).net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert listening == []
    server.stop()
    assert server.running() is None
    with pytest.raises(Unavailable):
        server.connect("auth")
    if server.sockets.parent != server.home.resolve():
        assert not server.sockets.exists()


def test_what_was_committed_survives_kill_9_with_sessions_open(folder: Path) -> None:
    server = made(folder)
    server.initialise()
    server.start()
    server.make_roles()
    server.make_database()
    open_session = server.connect(OWNER, autocommit=True)
    open_session.execute("create table public.kept (n integer)")
    for round_ in range(3):
        with server.connect(OWNER) as connection:
            connection.execute("insert into public.kept values (%s)", [round_])
        process = server.process
        assert process is not None
        process.kill()
        process.wait(20)
        assert server.start() != process.pid
        with server.connect(OWNER) as connection:
            found = connection.execute("select array_agg(n order by n) from public.kept").fetchone()
        assert found == (list(range(round_ + 1)),)
    open_session.close()
    server.stop()


def test_a_lock_file_of_another_process_does_not_stop_it(folder: Path) -> None:
    server = made(folder)
    server.initialise()
    lines = [str(os.getpid()), str(server.data), "0", "5432", "", "", "0", "ready"]
    (server.data / "postmaster.pid").write_text("\n".join(lines) + "\n")  # as after a reboot, the number reused
    assert server.running() is None
    server.start()
    server.stop()


def test_a_broken_cluster_says_why(folder: Path) -> None:
    server = made(folder)
    server.initialise()
    (server.data / "PG_VERSION").write_text("11\n")
    before = time.monotonic()
    with pytest.raises(Unready, match="database"):
        Postgres(folder / "postgres", folder / "secrets", folder / "postgres.log", SystemChance()).start()
    assert time.monotonic() > before


def test_passwords_are_private_and_all_different(postgres: Database) -> None:
    files = [postgres.server.password_file(role) for role in (SUPERUSER, OWNER, *ROLES)]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == len(files)


def test_passwords_are_stored_as_scram_and_roles_are_nobody(postgres: Database) -> None:
    with postgres.connect(SUPERUSER) as connection:
        rows = connection.execute(
            "select rolpassword, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls from pg_authid"
            " where rolname = any(%s)",
            [[OWNER, *ROLES]],
        ).fetchall()
    assert len(rows) == 1 + len(ROLES)
    assert all(row[0].startswith("SCRAM-SHA-256$") and not any(row[1:]) for row in rows)


def test_no_password_no_entry_not_even_for_the_superuser(postgres: Database) -> None:
    for role in (SUPERUSER, OWNER, "auth"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(postgres.server.dsn(role, postgres.name))


def test_a_failing_statement_leaves_nothing_in_the_log(postgres: Database) -> None:
    with postgres.connect(OWNER, autocommit=True) as connection:
        connection.execute("create table public.named (name text primary key)")
        connection.execute("insert into public.named values (%s)", [CANARY])
        with pytest.raises(psycopg.errors.UniqueViolation, match=CANARY):  # the client is told; the log is not
            connection.execute("insert into public.named values (%s)", [CANARY])
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match=CANARY):
            connection.execute(f"select '{CANARY}'::integer".encode())
    text = postgres.server.log.read_text()
    assert "ready to accept connections" in text
    assert CANARY not in text


def test_migrating_twice_does_nothing_and_a_newer_database_is_refused(postgres: Database) -> None:
    dsn, file = postgres.for_settings(OWNER)
    password = file.read_text()
    assert migrate(dsn, password) == newest()
    with postgres.connect(OWNER) as connection:
        connection.execute("update public.alembic_version set version_num = '9999'")
    try:
        with pytest.raises(Unready, match="newer version"):
            migrate(dsn, password)
    finally:
        with postgres.connect(OWNER) as connection:
            connection.execute("update public.alembic_version set version_num = %s", [newest()])


AS_SOMEBODY = """
import sys
from pathlib import Path
from infra.embedded.postgres import Postgres
from twinward.clock import SystemChance
home = Path(sys.argv[1])
server = Postgres(home / "postgres", home / "secrets", home / "log", SystemChance())
server.initialise(); server.start(); server.make_roles(); server.make_database()
print(server.connect("twin").execute("select current_user").fetchone()[0])
server.stop()
"""


def test_an_ordinary_user_runs_it(postgres_server: Postgres) -> None:
    """As ourselves; root goes through the database's own account, which it may become."""
    home = Path(tempfile.mkdtemp(prefix="tw-user-"))
    command: list[str] = []
    if os.geteuid() == 0:
        account = postgres_server.account
        os.chown(home, account.uid, account.gid)
        command = [
            "setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups",
            # The interpreter may lie in root's own folder: it may be read, nothing else.
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
        ]  # fmt: skip
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", AS_SOMEBODY, str(home)],
            capture_output=True, text=True, check=False, cwd="/", timeout=120,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    finally:
        shutil.rmtree(home)
    assert (done.returncode, done.stdout.strip()) == (0, "twin"), done.stderr


def test_a_folder_of_somebody_else_in_tmp_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short socket folder lies where others can write: one laid there before us is refused."""
    if os.geteuid() == 0:
        monkeypatch.setattr("infra.embedded.postgres.HOUSE", Path("/var/lib/twinward"))
        assert made(folder).sockets.is_relative_to("/var/lib/twinward") or made(folder).sockets.name == "run"
        return
    laid = Path(tempfile.gettempdir()) / f"twinward-{os.geteuid()}"
    laid.mkdir(exist_ok=True)
    laid.chmod(0o777)
    server = made(folder)
    server.initialise()
    try:
        with pytest.raises(Unready, match="remove it"):
            server.start()
    finally:
        laid.chmod(0o700)


def test_no_tcp_even_if_somebody_asks(postgres: Database) -> None:
    with socket.socket() as probe, pytest.raises(OSError, match="refused"):
        probe.connect(("127.0.0.1", 5432))
