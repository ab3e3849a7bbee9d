"""Numbers as people see them."""

from __future__ import annotations

from services.cli.twin import number
from twinward.wire.v1 import record_pb2


def test_a_ratio_is_told_in_words_and_a_concentration_with_its_unit() -> None:
    ratio = record_pb2.Quantity(value=0.7924, unit="{ratio}", low=0.41, high=1.204, coverage=0.9)
    assert number(ratio) == "0.79 x typical (0.41 to 1.20, 90%)"
    assert number(record_pb2.Quantity(value=142.4, unit="mg/dL")) == "142 mg/dL"
