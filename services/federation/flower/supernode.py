"""The hospital's SuperNode, a child of its program: outbound to the fleet listener, a runtime on loopback.

It takes no bundle but the one that this installation would build itself, and that one only with the signature of
the key pinned at joining. Its node's id is kept beside: after a kill, the next SuperNode first gives the leave that
the killed one could not, and is let in at once instead of when its heartbeats are over.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.federation.flower import adapter, adapter_node, bundle
from services.federation.flower.listeners import RUNTIME, Listener, Listeners, host_port
from services.federation.flower.processes import end_with_parent
from services.federation.settings import SupernodeSettings
from twinward import telemetry
from twinward.clock import SystemClock
from twinward.errors import Unavailable, Unready
from twinward.settings import load

AWAITED_S = 0.05  # between two looks whether the executor has answered
BUSY_LOOKS = 300  # after a message so many looks come fast, then they are IDLE times as rare
IDLE = 3

REFUSED = telemetry.event("bundle_refused")
JOINED = telemetry.event("supernode_joined")


@dataclass(frozen=True, slots=True)
class _Told:
    program: str = "federation-supernode"
    profile: str = ""
    log_level: str = "info"
    metrics_listen: str = ""


def run(file: Path, stop: threading.Event) -> None:
    """Until `stop`, a signal or the parent's end.

    Raises:
        Unavailable: the SuperLink does not let this node in; whoever started it tries again later.
    """
    end_with_parent(signal.SIGKILL)  # Flower may hang in its own end; the next one gives the leave for a killed one
    chosen = load(SupernodeSettings, file)
    adapter.prepare(chosen.data_dir / "flower")
    _through(chosen.proxy)
    telemetry.start(_Told(), SystemClock())
    authority, secret, public = (
        _read(one) for one in (chosen.ca_file, chosen.runtime_secret_file, chosen.bundle_public_file)
    )
    trusted, key = bundle.trusted(public), adapter.node_private_key(chosen.node_key_file)
    node = adapter_node.SuperNode(secret)
    adapter.quiet()
    listeners = Listeners(node.app, [Listener(chosen.runtime_listen, RUNTIME)])
    listeners.start()
    known = chosen.data_dir / "node_id"
    _take_signals(stop)
    with suppress(Unavailable, OSError, ValueError):  # unknown, or offline as it should be
        adapter_node.leave(chosen.fleet_address, authority, key, int(known.read_text()))
    telemetry.note(telemetry.STARTED, profile="", port=listeners.ports[0])
    try:
        node.work(
            chosen.fleet_address, authority, key, trusted, _ours, lambda node_id: _keep(known, node_id),
            _Pace(chosen.poll_s).wait,
        )  # fmt: skip
    finally:
        listeners.stop()
        telemetry.note(telemetry.STOPPED)


def _ours(content: bytes) -> bool:
    found = hmac.compare_digest(hashlib.sha256(content).digest(), bundle.bundle_sha256())
    if not found:
        telemetry.warn(REFUSED)
    return found


def _keep(file: Path, node_id: int) -> None:
    half = file.with_suffix(".new")
    half.write_text(str(node_id))
    half.rename(file)
    telemetry.note(JOINED)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unready(f"{file.name} cannot be read: join again", detail=str(error)) from None


def _through(proxy: str) -> None:
    """Flower's HTTP client takes its proxy from the environment; `prepare` has taken the machine's own out of it."""
    if proxy:
        host_port(proxy)
        os.environ["HTTPS_PROXY"] = f"http://{proxy}"


def _take_signals(stop: threading.Event) -> None:
    """Flower waits in its own loops, so a signal has to break in. It sends itself SIGINT when its key is refused."""

    def end(number: int, frame: object) -> None:
        stop.set()
        sys.exit(0 if number == signal.SIGTERM else 1)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


class _Pace:
    """Looks for messages often while there are some, and seldom when there were none for a while."""

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._looks = BUSY_LOOKS
        self._pause = threading.Event()

    def wait(self, awaited: bool) -> None:
        if awaited:
            self._looks = 0
            self._pause.wait(AWAITED_S)
            return
        self._looks = min(self._looks + 1, BUSY_LOOKS)
        self._pause.wait(self._poll_s * (IDLE if self._looks == BUSY_LOOKS else 1))
