"""A whole hospital for scenario tests: a node in a temporary directory with all its real processes.

def test_story(hospital: Hospital) -> None:
    twins = TwinStub(hospital.session("clinician").channel("twin"))
    hospital.kill("auth")            # SIGKILL; the supervisor starts it again
    hospital.wait_healthy()
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg

from infra.embedded import control
from infra.embedded.node import Node, init
from infra.embedded.postgres import OWNER
from infra.embedded.programs import HOSPITAL, toml
from services.cli.session import Session
from twinward.clock import SystemChance, SystemClock

WAIT_S = 120.0


def removed(directory: Path) -> None:
    """Removes a node that is down, with the database's home where that lies elsewhere."""
    home = directory / "postgres"
    if home.is_symlink():
        shutil.rmtree(home.resolve(), ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


class Hospital:
    """`init` and `up` happen at once; `close` ends every process and removes every file."""

    KIND = HOSPITAL

    def __init__(self, name: str = "St. Test", further: Mapping[str, Mapping[str, object]] | None = None) -> None:
        """`further`: program -> settings of its own, as in node.toml."""
        self.folder = Path(tempfile.mkdtemp(prefix="tw-hospital-"))
        self.folder.chmod(0o711)  # as root the database's account must walk through
        self.clock = SystemClock()
        self._sessions: list[Session] = []
        self._killed: set[int] = set()
        self._supervisor: subprocess.Popen[bytes] | None = None
        init(self.folder / "node", name, "demo", self.clock, SystemChance(), self.KIND)
        self._set(further or {})
        self.node = Node.open(self.folder / "node")
        try:
            self.up()
        except BaseException:
            self.close()
            raise

    @property
    def directory(self) -> Path:
        return self.node.directory

    def up(self) -> None:
        """Starts and waits until every program is healthy."""
        # Leashed: a test run that is killed leaves no hospital behind.
        self._supervisor = control.start_leashed(self.node)
        for _ in control.progress(self.node, self.clock):
            pass

    def down(self) -> None:
        """Stops cleanly; `up` starts again."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        control.stop(self.node, self.clock)
        if self._supervisor is not None:
            self._supervisor.wait(30)

    def session(self, role: str, purpose: str | None = None) -> Session:
        """A demo person of that role, logged in."""
        session = Session.open(self.directory, role, purpose)
        self._sessions.append(session)
        return session

    def twinward(self, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """The command line on this node, as a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", "--node", str(self.directory), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def pid(self, program: str) -> int:
        """Of any program of the node, for example "auth" or "federation", or of "postgres"."""
        programs = self.node.state()["programs"]
        assert isinstance(programs, dict)
        return int(programs[program]["pid"])

    def kill(self, program: str) -> int:
        """SIGKILL; returns the process id that is gone. The supervisor starts the program again."""
        pid = self.pid(program)
        process = psutil.Process(pid)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        self._killed.add(pid)
        return pid

    def pause(self, program: str) -> int:
        """SIGSTOP: it hangs without dying; `resume` lets it go on."""
        pid = self.pid(program)
        os.kill(pid, signal.SIGSTOP)
        return pid

    def resume(self, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)

    def wait_healthy(self, program: str | None = None) -> None:
        """Until `program` (default: every one) is healthy, and none is a process that was killed here."""
        deadline = time.monotonic() + WAIT_S
        late: list[str] = []
        while time.monotonic() < deadline:
            state = self.node.state()
            programs = state.get("programs")
            entries = programs if isinstance(programs, dict) else {}
            late = control.waiting(state)
            late += [name for name, entry in entries.items() if entry.get("pid") in self._killed]
            if entries and (not late if program is None else program not in late):
                return
            time.sleep(0.1)
        raise AssertionError(f"not healthy in time: {late}")

    def log(self, program: str) -> str:
        return (self.node.logs / f"{program}.log").read_text()

    def dsn(self, role: str = OWNER) -> str:
        """A libpq string with password: a role of the programs, `twinward` (owner) or `postgres`."""
        server = self.node.postgres(SystemChance())
        return f"{server.dsn(role)} password={server.password(role)}"

    def connect(self, role: str = OWNER) -> psycopg.Connection:
        return psycopg.connect(self.dsn(role), autocommit=True)

    def close(self) -> None:
        """Ends everything, whatever state it is in, and removes the files."""
        try:
            if hasattr(self, "node"):
                self.down()
        finally:
            removed(self.folder / "node")
            shutil.rmtree(self.folder, ignore_errors=True)

    def _set(self, further: Mapping[str, Mapping[str, object]]) -> None:
        """Compiled kernels are shared by all hospitals of the tests: compiling takes longer than a story."""
        numba = Path(tempfile.gettempdir()) / f"twinward-numba-{os.geteuid()}"
        numba.mkdir(exist_ok=True, mode=0o700)
        tables: dict[str, dict[str, object]] = {
            name: {"numba_cache_dir": numba} for name in ("twin", "twin-worker", "sessions")
        }
        for name, values in further.items():
            tables.setdefault(name, {}).update(values)
        with (self.folder / "node" / "node.toml").open("a") as file:
            for name, values in tables.items():
                file.write(f"\n[programs.{name}]\n{toml(values)}")
