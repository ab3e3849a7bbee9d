"""A coordinator and hospitals of Flower alone: real programs, without database, logins or patients.

    with Ground(folder, ("a.demo", "b.demo")) as ground:
        ground.start()
        run_id = ground.control.start(study, 1)

The superlink, every SuperNode and every executor are the programs themselves. In place of `rounds.py`, which keeps
its books in a database, `rounds` calls a named function; in place of a hospital's program, `work` answers with one.

    python -m bench.flower_ground rounds|work MODULE:FUNCTION --settings FILE
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from infra.embedded.certificates import Certificates
from infra.embedded.programs import toml
from twinward.clock import SystemChance, SystemClock
from twinward.errors import TwinwardError

if TYPE_CHECKING:
    from services.federation.course import Answer, Ask, Sites
    from services.federation.flower.control import Control

COORDINATOR = "coordinator.demo"
ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 180.0


def free_ports(n: int) -> list[int]:
    """Free a moment ago, and below those that the kernel gives to outgoing connections, so free a moment later too."""
    found: list[int] = []
    with ExitStack() as held:  # all at once, so that none is given twice
        start = int.from_bytes(SystemChance().bytes(2), "big") % 10_000
        for port in (15_000 + (start + place) % 10_000 for place in range(10_000)):
            sock = held.enter_context(socket.socket())
            with suppress(OSError):
                sock.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == n:
                return found
    raise TimeoutError("no free port")


class Ground:
    """A folder with settings and secrets of everybody, and the processes that run on them."""

    def __init__(
        self,
        folder: Path,
        sites: tuple[str, ...],
        *,
        attempt: str = "bench.flower_ground:rounds_of_plain_averaging",
        work: str = "bench.flower_ground:step_of_plain_averaging",
        further: Mapping[str, object] | None = None,
    ) -> None:
        """`attempt`, `work`: names of a `server_app.Attempt` and of a function of a `relay.Work`'s arguments and the
        site's name. `further`: settings of every SuperNode.
        """
        self.folder = folder
        self.sites = sites
        self.attempt = attempt
        self.work = work
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._control: Control | None = None
        self._further = dict(further or {})
        self._fill()

    # Settings

    def _fill(self) -> None:
        chance = SystemChance()
        Certificates(self.folder, COORDINATOR, SystemClock(), chance).ensure(("superlink", "rounds"), ())
        secrets = self.folder / "secrets"
        signer = Ed25519PrivateKey.from_private_bytes(chance.bytes(32))
        _secret(secrets / "bundle.key", signer.private_bytes_raw())
        _secret(secrets / "bundle.pub", signer.public_key().public_bytes_raw())
        _secret(secrets / "control.token", chance.bytes(24).hex().encode())
        _secret(secrets / "runtime.secret", chance.bytes(32))
        self.fleet, self.control_port, self.runtime, *runtimes = free_ports(3 + len(self.sites))
        self._settings("superlink", self._program("superlink") | {
            "fleet_listen": f"127.0.0.1:{self.fleet}", "control_listen": f"127.0.0.1:{self.control_port}",
            "runtime_listen": f"127.0.0.1:{self.runtime}", "runtime_secret_file": secrets / "runtime.secret",
            "control_token_file": secrets / "control.token", "bundle_key_file": secrets / "bundle.key",
        })  # fmt: skip
        self._settings("rounds", self._program("rounds") | {
            "runtime_address": f"127.0.0.1:{self.runtime}", "runtime_secret_file": secrets / "runtime.secret",
        })  # fmt: skip
        for site, port in zip(self.sites, runtimes, strict=True):
            self._site(site, port, chance)

    def _program(self, name: str) -> dict[str, object]:
        pki = self.folder / "pki"
        return {
            "site": COORDINATOR, "profile": "demo", "program": name, "ca_file": pki / "ca.pem",
            "certificate_file": pki / "programs" / f"{name}.pem", "key_file": pki / "programs" / f"{name}.key",
            "database": "", "database_password_file": Path("/dev/null"), "data_dir": self.folder / "run" / name,
        }  # fmt: skip

    def _site(self, site: str, port: int, chance: SystemChance) -> None:
        home = self.folder / "run" / site
        home.mkdir(parents=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        _secret(home / "node.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        _secret(home / "node.pub", key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        _secret(home / "runtime.secret", chance.bytes(32))
        _secret(home / "work.secret", chance.bytes(32))
        self._settings(f"{site}.supernode", {
            "site": site, "coordinator": COORDINATOR, "fleet_address": f"127.0.0.1:{self.fleet}",
            "ca_file": self.folder / "pki" / "ca.pem", "node_key_file": home / "node.key",
            "runtime_listen": f"127.0.0.1:{port}", "runtime_secret_file": home / "runtime.secret",
            "bundle_public_file": self.folder / "secrets" / "bundle.pub", "data_dir": home, **self._further,
        })  # fmt: skip
        self._settings(f"{site}.exec", {
            "site": site, "runtime_address": f"127.0.0.1:{port}", "runtime_secret_file": home / "runtime.secret",
            "work_socket": home / "work.sock", "work_secret_file": home / "work.secret", "data_dir": home,
        })  # fmt: skip

    def _settings(self, name: str, values: Mapping[str, object]) -> None:
        (self.folder / f"{name}.toml").write_text(toml(values))

    def node_key(self, site: str) -> bytes:
        return (self.folder / "run" / site / "node.pub").read_bytes()

    # Processes

    def register(self) -> None:
        """As every hospital's joining leaves the SuperLink; nothing runs before and after."""
        self.run("superlink")
        self.until(self.answers, "the SuperLink does not answer")
        for site in self.sites:
            self.control.register(site, self.node_key(site))
        self.kill("superlink", signal.SIGTERM)

    def start(self, *, registered: bool = False) -> None:
        """Everything; returns when the SuperLink answers and knows every hospital."""
        self.run("superlink")
        self.run("rounds")
        for site in self.sites if registered else ():
            self.start_site(site)
        self.until(self.answers, "the SuperLink does not answer")
        for site in () if registered else self.sites:
            self.control.register(site, self.node_key(site))
            self.start_site(site)

    def start_site(self, site: str) -> None:
        for part in ("work", "supernode", "exec"):
            self.run(f"{site}.{part}")

    def run(self, name: str) -> subprocess.Popen[bytes]:
        part = name.rpartition(".")[2]
        if part in ("rounds", "work"):
            called = self.attempt if part == "rounds" else self.work
            command = ["-m", "bench.flower_ground", part, called]
        else:
            command = ["-m", "services.federation", part]
        settings = name.removesuffix(".work") + (".exec" if part == "work" else "")
        log = (self.folder / f"{name}.log").open("ab")
        child = subprocess.Popen(
            [sys.executable, *command, "--settings", str(self.folder / f"{settings}.toml")],
            cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        self.running[name] = child
        return child

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        child = self.running.pop(name)
        child.send_signal(number)
        child.wait(30)

    @property
    def control(self) -> Control:
        if self._control is None:
            from services.federation.flower.control import Control

            pki, secrets = self.folder / "pki", self.folder / "secrets"
            self._control = Control(f"127.0.0.1:{self.control_port}", pki / "ca.pem", secrets / "control.token")
        return self._control

    def answers(self) -> bool:
        try:
            return self.control.state(1) == "unknown"
        except TwinwardError:
            return False

    def until(self, holds: Callable[[], object], otherwise: str, patience_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not holds():
            ended = [name for name, child in self.running.items() if child.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise TimeoutError(f"{otherwise}; ended: {ended}\n{self.logs()}")
            time.sleep(0.05)

    def finished(self, run_id: int, patience_s: float = PATIENCE_S) -> str:
        self.until(lambda: str(self.control.state(run_id)).startswith("finished"), "the run does not end", patience_s)
        return str(self.control.state(run_id))

    def logs(self) -> str:
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in sorted(self.folder.glob("*.log")))

    def memory_mb(self) -> float:
        """PSS of everything that runs here: shared pages of forks count once."""
        total = 0
        for child in self.running.values():
            with suppress(psutil.NoSuchProcess):
                parent = psutil.Process(child.pid)
                for process in (parent, *parent.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        total += process.memory_full_info().pss
        return total / 1e6

    def stop(self) -> None:
        for child in self.running.values():
            child.terminate()
        for child in self.running.values():
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.running.clear()
        if self._control is not None:
            self._control.close()
            self._control = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _secret(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_bytes(content)
    file.chmod(0o600)


# What is computed where no other is named: plain averaging of a logistic model, as Flower's own FedAvg does it.

FEATURES = 14
PATIENTS = 300


def step_of_plain_averaging(site: str, bundle: bytes, ask: Ask) -> Answer:
    """Twenty steps of gradient descent on a table that is the site's own."""
    import numpy as np

    from services.federation.course import Answer

    x, y = table_of(site)
    weights = ask.vector
    for _ in range(20):
        weights = weights - 0.1 * x.T @ (1 / (1 + np.exp(-x @ weights)) - y) / len(y)
    return Answer(weights, {"n": float(len(y))})


def table_of(site: str) -> tuple[Any, Any]:
    import numpy as np

    draw = np.random.default_rng(sum(site.encode()))
    x = draw.normal(size=(PATIENTS, FEATURES))
    y = (x @ np.linspace(-1, 1, FEATURES) + draw.normal(size=PATIENTS) > 0).astype(float)
    return x, y


def rounds_of_plain_averaging(study: bytes, attempt: int, sites: Sites) -> None:
    """`attempt` rounds; how long each took goes to $GROUND_OUT, a line as soon as it is over."""
    import numpy as np

    from services.federation.course import Ask

    need = int(os.environ.get("GROUND_SITES", "3"))
    pace, weights = threading.Event(), np.zeros(FEATURES)
    while len(sites.online()) < need:
        pace.wait(0.1)
    with Path(os.environ["GROUND_OUT"]).open("a") as out:
        for number in range(1, attempt + 1):
            began = time.monotonic()
            online = sites.online()
            sites.send({site: Ask(study, number, "step", weights) for site in online})
            answers: dict[str, Any] = {}
            while len(answers) < len(online):
                pace.wait(0.05)
                answers.update(sites.receive())
            good = [one for one in answers.values() if not one.refusal]
            if good:
                weights = np.mean([one.vector for one in good], axis=0)
            said = {site: one.refusal for site, one in answers.items()}
            line = {"round": number, "s": time.monotonic() - began, "said": said, "sum": float(weights.sum())}
            out.write(json.dumps(line) + "\n")
            out.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("rounds", "work"))
    parser.add_argument("called")
    parser.add_argument("--settings", type=Path, required=True)
    chosen = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    (_rounds if chosen.part == "rounds" else _work)(chosen.settings, chosen.called, stop)


def _rounds(file: Path, called: str, stop: threading.Event) -> None:
    from services.federation.flower import adapter, rounds_executor
    from services.federation.settings import RoundsSettings
    from twinward.settings import load

    settings = load(RoundsSettings, file)
    adapter.prepare(settings.data_dir / "flower")
    rounds_executor.execute(settings, _named(called), stop)


def _work(file: Path, called: str, stop: threading.Event) -> None:
    from services.federation.flower import relay
    from services.federation.settings import ExecSettings
    from twinward.settings import load

    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    settings, function = load(ExecSettings, file), _named(called)
    secret = settings.work_secret_file.read_bytes()
    relay.serve_work(settings.work_socket, secret, lambda bundle, ask: function(settings.site, bundle, ask), stop)


def _named(called: str) -> Any:  # noqa: ANN401 - whatever it names
    module, _, name = called.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    main()
