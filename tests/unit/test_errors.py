from __future__ import annotations

import grpc

from twinward.errors import Denied, every_error


def test_every_refusal_has_a_status_code_and_a_reason_of_its_own() -> None:
    found = every_error()
    assert found["CONSENT_DENIED"].code == Denied.code
    for reason, kind in found.items():
        assert hasattr(grpc.StatusCode, kind.code), kind
        assert "reason" in vars(kind), f"{kind.__name__} has no reason of its own"
        assert reason.isupper()
