"""Flower's two processes at a hospital: started once it has joined, started again whatever ends them.

    SuperNode    outbound to the coordinator's SuperLink; takes asks, brings back answers
    executor     forks a ClientApp for each ask, which hands it to this program over a private socket

Their settings, keys and secrets are files of mode 0600 below data_dir, written anew before every start, so that they
are always those of the membership as it stands. Both end with the thread that started them (they ask the kernel for
that), so `tick` is called by one thread that lives as long as the program.

A SuperNode counts as up when its process runs and has said since its start that the SuperLink let it in: it writes
its node's number down at that moment (flower/supernode.py).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from services.federation import privatefile
from services.federation.membership import Membership
from twinward import telemetry
from twinward.clock import Chance, Clock

SUPERNODE, EXECUTOR = "supernode", "exec"
# At once after a first end; a SuperNode that was killed may be kept out for some seconds, so never long apart.
BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
FORGIVEN_S = 30.0  # after so long alive the backoff starts anew
STOP_S = 5.0
SECRET_BYTES = 32
NODE_ID = "node_id"
NODE_KEY = "node.key"
WORK_SOCKET = "work.sock"
LOG_BYTES = 10_000_000  # beyond this a log is kept once as .1 at the next start
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TWINWARD_LOG_LEVEL", "VIRTUAL_ENV", "PYTHONPATH")

ENDED = telemetry.event("child_ended", "child", "code", "restarts")
telemetry.register(SUPERNODE, EXECUTOR)


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0  # monotonic
    failures: int = 0
    restarts: int = 0
    due: float = 0.0  # monotonic: not before


@dataclass
class Children:
    """`tick` keeps them as they should be; `up` and `pid` may be asked from any thread."""

    site: str
    folder: Path
    clock: Clock
    chance: Chance
    command: Sequence[str] = (sys.executable, "-m", "services.federation")
    _children: tuple[Child, Child] = field(default_factory=lambda: (Child(SUPERNODE), Child(EXECUTOR)))
    _of: Membership | None = None  # whose processes run
    _seen: int | None = None  # when the node's number was written last, before the present SuperNode started
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.work_secret = self.chance.bytes(SECRET_BYTES)
        self._runtime_secret = self.chance.bytes(SECRET_BYTES)

    @property
    def work_socket(self) -> Path:
        return self.folder / WORK_SOCKET

    def tick(self, member: Membership | None) -> None:
        """Starts what should run and does not, stops what should not."""
        with self._lock:
            wanted = member if member is not None and member.open else None
            if self._of is not None and (wanted is None or _other(self._of, wanted)):
                self._stop()
            if wanted is None:
                self._forget()
                return
            if self._of is None:
                self._port = free_port()
            self._of = wanted
            for child in self._children:
                self._mind(child, wanted)

    def up(self) -> bool:
        """Whether asks can be answered now: both run, and the SuperLink let the SuperNode in."""
        return self.life() != 0

    def life(self) -> int:
        """Another number whenever one of them was started anew: what was asked before is lost. 0: not `up`."""
        with self._lock:
            pids = [one.process.pid for one in self._children if one.process and one.process.poll() is None]
            written = self._written()
            if len(pids) < len(self._children) or written is None or written == self._seen:
                return 0
            return pids[0] << 22 | pids[1]  # a process id has 22 bits at most

    def pid(self, name: str) -> int | None:
        with self._lock:
            return next(
                (child.process.pid for child in self._children if child.name == name and child.process is not None),
                None,
            )

    def stop(self) -> None:
        with self._lock:
            self._stop()

    def _mind(self, child: Child, member: Membership) -> None:
        now = self.clock.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            child.process = None
            telemetry.warn(ENDED, child=child.name, code=code, restarts=child.restarts)
            if now - child.started > FORGIVEN_S:
                child.failures = 0
            child.due = now + BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
            child.failures += 1
            child.restarts += 1
        if now < child.due:
            return
        settings = self._supernode(member) if child.name == SUPERNODE else self._executor()
        if child.name == SUPERNODE:
            self._seen = self._written()
        child.process = self._spawn(child.name, settings)
        child.started = now

    def _spawn(self, name: str, settings: Path) -> subprocess.Popen[bytes]:
        log = self.folder / f"{name}.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as out:
            return subprocess.Popen(  # noqa: S603 - our own programs, no shell
                [*self.command, name, "--settings", str(settings)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder, start_new_session=True,
                env=environment(),
            )  # fmt: skip

    def _stop(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = self.clock.monotonic() + STOP_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - self.clock.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in self._children:
            child.process, child.failures, child.due = None, 0, 0.0
        self._of = None

    def _forget(self) -> None:
        """No key of a membership that is none any more stays; a kill before this is made good at the next tick."""
        key = self.folder / SUPERNODE / NODE_KEY
        if key.exists():
            privatefile.remove(self.folder / SUPERNODE / NODE_ID)
            privatefile.remove(key)

    def _written(self) -> int | None:
        try:
            return (self.folder / SUPERNODE / NODE_ID).stat().st_mtime_ns
        except OSError:
            return None

    def _supernode(self, member: Membership) -> Path:
        """The membership as files; the order does not matter, because nobody reads them yet."""
        own = self.folder / SUPERNODE
        files = {
            "ca_file": ("authority.pem", member.authority.encode()),
            "node_key_file": (NODE_KEY, member.node_key.encode()),
            "bundle_public_file": ("bundle.pub", bytes.fromhex(member.bundle_key)),
            "runtime_secret_file": ("runtime.secret", self._runtime_secret),
        }
        for name, content in files.values():
            privatefile.put(own / name, content)
        return self._settings(
            SUPERNODE,
            {
                "site": self.site,
                "coordinator": member.coordinator,
                "fleet_address": member.fleet_address,
                "runtime_listen": f"127.0.0.1:{self._port}",
                "data_dir": own,
                "proxy": member.proxy,
                **{field: own / name for field, (name, _) in files.items()},
            },
        )

    def _executor(self) -> Path:
        own = self.folder / EXECUTOR
        privatefile.put(own / "runtime.secret", self._runtime_secret)
        privatefile.put(own / "work.secret", self.work_secret)
        return self._settings(
            EXECUTOR,
            {
                "site": self.site,
                "runtime_address": f"127.0.0.1:{self._port}",
                "runtime_secret_file": own / "runtime.secret",
                "work_socket": self.work_socket,
                "work_secret_file": own / "work.secret",
                "data_dir": own,
            },
        )

    def _settings(self, name: str, values: dict[str, object]) -> Path:
        file = self.folder / f"{name}.toml"
        privatefile.put(file, privatefile.toml(values))
        return file


def _other(one: Membership, two: Membership) -> bool:
    """Whether the processes of `one` cannot serve `two`; a renewed certificate is not theirs."""
    return (one.node_key, one.fleet_address, one.authority, one.bundle_key, one.proxy) != (
        two.node_key, two.fleet_address, two.authority, two.bundle_key, two.proxy,
    )  # fmt: skip


def free_port() -> int:
    """A port of loopback that was free a moment ago; taken meanwhile, the SuperNode ends and is started again."""
    with ExitStack() as held:
        sock = held.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def environment() -> dict[str, str]:
    """No setting of ours but the log level, no proxy of the machine's, one thread for each arithmetic library."""
    found = {name: os.environ[name] for name in KEPT if name in os.environ}
    return found | {
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "GRPC_VERBOSITY": "NONE",
    }
