"""A door for streams: who gets one, how it ends, what a slow reader and one too many come to."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.site import Fixed, Site
from twinward.clock import SystemClock
from twinward.errors import Busy, Denied, TwinwardError, Unauthenticated, Unready
from twinward.link.client import channel, stream_metadata
from twinward.link.server import serve
from twinward.link.status import from_rpc
from twinward.link.streams import Call, Limits, StreamDoor, serve_streams
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

TEACHING = pb.DESCRIPTOR.services_by_name["Teaching"]
LIMITS = Limits(door=3, person=2)


class Teaching(session_pb2_grpc.TeachingServicer):
    """Echoes commands; `why` asks for what cannot be answered."""

    def __init__(self) -> None:
        self.ended = threading.Semaphore(0)
        self.people: list[str] = []

    def ListCases(self, request: pb.ListCasesRequest, call: Any) -> pb.ListCasesResponse:
        return pb.ListCasesResponse(banner=call.caller.person.sub)

    def ShowCase(self, request: pb.ShowCaseRequest, call: Any) -> pb.ShowCaseResponse:
        raise Unready("open it first")

    async def Run(self, requests: AsyncIterator[pb.SessionCommand], call: Call) -> AsyncIterator[pb.SessionFrame]:
        assert call.caller.person is not None
        self.people.append(call.caller.person.sub)
        try:
            async for command in requests:
                kind = command.WhichOneof("command")
                if kind == "token":
                    try:
                        await call.renew(command.token.token)
                    except TwinwardError as error:
                        yield pb.SessionFrame(ack=pb.Ack(id=command.id, error=error.reason))
                        continue
                elif kind == "why":
                    raise ValueError("Mrs Example")
                elif kind == "finish":
                    return
                yield pb.SessionFrame(ack=pb.Ack(id=command.id, done=True))
            await asyncio.sleep(60)
        finally:
            self.ended.release()


class Stream:
    """One open stream of a person."""

    def __init__(self, opened: grpc.Channel, token: str | None) -> None:
        self._commands: queue.SimpleQueue[pb.SessionCommand | None] = queue.SimpleQueue()
        metadata = stream_metadata(Fixed(token)) if token is not None else None
        self.call = session_pb2_grpc.TeachingStub(opened).Run(iter(self._commands.get, None), metadata=metadata)

    def ask(self, **command: Any) -> pb.SessionFrame:
        self._commands.put(pb.SessionCommand(id=b"x" * 16, **command))
        return self.answer()

    def answer(self) -> pb.SessionFrame:
        try:
            found: pb.SessionFrame = next(self.call)
        except grpc.RpcError as error:
            raise from_rpc(error, "sessions") from None
        return found

    def close(self) -> None:
        self._commands.put(None)
        self.call.cancel()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def teaching() -> Teaching:
    return Teaching()  # type: ignore[abstract]


@pytest.fixture(scope="module")
def door(site: Site, teaching: Teaching) -> Iterator[StreamDoor]:
    served = [(session_pb2_grpc.add_TeachingServicer_to_server, teaching, TEACHING)]
    opened = serve_streams(
        served, site.settings("sessions"), site.verifier("sessions"), SystemClock(), limits=LIMITS, workers=2
    )
    opened.start()
    yield opened
    opened.stop(0.2)


class Person:
    def __init__(self, site: Site, door: StreamDoor, sub: str) -> None:
        self.site, self.sub = site, sub
        self.identity = site.person_identity(sub)
        authority = (site.pki / "ca.pem").read_bytes()
        self.channel = channel(f"127.0.0.1:{door.port}", f"sessions.{site.name}", authority, self.identity, None)

    def token(self, **more: Any) -> str:
        return self.site.signed(self.site.claims(self.identity[1], **{"sub": self.sub, "roles": ["learner"], **more}))

    def stream(self, token: str | None = "") -> Stream:
        return Stream(self.channel, self.token() if token == "" else token)


@pytest.fixture(scope="module")
def learner(site: Site, door: StreamDoor) -> Iterator[Person]:
    one = Person(site, door, "learner")
    yield one
    one.channel.close()


def over(stream: Stream, teaching: Teaching) -> None:
    stream.close()
    assert teaching.ended.acquire(timeout=10)


def test_a_stream_answers_and_single_calls_beside_it(learner: Person, teaching: Teaching) -> None:
    stream = learner.stream()
    assert stream.ask(pause=pb.Pause()).ack.done
    cases = session_pb2_grpc.TeachingStub(learner.channel).ListCases(
        pb.ListCasesRequest(), metadata=stream_metadata(Fixed(learner.token()))
    )
    assert cases.banner == teaching.people[-1] == "learner"
    with pytest.raises(Unready, match="open it first"):
        session_pb2_grpc.TeachingStub(learner.channel).ShowCase(
            pb.ShowCaseRequest(), metadata=stream_metadata(Fixed(learner.token()))
        )
    over(stream, teaching)


def test_no_token_no_stream(learner: Person, site: Site, door: StreamDoor) -> None:
    with pytest.raises(Unauthenticated, match="twinward login"):
        learner.stream(None).answer()
    thief = Person(site, door, "thief")
    with pytest.raises(Unauthenticated):
        Stream(thief.channel, learner.token()).answer()
    with pytest.raises(Unauthenticated):
        learner.stream(learner.token(aud=["ingest"])).answer()
    with pytest.raises(Denied, match=r"session\.run"):
        learner.stream(learner.token(roles=["auditor"])).answer()
    thief.channel.close()


def test_a_stream_ends_with_its_token(learner: Person, site: Site, teaching: Teaching) -> None:
    stream = learner.stream(learner.token(exp=site.clock.now_ms() // 1000 + 2))
    assert stream.ask(pause=pb.Pause()).ack.done
    with pytest.raises(Unauthenticated, match="login ended while this stream was open"):
        stream.answer()
    over(stream, teaching)


def test_a_fresh_token_lets_it_go_on_and_a_wrong_one_does_not(learner: Person, site: Site, teaching: Teaching) -> None:
    soon = site.clock.now_ms() // 1000 + 2
    stream = learner.stream(learner.token(exp=soon))
    other = site.signed(site.claims(site.person_identity("learner")[1], sub="learner", roles=["learner"]))
    for wrong, why in (
        (other, "UNAUTHENTICATED"),  # bound to another certificate
        (learner.token(sub="somebody"), "UNAUTHENTICATED"),
        (learner.token(roles=["auditor"]), "DENIED"),
        ("no token", "UNAUTHENTICATED"),
    ):
        assert stream.ask(token=pb.FreshToken(token=wrong)).ack.error == why
    assert stream.ask(token=pb.FreshToken(token=learner.token(exp=soon + 60))).ack.done
    while site.clock.now_ms() // 1000 <= soon:
        threading.Event().wait(0.1)
    assert stream.ask(pause=pb.Pause()).ack.done
    over(stream, teaching)


def test_one_stream_too_many_is_refused_and_harms_none(
    learner: Person, site: Site, door: StreamDoor, teaching: Teaching
) -> None:
    mine = [learner.stream() for _ in range(LIMITS.person)]
    assert all(one.ask(pause=pb.Pause()).ack.done for one in mine)
    with pytest.raises(Busy, match="2 open streams"):
        learner.stream().answer()
    other, third = Person(site, door, "other"), Person(site, door, "third")
    mine.append(other.stream())
    assert mine[-1].ask(pause=pb.Pause()).ack.done
    with pytest.raises(Busy, match="as it takes"):
        third.stream().answer()
    for one in mine:
        assert one.ask(pause=pb.Pause()).ack.done
        over(one, teaching)
    again = learner.stream()
    assert again.ask(pause=pb.Pause()).ack.done
    over(again, teaching)
    for person in (other, third):
        person.channel.close()


def test_the_unexpected_is_a_number(learner: Person, teaching: Teaching, capfd: pytest.CaptureFixture[str]) -> None:
    stream = learner.stream()
    with pytest.raises(TwinwardError, match=r"internal error \d+") as seen:
        stream.ask(why=pb.Why())
    over(stream, teaching)
    assert "Mrs Example" not in seen.value.public + "".join(capfd.readouterr())


def test_health_without_a_token_and_a_stop_that_ends_streams(site: Site) -> None:
    teaching = Teaching()  # type: ignore[abstract]
    served = [(session_pb2_grpc.add_TeachingServicer_to_server, teaching, TEACHING)]
    door = serve_streams(served, site.settings("sessions"), site.verifier("sessions"), SystemClock())
    door.start(serving=False)
    person = Person(site, door, "learner")
    health = health_pb2_grpc.HealthStub(person.channel)
    states = health_pb2.HealthCheckResponse
    assert health.Check(health_pb2.HealthCheckRequest()).status == states.NOT_SERVING
    door.ready(True)
    assert health.Check(health_pb2.HealthCheckRequest()).status == states.SERVING
    stream = person.stream()
    assert stream.ask(pause=pb.Pause()).ack.done
    door.stop(0.1)
    with pytest.raises(TwinwardError):
        stream.answer()
    assert teaching.ended.acquire(timeout=10)
    person.channel.close()


def test_a_door_for_single_calls_takes_no_stream(site: Site) -> None:
    served = [(session_pb2_grpc.add_TeachingServicer_to_server, Teaching(), TEACHING)]  # type: ignore[abstract]
    with pytest.raises(Unready, match="takes single calls"):
        serve(served, site.settings("sessions"), site.verifier("sessions"))
