"""Asks every program whether it serves, from a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infra.embedded.programs import NODE, Place, Program
from twinward.errors import TwinwardError
from twinward.link.client import channel
from twinward.link.https import Https

EVERY_S = 0.5
SLOW_EVERY_S = 2.0  # once everything serves
ANSWER_S = 2.0


class Watch:
    """`serving[name]` is what the program last answered."""

    def __init__(self, programs: Sequence[Program], place: Place) -> None:
        self._programs = [program for program in programs if not program.alone]
        self._place = place
        self._pki = place.directory / "pki"
        self._stop = threading.Event()
        self._serving: dict[str, bool] = {}
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(ANSWER_S * 2)

    @property
    def serving(self) -> Mapping[str, bool]:
        return self._serving

    def forget(self, name: str) -> None:
        """`name` was started anew: what it said before is worth nothing."""
        self._serving.pop(name, None)

    def _run(self) -> None:
        stem = self._pki / "programs" / NODE
        identity = (Path(f"{stem}.key").read_bytes(), Path(f"{stem}.pem").read_bytes())
        authority = (self._pki / "ca.pem").read_bytes()
        https = Https(self._pki / "ca.pem")
        channels = {
            program.name: channel(
                self._place.address(program.name), f"{program.name}.{self._place.site}", authority, identity, None
            )
            for program in self._programs
            if not program.http
        }
        while not self._stop.wait(SLOW_EVERY_S if self._all() else EVERY_S):
            for program in self._programs:
                asked = channels.get(program.name)
                self._serving[program.name] = _asks(asked) if asked else _gets(https, self._place.issuer)
        for one in channels.values():
            one.close()

    def _all(self) -> bool:
        return all(self._serving.get(program.name) for program in self._programs)


def _asks(to: grpc.Channel) -> bool:
    try:
        answer = health_pb2_grpc.HealthStub(to).Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S)
    except TwinwardError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _gets(https: Https, issuer: str) -> bool:
    try:
        return https.get(f"{issuer}/health").status == 200
    except TwinwardError:
        return False
