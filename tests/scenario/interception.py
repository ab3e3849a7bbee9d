"""Between a hospital and its coordinator: an HTTP CONNECT proxy that can cut, count and, told the keys, read along.

A hospital reaches the coordinator through `Proxy.address` alone (`site join --proxy`). `cut()` ends every
connection and refuses new ones until `restore()`. With `Keys` it ends TLS on both sides, as only somebody can who
holds the coordinator's server keys *and* the hospital's client key: the test does, and so sees every byte in clear.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 65536
SEND_S = 30.0
ALPN = ["h2", "http/1.1"]


@dataclass(frozen=True, slots=True)
class Keys:
    """Files for reading along."""

    server: Callable[[int], tuple[Path, Path]]  # coordinator's port -> certificate chain and key that it serves with
    authority: Path  # the coordinator's
    client: Callable[[], tuple[Path, Path] | None]  # the hospital's certificate chain and key, once it has joined


@dataclass
class Proxy:
    keys: Keys | None = None
    sent: list[bytes] = field(default_factory=list)  # hospital -> coordinator, in clear where there are keys
    received: list[bytes] = field(default_factory=list)
    tunnels: int = 0
    _open: bool = True
    _pairs: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """No connection lives, none is taken."""
        self._open = False
        with self._lock:
            pairs, self._pairs = list(self._pairs), set()
        for one in pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        self._open = True

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                client.close()
                continue
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            request = b""
            while b"\r\n\r\n" not in request:
                part = client.recv(CHUNK)
                if not part:
                    return
                request += part
            method, target, _ = request.split(b" ", 2)
            if method != b"CONNECT":
                client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                return
            host, _, port = target.decode().rpartition(":")
            with socket.create_connection((host, int(port)), 5) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.tunnels += 1
                pair = self._read_along(client, server, int(port)) if self.keys else (client, server)
                with self._lock:
                    self._pairs |= set(pair)
                try:
                    self._carry(*pair)
                finally:
                    with self._lock:
                        self._pairs -= set(pair)
                    for one in pair:
                        one.close()

    def _read_along(
        self, client: socket.socket, server: socket.socket, port: int
    ) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
        assert self.keys is not None
        outward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        outward.check_hostname = False
        outward.load_verify_locations(self.keys.authority)
        own = self.keys.client()
        if own is not None:
            outward.load_cert_chain(*own)
        outward.set_alpn_protocols(ALPN)
        there = outward.wrap_socket(server)  # takes the socket over, and so does the other below
        inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inward.load_cert_chain(*self.keys.server(port))
        inward.set_alpn_protocols([there.selected_alpn_protocol() or "http/1.1"])
        try:
            return inward.wrap_socket(client, server_side=True), there
        except OSError:
            there.close()
            raise

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        ends = {client: (server, self.sent), server: (client, self.received)}
        while True:
            ready = [one for one in ends if isinstance(one, ssl.SSLSocket) and one.pending()]
            for one in ready or select.select(list(ends), [], [], 1.0)[0]:
                one.setblocking(False)  # what came may be TLS's own, and no byte of ours
                try:
                    part = one.recv(CHUNK)
                except ssl.SSLWantReadError:
                    continue
                finally:
                    one.settimeout(SEND_S)
                if not part:
                    return
                other, kept = ends[one]
                kept.append(part)
                other.sendall(part)
