"""A real supervisor with real processes: it starts, restarts, stops, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.embedded import control
from infra.embedded.node import Node, init
from infra.embedded.postgres import OWNER
from twinward.clock import SystemChance, SystemClock
from twinward.errors import Unavailable, Unready

ROOT = Path(__file__).parent.parent.parent.parent
CLOCK, CHANCE = SystemClock(), SystemChance()


@pytest.fixture
def node() -> Iterator[Node]:
    """In a folder with a space and an umlaut in its name."""
    folder = Path(tempfile.mkdtemp(prefix="tw sup é-"))
    folder.chmod(0o711)
    made = init(folder / "node", "St. Tiny", "demo", CLOCK, CHANCE)
    try:
        yield made
    finally:
        control.stop(made, CLOCK)
        home = made.directory / "postgres"
        if home.is_symlink():
            shutil.rmtree(home.resolve())
        shutil.rmtree(folder)


def start(node: Node, *arguments: str) -> subprocess.Popen[bytes]:
    with (node.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("tiny_node.py")), str(node.directory), *arguments],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    wait(lambda: node.up or process.poll() is not None)
    return process


def wait(so: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def up(node: Node) -> subprocess.Popen[bytes]:
    process = start(node)
    for _ in control.progress(node, CLOCK, 120):
        pass
    return process


def pids(node: Node) -> dict[str, int]:
    return {one.name: one.pid for one in control.status(node, CLOCK).programs if one.pid is not None}


def test_it_starts_restarts_and_stops(node: Node) -> None:
    process = up(node)
    first = pids(node)
    assert set(first) == {"postgres", "site-idp", "auth", "ingest"}
    with node.postgres(CHANCE).connect(OWNER) as connection:
        connection.execute("create table public.kept (n integer)")
        connection.execute("insert into public.kept values (7)")
    for name in ("auth", "postgres", "site-idp"):
        os.kill(first[name], signal.SIGKILL)
        wait(lambda name=name: pids(node).get(name) not in (None, first[name]))  # type: ignore[misc]
        wait(lambda: not control.waiting(node.state()))
    with node.postgres(CHANCE).connect(OWNER) as connection:
        assert connection.execute("select n from public.kept").fetchone() == (7,)
    status = control.status(node, CLOCK)
    assert {one.name: one.restarts for one in status.programs} == {"postgres": 1, "site-idp": 1, "auth": 1, "ingest": 0}
    assert status.separation == "nominal"
    assert "sealed" in status.root_key
    assert status.memory_bytes > 20_000_000
    last = pids(node)
    assert control.stop(node, CLOCK)
    assert process.wait(60) == 0
    assert not any(psutil.pid_exists(pid) for pid in last.values())
    assert not control.status(node, CLOCK).up
    assert not control.stop(node, CLOCK)


def test_a_killed_supervisor_takes_everything_along_and_the_next_one_starts(node: Node) -> None:
    process = up(node)
    first = pids(node)
    process.kill()
    process.wait(10)
    wait(lambda: not any(psutil.pid_exists(pid) for pid in first.values()))
    second = up(node)
    assert set(pids(node).values()).isdisjoint(first.values())
    control.stop(node, CLOCK)
    assert second.wait(20) == 0


def test_a_program_that_ends_again_and_again_is_named(node: Node) -> None:
    process = start(node, "--ends")
    with pytest.raises(Unavailable, match="ingest ends again and again"):
        for _ in control.progress(node, CLOCK, 120):
            pass
    entry = next(one for one in control.status(node, CLOCK).programs if one.name == "ingest")
    assert entry.exit_code == 3
    assert not entry.healthy
    control.stop(node, CLOCK)
    assert process.wait(60) == 0


def test_a_fixed_port_that_is_taken_stops_the_start_with_a_sentence(node: Node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (node.directory / "node.toml").open("a") as file:
            file.write(f"\n[ports]\nauth = {port}\n")
        process = start(node)
        assert process.wait(60) == 1
    with pytest.raises(Unready, match=f"port {port} of auth is taken"):
        for _ in control.progress(node, CLOCK, 5):
            pass


def test_the_ports_stay_from_one_run_to_the_next(node: Node) -> None:
    process = up(node)
    first = node.last_ports()
    control.stop(node, CLOCK)
    assert process.wait(60) == 0
    process = up(node)
    assert node.last_ports() == first
    control.stop(node, CLOCK)
    assert process.wait(60) == 0
