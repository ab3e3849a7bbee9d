from __future__ import annotations

import grpc

from twinward.errors import BadInput, Denied, TwinwardError, Unready, every_error


def test_every_refusal_has_a_status_code_and_a_reason_of_its_own() -> None:
    found = every_error()
    assert found["CONSENT_DENIED"].code == Denied.code
    for reason, kind in found.items():
        assert hasattr(grpc.StatusCode, kind.code), kind
        assert "reason" in vars(kind), f"{kind.__name__} has no reason of its own"
        assert reason.isupper()


def test_a_type_that_is_not_made_of_a_sentence_or_has_no_reason_of_its_own_does_no_harm() -> None:
    class Same(BadInput):
        pass

    class Counted(Unready):
        reason = "COUNTED"

        def __init__(self, numbers: list[int]) -> None:
            super().__init__("some are missing")
            self.numbers = numbers

    class Thief(Denied):
        reason = "BAD_INPUT"

    made = [Same("a"), Counted([1]), Thief("b")]  # they exist
    assert len(made) == 3
    found = every_error()
    assert found["BAD_INPUT"] is BadInput
    assert "COUNTED" not in found
    for reason, kind in found.items():
        assert kind("a sentence", detail="more").reason == reason
    assert found["INTERNAL"] is TwinwardError
