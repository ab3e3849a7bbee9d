"""The two doors of the twin programs, and the calls they make of auth and of each other."""

# ruff: noqa: N802 - the methods are named as in the contract

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import grpc

from services.twin.alarms import counted
from services.twin.glucose_answers import ParameterEstimate, Point, Reading
from services.twin.glucose_plan import LONGEST, PLANS_MOST, Action, Basal, Bolus, Fast, Limits, Meal, Plan, check
from services.twin.glucose_whatif import COVERAGE, Course, Number, WhatIf
from services.twin.keeper import Place
from services.twin.questions import (
    BANNER,
    HORIZONS,
    SENSOR_NOISE_90,
    Asked,
    Listed,
    Named,
    Opened,
    Questions,
    Summary,
    Whom,
    check_minutes,
)
from services.twin.timeline import Line
from services.twin.upkeep_calls import UpkeepCalls, month_message
from services.twin.worker import Worker
from twinward.errors import BadInput
from twinward.learning.response import Slope
from twinward.link.caller import caller_of
from twinward.link.client import with_person
from twinward.link.server import Served
from twinward.record import Handle
from twinward.vault.lease import Lease
from twinward.wire.codec.lease import lease_from_message
from twinward.wire.v1 import auth_pb2, record_pb2, twin_pb2, twin_pb2_grpc

PAGE_MOST = 50
LONGEST_IDENTIFIER = 200  # characters
LINE_SHOWN = 20  # entries of the timeline beside a twin


class TwinDoor(twin_pb2_grpc.TwinServicer):
    """What people ask."""

    def __init__(self, questions: Questions, limits: Limits | None = None) -> None:
        self._questions = questions
        self._limits = limits or Limits()

    def ListTwins(
        self, request: twin_pb2.ListTwinsRequest, context: grpc.ServicerContext
    ) -> twin_pb2.ListTwinsResponse:
        named = _named(request.identifier) if request.HasField("identifier") else None
        size = min(request.page_size or PAGE_MOST, PAGE_MOST)
        found, more = self._questions.list(caller_of(context).token, named, size, request.page_token)
        return twin_pb2.ListTwinsResponse(twins=[_summary(one) for one in found], next_page_token=more, banner=BANNER)

    def ShowTwin(self, request: twin_pb2.ShowTwinRequest, context: grpc.ServicerContext) -> twin_pb2.ShowTwinResponse:
        opened = self._questions.open(asked_of(context, request.patient, "show"))
        line = self._questions.line(opened, LINE_SHOWN)
        twin = opened.living.twin
        recent = [_reading(one, opened) for one in twin.recent()]
        return twin_pb2.ShowTwinResponse(
            handle=opened.handle.bytes,
            glucose=recent[-1],
            model_version=twin.MODEL_VERSION,
            first_record_ms=twin.first_ms,
            readings=twin.readings,
            recent=recent,
            parameters=[_parameter(one, opened) for one in twin.parameters()],
            coefficients=twin.coefficients,
            leaf=opened.leaf,
            banner=BANNER,
            alarms=[twin_pb2.TwinAlarm(word=one.word, text=one.text) for one in counted(twin.alarms)],
            personal=twin.personal.names,
            refit_ms=twin.personal.at_ms,
            prior=twin.prior_name,
            timeline=entries_of(line) if line else [],
            timeline_more=line.more if line else False,
            notes=filter(None, [opened.note]),
        )

    def Forecast(self, request: twin_pb2.ForecastRequest, context: grpc.ServicerContext) -> twin_pb2.ForecastResponse:
        minutes = check_minutes(tuple(request.minutes_ahead) or HORIZONS)
        asked = asked_of(context, request.patient, "forecast")
        opened = self._questions.open(asked, as_of_ms=request.as_of_ms)
        answer = opened.living.twin.forecast(minutes, opened.now_ms)
        return twin_pb2.ForecastResponse(
            handle=opened.handle.bytes,
            last_reading=_reading(answer.last_reading, opened) if answer.last_reading else None,
            points=[_point(one, opened) for one in answer.points],
            model_version=answer.model_version,
            seq=opened.living.seq,
            leaf=opened.leaf,
            banner=BANNER,
            notes=[*answer.notes, *filter(None, [opened.note]), *map(str, counted(opened.living.twin.alarms))],
        )

    def Explain(self, request: twin_pb2.ExplainRequest, context: grpc.ServicerContext) -> twin_pb2.ExplainResponse:
        (minutes,) = check_minutes((request.minutes_ahead or HORIZONS[0],))
        opened = self._questions.open(asked_of(context, request.patient, "explain"))
        answer = opened.living.twin.explain(minutes, opened.now_ms)
        contributions = [
            twin_pb2.Contribution(name=one.name, meaning=one.meaning, value=one.value) for one in answer.contributions
        ]
        return twin_pb2.ExplainResponse(
            point=_point(answer.point, opened) if answer.point else None,
            contributions=contributions,
            inputs=[*answer.inputs, *filter(None, [opened.note]), *answer.notes],
            parameters=[_parameter(one, opened) for one in answer.parameters],
            model_version=answer.model_version,
            leaf=opened.leaf,
            banner=BANNER,
        )

    def WhatIf(self, request: twin_pb2.WhatIfRequest, context: grpc.ServicerContext) -> twin_pb2.WhatIfResponse:
        plans, minutes = _plans(request), request.minutes or LONGEST
        check(plans, minutes, self._limits)
        opened = self._questions.open(asked_of(context, request.patient, "whatif"), as_of_ms=request.as_of_ms)
        answer = opened.living.twin.what_if(plans, minutes, opened.now_ms, self._limits)
        return twin_pb2.WhatIfResponse(
            handle=opened.handle.bytes,
            last_reading=_reading(answer.last_reading, opened),
            title=answer.title,
            why=answer.why,
            response=_slope(answer.response, opened, answer) if answer.response else None,
            corrections=answer.response.n if answer.response else 0,
            plans=[_course(one, opened, answer) for one in answer.courses],
            rules=[twin_pb2.GuidelineRule(text=r.text, citation=r.citation, label=r.label) for r in answer.rules],
            model_version=answer.model_version,
            seq=opened.living.seq,
            leaf=opened.leaf,
            banner=BANNER,
            notes=[*filter(None, [opened.note]), *answer.notes],
        )


class WorkerDoor(twin_pb2_grpc.TwinWorkerServicer):
    """What the door above asks of the worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def Freshen(self, request: twin_pb2.FreshenRequest, context: grpc.ServicerContext) -> twin_pb2.FreshenResponse:
        place = self._worker.freshen(_handle(request.handle))
        return twin_pb2.FreshenResponse(seq=place.seq, has_twin=place.has_twin, reason=place.reason, month=place.month)


def asked_of(context: grpc.ServicerContext, ref: record_pb2.PatientRef, act: str) -> Asked:
    return Asked(caller_of(context).token, _whom(ref), act)


def entries_of(line: Line) -> list[twin_pb2.TimelineEntry]:
    return [
        twin_pb2.TimelineEntry(at_ms=one.at_ms, until_ms=one.until_ms, what=one.what, note=one.note, source=one.source)
        for one in line.moments
    ]


def _whom(ref: record_pb2.PatientRef) -> Whom:
    which = ref.WhichOneof("ref")
    if which == "handle":
        return _handle(ref.handle)
    if which == "identifier":
        return _named(ref.identifier)
    raise BadInput("say which patient: a handle, or a medical record number with its system")


def _named(identifier: record_pb2.Identifier) -> Named:
    if not identifier.system or not identifier.value:
        raise BadInput("a medical record number needs its system and its value")
    if len(identifier.system) > LONGEST_IDENTIFIER or len(identifier.value) > LONGEST_IDENTIFIER:
        raise BadInput(f"a medical record number has at most {LONGEST_IDENTIFIER} characters")
    return Named(identifier.system, identifier.value)


def _handle(raw: bytes) -> UUID:
    if len(raw) != 16:
        raise BadInput("a handle has 16 bytes")
    return UUID(bytes=bytes(raw))


def _reading(one: Reading, opened: Opened) -> record_pb2.Quantity:
    return record_pb2.Quantity(
        value=one.value,
        unit="mg/dL",
        time_ms=one.time_ms,
        age_ms=opened.now_ms - one.time_ms,
        low=max(0.0, one.value - SENSOR_NOISE_90),
        high=one.value + SENSOR_NOISE_90,
        coverage=0.9,
        source=opened.living.source or one.source,
    )


def _point(one: Point, opened: Opened) -> record_pb2.ForecastPoint:
    glucose = record_pb2.Quantity(
        value=one.median,
        unit="mg/dL",
        time_ms=one.time_ms,
        age_ms=0,
        low=one.low,
        high=one.high,
        coverage=one.coverage,
        source=opened.model,
    )
    return record_pb2.ForecastPoint(minutes_ahead=one.minutes, glucose=glucose, physiology_share=one.physiology_share)


def _parameter(one: ParameterEstimate, opened: Opened) -> twin_pb2.Parameter:
    quantity = record_pb2.Quantity(
        value=one.value,
        unit=one.unit,
        time_ms=opened.living.through_ms,
        age_ms=opened.now_ms - opened.living.through_ms,
        low=one.low,
        high=one.high,
        coverage=0.9,
        source=opened.model,
    )
    return twin_pb2.Parameter(name=one.name, meaning=one.meaning, quantity=quantity, prior_ratio=one.prior_ratio)


def _plans(request: twin_pb2.WhatIfRequest) -> list[Plan]:
    if len(request.plans) > PLANS_MOST:
        raise BadInput(f"give 1 to {PLANS_MOST} plans")
    return [
        Plan(one.name or f"plan {number}", tuple(_action(action) for action in one.actions))
        for number, one in enumerate(request.plans, 1)
    ]


def _action(one: twin_pb2.PlanAction) -> Action:
    which = one.WhichOneof("what")
    if which == "bolus_iu":
        return Bolus(one.minute, one.bolus_iu)
    if which == "meal_g":
        return Meal(one.minute, one.meal_g)
    if which == "fast_g":
        return Fast(one.minute, one.fast_g)
    if which == "basal":
        return Basal(one.minute, one.basal.iu_per_h, one.basal.minutes)
    raise BadInput("an action is a bolus, a meal, fast carbohydrate, or a change of the basal rate")


def _course(one: Course, opened: Opened, answer: WhatIf) -> twin_pb2.PlanAnswer:
    def quantity(number: Number | None, unit: str, minutes: int) -> record_pb2.Quantity | None:
        return _expected(number, unit, minutes, opened, answer) if number else None

    def whole(number: Number | None, unit: str) -> record_pb2.Quantity | None:
        return quantity(number, unit, answer.minutes)

    return twin_pb2.PlanAnswer(
        name=one.name,
        points=[
            twin_pb2.PlanPoint(
                minutes_ahead=step.minutes,
                glucose=quantity(step.glucose, "mg/dL", step.minutes),
                effect=quantity(step.effect, "mg/dL", step.minutes),
            )
            for step in one.steps
        ],
        time_in_range=whole(one.in_range, "%"),
        lowest=whole(one.lowest, "mg/dL"),
        below_70=whole(one.below_70, "%"),
        below_54=whole(one.below_54, "%"),
        above_250=whole(one.above_250, "%"),
        effect=whole(one.effect, "mg/dL"),
        effect_in_range=whole(one.effect_in_range, "%"),
        refusal_reason=one.reason,
        refusal=one.refusal,
        notes=one.notes,
    )


def _expected(number: Number, unit: str, minutes: int, opened: Opened, answer: WhatIf) -> record_pb2.Quantity:
    return record_pb2.Quantity(
        value=number.value,
        unit=unit,
        time_ms=opened.now_ms + minutes * 60_000,
        age_ms=0,
        low=number.low,
        high=number.high,
        coverage=COVERAGE,
        source=f"{answer.model_version} ({answer.title})",
    )


def _slope(slope: Slope, opened: Opened, answer: WhatIf) -> record_pb2.Quantity:
    return record_pb2.Quantity(
        value=slope.slope,
        unit="{ratio}",
        time_ms=opened.living.through_ms,
        age_ms=opened.now_ms - opened.living.through_ms,
        low=slope.low,
        high=slope.high,
        coverage=slope.coverage,
        source=f"{answer.model_version}, {slope.n} isolated corrections",
    )


def _summary(one: Summary) -> twin_pb2.TwinSummary:
    glucose = None
    if one.opened is not None:
        recent = one.opened.living.twin.recent()
        glucose = _reading(recent[-1], one.opened) if recent else None
    return twin_pb2.TwinSummary(handle=one.handle.bytes, has_twin=one.has_twin, glucose=glucose, note=one.note)


class AuthCalls(UpkeepCalls):
    """auth, as `services.twin.leases.Authority` and `services.twin.questions.Decides`."""

    def grant(self, token: str, whom: Whom, categories: Sequence[int], month: int, act: str) -> Lease:
        at = month_message(month)
        request = auth_pb2.GrantRequest(
            patient=_ref(whom), categories=categories, period=record_pb2.Period(first=at, last=at), act=act
        )
        return lease_from_message(self._stub.Grant(request, metadata=with_person(token)).lease)

    def list_patients(
        self, token: str, whom: Named | None, page_size: int, page_token: str
    ) -> tuple[list[Listed], str]:
        request = auth_pb2.ListPatientsRequest(
            identifier=_identifier(whom) if whom else None, page_size=page_size, page_token=page_token
        )
        answer = self._stub.ListPatients(request, metadata=with_person(token))
        listed = [Listed(UUID(bytes=bytes(one.handle)), one.has_twin) for one in answer.patients]
        return listed, answer.next_page_token


class WorkerCalls:
    """The worker, as `services.twin.questions.Freshens`."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = twin_pb2_grpc.TwinWorkerStub(channel)

    def freshen(self, handle: Handle) -> Place:
        answer = self._stub.Freshen(twin_pb2.FreshenRequest(handle=handle.bytes))
        return Place(answer.seq, answer.has_twin, answer.reason, answer.month)


def _identifier(named: Named) -> record_pb2.Identifier:
    return record_pb2.Identifier(system=named.system, value=named.value)


def _ref(whom: Whom) -> record_pb2.PatientRef:
    if isinstance(whom, Named):
        return record_pb2.PatientRef(identifier=_identifier(whom))
    return record_pb2.PatientRef(handle=whom.bytes)


def served_twin(door: TwinDoor) -> Served:
    return (twin_pb2_grpc.add_TwinServicer_to_server, door, twin_pb2.DESCRIPTOR.services_by_name["Twin"])


def served_worker(door: WorkerDoor) -> Served:
    return (twin_pb2_grpc.add_TwinWorkerServicer_to_server, door, twin_pb2.DESCRIPTOR.services_by_name["TwinWorker"])
