"""The learner's end of a session's stream: commands in, frames out, across lost connections and ending logins.

What was not answered when a connection was lost is sent again with its id, so it is done once. A fresh token goes
through the stream well before the old one ends.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from services.cli.session import Session
from twinward.errors import TwinwardError, Unavailable
from twinward.link.client import stream_metadata
from twinward.link.status import from_rpc
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

RENEW_S = 30.0
PATIENCE_S = 60.0  # so long a program that is away is waited for
PAUSE_S = 0.5


def new_id() -> bytes:
    from twinward.clock import SystemChance

    return SystemChance().bytes(16)


class Bedside:
    """One session, attached. `frames` ends with it; `do` may be called from any thread."""

    def __init__(self, person: Session, session: bytes, hz: int) -> None:
        self._person, self._session, self._hz = person, session, hz
        self._open: dict[bytes, pb.SessionCommand] = {}  # sent, not answered
        self._commands: queue.SimpleQueue[pb.SessionCommand | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.reconnected = 0

    def do(self, **command: Any) -> bytes:  # noqa: ANN401 - a field of SessionCommand each
        message = pb.SessionCommand(id=new_id(), **command)
        with self._lock:
            self._open[message.id] = message
            self._commands.put(message)
        return message.id

    def frames(self) -> Iterator[pb.SessionFrame]:
        """
        Raises:
            Denied, NotFound, Busy, Unauthenticated: as the program says.
            Unavailable: it was away for longer than a minute.
        """
        since = time.monotonic()
        while True:
            try:
                for frame in self._attached():
                    since = time.monotonic()
                    with self._lock:
                        self._open.pop(frame.ack.id, None)
                    yield frame
                return
            except Unavailable:
                if time.monotonic() - since > PATIENCE_S:
                    raise
                self.reconnected += 1
                time.sleep(PAUSE_S)

    def close(self) -> None:
        self._commands.put(None)

    def _attached(self) -> Iterator[pb.SessionFrame]:
        mine: queue.SimpleQueue[pb.SessionCommand | None] = queue.SimpleQueue()
        with self._lock:
            self._commands = mine
            mine.put(pb.SessionCommand(id=new_id(), attach=pb.Attach(session=self._session, hz=self._hz)))
            for message in self._open.values():
                mine.put(message)
        stub: Any = session_pb2_grpc.TeachingStub(self._person.channel("sessions"))
        call = stub.Run(self._sent(mine), metadata=stream_metadata(self._person))
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc(error, "sessions") from None
        finally:
            mine.put(None)
            call.cancel()

    def _sent(self, mine: queue.SimpleQueue[pb.SessionCommand | None]) -> Iterator[pb.SessionCommand]:
        """Commands as they come, and a fresh token now and then."""
        said, due = self._person.token(), time.monotonic() + RENEW_S
        while True:
            try:
                message = mine.get(timeout=max(0.1, due - time.monotonic()))
            except queue.Empty:
                due = time.monotonic() + RENEW_S
                try:
                    token = self._person.token()
                except TwinwardError:  # the stream ends with the old one, and says so
                    continue
                if token != said:
                    said = token
                    yield pb.SessionCommand(id=new_id(), token=pb.FreshToken(token=token))
                continue
            if message is None:
                return
            yield message


def interactive() -> bool:
    return os.isatty(0) and os.isatty(1)
