"""The real SuperLink, SuperNodes and executors: who is let in, and what is left of a kill."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.flower_ground import Ground
from services.federation.flower import adapter, bundle
from services.federation.flower.control import Control
from services.federation.flower.listeners import CONTROL, FLEET, RUNTIME
from twinward.errors import BadInput, Conflict, Unready

SITES = ("a.demo", "b.demo")
PROTOBUF = {"content-type": "application/protobuf", "accept": "application/protobuf"}


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    folder = Path(tempfile.mkdtemp(prefix="tw-"))
    os.environ |= {"GROUND_OUT": str(folder / "out.jsonl"), "GROUND_SITES": str(len(SITES))}
    with Ground(folder, SITES) as found:
        found.start()
        yield found
    shutil.rmtree(folder, ignore_errors=True)


def rounds(ground: Ground) -> list[dict[str, Any]]:
    file = ground.folder / "out.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines() if line] if file.exists() else []


def post(ground: Ground, port: int, path: str, *, tls: bool, headers: dict[str, str] | None = None) -> int:
    """The status of an empty call by somebody who has the authority's certificate and nothing else."""
    context = ssl.create_default_context(cafile=str(ground.folder / "pki" / "ca.pem"))
    line = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    )
    try:
        line.request("POST", path, b"", {**PROTOBUF, **(headers or {})})
        return line.getresponse().status
    finally:
        line.close()


def test_a_run_goes_through_all_programs(ground: Ground) -> None:
    before = len(rounds(ground))
    run_id = ground.control.start(b"\7" * 32, 2)
    assert ground.control.state(run_id) in ("pending", "running")
    assert ground.finished(run_id) == "finished:completed"
    done = rounds(ground)[before:]
    assert [one["said"] for one in done] == [dict.fromkeys(SITES, "")] * 2
    ground.control.stop(run_id)  # one that has ended is no error


def test_an_outsider_reaches_no_control_and_no_runtime(ground: Ground) -> None:
    """With isolation by subprocess, as Flower comes, an outsider takes tasks and bundles off the public port."""
    for path in CONTROL | RUNTIME | {"/v1/fleet/register-node", "/v1/fleet/unregister-node", "/health", "/docs", "/"}:
        assert post(ground, ground.fleet, path, tls=True) == 404, path
    for path in CONTROL:
        assert post(ground, ground.control_port, path, tls=True) == 401, path
        assert post(ground, ground.control_port, path, tls=True, headers={"authorization": "Bearer x"}) == 401, path
    for path in FLEET | RUNTIME | {"/v1/control/list-federations", "/v1/control/get-login-details"}:
        assert post(ground, ground.control_port, path, tls=True) == 404, path
    assert post(ground, ground.runtime, "/v1/runtime/acquire-task", tls=False) in (401, 403)
    for path in FLEET | CONTROL | {"/v1/runtime/create-task", "/v1/runtime/responses"}:
        assert post(ground, ground.runtime, path, tls=False) == 404, path
    for path in RUNTIME - {"/v1/runtime/acquire-task"}:
        assert post(ground, ground.runtime, path, tls=False) in (401, 403), path
    for path in FLEET:
        assert post(ground, ground.fleet, path, tls=True) == 401, path


def test_another_token_is_refused_with_a_sentence(ground: Ground, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x" * 48)
    control = Control(f"127.0.0.1:{ground.control_port}", ground.folder / "pki" / "ca.pem", token)
    with pytest.raises(Unready, match="token"):
        control.state(1)
    control.close()


def test_registering(ground: Ground) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(3)]
    first, second, third = (key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in keys)
    node = ground.control.register("c.demo", first)
    assert ground.control.register("c.demo", first) == node
    with pytest.raises(Conflict):
        ground.control.register("d.demo", first)
    assert ground.control.register("c.demo", second) != node
    with pytest.raises(Conflict):  # the key that the second took the place of
        ground.control.register("c.demo", first)
    last = ground.control.register("c.demo", third)
    ground.control.unregister(last)
    ground.control.unregister(last)
    with pytest.raises(BadInput):
        ground.control.register("c.demo", b"no key")
    assert ground.control.state(12345) == "unknown"


def supernode(ground: Ground, name: str, **changes: object) -> subprocess.Popen[bytes]:
    """A SuperNode of a.demo's settings with `changes`, in a folder of its own."""
    home = ground.folder / "run" / name
    home.mkdir(mode=0o700)
    text = (ground.folder / "a.demo.supernode.toml").read_text()
    lines = [
        line for line in text.splitlines() if line.partition(" =")[0] not in {*changes, "data_dir", "runtime_listen"}
    ]
    values = {**changes, "data_dir": str(home), "runtime_listen": "127.0.0.1:0"}
    file = ground.folder / f"{name}.toml"
    file.write_text("\n".join([*lines, *(f"{key} = {json.dumps(str(value))}" for key, value in values.items())]))
    return subprocess.Popen(
        [sys.executable, "-m", "services.federation", "supernode", "--settings", str(file)], stderr=subprocess.PIPE
    )


def test_a_node_whose_key_nobody_registered_is_refused(ground: Ground, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "node.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    child = supernode(ground, "stranger", node_key_file=tmp_path / "node.key")
    _, said = child.communicate(timeout=60)
    assert child.returncode == 1
    assert b"does not let this SuperNode in" in said


@pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning")  # of Flower's migrations
def test_an_edited_bundle_is_refused_before_any_of_it_runs(ground: Ground) -> None:
    """A coordinator that was broken into: it stores other code, signs it with the real key, and starts it."""
    key = (ground.folder / "secrets" / "bundle.key").read_bytes()
    ran = ground.folder / "ran"
    files = {name: text.encode() for name, text in bundle.SHIM.items()}
    files["twinward_bundle/client.py"] += f"open({str(ran)!r}, 'w').close()\n".encode()
    edited = bundle.packed({**files, "twinward_bundle/sources.txt": bundle.sources()})
    _store(ground, edited, bundle.signed(edited, key))
    assert _start(ground, edited) == {"WRONG_BUNDLE"}
    # The right bundle under another's signature, and under none.
    other = Ed25519PrivateKey.generate().private_bytes_raw()
    for records in (bundle.signed(bundle.bundle_bytes(), other), {}):
        _store(ground, bundle.bundle_bytes(), records)
        assert _start(ground, bundle.bundle_bytes()) == {"WRONG_BUNDLE"}
    assert not ran.exists()
    _store(ground, bundle.bundle_bytes(), bundle.signed(bundle.bundle_bytes(), key))
    assert _start(ground, bundle.bundle_bytes()) == {""}


def _store(ground: Ground, content: bytes, records: dict[str, str]) -> None:
    """As whoever has the SuperLink's state file could."""
    from flwr.superlink.config_loader import get_federation_manager, get_objectstore_linkstate_factories

    state = ground.folder / "run" / "superlink" / "link" / "state.db"
    _, factory = get_objectstore_linkstate_factories(str(state), get_federation_manager())
    adapter.store_bundle(
        SimpleNamespace(state=SimpleNamespace(linkstate_factory=factory)),
        bundle.APP,
        content,
        records,  # type: ignore[arg-type]
    )


def _start(ground: Ground, content: bytes) -> set[str]:
    before = len(rounds(ground))
    calls: adapter.ControlCalls = ground.control._calls
    run_id = calls.start(bundle.APP, hashlib.sha256(content).digest(), {"study": "07" * 32, "attempt": 1})
    assert ground.finished(run_id) == "finished:completed", ground.logs()
    [done] = rounds(ground)[before:]
    return set(done["said"].values())


def test_a_supernode_that_was_killed_comes_back_at_once(ground: Ground) -> None:
    """Flower itself would keep it out until its heartbeats are over."""
    ground.kill("a.demo.supernode")
    log = ground.folder / "a.demo.supernode.log"
    before = log.read_text().count("supernode_joined")
    ground.run("a.demo.supernode")
    ground.until(lambda: log.read_text().count("supernode_joined") > before, "it does not come back")
    assert _start(ground, bundle.bundle_bytes()) == {""}


def test_a_superlink_that_was_killed_goes_on(ground: Ground) -> None:
    before = len(rounds(ground))
    run_id = ground.control.start(b"\7" * 32, 4)
    ground.until(lambda: len(rounds(ground)) > before, "no round")
    ground.kill("superlink")
    ground.run("superlink")
    ground.until(ground.answers, "it does not answer again")
    ended = ground.finished(run_id, 90)
    assert ended == "finished:completed"
    assert len(rounds(ground)) - before == 4


def test_an_executor_that_was_killed_leaves_a_run_that_is_over(ground: Ground) -> None:
    """The director begins the study's next attempt as soon as it hears so."""
    before = len(rounds(ground))
    run_id = ground.control.start(b"\7" * 32, 1000)
    ground.until(lambda: len(rounds(ground)) > before, "no round")
    ground.kill("rounds")
    ground.run("rounds")
    assert ground.finished(run_id, 60) == "finished:failed"
    assert _start(ground, bundle.bundle_bytes()) == {""}


def test_a_run_that_is_stopped_ends(ground: Ground) -> None:
    before = len(rounds(ground))
    run_id = ground.control.start(b"\7" * 32, 1000)
    ground.until(lambda: len(rounds(ground)) > before, "no round")
    ground.control.stop(run_id)
    assert ground.control.state(run_id) == "finished:stopped"


def test_children_end_with_their_parent(ground: Ground) -> None:
    script = (
        "import subprocess, sys; c = subprocess.Popen([sys.executable, '-m', 'services.federation', 'exec',"
        " '--settings', sys.argv[1]], stdout=2); print(c.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(ground.folder / "a.demo.exec.toml")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert parent.stdout is not None
    assert parent.stderr is not None
    child = int(parent.stdout.readline())
    assert b"started" in parent.stderr.readline()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for pipe in (parent.stdin, parent.stdout, parent.stderr):
        assert pipe is not None
        pipe.close()
    ground.until(lambda: not Path(f"/proc/{child}").exists() or "Z" in _state(child), "the child lives on")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


class Proxy(threading.Thread):
    """An HTTP CONNECT proxy for one connection after the other's beginning; remembers where they went."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.asked: list[str] = []

    def run(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self.sock.accept()
                threading.Thread(target=self._one, args=(line,), daemon=True).start()

    def _one(self, line: socket.socket) -> None:
        with line, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += line.recv(4096)
            self.asked.append(head.split(b"\r\n")[0].decode())
            host, _, port = self.asked[-1].split()[1].partition(":")
            with socket.create_connection((host, int(port))) as there:
                line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_pour, args=(there, line), daemon=True)
                back.start()
                _pour(line, there)


def _pour(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)


def test_a_supernode_behind_a_proxy_comes_through_it_alone(ground: Ground, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "node.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    node = ground.control.register("far.demo", public)
    proxy = Proxy()
    proxy.start()
    child = supernode(ground, "far", node_key_file=tmp_path / "node.key", proxy=proxy.address)
    known = ground.folder / "run" / "far" / "node_id"
    ground.until(known.exists, "it does not come through")
    assert int(known.read_text()) == node
    assert set(proxy.asked) == {f"CONNECT 127.0.0.1:{ground.fleet} HTTP/1.1"}
    child.terminate()
    child.communicate(timeout=30)
    assert child.returncode == 0
    proxy.sock.close()
