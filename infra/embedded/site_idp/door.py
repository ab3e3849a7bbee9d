"""HTTPS on loopback, with the client certificate where one is shown (RFC 8705 needs it at the token endpoint)."""

from __future__ import annotations

import socket
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from infra.embedded.site_idp.issuer import Reply, SiteIdp
from infra.embedded.site_idp.settings import IdpSettings
from twinward import telemetry
from twinward.errors import Unready

MOST_BYTES = 16 * 1024
TIMEOUT_S = 10.0
ANSWERED = telemetry.event("answered", "status")


class Door(ThreadingHTTPServer):
    """One thread a connection; the handshake happens there, so a silent client stops nobody."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, settings: IdpSettings, idp: SiteIdp) -> None:
        """
        Raises:
            Unready: the address is taken or a file cannot be read.
        """
        self.idp = idp
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.verify_mode = ssl.CERT_OPTIONAL
        host, _, port = settings.listen.rpartition(":")
        try:
            self.tls.load_verify_locations(str(settings.ca_file))
            self.tls.load_cert_chain(str(settings.certificate_file), str(settings.key_file))
            super().__init__((host, int(port)), _Handler)
        except OSError as error:
            raise Unready(f"the identity provider cannot start on {settings.listen}", detail=str(error)) from None

    def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        request.settimeout(TIMEOUT_S)
        try:
            wrapped = self.tls.wrap_socket(request, server_side=True)
        except OSError:
            return  # no TLS, or a certificate of somebody else's authority
        try:
            super().finish_request(wrapped, client_address)
        finally:
            wrapped.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break are nobody's news; the text of their error stays out of the log."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        self._answer("GET", dict(parse_qsl(urlsplit(self.path).query)))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True
            if length.isdigit():  # unread bytes would make the answer a broken connection
                self.rfile.read(min(int(length), 8 * MOST_BYTES))
            self._send(Reply(413, b'{"error":"invalid_request"}'))
            return
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        try:
            self._answer("POST", dict(parse_qsl(text, max_num_fields=32)))
        except ValueError:
            self._send(Reply(400, b'{"error":"invalid_request"}'))

    def _answer(self, method: str, given: dict[str, str]) -> None:
        assert isinstance(self.connection, ssl.SSLSocket)  # noqa: S101 - `finish_request` wrapped it
        peer = self.connection.getpeercert(binary_form=True)
        path = urlsplit(self.path).path
        reply = self.server.idp.handle(method, path, given, peer)
        if not path.endswith("/health"):
            telemetry.note(ANSWERED, status=reply.status)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """The request line may hold a user code: it is not logged."""
