"""The door of a program: mTLS, access, errors, metrics, health.

A servicer's method sees only calls that were let in, with their `Caller`
fastened to the context; what it raises of our types reaches the client as that
type, anything else as "internal error" with a number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NoReturn

import grpc
import psycopg
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import Counter, Histogram

from twinward import telemetry
from twinward.clock import Chance, SystemChance
from twinward.errors import TwinwardError, Unauthenticated, Unavailable, Unready
from twinward.link.access import Gate, spiffe_id, table
from twinward.link.caller import Caller, attach
from twinward.link.status import to_status
from twinward.link.tokens import TokenVerifier
from twinward.settings import ProgramSettings

Served = tuple[Callable[[Any, grpc.Server], None], object, ServiceDescriptor]
RefusedToken = Callable[[str, str], None]  # source (peer id or address), one word

MESSAGE_BYTES = 16 * 1024 * 1024
WAITING = 4  # calls that may wait for each worker before new ones are sent away
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/"

REQUESTS = Counter("twinward_requests", "Calls answered.", ["method", "code"])
SECONDS = Histogram("twinward_request_seconds", "Time from the first byte read to the answer.", ["method"])
REFUSED = Counter("twinward_refused_tokens", "Tokens refused, by cause.", ["why"])


class Door:
    """One listener. `start` serves, `stop` lets calls in flight end, `wait` blocks until then."""

    def __init__(self, server: grpc.Server, port: int, checks: health.HealthServicer) -> None:
        self.port = port
        self._server = server
        self._checks = checks
        self._ended = threading.Event()

    def start(self, *, serving: bool = True) -> None:
        """`serving=False` opens the port and leaves health NOT_SERVING until `ready(True)`."""
        self.ready(serving)
        self._server.start()

    def ready(self, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse.ServingStatus
        self._checks.set("", states.SERVING if serving else states.NOT_SERVING)

    def stop(self, grace_s: float = 5.0) -> None:
        """Takes no new call; those in flight have `grace_s` seconds."""
        self._checks.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._ended.set()

    def wait(self) -> None:
        self._ended.wait()


def serve(
    servicers: Sequence[Served],
    settings: ProgramSettings,
    verifier: TokenVerifier,
    *,
    workers: int = 16,
    enrolment: bool = False,
    listen: str | None = None,
    refused_token: RefusedToken | None = None,
    chance: Chance | None = None,
) -> Door:
    """Builds the door on `listen` (default: the settings') and binds its port; `start` opens it.

    With `enrolment` no client certificate is asked for and only enrolling methods may be served.
    `refused_token` hears of every refused token, for the ledger's count.

    Raises:
        Unready: a method has no access option, a file cannot be read, or the address is taken.
    """
    methods = table([descriptor for _, _, descriptor in servicers], enrolment=enrolment)
    gate = Gate(settings.site, methods, verifier)
    pool = futures.ThreadPoolExecutor(workers, thread_name_prefix="door")
    server = grpc.server(
        pool,
        interceptors=[_Guard(gate, refused_token, chance or SystemChance())],
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
        ],
        maximum_concurrent_rpcs=workers * (1 + WAITING),
    )
    for add, servicer, _ in servicers:
        add(servicer, server)
    checks = health.HealthServicer(experimental_non_blocking=True)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if settings.profile == "demo":
        names = [descriptor.full_name for _, _, descriptor in servicers]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    address = listen if listen is not None else settings.listen
    try:
        port = server.add_secure_port(address, credentials(settings, enrolment))
    except RuntimeError as error:
        raise Unready(f"cannot listen on {address}: it is taken, or no address of this machine") from error
    return Door(server, port, checks)


def credentials(settings: ProgramSettings, enrolment: bool) -> grpc.ServerCredentials:
    try:
        key, chain = settings.key_file.read_bytes(), settings.certificate_file.read_bytes()
        authority = settings.ca_file.read_bytes()
    except OSError as error:
        raise Unready("a certificate or key cannot be read: check the files' owner", detail=str(error)) from None
    if enrolment:
        return grpc.ssl_server_credentials([(key, chain)])
    return grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=True)


class _Guard(grpc.ServerInterceptor):
    """Stands before every method of the door."""

    def __init__(self, gate: Gate, refused_token: RefusedToken | None, chance: Chance) -> None:
        self._gate = gate
        self._refused_token = refused_token
        self._chance = chance

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = continuation(details)
        method = str(details.method)
        if handler is None or method.startswith((HEALTH, REFLECTION)):
            return handler
        act = handler.unary_unary
        if act is None:  # `table` lets no stream start; what is not in the table is refused all the same
            return None

        def answer(request: object, context: grpc.ServicerContext) -> object:
            with SECONDS.labels(method).time():
                return self._answer(method, act, request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )

    def _answer(
        self, method: str, act: Callable[..., object], request: object, context: grpc.ServicerContext
    ) -> object:
        try:
            left = context.time_remaining()
            if left is not None and left <= 0:  # waited too long for a worker: nobody reads the answer
                raise Unavailable("the answer would come too late: try again")
            attach(context, self._admit(method, context))
            answer = act(request, context)
        except TwinwardError as error:
            self._abort(method, error, context)
        except psycopg.OperationalError as error:
            telemetry.LOG.unexpected(error, self._number())
            self._abort(method, Unavailable("the database does not answer: try again"), context)
        except Exception as error:
            if context.code() is not None:  # type: ignore[attr-defined] # not in the stubs  # a servicer that aborted by itself
                raise
            number = self._number()
            telemetry.LOG.unexpected(error, number)
            self._abort(method, TwinwardError(f"internal error {number}: look for this number in the log"), context)
        else:
            REQUESTS.labels(method, "OK").inc()
            return answer

    def _admit(self, method: str, context: grpc.ServicerContext) -> Caller:
        try:
            return self._gate.admit(method, context)
        except Unauthenticated as error:
            REFUSED.labels(error.detail or "other").inc()
            if self._refused_token is not None:
                self._refused_token(_source(context), error.detail)
            raise

    def _abort(self, method: str, error: TwinwardError, context: grpc.ServicerContext) -> NoReturn:
        REQUESTS.labels(method, error.code).inc()
        context.abort_with_status(to_status(error))

    def _number(self) -> int:
        return int.from_bytes(self._chance.bytes(5), "big")


def _source(context: grpc.ServicerContext) -> str:
    """SPIFFE id where there is one, else the address without its port."""
    return spiffe_id(context) or context.peer().rpartition(":")[0]
