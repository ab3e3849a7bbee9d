"""A door that takes streams too: `twinward/link/server.py`'s promises, on asyncio.

Only what must stay open comes here (a teaching session); single calls of other programs keep the thread door,
which answers more of them. The same gate decides, and a stream has four promises more:

1. no option, no stream: a streaming method starts only with `streams` in its access option;
2. it ends with its token, to the second and with a sentence, unless a fresh token of the same person, bound to the
   same certificate, comes through it (`Call.renew`);
3. a person has so many streams, the door so many; one more is refused with Busy and harms none;
4. what a reader is too slow for waits in the servicer's bounded queue, never here: a frame is written when the
   connection takes it, and not before the frame ahead of it.

A servicer's single calls are plain functions `(request, call)`, run in worker threads; its streams are async
generators `(requests, call)`. Both see only calls that were let in.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter as Tally
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, cast

import grpc
import psycopg
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from twinward import telemetry
from twinward.clock import Chance, Clock, SystemChance
from twinward.errors import Busy, TwinwardError, Unauthenticated, Unavailable, Unready
from twinward.link.access import Gate, spiffe_id, table
from twinward.link.caller import Caller, attach
from twinward.link.server import (
    HEALTH,
    MESSAGE_BYTES,
    REFUSED,
    REQUESTS,
    SECONDS,
    RefusedToken,
    Served,
    credentials,
)
from twinward.link.status import to_status
from twinward.link.tokens import TokenVerifier
from twinward.settings import ProgramSettings

START_S = 30.0
KEEPALIVE_MS = 20_000  # a peer that vanished with its machine is noticed after two of these
SPARE_CALLS = 64  # single calls beside the streams

T = TypeVar("T")
Answering = Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many streams at once."""

    door: int = 200
    person: int = 4


class Call:
    """One admitted call, as a servicer sees it."""

    def __init__(self, caller: Caller, renewing: Callable[[Caller, str], Awaitable[Caller]] | None = None) -> None:
        self._renewing = renewing
        attach(cast(grpc.ServicerContext, self), caller)
        self.caller = caller

    async def renew(self, token: str) -> None:
        """Lets a stream go on to the end of `token`.

        Raises:
            Unauthenticated, Denied: it is not taken; the stream keeps the end it had.
        """
        assert self._renewing is not None  # noqa: S101 - only streams are renewed
        self.caller = await self._renewing(self.caller, token)
        attach(cast(grpc.ServicerContext, self), self.caller)


Single = Callable[[Any, Call], Any]
Flow = Callable[[Any, Call], AsyncIterator[Any]]


@dataclass
class _Places:
    """Streams that are open. Only the loop's thread touches it."""

    limits: Limits
    by_person: Tally[str] = field(default_factory=Tally)

    def take(self, who: str) -> None:
        if self.by_person.total() >= self.limits.door:
            raise Busy("this program has as many open streams as it takes: try again in a moment")
        if self.by_person[who] >= self.limits.person:
            raise Busy(f"you have {self.limits.person} open streams already: end one first")
        self.by_person[who] += 1

    def give_back(self, who: str) -> None:
        self.by_person[who] -= 1
        if self.by_person[who] <= 0:
            del self.by_person[who]


class StreamDoor:
    """One listener with its own event loop in a thread; as `twinward.link.server.Door`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: threading.Thread,
        server: aio.Server,
        checks: health.aio.HealthServicer,
        port: int,
    ) -> None:
        self.port = port
        self.loop = loop
        self._thread = thread
        self._server = server
        self._checks = checks
        self._ended = threading.Event()

    def start(self, *, serving: bool = True) -> None:
        """`serving=False` opens the port and leaves health NOT_SERVING until `ready(True)`."""
        self.ready(serving)
        self.run(self._server.start())

    def ready(self, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse.ServingStatus
        self.run(self._checks.set("", states.SERVING if serving else states.NOT_SERVING))

    def run(self, work: Coroutine[Any, Any, T], within_s: float = START_S) -> T:
        """The result of `work` on the door's loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_s)

    def stop(self, grace_s: float = 5.0) -> None:
        """Takes no new call; those in flight have `grace_s` seconds, then they end with UNAVAILABLE or CANCELLED."""
        if self._ended.is_set():
            return
        self.run(self._checks.enter_graceful_shutdown())
        self.run(self._server.stop(grace_s), grace_s + START_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(START_S)
        self._ended.set()

    def wait(self) -> None:
        self._ended.wait()


def serve_streams(
    servicers: Sequence[Served],
    settings: ProgramSettings,
    verifier: TokenVerifier,
    clock: Clock,
    *,
    limits: Limits | None = None,
    workers: int = 8,
    refused_token: RefusedToken | None = None,
    chance: Chance | None = None,
) -> StreamDoor:
    """As `twinward.link.server.serve`, for services that have streams.

    Raises:
        Unready: a method has no access option, a file cannot be read, or the address is taken.
    """
    methods = table([descriptor for _, _, descriptor in servicers], enrolment=False, streams=True)
    gate = Gate(settings.site, methods, verifier)
    found = credentials(settings, enrolment=False)
    chosen = limits or Limits()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="door")
    guard = _Guard(gate, pool, clock, _Places(chosen), refused_token, chance or SystemChance())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_turn, args=(loop, pool), name="streams", daemon=True)
    thread.start()

    async def build() -> tuple[aio.Server, health.aio.HealthServicer, int]:
        server = aio.server(
            interceptors=[guard],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            ],
            maximum_concurrent_rpcs=chosen.door + SPARE_CALLS,
        )
        for add, servicer, _ in servicers:
            add(servicer, cast(grpc.Server, server))
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        try:
            return server, checks, server.add_secure_port(settings.listen, found)
        except RuntimeError as error:
            raise Unready(f"cannot listen on {settings.listen}: it is taken, or no address of this machine") from error

    try:
        server, checks, port = asyncio.run_coroutine_threadsafe(build(), loop).result(START_S)
    except BaseException:
        loop.call_soon_threadsafe(loop.stop)
        raise
    return StreamDoor(loop, thread, server, checks, port)


def _turn(loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        loop.close()


class _Guard(aio.ServerInterceptor):
    """Stands before every method of the door."""

    def __init__(
        self,
        gate: Gate,
        pool: ThreadPoolExecutor,
        clock: Clock,
        places: _Places,
        refused_token: RefusedToken | None,
        chance: Chance,
    ) -> None:
        self._gate = gate
        self._pool = pool
        self._clock = clock
        self._places = places
        self._refused_token = refused_token
        self._chance = chance

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(details)
        method = str(details.method)
        if handler is None or method.startswith(HEALTH):
            return handler
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._single(method, cast(Single, handler.unary_unary)), **codec)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(method, cast(Flow, handler.stream_stream)), **codec
            )
        return None

    def _single(self, method: str, act: Single) -> Answering:
        async def answer(request: object, context: aio.ServicerContext[Any, Any]) -> object:
            async def work() -> object:
                left = context.time_remaining()
                if left is not None and left <= 0:
                    raise Unavailable("the answer would come too late: try again")
                call = Call(await self._admit(method, context))
                return await asyncio.get_running_loop().run_in_executor(self._pool, act, request, call)

            with SECONDS.labels(method).time():
                return await self._guarded(method, context, work)

        return answer

    def _stream(self, method: str, flow: Flow) -> Answering:
        async def answer(requests: object, context: aio.ServicerContext[Any, Any]) -> None:
            async def work() -> None:
                caller = await self._admit(method, context)
                who = caller.person.sub if caller.person is not None else caller.peer_id
                self._places.take(who)
                try:
                    await self._flow(method, flow, requests, context, caller)
                finally:
                    self._places.give_back(who)

            await self._guarded(method, context, work)

        return answer

    async def _flow(
        self,
        method: str,
        flow: Flow,
        requests: object,
        context: aio.ServicerContext[Any, Any],
        caller: Caller,
    ) -> None:
        """Frames go out as they come, until the servicer, the other side or the token ends it."""
        loop = asyncio.get_running_loop()

        async def renewing(known: Caller, token: str) -> Caller:
            fresh = await loop.run_in_executor(self._pool, self._gate.renew, method, known, token)
            limit.reschedule(self._end(loop, fresh))
            return fresh

        call = Call(caller, renewing)
        try:
            async with asyncio.timeout_at(self._end(loop, caller)) as limit:
                frames = flow(requests, call)
                try:
                    async for frame in frames:
                        await context.write(frame)
                finally:
                    await frames.aclose()  # type: ignore[attr-defined] # it is an async generator
        except TimeoutError:
            if not limit.expired():
                raise
            REFUSED.labels("expired").inc()
            raise Unauthenticated(
                "your login ended while this stream was open: log in with `twinward login` and attach again",
                detail="expired",
            ) from None

    def _end(self, loop: asyncio.AbstractEventLoop, caller: Caller) -> float:
        """The loop's time of the token's end. The leeway for clocks that differ is for its beginning only."""
        return loop.time() + caller.until - self._clock.now_ms() / 1000

    async def _guarded(
        self, method: str, context: aio.ServicerContext[Any, Any], work: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            answer = await work()
        except TwinwardError as error:
            await self._abort(method, error, context)
        except psycopg.OperationalError as error:
            telemetry.LOG.unexpected(error, self._number())
            await self._abort(method, Unavailable("the database does not answer: try again"), context)
        except Exception as error:
            number = self._number()
            telemetry.LOG.unexpected(error, number)
            await self._abort(
                method, TwinwardError(f"internal error {number}: look for this number in the log"), context
            )
        else:
            REQUESTS.labels(method, "OK").inc()
            return answer

    async def _admit(self, method: str, context: aio.ServicerContext[Any, Any]) -> Caller:
        seen = cast(grpc.ServicerContext, context)  # the gate reads what both kinds of context have
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._gate.admit, method, seen)
        except Unauthenticated as error:
            REFUSED.labels(error.detail or "other").inc()
            if self._refused_token is not None:
                self._refused_token(spiffe_id(seen) or context.peer().rpartition(":")[0], error.detail)
            raise

    async def _abort(self, method: str, error: TwinwardError, context: aio.ServicerContext[Any, Any]) -> NoReturn:
        REQUESTS.labels(method, error.code).inc()
        status = to_status(error)
        await context.abort(status.code, status.details, status.trailing_metadata)

    def _number(self) -> int:
        return int.from_bytes(self._chance.bytes(5), "big")
