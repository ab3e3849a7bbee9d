"""The door of the sessions program: single calls in worker threads, the stream on the loop."""

# ruff: noqa: N802 - the methods are named as in the contract

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import grpc
import msgspec

from services.twin.session_command import Inject, Role
from services.twin.session_compare import Comparison, compare
from services.twin.session_engine import Session
from services.twin.session_messages import (
    BANNER,
    action_of,
    case_of,
    cohort_of,
    command_of,
    frame_of,
    line_of,
    score_of,
    steering_of,
    summary_of,
)
from services.twin.session_policies import named
from services.twin.session_reader import SLICES_MOST, Answer, Reader, Slice
from services.twin.session_register import Register, session_id
from services.twin.session_results import seen
from services.twin.session_running import Running
from services.twin.session_score import score
from services.twin.session_store import WATCH, Kept
from services.twin.session_virtual import is_virtual, name
from twinward.errors import BadInput, Denied, NotFound, TwinwardError, Unavailable, Unready
from twinward.link.caller import Caller, caller_of
from twinward.link.permissions import allowed
from twinward.link.server import Served
from twinward.link.streams import Call
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

HZ = (0, 125, 250)
PAGE_MOST = 500
STEER_S = 10.0
FREE = "free practice: nothing is scored"
COMPARED_EVERY_S = 60  # a row of a comparison
Context: TypeAlias = grpc.ServicerContext
T = TypeVar("T")


class TeachingDoor(session_pb2_grpc.TeachingServicer):
    def __init__(self, register: Register, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._register = register
        self.loop = loop  # the door's, set before it serves

    def ListCases(self, request: pb.ListCasesRequest, context: Context) -> pb.ListCasesResponse:
        return pb.ListCasesResponse(cases=[case_of(one) for one in self._register.cases.values()], banner=BANNER)

    def ShowCase(self, request: pb.ShowCaseRequest, context: Context) -> pb.ShowCaseResponse:
        case = self._register.case(request.name)
        steers = allowed(_roles(context), "session.steer")
        return pb.ShowCaseResponse(
            case=case_of(case), place=case.setting.place, description=case.patient.description,
            objectives=case.objectives.values(), actions=[action_of(one) for one in case.actions],
            events=[one.id for one in case.events] if steers else [], debrief=case.debrief if steers else [],
            banner=BANNER,
        )  # fmt: skip

    def OpenSession(self, request: pb.OpenSessionRequest, context: Context) -> pb.OpenSessionResponse:
        mode = request.mode or "training"
        case, seed = request.case, request.seed
        if request.HasField("virtual"):
            if case:
                raise BadInput("say a case or a virtual person, not both: a case has its own patient")
            case = name(request.virtual.seed, request.virtual.index, request.virtual.hours)
        row = self._register.open(request.id, _person(context), case, seed, mode)
        return pb.OpenSessionResponse(session=summary_of(row, self._register.running(row.id)))

    def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        rows, more = self._register.store.listed(_person(context), request.page_size, request.page_token)
        found = [summary_of(row, self._register.running(row.id)) for row in rows]
        return pb.ListSessionsResponse(sessions=found, next_page_token=more, banner=BANNER)

    def Roster(self, request: pb.RosterRequest, context: Context) -> pb.RosterResponse:
        rows, more = self._register.store.listed(None, request.page_size, request.page_token)
        found = [summary_of(row, self._register.running(row.id)) for row in rows]
        return pb.RosterResponse(sessions=found, next_page_token=more, banner=BANNER)

    def SessionCohort(self, request: pb.SessionCohortRequest, context: Context) -> pb.SessionCohortResponse:
        case = self._register.case(request.case)
        if not case.scored:
            raise BadInput("free practice is not scored: a cohort is of a case")
        together = self._register.store.results.together(case)
        return cohort_of(case, together, seen(case, together))

    def Steer(self, request: pb.SteerRequest, context: Context) -> pb.SteerResponse:
        command = steering_of(request, _person(context))
        session = session_id(request.session) if request.session else None
        if session is None and isinstance(command, Inject):
            raise BadInput("say into which session the event goes")
        session_id(request.id)
        return pb.SteerResponse(reached=self._on_loop(self._register.steer(session, request.id, command)))

    def SessionLog(self, request: pb.SessionLogRequest, context: Context) -> pb.SessionLogResponse:
        row = self._seen(request.session, context)
        size = min(request.page_size or PAGE_MOST, PAGE_MOST)
        lines = self._register.store.lines(row.id, request.after, size + 1)
        return pb.SessionLogResponse(
            session=summary_of(row, self._register.running(row.id)), more=len(lines) > size,
            commands=[line_of(one, msgspec.json.encode(one.logged.command).decode()) for one in lines[:size]],
        )  # fmt: skip

    def SessionScore(self, request: pb.SessionScoreRequest, context: Context) -> pb.SessionScoreResponse:
        row = self._seen(request.session, context)
        found, final = self._asked(row.id, lambda engine: (score(engine), bool(engine.ended)))
        if is_virtual(row.case_id):
            return pb.SessionScoreResponse(session=row.id.bytes, final=final, model=row.model, note=FREE, banner=BANNER)
        return score_of(row.id.bytes, found, final, row.model)

    def ForkSession(self, request: pb.ForkSessionRequest, context: Context) -> pb.ForkSessionResponse:
        session = session_id(request.session)
        running = self._register.running(session)
        if running is not None:  # the log does not say yet how far it went
            self._register.store.reached({session: running.at_s})
        row = self._register.fork(session, request.id, _person(context), request.at_s)
        return pb.ForkSessionResponse(session=summary_of(row))

    def CompareSessions(self, request: pb.CompareSessionsRequest, context: Context) -> pb.CompareSessionsResponse:
        rows = [self._seen(id, context) for id in (request.first, request.second)]
        first, second = (self._register.rebuilt(row) for row in rows)
        found = compare(first, second)
        return pb.CompareSessionsResponse(
            first=summary_of(rows[0]), second=summary_of(rows[1]), same_until_s=found.parted_s,
            rows=_compared(found, first.vocabulary.numerics), score_first=found.score_a.total,
            score_second=found.score_b.total, banner=BANNER,
        )  # fmt: skip

    def EraseSession(self, request: pb.EraseSessionRequest, context: Context) -> pb.EraseSessionResponse:
        session = session_id(request.session)
        leaf = self._register.erase(session, _person(context))
        with contextlib.suppress(NotFound):
            self._on_loop(self._register.forget(session))
        return pb.EraseSessionResponse(leaf=leaf)

    async def Run(  # type: ignore[override] # the door gives its own kind of context
        self, requests: AsyncIterator[pb.SessionCommand], call: Call
    ) -> AsyncIterator[pb.SessionFrame]:
        """Two halves: commands are taken in their order, frames go out as the reader gets them."""
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("command") != "attach":
            raise BadInput("a stream begins with `attach`")
        wish, person = first.attach, _person(call.caller)
        if wish.hz not in HZ:
            raise BadInput("waves come at 125 or 250 Hz, or not at all with 0")
        watches = allowed(_roles(call.caller), WATCH)
        running = await self._register.attach(session_id(wish.session), person, watches, wish.paused)
        reader = Reader(wish.hz)
        own = running.row.owner == person
        running.join(reader)
        reader.put(_said(running, Answer(first.id, True, at_s=running.at_s)))
        taking = asyncio.create_task(self._commands(requests, running, reader, call, own))
        number = 0
        try:
            while True:
                one = await reader.get()
                number += 1
                yield frame_of(one, number, running.row.id.bytes, running.row.model, reader.left_out)
        finally:
            running.leave(reader)
            taking.cancel()

    async def _commands(
        self, requests: AsyncIterator[pb.SessionCommand], running: Running, reader: Reader, call: Call, own: bool
    ) -> None:
        """Not read faster than answers are: a client that asks and does not listen waits in its own machine."""
        try:
            async for message in requests:
                reader.put(await self._answered(message, running, call, own))
                while len(reader) > SLICES_MOST * 2:
                    await asyncio.sleep(0.05)
        except TwinwardError as error:
            reader.fail(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the other half ends the stream with it
            reader.fail(error)

    async def _answered(self, message: pb.SessionCommand, running: Running, call: Call, own: bool) -> Slice:
        kind = message.WhichOneof("command")
        try:
            if kind == "token":
                await call.renew(message.token.token)
                return _said(running, Answer(message.id, True, at_s=running.at_s))
            if kind == "why":
                return _said(running, Answer(message.id, True, at_s=running.at_s), await running.why())
            if not own:
                raise Denied("you watch this session: steer it with `twinward session steer`")
            if kind == "play":
                await self._play(message.play.policy, running)
                return _said(running, Answer(message.id, True, at_s=running.at_s))
            answer = await running.take(message.id, command_of(message), Role.LEADER)
        except Unavailable:
            raise
        except TwinwardError as error:
            answer = Answer(message.id, False, at_s=running.at_s, error=error.reason, message=error.public)
        return _said(running, answer)

    async def _play(self, policy: str, running: Running) -> None:
        makers = named(running.engine.case)
        if policy not in makers:
            raise BadInput(f"there is no such policy: there are {', '.join(makers)}")
        if running.engine.mode != "training":
            raise Denied("an assessment is done by a person")
        await running.play(makers[policy]())

    def _seen(self, session: bytes, context: Context) -> Kept:
        return self._register.seen(session_id(session), _person(context), allowed(_roles(context), WATCH))

    def _asked(self, session: UUID, question: Callable[[Session], T]) -> T:
        """Of the engine in memory, else of one made from the log."""
        running = self._register.running(session)
        if running is not None and running.failed is None:
            return self._on_loop(running.ask(question))
        return question(self._register.rebuilt(self._register.store.row(session)))

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        if self.loop is None:
            raise Unready("the sessions program is starting: try again in a moment")
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(STEER_S)


def _said(running: Running, answer: Answer, why: tuple[str, ...] = ()) -> Slice:
    now_ms = float(running.now_ms)
    return Slice(float(running.at_s), running.state, running.engine.speed, now_ms, answer=answer, why=why)


def _compared(found: Comparison, units: Mapping[str, str]) -> list[pb.ComparedRow]:
    rows = []
    for i, at_s in enumerate(found.at_s):
        if at_s % COMPARED_EVERY_S == 0 or i == len(found.at_s) - 1:
            rows += [
                pb.ComparedRow(
                    at_s=int(at_s), name=name, unit=units.get(name, ""), first=found.a[i, k], second=found.b[i, k]
                )
                for k, name in enumerate(found.names)
            ]
    return rows


def _person(one: Context | Caller) -> str:
    """Their pseudonym at the identity provider."""
    caller = one if isinstance(one, Caller) else caller_of(one)
    if caller.person is None:
        raise Denied("this call is for people")
    return caller.person.sub


def _roles(one: Context | Caller) -> tuple[str, ...]:
    caller = one if isinstance(one, Caller) else caller_of(one)
    return caller.person.roles if caller.person is not None else ()


def served_teaching(door: TeachingDoor) -> Served:
    return (
        session_pb2_grpc.add_TeachingServicer_to_server,
        door,
        pb.DESCRIPTOR.services_by_name["Teaching"],
    )
