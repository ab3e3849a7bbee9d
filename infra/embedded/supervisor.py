"""Runs a node: starts everything, restarts what dies, stops cleanly.

`python -m infra.embedded.supervisor DIR`, detached by `twinward node up`. One
thread: every program is leashed to it (leash.py), so when this process ends,
however it ends, nothing of the node goes on. Order: PostgreSQL, migrations,
programs (they wait for each other by themselves); stopping: programs, then
PostgreSQL, so that the last transactions have where to go.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.embedded import schema
from infra.embedded.health import Watch
from infra.embedded.node import Node
from infra.embedded.programs import KINDS, Place, Program, choose_ports, listeners, write_settings
from twinward import telemetry
from twinward.clock import Chance, Clock, SystemChance, SystemClock
from twinward.errors import TwinwardError

ENDED = telemetry.event("program_ended", "program", "code", "restarts")

TICK_S = 0.1
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
FORGIVEN_S = 60.0  # after this long alive the backoff starts anew
ALIVE_S = 1.0  # a program without a door that has run for so long did not end at once
STOP_S = 12.0
POSTGRES = "postgres"
telemetry.register(POSTGRES, "supervisor", *{program.name for kind in KINDS.values() for program in kind.programs})
LOG_BYTES = 20_000_000  # a log beyond this is kept once as .1 at the next start


@dataclass
class Child:
    """One program under supervision."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    since_ms: int = 0
    started: float = 0.0  # monotonic
    restarts: int = 0
    failures: int = 0
    due: float = 0.0  # monotonic: not before
    exit_code: int | None = None


class Supervisor:
    """`run` blocks until `stop` is set."""

    def __init__(self, node: Node, clock: Clock, chance: Chance, programs: Sequence[Program] | None = None) -> None:
        """`programs`: only these; default all of the node's kind."""
        programs = node.kind.programs if programs is None else programs
        self.node = node
        self.clock = clock
        self.chance = chance
        self.stop = threading.Event()
        self.missing = [program.name for program in programs if not program.installed]
        self.children = [Child(program) for program in programs if program.installed]
        self.postgres = node.postgres(chance)
        self.database = Child(Program(POSTGRES, ""))
        self.watch: Watch | None = None
        self.phase = "keys"
        self._began_ms = clock.now_ms()
        self._told: dict[str, bool] = {}

    def run(self) -> None:
        """
        Raises:
            Unready: the database or its schema cannot be brought up, a port is taken, a key cannot be read.
        """
        self._sweep()
        self._write()
        self.node.renew(self.clock, self.chance)
        present = [child.program for child in self.children]
        ports = choose_ports(listeners(present), self.node.ports, self.node.last_ports(), self.node.listen_host)
        place = self.node.place(ports, self.chance)
        self.node.write("ports.json", dict(ports))
        write_settings(present, place, self.node.further)
        try:
            self._start_database(place)
            self.phase = "programs"
            self.watch = Watch(present, place)
            self.watch.start()
            while not self.stop.wait(TICK_S):
                self._tick()
        finally:
            self.phase = "stopping"
            self._write()
            self._stop_all()
            self.phase = "down"
            self._write()

    def _sweep(self) -> None:
        """A supervisor that was killed took its programs along; this makes sure before ports are chosen."""
        known = self.node.state().get("programs")
        for entry in known.values() if isinstance(known, dict) else []:
            _end(entry.get("pid"), entry.get("since_ms"))
        self.postgres.stop()

    def _start_database(self, place: Place) -> None:
        self.phase = "database"
        self._write()
        self.postgres.initialise()
        self._run_database()
        self.postgres.make_roles()
        self.postgres.make_database()
        self.phase = "schema"
        self._write()
        schema.bring_up(self.postgres, place, self.node.kind, self.clock)

    def _run_database(self) -> None:
        self.postgres.start()
        self.database.process = self.postgres.process
        self.database.since_ms, self.database.started = self.clock.now_ms(), self.clock.monotonic()

    def _tick(self) -> None:
        changed = self._mind_database()
        for child in self.children:
            changed |= self._mind(child)
        healths = {child.program.name: self._healthy(child) for child in self._all()}
        if changed or healths != self._told:
            self._told = healths
            self._write()

    def _all(self) -> list[Child]:
        return [self.database, *self.children]

    def _mind_database(self) -> bool:
        child = self.database
        if not self._ended(child):
            return False
        if self.clock.monotonic() >= child.due:
            try:
                self._run_database()
                child.restarts += 1
            except TwinwardError:
                self._wait_longer(child)
        return True

    def _mind(self, child: Child) -> bool:
        if child.process is not None and not self._ended(child):
            return False
        if self.clock.monotonic() < child.due:
            return False
        if self.watch is not None:
            self.watch.forget(child.program.name)
        if child.process is not None or child.since_ms:
            child.restarts += 1
        child.process = self._spawn(child.program)
        child.since_ms, child.started = self.clock.now_ms(), self.clock.monotonic()
        return True

    def _ended(self, child: Child) -> bool:
        """Notes once that the process has ended, and when it may start again."""
        if child.process is None:
            return True
        code = child.process.poll()
        if code is None:
            return False
        child.exit_code, child.process = code, None
        telemetry.warn(ENDED, program=child.program.name, code=code, restarts=child.restarts)
        if self.clock.monotonic() - child.started > FORGIVEN_S:
            child.failures = 0
        self._wait_longer(child)
        self._write()
        return True

    def _wait_longer(self, child: Child) -> None:
        child.due = self.clock.monotonic() + BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
        child.failures += 1

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        settings = self.node.directory / "settings" / f"{program.name}.toml"
        log = self.node.logs / f"{program.name}.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        leash = Path(__file__).with_name("leash.py")
        with log.open("ab") as out:
            return subprocess.Popen(  # noqa: S603 - our own programs, no shell
                [sys.executable, "-I", "-S", str(leash), str(int(signal.SIGTERM)), str(os.getpid()), "-1", "-1",
                 *program.command(settings)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.node.run / program.name,
                start_new_session=True, env=environment(),
            )  # fmt: skip

    def _healthy(self, child: Child) -> bool:
        if child.process is None or child.process.poll() is not None:
            return False
        if child.program.alone:
            return self.clock.monotonic() - child.started > ALIVE_S
        return child is self.database or (self.watch is not None and self.watch.serving.get(child.program.name, False))

    def _write(self) -> None:
        programs = {
            child.program.name: {
                "pid": child.process.pid if child.process else None,
                "since_ms": child.since_ms,
                "restarts": child.restarts,
                "exit_code": child.exit_code,
                "healthy": self._healthy(child),
            }
            for child in self._all()
        }
        self.node.write(
            "state.json",
            {
                "pid": os.getpid(), "since_ms": self._began_ms, "phase": self.phase, "programs": programs,
                "missing": self.missing,
            },
        )  # fmt: skip

    def _stop_all(self) -> None:
        if self.watch is not None:
            self.watch.stop()
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = self.clock.monotonic() + STOP_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - self.clock.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.postgres.stop()
        for child in self._all():
            child.process = None


def environment() -> dict[str, str]:
    """What programs inherit: no setting of ours but the log level, one thread per arithmetic library."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TWINWARD_LOG_LEVEL", "VIRTUAL_ENV", "PYTHONPATH")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return found | {
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "GRPC_VERBOSITY": "NONE",
    }


def _end(pid: object, since_ms: object) -> None:
    """Ends a program left by an earlier run; its start must fit, or the number belongs to somebody else."""
    if not isinstance(pid, int) or not isinstance(since_ms, int):
        return
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() * 1000 - since_ms) > 5000 or "--settings" not in process.cmdline():
            return
        process.terminate()
        process.wait(STOP_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        process.kill()


def main() -> int:
    node = Node.open(Path(sys.argv[1]))
    telemetry.LOG.program = "supervisor"
    supervisor = Supervisor(node, SystemClock(), SystemChance())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with node.alone() as free:
        if not free:
            sys.stderr.write("the node is up already\n")
            return 1
        try:
            supervisor.run()
        except TwinwardError as error:
            sys.stderr.write(f"{error.public}\n{error.detail}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
