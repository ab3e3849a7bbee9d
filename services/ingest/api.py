"""The door of ingest: decode, one call, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import grpc

from services.ingest import books
from services.ingest.accept import Acceptor
from services.ingest.answer import Answer
from services.ingest.entry import NamePair
from services.ingest.mapping import Column, Mapping
from twinward.errors import BadInput, Denied
from twinward.link.caller import Caller, caller_of
from twinward.link.server import Served
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc

PAGE = 500
FEED_PROGRAM = "feed/"


class IngestDoor(ingest_pb2_grpc.IngestServicer):
    def __init__(
        self, acceptor: Acceptor, borrow: Callable[[], AbstractContextManager[books.Connection]], profile: str
    ) -> None:
        self._acceptor = acceptor
        self._borrow = borrow
        self._profile = profile

    def PutFhir(  # noqa: N802
        self, request: ingest_pb2.PutFhirRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.PutResponse:
        self._may(caller_of(context), request.feed, request.deidentified)
        return _answer(self._acceptor.fhir(request.feed, request.idempotency_key, request.payload))

    def PutSeries(  # noqa: N802
        self, request: ingest_pb2.PutSeriesRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.PutResponse:
        self._may(caller_of(context), request.feed, request.deidentified)
        patient = _patient(request)
        mapping = from_mapping(request.mapping)
        return _answer(self._acceptor.series(request.feed, request.idempotency_key, request.csv, mapping, patient))

    def ListUnmapped(  # noqa: N802
        self, request: ingest_pb2.ListUnmappedRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.ListUnmappedResponse:
        offset = _offset(request.page_token)
        size = min(request.page_size or PAGE, PAGE)
        with self._borrow() as connection:
            rows = books.unmapped(connection, size + 1, offset)
        more = str(offset + size) if len(rows) > size else ""
        return ingest_pb2.ListUnmappedResponse(codes=_unmapped(rows[:size]), next_page_token=more)

    def IngestStatus(  # noqa: N802
        self, request: ingest_pb2.IngestStatusRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.IngestStatusResponse:
        with self._borrow() as connection:
            found = books.status(connection)
        feeds = [
            ingest_pb2.FeedCounts(
                feed=one.feed,
                accepted=one.accepted,
                dropped=one.dropped,
                duplicates=one.duplicates,
                quarantined=one.quarantined,
            )
            for one in found.feeds
        ]
        return ingest_pb2.IngestStatusResponse(
            feeds=feeds,
            intake_waiting=found.intake_waiting,
            quarantine=found.quarantine,
            oldest_intake_ms=found.oldest_intake_ms,
        )

    def Redrive(  # noqa: N802
        self, request: ingest_pb2.RedriveRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.RedriveResponse:
        with self._borrow() as connection:
            return ingest_pb2.RedriveResponse(items=books.redrive(connection, request.reason))

    def _may(self, caller: Caller, feed: str, deidentified: bool) -> None:
        """A feed speaks in its own name; profile demo takes only what is declared de-identified."""
        program = caller.program or ""
        if caller.person is None and program.startswith(FEED_PROGRAM) and program != FEED_PROGRAM + feed:
            raise Denied("this certificate belongs to another feed: send under the feed's own name")
        if self._profile == "demo" and not deidentified:
            raise Denied(
                "a demo node takes synthetic or published de-identified data only: declare it (--yes-deidentified)"
            )


def door_of(servicer: IngestDoor) -> Served:
    """What `twinward.link.server.serve` takes."""
    service = ingest_pb2.DESCRIPTOR.services_by_name["Ingest"]
    return ingest_pb2_grpc.add_IngestServicer_to_server, servicer, service


def from_mapping(message: ingest_pb2.SeriesMapping) -> Mapping:
    return Mapping(
        time_column=message.time_column,
        columns=[Column(one.column, one.kind, one.unit, one.duration_column) for one in message.columns],
        time_format=message.time_format,
        time_zone=message.time_zone,
        patient_column=message.patient_column,
        patient_system=message.patient_system,
        device=message.device,
    )


def _patient(request: ingest_pb2.PutSeriesRequest) -> NamePair | None:
    if not request.HasField("patient"):
        return None
    return request.patient.system, request.patient.value


def _answer(answer: Answer) -> ingest_pb2.PutResponse:
    return ingest_pb2.PutResponse(
        receipt=answer.receipt,
        replayed=answer.replayed,
        counts=answer.counts,
        problems=[
            ingest_pb2.Outcome(
                index=one.index, resource=one.resource, result=one.result, reason=one.reason, detail=one.detail
            )
            for one in answer.problems
        ],
        observations=answer.observations,
        flagged=answer.flagged,
        types=[ingest_pb2.TypeCounts(resource=kind, counts=counts) for kind, counts in answer.types.items()],
        reasons=[
            ingest_pb2.ReasonCount(
                resource=one.resource, result=one.result, reason=one.reason, detail=one.detail, count=one.count
            )
            for one in answer.reasons
        ],
    )


def _unmapped(rows: Sequence[books.UnmappedRow]) -> list[ingest_pb2.UnmappedCode]:
    return [
        ingest_pb2.UnmappedCode(
            system=row.line.system,
            code=row.line.code,
            unit=row.line.unit,
            count=row.count,
            first_ms=row.first_ms,
            last_ms=row.last_ms,
            feed=row.feed,
        )
        for row in rows
    ]


def _offset(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 10):
        raise BadInput("unknown page token: start again without one")
    return int(token or "0")
