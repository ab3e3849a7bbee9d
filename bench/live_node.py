"""A demo node with the programs that keep twins living, many patients, and the pen of ingest.

Real processes: PostgreSQL, site-idp, auth, one or more twin workers. Patients are admitted
and their consents set through auth's own doors; readings are sealed and committed by the
writer that ingest uses, with its instance key and its database role.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
import psycopg

from bench.node import folder, supervised, wait
from infra.embedded.node import Node, init
from infra.embedded.postgres import SUPERUSER
from infra.embedded.programs import PROGRAMS, settings_of, toml
from infra.embedded.supervisor import environment
from services.cli.session import Session
from services.cli.virtual_fhir import PURPOSE_SYSTEM
from services.ingest.__main__ import pens
from services.ingest.commit import Pen
from services.ingest.settings import IngestSettings
from twinward import settings
from twinward.clock import SystemChance, SystemClock, utc
from twinward.link.client import open_channel
from twinward.link.service import ServiceTokens
from twinward.record import CGM_GLUCOSE, TWIN_INPUTS, Category, Document, Handle, Measurement
from twinward.vault import hpke
from twinward.vault.acceptance import Batch, SealedPart
from twinward.vault.identifiers import Admission
from twinward.wire.codec.admission import AuthCalls, ToAdmit
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2

WANTED = ("site-idp", "auth", "twin-worker")
STEP_MS = 300_000
TOGETHER = 64  # messages of one commit, as ingest groups them
UP_S = 120.0
BROUGHT_UP = "twinward_twins_brought_up_total"
FULL = "twinward_twin_full_readings_total"
CATEGORIES = (*TWIN_INPUTS, Category.MODEL_STATE)


def message(handle: Handle, readings: Sequence[tuple[int, float]], received_ms: int) -> SealedPart:
    """One message of (effective_ms, mg/dL): the numbers, and each resource as it came."""
    rows, documents = [], []
    for at_ms, value in readings:
        lineage = handle.bytes[:8] + at_ms.to_bytes(8, "big")
        body = orjson.dumps({
            "resourceType": "Observation", "status": "final", "effectiveDateTime": utc(at_ms).isoformat(),
            "code": {"coding": [{"system": "http://loinc.org", "code": "99504-3"}]},
            "valueQuantity": {"value": value, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
        })  # fmt: skip
        source = "observations/sensor"
        rows.append(Measurement(CGM_GLUCOSE, at_ms, received_ms, value, "mg/dL", lineage, source=source))
        documents.append(Document("Observation", at_ms, received_ms, lineage, body, source="observations"))
    return SealedPart(handle, Category.DEVICES, rows, documents)


@dataclass
class Ground:
    """The running node. CPU seconds are those of the operating system's accounts."""

    node: Node
    _pen: Pen | None = None

    # Patients ----------------------------------------------------------------------

    def enrol(self, n: int) -> list[Handle]:
        """Admitted with public keys; each has a verified Consent that permits upkeep."""
        admit = hpke.public_key((self.node.directory / "pki" / "admit.pub").read_bytes())
        info = hpke.INFO_ADMIT + self.node.site.encode()
        sealed = [
            ToAdmit(
                hpke.seal(admit, Admission((("urn:mrn", f"live-{at}"),), CATEGORIES).encode(), info), None, CATEGORIES
            )
            for at in range(n)
        ]
        chosen = self._ingest()
        with open_channel(chosen.auth_address, "auth", chosen, ServiceTokens.of(chosen, SystemClock())) as channel:
            calls = AuthCalls(channel)
            answers = [one for at in range(0, n, 250) for one in calls.admit("files", sealed[at : at + 250], 60.0)]
        handles = [one.handle for one in answers if one.handle is not None]
        assert len(handles) == n, {one.refused for one in answers}
        session = Session.open(self.node.directory, "data-steward", None)
        stub = auth_pb2_grpc.AuthStub(session.channel("auth"))
        body = _consent()

        def permit(handle: Handle) -> None:
            patient = record_pb2.PatientRef(handle=handle.bytes)
            stub.SetConsent(auth_pb2.SetConsentRequest(patient=patient, fhir_consent=body))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(permit, handles))
        session.close()
        return handles

    def write(self, parts: Sequence[SealedPart]) -> None:
        """Durable when it returns, 64 messages a commit."""
        if self._pen is None:
            self._pen = pens(self._ingest())()
        for at in range(0, len(parts), TOGETHER):
            self._pen.writer.write(
                Batch("observations", parts[at : at + TOGETHER], (), (), (), 0, 0, None, bytes(32), b"")
            )

    def _ingest(self) -> IngestSettings:
        names = [one.name for one in PROGRAMS]
        ports = {**dict.fromkeys([*names, *(f"{name}.metrics" for name in names)], 0), **self.node.last_ports()}
        program = next(one for one in PROGRAMS if one.name == "ingest")
        file = self.node.directory / "settings" / "bench-ingest.toml"
        file.write_text(toml(settings_of(program, self.node.place(ports, SystemChance()))))
        return settings.load(IngestSettings, file)

    # Looking -----------------------------------------------------------------------

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return self.node.postgres(SystemChance()).connect(SUPERUSER, "twinward", autocommit=True)

    def pid(self, program: str) -> int:
        programs = self.node.state()["programs"]
        assert isinstance(programs, dict)
        return int(programs[program]["pid"])

    def cpu_s(self, program: str) -> float:
        """User and system time of a program, its children, and those that have ended."""
        process = psutil.Process(self.pid(program))
        own = process.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system
        return float(total)

    def counted(self, name: str) -> float:
        """A counter of the worker's metrics."""
        return counted(name, self.node.last_ports()["twin-worker.metrics"])

    def stopped(self, program: str = "twin-worker") -> AbstractContextManager[None]:
        return held_still(self.pid(program))


@contextmanager
def held_still(pid: int) -> Iterator[None]:
    """What is written meanwhile is there at once when the process goes on: its queue is never empty."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _consent() -> bytes:
    codes = "http://terminology.hl7.org/CodeSystem"
    return orjson.dumps({
        "resourceType": "Consent", "status": "active", "dateTime": "2025-01-01T00:00:00Z",
        "scope": {"coding": [{"system": f"{codes}/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "policyRule": {"coding": [{"system": f"{codes}/v3-ActCode", "code": "OPTIN"}]},
        "provision": {"type": "permit", "purpose": [
            {"system": f"{codes}/v3-ActReason", "code": "TREAT"}, {"system": PURPOSE_SYSTEM, "code": "upkeep"},
        ]},
    })  # fmt: skip


class Further:
    """A second worker process of a node: its settings are the first one's, but for where it listens
    and writes (docs/operate.md)."""

    def __init__(self, directory: Path, number: int = 2) -> None:
        listen, metrics = _free_port(), _free_port()
        self.metrics_port = metrics
        folder = directory / "run" / f"twin-worker-{number}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        own: dict[str, object] = {
            "listen": f"127.0.0.1:{listen}", "metrics_listen": f"127.0.0.1:{metrics}", "data_dir": folder,
        }  # fmt: skip
        first = (directory / "settings" / "twin-worker.toml").read_text().splitlines(keepends=True)
        kept = "".join(line for line in first if line.split(" = ")[0] not in own)
        file = directory / "settings" / f"twin-worker-{number}.toml"
        file.write_text(kept + toml(own))
        with (directory / "logs" / f"twin-worker-{number}.log").open("ab") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "services.twin", "worker", "--settings", str(file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(),
            )  # fmt: skip

    def stopped(self) -> AbstractContextManager[None]:
        return held_still(self.process.pid)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Signals it and waits until it is gone."""
        if self.process.is_running():
            self.process.send_signal(number)
        self.process.wait(30)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def counted(name: str, port: int) -> float:
    """A counter among a program's metrics; 0 before the program answers."""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    return 0.0


@contextmanager
def ground() -> Iterator[Ground]:
    """A fresh node; everything of it is gone afterwards."""
    with folder("tw-live-") as place:
        init(place / "node", "Bench", "demo", SystemClock(), SystemChance())
        numba = Path(tempfile.gettempdir()) / f"twinward-numba-{os.geteuid()}"
        numba.mkdir(exist_ok=True, mode=0o700)
        with (place / "node" / "node.toml").open("a") as file:
            file.write(f'\n[programs.twin-worker]\nnumba_cache_dir = "{numba}"\n')
        made = Node.open(place / "node")
        with supervised(made, WANTED):
            one = Ground(made)
            wait(made, WANTED, UP_S)
            yield one
