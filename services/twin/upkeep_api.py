"""The door for long jobs about twins: identify, timeline, jobs."""

# ruff: noqa: N802 - the methods are named as in the contract

from __future__ import annotations

from uuid import UUID

import grpc

from services.twin.api import asked_of, entries_of
from services.twin.identification import Identification
from services.twin.jobs import Job, Jobs
from services.twin.questions import BANNER
from twinward.errors import BadInput
from twinward.link.server import Served
from twinward.wire.v1 import twin_pb2, twin_pb2_grpc

SHOWN = 50


class UpkeepDoor(twin_pb2_grpc.TwinUpkeepServicer):
    def __init__(self, identification: Identification, jobs: Jobs) -> None:
        self._identification, self._jobs = identification, jobs

    def Identify(self, request: twin_pb2.IdentifyRequest, context: grpc.ServicerContext) -> twin_pb2.IdentifyResponse:
        answer = self._identification.identify(asked_of(context, request.patient, "identify"))
        return twin_pb2.IdentifyResponse(
            handle=answer.opened.handle.bytes,
            parameters=[
                twin_pb2.Identified(
                    name=one.name,
                    meaning=one.meaning,
                    personal=one.personal,
                    factor=one.factor,
                    low=one.low,
                    high=one.high,
                    prior_ratio=one.ratio,
                )
                for one in answer.parameters
            ],
            spectrum=answer.refit.spectrum,
            days=answer.refit.days,
            state_ms=answer.refit.state_ms,
            changes=[
                twin_pb2.ForecastChange(minutes_ahead=one.minutes, before=one.before, after=one.after)
                for one in answer.changes
            ],
            model_version=answer.refit.model,
            leaf=answer.opened.leaf,
            banner=BANNER,
            notes=answer.notes,
        )

    def Timeline(self, request: twin_pb2.TimelineRequest, context: grpc.ServicerContext) -> twin_pb2.TimelineResponse:
        opened, line = self._identification.timeline(asked_of(context, request.patient, "timeline"))
        return twin_pb2.TimelineResponse(
            handle=opened.handle.bytes, entries=entries_of(line), leaf=opened.leaf, banner=BANNER, more=line.more
        )

    def ListJobs(self, request: twin_pb2.ListJobsRequest, context: grpc.ServicerContext) -> twin_pb2.ListJobsResponse:
        return twin_pb2.ListJobsResponse(jobs=[_job(one) for one in self._jobs.newest(SHOWN)])

    def CancelJob(
        self, request: twin_pb2.CancelJobRequest, context: grpc.ServicerContext
    ) -> twin_pb2.CancelJobResponse:
        job = _id(request.id)
        self._jobs.cancel(job)
        return twin_pb2.CancelJobResponse(job=_job(self._jobs.show(job)))

    def ResumeJob(
        self, request: twin_pb2.ResumeJobRequest, context: grpc.ServicerContext
    ) -> twin_pb2.ResumeJobResponse:
        job = _id(request.id)
        self._jobs.resume(job)
        return twin_pb2.ResumeJobResponse(job=_job(self._jobs.show(job)))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadInput("a job is named by its id, as `twinward twin jobs` prints it") from None


def _job(one: Job) -> twin_pb2.Job:
    return twin_pb2.Job(
        id=str(one.id),
        kind=one.kind,
        state=one.state,
        progress=one.progress,
        runs=one.runs,
        reason=one.reason,
        asked_ms=one.asked_ms,
    )


def served_upkeep(door: UpkeepDoor) -> Served:
    return (twin_pb2_grpc.add_TwinUpkeepServicer_to_server, door, twin_pb2.DESCRIPTOR.services_by_name["TwinUpkeep"])
