"""Our refusals as gRPC statuses and back.

The code and the public sentence travel as the status, the reason as
google.rpc.ErrorInfo, so that the other side gets the same type. `detail` stays.
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from twinward.errors import (
    BadInput,
    Busy,
    Cancelled,
    Conflict,
    Denied,
    NotFound,
    Tampered,
    TwinwardError,
    Unauthenticated,
    Unavailable,
    Unready,
    every_error,
)

DOMAIN = "twinward"
BY_CODE: dict[grpc.StatusCode, type[TwinwardError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: BadInput,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Unready,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Busy,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.DATA_LOSS: Tampered,
    grpc.StatusCode.CANCELLED: Cancelled,
}
# What gRPC itself says in place of a sentence of ours.
SENTENCES: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "{} does not answer: see `twinward node status`",
    grpc.StatusCode.DEADLINE_EXCEEDED: "{} did not answer in time: try again, or see `twinward node status`",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "{} has more calls than it can take, or the message is over 16 MiB: "
    "try again in a moment, or with less at once",
    grpc.StatusCode.UNIMPLEMENTED: "{} is of another version and does not know this call",
}


def to_status(error: TwinwardError) -> grpc.Status:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    packed = any_pb2.Any()
    packed.Pack(info)
    code = code_pb2.Code.Value(error.code)
    found: grpc.Status = rpc_status.to_status(status_pb2.Status(code=code, message=error.public, details=[packed]))
    return found


def from_rpc(error: grpc.RpcError, server: str) -> TwinwardError:
    """The refusal of `server` behind `error`, as the type that was raised there."""
    assert isinstance(error, grpc.Call)  # noqa: S101 - every RpcError of a call is one
    code, text = error.code(), error.details() or ""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    if status is not None:
        for packed in status.details:
            info = error_details_pb2.ErrorInfo()
            if packed.Unpack(info) and info.domain == DOMAIN:
                kind = every_error().get(info.reason) or BY_CODE.get(code, TwinwardError)
                return kind(status.message)
    sentence = SENTENCES.get(code, "{} answered with an error it did not explain: see its log").format(server)
    return BY_CODE.get(code, TwinwardError)(sentence, detail=text)
