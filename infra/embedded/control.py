"""Starting, stopping and looking at a node from outside its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, cast

import psutil

from infra.embedded.node import Node
from infra.embedded.supervisor import POSTGRES
from twinward.clock import Clock, SystemChance
from twinward.errors import Unavailable, Unready

HERE = Path(__file__).parent
START_S = 240.0
STOP_S = 60.0
POLL_S = 0.1
LOCK_S = 10.0  # for the supervisor to take its lock
HOPELESS = 5  # restarts without having been healthy


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    name: str
    pid: int | None
    healthy: bool
    uptime_s: float | None
    restarts: int
    exit_code: int | None  # of the last time it ended by itself
    memory_bytes: int  # resident; shared pages counted in every process


@dataclass(frozen=True, slots=True)
class NodeStatus:
    name: str
    site: str
    profile: str
    directory: str
    up: bool
    phase: str
    version: str
    uptime_s: float | None
    separation: str
    root_key: str
    issuer: str
    programs: list[ProgramStatus]
    missing: list[str]
    memory_bytes: int  # of all processes, shared pages counted once
    certificates: dict[str, str]  # name -> end
    certificates_until: str  # the first end

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def start(node: Node) -> None:
    """Starts the supervisor, detached, and returns at once; `progress` follows it."""
    detach = [sys.executable, "-I", "-S", str(HERE / "detach.py")]
    with _log(node) as log:
        subprocess.run(  # noqa: S603 - our own program, no shell
            [*detach, *_supervisor(node)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=True
        )


def start_leashed(node: Node) -> subprocess.Popen[bytes]:
    """As `start`, but the node ends with the calling process, and with the thread that called: for tests."""
    leash = [sys.executable, "-I", "-S", str(HERE / "leash.py"), str(int(signal.SIGTERM)), str(os.getpid()), "-1", "-1"]
    with _log(node) as log:
        return subprocess.Popen(  # noqa: S603 - our own program, no shell
            [*leash, *_supervisor(node)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            start_new_session=True,
        )  # fmt: skip


def _supervisor(node: Node) -> list[str]:
    known = {**node.state(), "phase": "starting"}  # what ran before stays there: the supervisor sweeps it away
    node.write("state.json", {**known, "programs": {n: {**e, "restarts": 0} for n, e in _programs(known).items()}})
    return [sys.executable, "-m", "infra.embedded.supervisor", str(node.directory)]


def _log(node: Node) -> BinaryIO:
    return (node.logs / "supervisor.log").open("ab")


def progress(node: Node, clock: Clock, timeout_s: float = START_S) -> Iterator[Mapping[str, object]]:
    """The supervisor's state, whenever it changed, until every program is healthy.

    Raises:
        Unready: it ended; the sentence is its own.
        Unavailable: not everything is healthy in time; says what is not.
    """
    deadline = clock.monotonic() + timeout_s
    patience = clock.monotonic() + LOCK_S
    last: dict[str, object] = {}
    while clock.monotonic() < deadline:
        state = node.state()
        if state != last:
            last = state
            yield state
        if state.get("phase") == "programs" and not waiting(state):
            return
        for name, entry in _programs(state).items():
            if not entry.get("healthy") and cast(int, entry.get("restarts") or 0) >= HOPELESS:
                raise Unavailable(f"{name} ends again and again: see `twinward {node.noun} logs {name}`")
        if not node.up and (state.get("phase") != "starting" or clock.monotonic() > patience):
            raise Unready(f"the node did not start: {_last_line(node)}")
        time.sleep(POLL_S)
    late = ", ".join(waiting(last)) or str(last.get("phase"))
    raise Unavailable(f"still not healthy: {late}; see `twinward {node.noun} logs`")


def waiting(state: Mapping[str, object]) -> list[str]:
    """Names of programs that are not healthy yet."""
    return [name for name, entry in _programs(state).items() if not entry.get("healthy")]


def stop(node: Node, clock: Clock) -> bool:
    """Stops everything; False when it was down.

    Raises:
        Unavailable: it did not end within a minute, nor after being killed.
    """
    pid = node.state().get("pid")
    if not node.up or not isinstance(pid, int):
        node.postgres(SystemChance()).stop()  # in case somebody started it by hand
        return False
    deadline = clock.monotonic() + STOP_S
    os.kill(pid, signal.SIGTERM)
    while clock.monotonic() < deadline:
        if not node.up:
            return True
        time.sleep(POLL_S)
    os.kill(pid, signal.SIGKILL)  # the leash takes the programs along
    for _ in range(100):
        if not node.up:
            node.postgres(SystemChance()).stop()
            return True
        time.sleep(POLL_S)
    raise Unavailable(f"the node does not stop; see `twinward {node.noun} logs supervisor`")


def status(node: Node, clock: Clock) -> NodeStatus:
    up, state = node.up, node.state()
    now = clock.now_ms()
    programs = [_program(name, entry, now) for name, entry in _programs(state).items()] if up else []
    ends = {name: end.isoformat() for name, end in node.certificates(clock, SystemChance()).expiry().items()}
    since = state.get("since_ms")
    missing = state.get("missing")
    ports = node.last_ports()
    sealed = (node.directory / "pki" / "root.key.sealed").exists()
    return NodeStatus(
        name=node.name,
        site=node.site,
        profile=node.profile,
        directory=str(node.directory),
        up=up,
        phase=str(state.get("phase", "down")) if up else "down",
        version=version("twinward"),
        uptime_s=(now - since) / 1000 if up and isinstance(since, int) else None,
        separation="nominal",  # all programs run as one OS user: a deployment gives each its own
        root_key="on this node, sealed; its passphrase lies beside it (profile demo)" if sealed else "not here",
        issuer=f"https://localhost:{ports['site-idp']}/embedded/{node.site}" if "site-idp" in ports else "",
        programs=programs,
        missing=[str(name) for name in missing] if isinstance(missing, list) else [],
        memory_bytes=_memory(state) if up else 0,
        certificates=ends,
        certificates_until=min(ends.values(), default=""),
    )


def _programs(state: Mapping[str, object]) -> dict[str, dict[str, object]]:
    found = state.get("programs")
    return cast(dict[str, dict[str, object]], found) if isinstance(found, dict) else {}


def _program(name: str, entry: Mapping[str, object], now_ms: int) -> ProgramStatus:
    pid = cast(int | None, entry.get("pid"))
    resident = 0
    if pid is not None:
        try:
            resident = sum(one.memory_info().rss for one in _family(pid, name))
        except psutil.Error:
            pid = None
    since = cast(int, entry.get("since_ms") or 0)
    return ProgramStatus(
        name=name,
        pid=pid,
        healthy=bool(entry.get("healthy")) and pid is not None,
        uptime_s=(now_ms - since) / 1000 if pid is not None and since else None,
        restarts=cast(int, entry.get("restarts") or 0),
        exit_code=cast(int | None, entry.get("exit_code")),
        memory_bytes=resident,
    )


def _family(pid: int, name: str) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children()] if name == POSTGRES else [process]


def _memory(state: Mapping[str, object]) -> int:
    """Proportional set size where the kernel tells it to us, else resident size."""
    total = 0
    pids = [(entry.get("pid"), name) for name, entry in _programs(state).items()]
    for pid, name in [*pids, (state.get("pid"), "supervisor")]:
        if not isinstance(pid, int):
            continue
        try:
            for process in _family(pid, name):
                try:
                    total += process.memory_full_info().pss
                except psutil.AccessDenied:
                    total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _last_line(node: Node) -> str:
    try:
        lines = (node.logs / "supervisor.log").read_text().strip().splitlines()
    except OSError:
        lines = []
    found = next((line for line in reversed(lines) if line.strip()), "")
    return f"{found}; see `twinward {node.noun} logs supervisor`"
