"""A PostgreSQL 18 of our own: Unix socket only, a password for every role.

Below its home lie `data/` (the cluster) and, where the path is short enough for
a socket, `run/`. Passwords lie apart, one 0600 file a role. Nothing listens on
TCP. The server's log never shows statements, parameters or the values of keys.
"""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.embedded.account import HOUSE, Account, account, binaries
from twinward.clock import Chance
from twinward.errors import Unavailable, Unready

OWNER = "twinward"
DATABASE = "twinward"
SUPERUSER = "postgres"
ROLES = (
    "auth", "ingest", "filer", "compactor", "twin", "twin_worker", "twin_jobs", "sessions", "federation", "coordinator",
)  # fmt: skip
PORT = 5432  # only names the socket
SOCKET_LIMIT = 107  # bytes of a Unix socket's path, sockaddr_un
START_S = 60.0
AGAIN_S = 15.0  # a server that ends at once is started again for this long
STOP_S = 30.0

OPTIONS: dict[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_connections": "120",
    "max_wal_size": "1GB",
    "io_method": "sync",
    "jit": "off",
    "huge_pages": "try",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u ",
    # Nothing of a patient may reach the log: no failed statement (its message quotes values), no DETAIL
    # line, no parameter. The program that made the statement is told.
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
}


class Postgres:
    """One cluster: made by `initialise`, run by `start` and `stop`.

    `home` becomes a private folder of the account that runs it; where that
    account cannot reach it (root's own folders), `home` is a link to one below
    /var/lib/twinward.
    """

    def __init__(
        self, home: Path, passwords: Path, log: Path, chance: Chance, options: Mapping[str, str] | None = None
    ) -> None:
        self.home = home.absolute()
        self.passwords = passwords.absolute()
        self.log = log.absolute()
        self.chance = chance
        self.options = {**OPTIONS, **(options or {})}
        self.account: Account = account()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.home.resolve() / "data"

    @property
    def sockets(self) -> Path:
        """The folder of the socket: in `home`, or a private short one when `home` lies deep."""
        near = self.home.resolve() / "run"
        if len(os.fsencode(near / f".s.PGSQL.{PORT}")) <= SOCKET_LIMIT:
            return near
        short = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        if self.account.other:
            return HOUSE / "sockets" / short
        return Path(tempfile.gettempdir()) / f"twinward-{os.geteuid()}" / short

    def initialise(self) -> bool:
        """Makes the cluster with its superuser; False when it is there already.

        Raises:
            Unready: initdb failed; the log names why.
        """
        self._make_home()
        if (self.data / "PG_VERSION").exists():
            return False
        password = self.password(SUPERUSER)
        with tempfile.NamedTemporaryFile("w", dir=self.home.resolve(), prefix=".init-") as file:
            file.write(password)
            file.flush()
            if self.account.other:
                os.chown(file.name, self.account.uid, self.account.gid)
            made = self._run(
                "initdb", "-D", str(self.data), "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8",
                "--auth=scram-sha-256", f"--pwfile={file.name}", "--data-checksums",
            )  # fmt: skip
        if made != 0:
            raise Unready(f"the database could not be made: {self._last_line()}")
        self._write("pg_hba.conf", "local all all scram-sha-256\n")
        self._write("twinward.conf", "")
        with (self.data / "postgresql.conf").open("a") as file_:
            file_.write("include 'twinward.conf'\n")
        return True

    def start(self) -> int:
        """Starts the server and returns its process id once it answers.

        A lock file left by a killed server is removed when its process is gone
        or is no PostgreSQL of this cluster.

        Raises:
            Unready: it ended at once or does not answer within a minute.
        """
        found = self.running()
        if found is not None:
            return found
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        sockets = self.sockets
        self._make_sockets(sockets)
        lines = [f"{name} = {_quoted(value)}" for name, value in self.options.items()]
        lines.append(f"unix_socket_directories = {_quoted(str(sockets))}")
        self._write("twinward.conf", "\n".join(lines) + "\n")
        began = time.monotonic()
        while True:
            self.process = self._spawn([str(binaries() / "postgres"), "-D", str(self.data)])
            if self._wait(self.process, began + START_S):
                return self.process.pid
            # A server killed a moment ago may still have children that hold its memory.
            if time.monotonic() > began + AGAIN_S:
                raise Unready(f"the database did not start: {self._last_line()}")
            time.sleep(0.2)

    def running(self) -> int | None:
        """The process id of this cluster's server, where one runs."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            process = psutil.Process(int(lines[0]))
            if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith("postgres"):
                return None
            return process.pid if str(self.data) in process.cmdline() else None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None

    def stop(self) -> None:
        """Fast shutdown: sessions end, everything is written; kills after half a minute."""
        pid = self.running()
        if pid is not None:
            self._end(pid)
        if self.sockets.parent != self.home.resolve():
            with suppress(OSError):  # not there, or somebody put something in
                self.sockets.rmdir()

    def _end(self, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            process.send_signal(signal.SIGINT)
            self._gone(process)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            self._gone(process)

    def dsn(self, role: str, database: str = DATABASE) -> str:
        """How `role` connects, as a libpq string without the password."""
        return make_conninfo(host=str(self.sockets), port=PORT, user=role, dbname=database, application_name=role)

    def password_file(self, role: str) -> Path:
        return self.passwords / role

    def password(self, role: str) -> str:
        """Of the role's file, which is made at the first question."""
        file = self.password_file(role)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(self.chance.bytes(24).hex())
        return file.read_text().strip()

    def connect(self, role: str, database: str = DATABASE, *, autocommit: bool = False) -> psycopg.Connection:
        """A connection of `role`.

        Raises:
            Unavailable: the database does not answer.
        """
        try:
            return psycopg.connect(
                self.dsn(role, database), password=self.password(role), autocommit=autocommit, connect_timeout=10
            )
        except psycopg.OperationalError as error:
            raise Unavailable("the database does not answer", detail=str(error)) from None

    def make_roles(self, roles: Sequence[str] = (OWNER, *ROLES)) -> None:
        """Every role with the password of its file; none may create anything but the owner in its database."""
        with self.connect(SUPERUSER, "postgres", autocommit=True) as connection:
            for role in roles:
                # The server gets the SCRAM verifier, so no password can be in its log.
                verifier = connection.pgconn.encrypt_password(
                    self.password(role).encode(), role.encode(), b"scram-sha-256"
                ).decode()
                there = connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
                verb = sql.SQL("alter" if there else "create")
                connection.execute(
                    sql.SQL("{} role {} login nosuperuser nocreatedb nocreaterole password {}").format(
                        verb, sql.Identifier(role), sql.Literal(verifier)
                    )
                )
            # For vault.end_readers_before: ends the programs' backends, sees when they began.
            connection.execute(
                sql.SQL("grant pg_signal_backend, pg_read_all_stats to {}").format(sql.Identifier(OWNER))
            )

    def make_database(self, name: str = DATABASE, template: str = "template0") -> None:
        """Database `name`, owned by `twinward`, open to the programs' roles alone."""
        with self.connect(SUPERUSER, "postgres", autocommit=True) as connection:
            if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None:
                connection.execute(
                    sql.SQL("create database {} owner {} template {}").format(
                        sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
                    )
                )
            who = sql.SQL(", ").join(sql.Identifier(role) for role in ROLES)
            connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
            connection.execute(sql.SQL("grant connect on database {} to {}").format(sql.Identifier(name), who))

    def _make_home(self) -> None:
        if not self.home.is_symlink() and not self.home.exists():
            self.home.parent.mkdir(parents=True, exist_ok=True)
            if not self.account.reaches(self.home.parent):
                elsewhere = HOUSE / "nodes" / self.chance.bytes(8).hex()
                (HOUSE / "nodes").mkdir(exist_ok=True, mode=0o755)
                elsewhere.mkdir()
                self.home.symlink_to(elsewhere)
        self.account.own(self.home.resolve())

    def _make_sockets(self, folder: Path) -> None:
        if folder.parent.parent == Path(tempfile.gettempdir()):
            # Others can write to /tmp: the parent must be ours and closed, not one laid there for us.
            folder.parent.mkdir(exist_ok=True, mode=0o700)
            found = folder.parent.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise Unready(f"{folder.parent} belongs to somebody else or is open to others: remove it")
        elif folder.parent == HOUSE / "sockets":
            folder.parent.mkdir(exist_ok=True, mode=0o755)
        self.account.own(folder)

    def _last_line(self) -> str:
        """PostgreSQL's own last word; its log holds no data (see OPTIONS)."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"{self.log.name} is empty"

    def _write(self, name: str, text: str) -> None:
        file = self.data / name
        file.write_text(text)
        file.chmod(0o600)
        if self.account.other:
            os.chown(file, self.account.uid, self.account.gid)

    def _run(self, program: str, *arguments: str) -> int:
        return self._spawn([str(binaries() / program), *arguments]).wait()

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        leash = Path(__file__).with_name("leash.py")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own programs, no shell
                [sys.executable, "-I", "-S", str(leash), str(int(signal.SIGINT)), str(os.getpid()),
                 str(self.account.uid), str(self.account.gid), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            )  # fmt: skip

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """True once it answers, False when it ended; kills it at the deadline."""
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            try:
                self.connect(SUPERUSER, "postgres").close()
            except Unavailable:
                time.sleep(0.03)
            else:
                return True
        process.send_signal(signal.SIGQUIT)
        process.wait(STOP_S)
        return False

    def _gone(self, process: psutil.Process) -> None:
        if self.process is not None and self.process.pid == process.pid:
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                raise psutil.TimeoutExpired(STOP_S) from None
        else:
            process.wait(STOP_S)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
