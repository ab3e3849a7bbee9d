"""Flower's processes are there while the hospital is a member, whatever ends them. Real processes, small ones."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.federation.children import EXECUTOR, SUPERNODE, Children
from services.federation.membership import Membership
from services.federation.settings import ExecSettings, SupernodeSettings
from tests.scenario.ward import until
from tests.unit.federation.ward import SITE
from twinward.clock import SystemChance, SystemClock
from twinward.settings import load

# What the real ones do as far as this is about it: end with the parent, and write the node's number when let in.
CHILD = """
    import ctypes, signal, sys, time, tomllib
    from pathlib import Path
    part, _, settings = sys.argv[1:]
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    chosen = tomllib.loads(Path(settings).read_text())
    if part == "supernode" and not Path(chosen["data_dir"], "shut").exists():
        Path(chosen["data_dir"], "node_id").write_text("7")
    while not Path(chosen["data_dir"], "end").exists():
        time.sleep(0.02)
    sys.exit(305)
"""
MEMBER = Membership(
    coordinator="university.demo", door_address="127.0.0.1:1", fleet_address="127.0.0.1:2", authority="root",
    proxy="proxy.test:3128", certificate="chain", key="key", node_key="node key", bundle_key="ab" * 32, issued_ms=0,
    until_ms=1, leaf=4,
)  # fmt: skip


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    made = Children(
        SITE, tmp_path / "run", SystemClock(), SystemChance(), command=(sys.executable, "-I", "-S", str(script))
    )
    yield made
    made.stop()


def keep(children: Children, member: Membership | None, ready: Callable[[], bool], what: str) -> None:
    def look() -> bool:
        children.tick(member)
        return ready()

    until(look, what, 20.0)


def test_nothing_runs_before_joining_and_after_leaving(children: Children) -> None:
    for none in (None, replace(MEMBER, leaf=0), replace(MEMBER, leaving=True)):
        children.tick(none)
        assert children.pid(SUPERNODE) is None
    keep(children, MEMBER, children.up, "both run")
    pids = [children.pid(SUPERNODE), children.pid(EXECUTOR)]
    children.tick(replace(MEMBER, leaving=True))
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert not (children.folder / "supernode" / "node.key").exists()
    assert not children.up()


def test_their_settings_are_what_they_read_and_nobody_else_can(children: Children) -> None:
    keep(children, MEMBER, children.up, "both run")
    node = load(SupernodeSettings, children.folder / "supernode.toml", {})
    executor = load(ExecSettings, children.folder / "exec.toml", {})
    assert node.runtime_listen == executor.runtime_address
    assert node.runtime_secret_file.read_bytes() == executor.runtime_secret_file.read_bytes()
    assert (node.proxy, node.coordinator, node.fleet_address) == ("proxy.test:3128", "university.demo", "127.0.0.1:2")
    assert node.node_key_file.read_text() == "node key"
    assert node.bundle_public_file.read_bytes() == bytes.fromhex("ab" * 32)
    assert executor.work_socket == children.work_socket
    assert executor.work_secret_file.read_bytes() == children.work_secret
    for file in children.folder.rglob("*"):
        if file.is_file() and file.suffix in (".key", ".secret", ".toml", ".pub", ".pem"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


@pytest.mark.parametrize("name", [SUPERNODE, EXECUTOR])
def test_killed_it_comes_back(children: Children, name: str) -> None:
    keep(children, MEMBER, children.up, "both run")
    other = EXECUTOR if name == SUPERNODE else SUPERNODE
    life, pid, untouched = children.life(), children.pid(name), children.pid(other)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    keep(children, MEMBER, lambda: children.up() and children.pid(name) != pid, "it is there again")
    assert children.life() != life
    assert children.pid(other) == untouched


def test_one_that_was_let_in_before_and_not_since_its_start_is_not_up(children: Children) -> None:
    keep(children, MEMBER, children.up, "both run")
    (children.folder / "supernode" / "shut").touch()
    pid = children.pid(SUPERNODE)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    keep(children, MEMBER, lambda: children.pid(SUPERNODE) not in (pid, None), "it is there again")
    assert not children.up()
    (children.folder / "supernode" / "node_id").write_text("8")
    assert children.up()


def test_one_that_ends_by_itself_is_started_again_and_again(children: Children) -> None:
    keep(children, MEMBER, children.up, "both run")
    (children.folder / "exec" / "end").touch()
    seen: set[int] = set()

    def three() -> bool:
        pid = children.pid(EXECUTOR)
        if pid is not None:
            seen.add(pid)
        return len(seen) >= 3

    keep(children, MEMBER, three, "three of them, one after the other")


def test_a_new_membership_has_processes_of_its_own_and_a_renewed_certificate_keeps_them(children: Children) -> None:
    keep(children, MEMBER, children.up, "both run")
    pid = children.pid(SUPERNODE)
    children.tick(replace(MEMBER, certificate="renewed", key="renewed", until_ms=2))
    assert children.pid(SUPERNODE) == pid
    anew = replace(MEMBER, node_key="another")
    keep(children, anew, lambda: children.up() and children.pid(SUPERNODE) != pid, "the other one's run")
    assert tomllib.loads((children.folder / "supernode.toml").read_text())["coordinator"] == "university.demo"
    assert (children.folder / "supernode" / "node.key").read_text() == "another"


def test_killed_with_the_program_nothing_of_it_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from services.federation.children import Children
        from tests.unit.federation.test_children import MEMBER
        from twinward.clock import SystemChance, SystemClock
        children = Children("a.demo", Path({str(tmp_path / "run")!r}), SystemClock(), SystemChance(),
                            command=(sys.executable, "-I", "-S", {str(script)!r}))
        while True:
            children.tick(MEMBER)
            if children.up():
                print(children.pid("supernode"), children.pid("exec"), flush=True)
            time.sleep(0.05)
        """)
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, str(parent)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        process.kill()
        process.wait()
        until(lambda: not any(_runs(pid) for pid in pids), "they ended too", 20.0)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
