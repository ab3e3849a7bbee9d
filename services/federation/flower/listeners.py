"""Flower's HTTP apps behind listeners of ours: only what a listener is for exists on it, everything else is 404.

Flower serves fleet, control and runtime calls with one app on one port; here the one app stands behind several
listeners, each with its own list of paths.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.federation.flower.frames import FRAME_BYTES
from twinward.errors import BadInput, Unready

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FLEET = frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages", "get-run",
        "get-fab", "push-object", "pull-object", "confirm-message-received",
    )
)  # fmt: skip
# Who may do what at the control listener. There is one role and one who has it: the coordinator's program.
CONTROL = frozenset(
    f"/v1/control/{call}"
    for call in ("start-run", "stop-run", "list-runs", "list-nodes", "register-node", "unregister-node")
)
RUNTIME = frozenset(
    f"/v1/runtime/{call}"
    for call in (
        "acquire-task", "send-task-heartbeat", "pull-task-input", "push-task-output", "push-object", "pull-object",
        "confirm-message-received", "push-logs", "push-messages", "pull-messages", "get-nodes",
    )
)  # fmt: skip
BODY_BYTES = FRAME_BYTES + 1024 * 1024
# Calls worked on at once. Flower's state is SQLite, where a second writer waits in steps of up to 0.1 s: one after
# the other is quicker.
AT_ONCE = 1
STARTS_S = 30.0
LINGERS_S = 3.0  # requests in flight at the end
BEARER = b"bearer "


@dataclass(frozen=True, slots=True)
class Listener:
    """What may be called where."""

    address: str  # host:port
    paths: frozenset[str]
    certificate_file: Path | None = None  # with key_file: TLS
    key_file: Path | None = None
    token: str = ""  # if not empty, every call must bear it


class Listeners:
    """Serves one app on several listeners, in a thread of its own."""

    def __init__(self, app: App, listeners: Sequence[Listener]) -> None:
        """Binds; `start` serves.

        Raises:
            Unready: an address is taken, or a certificate cannot be read.
        """
        self._sockets = [_bound(one.address) for one in listeners]
        self.ports = [int(sock.getsockname()[1]) for sock in self._sockets]
        self._servers = [_server(app, one, lifespan=place == 0) for place, one in enumerate(listeners)]
        self._thread = threading.Thread(target=self._run, name="listeners", daemon=True)

    def start(self) -> None:
        """Raises Unready: they do not come up."""
        self._thread.start()
        pause = threading.Event()
        for _ in range(int(STARTS_S / 0.05)):
            if all(server.started for server in self._servers):
                return
            if not self._thread.is_alive():
                break
            pause.wait(0.05)
        raise Unready("Flower's listeners do not start: see the log")

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        for server in self._servers:
            server.should_exit = True
        self._thread.join(LINGERS_S + 2)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        import anyio.to_thread

        anyio.to_thread.current_default_thread_limiter().total_tokens = AT_ONCE
        pairs = zip(self._servers, self._sockets, strict=True)
        await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in pairs))


def _server(app: App, listener: Listener, *, lifespan: bool) -> Any:  # noqa: ANN401 - uvicorn is loaded where it runs
    import uvicorn

    config = uvicorn.Config(
        _Paths(app, listener),
        lifespan="on" if lifespan else "off",
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(LINGERS_S),
        ssl_certfile=listener.certificate_file,
        ssl_keyfile=listener.key_file,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise Unready("a certificate or key cannot be read: check the files' owner", detail=str(error)) from None
    return uvicorn.Server(config)


def host_port(address: str) -> tuple[str, int]:
    """Raises BadInput: not host:port."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BadInput("an address is host:port")
    return host.strip("[]"), int(port)


def _bound(address: str) -> socket.socket:
    host, port = host_port(address)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise Unready(f"cannot listen on {address}: it is taken, or no address of this machine") from None
    return sock


class _Paths:
    """Lets through what the listener is for."""

    def __init__(self, app: App, listener: Listener) -> None:
        self._app = app
        self._paths = listener.paths
        self._token = listener.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused:
            await send({"type": "http.response.start", "status": refused, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> int:
        if scope["type"] != "http" or scope["path"] not in self._paths:
            return 404
        headers = dict(scope["headers"])
        if self._token:
            shown = headers.get(b"authorization", b"")
            if shown[: len(BEARER)].lower() != BEARER or not hmac.compare_digest(shown[len(BEARER) :], self._token):
                return 401
        length = headers.get(b"content-length", b"")
        if not length.isdigit():  # every caller of ours says how much comes
            return 411
        return 413 if int(length) > BODY_BYTES else 0
