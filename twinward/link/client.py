"""The calling end: mTLS to a named program, a token, a deadline, our errors.

grpcio shows Python no certificate of the server, but it compares a DNS name. So
every program's certificate carries `<program>.<site>` beside its SPIFFE id, the
site's authority writes both together, and the channel insists on that name:
another program of the same site at the same address is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc

from twinward.errors import Unready
from twinward.link.access import AUTHORIZATION, BEARER, PERSON
from twinward.link.server import MESSAGE_BYTES
from twinward.link.service import TokenSource
from twinward.link.status import from_rpc
from twinward.settings import ProgramSettings

DEADLINE_S = 15.0
Metadata = tuple[tuple[str, str], ...]

# Calls that may be made again after UNAVAILABLE: they change nothing, or an idempotency key (or the same
# content) makes the second one the first. A grant never is: a retry is a new decision.
IDEMPOTENT = (
    ("twinward.wire.v1.Auth", ("Admit", "ReturnLease", "ShowConsent", "LedgerStatus", "StudyDecisions")),
    ("twinward.wire.v1.Ingest", ("PutFhir", "PutSeries", "ListUnmapped", "IngestStatus")),
    ("twinward.wire.v1.TwinWorker", ("Freshen",)),
    ("grpc.health.v1.Health", ("Check",)),
)
# gRPC waits a random time up to these, so callers do not come back together.
RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2.5,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def open_channel(
    address: str,
    server_program: str,
    settings: ProgramSettings,
    tokens: TokenSource | None,
    *,
    deadline_s: float = DEADLINE_S,
) -> grpc.Channel:
    """A channel to `server_program` at host:port, with this program's certificate.

    Calls without a timeout get `deadline_s`. Refusals are raised as the types of `twinward.errors`
    (calls by `.future` raise grpc.RpcError as usual).

    Raises:
        Unready: a certificate or key cannot be read.
    """
    try:
        authority, key, chain = (
            file.read_bytes() for file in (settings.ca_file, settings.key_file, settings.certificate_file)
        )
    except OSError as error:
        raise Unready("a certificate or key cannot be read: check the files' owner", detail=str(error)) from None
    return channel(address, f"{server_program}.{settings.site}", authority, (key, chain), tokens, deadline_s)


def channel(
    address: str,
    server_name: str,
    authority: bytes,
    identity: tuple[bytes, bytes] | None,
    tokens: TokenSource | None,
    deadline_s: float = DEADLINE_S,
    proxy: str = "",
) -> grpc.Channel:
    """As `open_channel`, from PEM bytes; `identity` is (key, chain), None for the enrolment door.

    `proxy` is host:port of an HTTP CONNECT proxy: it sees the address and ciphertext, and the server's name is
    insisted on behind it. Nothing is taken from the environment.
    """
    key, chain = identity or (None, None)
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    retried = [{"service": service, "method": method} for service, methods in IDEMPOTENT for method in methods]
    plain = grpc.secure_channel(
        address,
        credentials,
        options=[
            ("grpc.ssl_target_name_override", server_name),
            *([("grpc.http_proxy", f"http://{proxy}")] if proxy else [("grpc.enable_http_proxy", 0)]),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.enable_retries", 1),
            ("grpc.service_config", json.dumps({"methodConfig": [{"name": retried, "retryPolicy": RETRY}]})),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ],
    )
    return grpc.intercept_channel(plain, _Calls(server_name.partition(".")[0], tokens, deadline_s))


def with_person(token: str) -> Metadata:
    """Metadata that hands a person's token on: `stub.Grant(request, metadata=with_person(caller.token))`."""
    return ((PERSON, token),)


def stream_metadata(tokens: TokenSource) -> Metadata:
    """What a stream begins with: `stub.Run(commands, metadata=stream_metadata(session))`.

    A stream has no deadline and its refusals are grpc.RpcError when it is read: `from_rpc` gives their type.
    """
    return ((AUTHORIZATION, BEARER + tokens.token()),)


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _DetailsType(_Details, grpc.ClientCallDetails):
    pass


class _Calls(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, server: str, tokens: TokenSource | None, deadline_s: float) -> None:
        self._server = server
        self._tokens = tokens
        self._deadline_s = deadline_s

    def intercept_unary_unary(  # type: ignore[override] # the stubs' call type is private
        self, continuation: Callable[..., object], details: grpc.ClientCallDetails, request: object
    ) -> object:
        metadata = list(details.metadata or ())
        if self._tokens is not None:
            metadata.append((AUTHORIZATION, BEARER + self._tokens.token()))
        timeout = self._deadline_s if details.timeout is None else details.timeout
        call = continuation(
            _DetailsType(
                details.method, timeout, metadata, details.credentials, details.wait_for_ready, details.compression
            ),
            request,
        )
        # A future is an RpcError too, whatever becomes of it, and may be done before we look. It can be
        # iterated; the failure of a call that blocked cannot.
        if isinstance(call, grpc.RpcError) and not isinstance(call, Iterator):
            raise from_rpc(call, self._server) from None
        return call
