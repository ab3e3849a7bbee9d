"""How many learners one core serves: teaching sessions through the real stream, TLS and tokens included.

    python -m bench.streams --quick --json

session_streams_per_core  streams at speed 1 with 250 Hz x 4 channels, by the CPU seconds of the server process (body,
                          engine, encoding, gRPC, TLS, its database calls; not PostgreSQL's own) per session second
frame_late_p99_ms         from when a frame was due to when a client had it, both processes on this machine
wave_samples_per_s        that each client had, of all channels: 1000 is everything
frames_left_out           waves that a client was too slow for
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.conftest import running_server
from tests.site import Fixed, Site
from twinward.clock import SystemChance
from twinward.link.client import channel, stream_metadata
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

HZ = 250
STREAMS = 16
PER_CHANNEL = 4  # streams that share a connection
WARM_S, QUICK_S, FULL_S = 3.0, 10.0, 60.0
CASE = """
id: bench
title: A patient to look at
version: 1
minutes: 60
objectives: {}
patient: {kind: adult, description: Somebody at rest.}
setting:
  place: intensive care
  staff: {nurse: 1}
  monitor: {HR: {source: ecg}, MAP: {source: arterial line}, SpO2: {source: oximeter}, etCO2: {source: capnograph}}
  waves: [ecg, abp, pleth, co2]
actions: []
critical: []
targets: []
differential: [{name: nothing, right: true}]
debrief: []
sources: {}
expert: []
wrong: []
"""


class Reader:
    """One learner: attaches and reads; when and how late each frame came."""

    def __init__(self, stub: session_pb2_grpc.TeachingStub, token: str, session: bytes) -> None:
        self._stub, self._token, self._session = stub, token, session
        self.late_ms: list[float] = []
        self.waves = 0
        self.left_out = 0
        self.at_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        def commands() -> Iterator[pb.SessionCommand]:
            yield pb.SessionCommand(id=SystemChance().bytes(16), attach=pb.Attach(session=self._session, hz=HZ))
            self._ended.wait()

        for frame in self._stub.Run(commands(), metadata=stream_metadata(Fixed(self._token))):
            if frame.waves:
                self.late_ms.append(time.time() * 1000 - frame.due_ms)
                self.waves += sum(len(wave.samples) // 4 for wave in frame.waves)
            self.left_out, self.at_s = frame.left_out, frame.at_s
            if self._ended.is_set():
                return

    def end(self) -> None:
        self._ended.set()
        self._thread.join(10)


@contextmanager
def served(folder: Path) -> Iterator[tuple[Site, int, psutil.Process]]:
    """The program in a process of its own, with its own database."""
    site = Site(folder / "site")
    (folder / "cases").mkdir()
    (folder / "cases" / "bench.yaml").write_text(CASE)
    with running_server("sessions") as server:
        given = {
            "folder": str(folder), "dsn": server.dsn("sessions", "sessions"),
            "password": str(server.password_file("sessions")), "keys": site.published(), "issuer": site.issuer,
        }  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.stream_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(given) + "\n")
            child.stdin.flush()
            yield site, int(child.stdout.readline()), psutil.Process(child.pid)
        finally:
            child.stdin.close()  # its sign to end
            child.wait(60)


def measure(full: bool = False) -> dict[str, float | None]:
    with tempfile.TemporaryDirectory(prefix="tw-streams-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with served(folder) as (site, port, process):
            return _measured(site, port, process, FULL_S if full else QUICK_S)


def _measured(site: Site, port: int, process: psutil.Process, seconds: float) -> dict[str, float | None]:
    identity = site.person_identity("learner")
    token = site.signed(site.claims(identity[1], sub="learner", roles=["learner"]))
    authority = (site.pki / "ca.pem").read_bytes()
    channels = [
        channel(f"127.0.0.1:{port}", f"sessions.{site.name}", authority, identity, Fixed(token))
        for _ in range(STREAMS // PER_CHANNEL)
    ]
    stubs: list[Any] = [session_pb2_grpc.TeachingStub(one) for one in channels]
    readers = []
    for k in range(STREAMS):
        id = SystemChance().bytes(16)
        stubs[k % len(stubs)].OpenSession(pb.OpenSessionRequest(id=id, case="bench", seed=k), timeout=60)
        readers.append(Reader(stubs[k % len(stubs)], token, id))
        time.sleep(2.0 / STREAMS)  # learners do not come at one instant
    time.sleep(WARM_S)
    begin, cpu, lived = time.perf_counter(), _cpu(process), [one.at_s for one in readers]
    counts, had = [len(one.late_ms) for one in readers], sum(one.waves for one in readers)
    time.sleep(seconds)
    used, wall = _cpu(process) - cpu, time.perf_counter() - begin
    went = sum(one.at_s - was for one, was in zip(readers, lived, strict=True))
    samples = (sum(one.waves for one in readers) - had) / went
    late = np.concatenate([np.array(one.late_ms[was:]) for one, was in zip(readers, counts, strict=True)])
    for one in readers:
        one.end()
    for opened in channels:
        opened.close()
    return {
        "session_streams_per_core": went / used,
        "session_cpu_ms_per_s": 1000 * used / went,
        "session_x_realtime": went / wall / STREAMS,  # below 1: the machine was busy, and the patients' time slipped
        "wave_samples_per_s": samples,
        "frame_late_p50_ms": float(np.median(late)),
        "frame_late_p99_ms": float(np.quantile(late, 0.99)),
        "frames_left_out": float(sum(one.left_out for one in readers)),
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about 30 s (the default)")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    answer = measure(arguments.full and not arguments.quick)
    if arguments.json:
        print(json.dumps({key: None if value is None else round(value, 3) for key, value in answer.items()}))
        return
    for key, value in answer.items():
        print(f"{key:28}{'-' if value is None else format(value, ',.3f')}")


if __name__ == "__main__":
    main()
