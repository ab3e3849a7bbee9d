"""One end of an open teaching stream, for tests and benchmarks: commands go in, frames are kept as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import grpc

from tests.site import Fixed
from twinward.clock import SystemChance
from twinward.link.client import stream_metadata
from twinward.link.service import TokenSource
from twinward.link.status import from_rpc
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

WAIT_S = 30.0


class Stream:
    """A reader thread keeps every frame; `ask` sends a command and waits for its answer."""

    def __init__(self, opened: grpc.Channel, tokens: TokenSource | str | None) -> None:
        source = Fixed(tokens) if isinstance(tokens, str) else tokens
        self.frames: list[pb.SessionFrame] = []
        self.failed: Exception | None = None
        self._commands: queue.SimpleQueue[pb.SessionCommand | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        metadata = stream_metadata(source) if source is not None else None
        self.call = session_pb2_grpc.TeachingStub(opened).Run(iter(self._commands.get, None), metadata=metadata)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def attach(self, session: bytes, hz: int = 0, *, paused: bool = False) -> pb.Ack:
        return self.ask(attach=pb.Attach(session=session, hz=hz, paused=paused))

    def send(self, id: bytes = b"", **command: Any) -> bytes:
        id = id or SystemChance().bytes(16)
        self._commands.put(pb.SessionCommand(id=id, **command))
        return id

    def ask(self, id: bytes = b"", **command: Any) -> pb.Ack:
        """The answer. Raises what the stream ended with, as its type."""
        with self._changed:
            before = len(self.frames)
        sent = self.send(id, **command)
        self.until(lambda: any(frame.ack.id == sent for frame in self.frames[before:]))
        return next(frame.ack for frame in self.frames[before:] if frame.ack.id == sent)

    def until(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: ready() or self.failed is not None, WAIT_S)
        if self.failed is not None and not ready():
            raise self.failed
        assert found, "the stream did not say it in time"

    def ended(self) -> Exception | None:
        """What it ended with; None: in peace."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the stream goes on"
        return self.failed

    def close(self) -> None:
        self._commands.put(None)
        self.call.cancel()
        self._thread.join(WAIT_S)

    def _read(self) -> None:
        try:
            for frame in self.call:
                with self._changed:
                    self.frames.append(frame)
                    self._changed.notify_all()
        except grpc.RpcError as error:
            with self._changed:
                self.failed = from_rpc(error, "sessions")
                self._changed.notify_all()
