"""Grants from a running auth: a person's question through the twin's certificate, over mTLS.

Starts what a decision needs and nothing else: PostgreSQL, site-idp and auth, as
processes of a fresh demo node. A clinician of the care team asks for a month of what
the twin reads; every answer is a decision with its leaf on disk, a lease and sub-keys.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import grpc

from bench.node import wait
from infra.embedded.node import Node, init
from infra.embedded.postgres import SUPERUSER
from infra.embedded.programs import PROGRAMS, settings_of
from infra.embedded.supervisor import Supervisor
from services.cli.session import Session
from twinward.clock import SystemChance, SystemClock, month_of
from twinward.link.client import open_channel, with_person
from twinward.link.service import ServiceTokens
from twinward.record import TWIN_INPUTS, Category, Handle
from twinward.settings import ProgramSettings
from twinward.vault import hpke
from twinward.vault.identifiers import Admission
from twinward.wire.codec.admission import AuthCalls, ToAdmit
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2

PATIENTS = 16
NEEDED = ("site-idp", "auth")
UP_S = 60.0
ASKED = (*TWIN_INPUTS, Category.MODEL_STATE)


@contextmanager
def authority() -> Iterator[Node]:
    """A fresh demo node of which only PostgreSQL, site-idp and auth run."""
    with tempfile.TemporaryDirectory(prefix="tw-grants-") as folder:
        Path(folder).chmod(0o711)  # as root the database's account must walk through
        node = init(Path(folder) / "node", "St. Bench", "demo", SystemClock(), SystemChance())
        running = subprocess.Popen([sys.executable, "-m", "bench.grants", str(node.directory)])
        try:
            wait(node, NEEDED, UP_S)
            yield node
        finally:
            running.terminate()
            running.wait()
            if node.directory.joinpath("postgres").is_symlink():
                subprocess.run(["rm", "-rf", str((node.directory / "postgres").resolve())], check=True)


def _settings(node: Node, program: str) -> ProgramSettings:
    """What `program` would be started with; it has certificates whether it runs or not."""
    ports = {**dict.fromkeys([one.name for one in PROGRAMS], 0), **node.last_ports()}
    ports.update({f"{one.name}.metrics": 0 for one in PROGRAMS})
    found = settings_of(next(one for one in PROGRAMS if one.name == program), node.place(ports, SystemChance()))
    known = {field.name for field in fields(ProgramSettings)}
    return ProgramSettings(**{name: value for name, value in found.items() if name in known})  # type: ignore[arg-type]


def _channel(node: Node, program: str) -> grpc.Channel:
    chosen = _settings(node, program)
    return open_channel(chosen.auth_address, "auth", chosen, ServiceTokens.of(chosen, SystemClock()))


def _patients(node: Node) -> list[Handle]:
    """New patients, admitted as ingest does it, with the demo clinician in their care team."""
    admit = hpke.public_key((node.directory / "pki" / "admit.pub").read_bytes())
    sealed = [
        hpke.seal(admit, Admission((("urn:mrn", f"bench-{at}"),), ASKED).encode(), hpke.INFO_ADMIT + node.site.encode())
        for at in range(PATIENTS)
    ]
    with _channel(node, "ingest") as channel:
        answers = AuthCalls(channel).admit("files", [ToAdmit(one, None, ASKED) for one in sealed], 30.0)
    handles = [one.handle for one in answers if one.handle is not None]
    assert len(handles) == PATIENTS, [one.refused for one in answers]
    with node.postgres(SystemChance()).connect(SUPERUSER, "twinward", autocommit=True) as connection:
        for handle in handles:
            connection.execute(
                """insert into vault.care_team (handle, actor, starts, source)
                   values (%s, 'clinician', now() - interval '1 day', 'bench')""",
                (handle,),
            )
    return handles


def measure(*, full: bool) -> dict[str, float | None]:
    """grant_p50_ms_1: one caller; grants_per_s_16: sixteen at once."""
    with authority() as node:
        handles = _patients(node)
        session = Session.open(node.directory, "clinician", None)
        with _channel(node, "twin") as channel:
            stub, token = auth_pb2_grpc.AuthStub(channel), session.token()
            month = month_of(SystemClock().now_ms())
            at = record_pb2.Month(year=month // 100, month=month % 100)

            def ask(handle: Handle) -> float:
                request = auth_pb2.GrantRequest(
                    patient=record_pb2.PatientRef(handle=handle.bytes),
                    categories=ASKED,
                    period=record_pb2.Period(first=at, last=at),
                    act="forecast",
                )
                began = time.perf_counter()
                lease = stub.Grant(request, metadata=with_person(token)).lease
                taken = (time.perf_counter() - began) * 1000
                assert len(lease.nodes) == len(ASKED)
                return taken

            return _asked(ask, handles, 400 if full else 100)


def _asked(ask: Callable[[Handle], float], handles: Sequence[Handle], times: int) -> dict[str, float | None]:
    for handle in handles:
        ask(handle)
    alone = [ask(handles[at % len(handles)]) for at in range(times)]
    with ThreadPoolExecutor(16) as pool:
        began = time.perf_counter()
        list(pool.map(ask, [handles[at % len(handles)] for at in range(times * 8)]))
        seconds = time.perf_counter() - began
    return {
        "grant_p50_ms_1": round(statistics.median(alone), 2),
        "grants_per_s_16": round(times * 8 / seconds),
    }


def _supervise(directory: Path) -> None:
    """Runs the part of a node that decides, until it is told to stop."""
    chosen = [program for program in PROGRAMS if program.name in NEEDED]
    supervisor = Supervisor(Node.open(directory), SystemClock(), SystemChance(), chosen)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop.set())
    with supervisor.node.alone():
        supervisor.run()


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]))
