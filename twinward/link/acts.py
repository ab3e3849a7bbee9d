"""Acts of a program that become entries of the ledger: auth writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import grpc

from twinward.errors import Unavailable
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc

WAIT_S = 10.0  # the ledger commits many times a second: later it is away


class LedgerCalls:
    """auth, as whoever has it recorded sees it."""

    def __init__(self, channel: grpc.Channel, wait_s: float = WAIT_S) -> None:
        self._stub, self._wait_s = auth_pb2_grpc.AuthStub(channel), wait_s

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        """The leaf of an act.

        Raises:
            Unavailable: nothing was written.
        """
        text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        try:
            answer = self._stub.RecordAct(auth_pb2.RecordActRequest(kind=kind, body=text), timeout=self._wait_s)
        except Unavailable as error:
            raise Unavailable(
                "the ledger cannot be written, so nothing was done: try again when auth answers", detail=error.public
            ) from None
        return int(answer.leaf)
