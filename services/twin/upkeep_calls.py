"""What programs ask of auth for themselves. Apart from api.py: a program that waits for jobs loads no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

import grpc

from services.twin.leases import Refused, UpkeepAnswer
from twinward.record import Handle
from twinward.wire.codec.lease import lease_from_message
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2


class UpkeepCalls:
    """auth, as `services.twin.leases.Authority`."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = auth_pb2_grpc.AuthStub(channel)

    def grant_upkeep(self, handles: Sequence[Handle], replay: tuple[int, int] | None = None) -> UpkeepAnswer:
        request = auth_pb2.GrantUpkeepRequest(handles=[handle.bytes for handle in handles])
        if replay is not None:
            first, last = replay
            request.replay.CopyFrom(record_pb2.Period(first=month_message(first), last=month_message(last)))
        answer = self._stub.GrantUpkeep(request)
        return UpkeepAnswer(
            [lease_from_message(one) for one in answer.leases],
            [Refused(UUID(bytes=bytes(one.handle)), one.reason) for one in answer.denials],
        )

    def report_use(self, uses: Sequence[tuple[bytes, int]]) -> None:
        if uses:
            told = [auth_pb2.LeaseUse(lease_id=lease_id, rows=rows) for lease_id, rows in uses]
            self._stub.ReportUse(auth_pb2.ReportUseRequest(uses=told))

    def return_leases(self, lease_ids: Sequence[bytes]) -> None:
        if lease_ids:
            self._stub.ReturnLease(auth_pb2.ReturnLeaseRequest(lease_ids=lease_ids))

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        """The leaf of an act of this program. Raises Unavailable."""
        data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        return int(self._stub.RecordAct(auth_pb2.RecordActRequest(kind=kind, body=data)).leaf)


def month_message(month: int) -> record_pb2.Month:
    """Of year * 100 + month."""
    return record_pb2.Month(year=month // 100, month=month % 100)
