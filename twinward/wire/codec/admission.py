"""What ingest and the filer ask of auth: Admit, GrantIntake, and the lease given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import grpc

from twinward.record import Handle
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc


@dataclass(frozen=True, slots=True)
class ToAdmit:
    """Sealed identifiers of somebody unknown, or the handle of a patient whose keys are missing."""

    sealed_identifiers: bytes
    handle: Handle | None
    categories: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WasAdmitted:
    handle: Handle | None  # None where refused
    refused: str


@dataclass(frozen=True, slots=True)
class IntakeLease:
    """Seeds of intake keys by number, for 60 s."""

    lease_id: UUID
    until_ms: int
    seeds: dict[int, bytes]
    leaf: int


def to_admit_request(feed: str, patients: Sequence[ToAdmit]) -> auth_pb2.AdmitRequest:
    return auth_pb2.AdmitRequest(
        feed=feed,
        patients=[
            auth_pb2.AdmitPatient(
                sealed_identifiers=patient.sealed_identifiers,
                handle=patient.handle.bytes if patient.handle else b"",
                categories=patient.categories,
            )
            for patient in patients
        ],
    )


def from_admit_response(response: auth_pb2.AdmitResponse) -> list[WasAdmitted]:
    return [
        WasAdmitted(UUID(bytes=one.handle) if one.handle and not one.refused else None, one.refused)
        for one in response.patients
    ]


def from_intake_response(response: auth_pb2.GrantIntakeResponse) -> IntakeLease:
    seeds = {key.key_id: key.seed for key in response.keys}
    return IntakeLease(UUID(bytes=response.lease_id), response.until_ms, seeds, response.leaf)


@dataclass(frozen=True, slots=True)
class AuthCalls:
    """The calls themselves, over a channel of `twinward.link.client`; errors are our types."""

    channel: grpc.Channel

    def admit(self, feed: str, patients: Sequence[ToAdmit], deadline_s: float) -> list[WasAdmitted]:
        """Answers in the order of `patients`. Raises Unavailable after `deadline_s`."""
        stub = auth_pb2_grpc.AuthStub(self.channel)
        return from_admit_response(stub.Admit(to_admit_request(feed, patients), timeout=deadline_s))

    def grant_intake(self, intake_ids: Sequence[int]) -> IntakeLease:
        stub = auth_pb2_grpc.AuthStub(self.channel)
        return from_intake_response(stub.GrantIntake(auth_pb2.GrantIntakeRequest(intake_ids=intake_ids)))

    def give_back(self, lease_id: UUID, rows: int) -> None:
        """Says how many rows were opened under the lease, and ends it."""
        stub = auth_pb2_grpc.AuthStub(self.channel)
        stub.ReportUse(auth_pb2.ReportUseRequest(uses=[auth_pb2.LeaseUse(lease_id=lease_id.bytes, rows=rows)]))
        stub.ReturnLease(auth_pb2.ReturnLeaseRequest(lease_ids=[lease_id.bytes]))
