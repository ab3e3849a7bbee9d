"""What a teaching session needs of a body: `twinward.physiology.patient.Patient` has it.

A body moves in exchanges of 2 s. Same start, same things given at the same times: same bytes, which is what makes
rewind, fork and replay exact. Nothing else is asked of it, so a session of a simpler body is run in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

EXCHANGE_S = 2


class Gift(Protocol):
    """Something done to the body (`Given` of patient.py); acts from the next exchange on."""

    @property
    def what(self) -> str: ...
    @property
    def amount(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def over_s(self) -> float: ...


class Seen(Protocol):
    """What an advance shows."""

    @property
    def waves(self) -> Mapping[str, NDArray[Any]]:
        """float32 at the rate asked for, by channel."""
        ...


class TeachingBody(Protocol):
    MODEL: ClassVar[str]

    @property
    def alive(self) -> bool: ...
    def give(self, one: Any) -> None:  # noqa: ANN401 -- what `gift` of its maker makes
        """Raises BadInput: unknown, another unit, or out of range."""
        ...

    def advance(self, seconds: float, hz: int = 0) -> Seen: ...
    def numerics(self) -> Mapping[str, float]: ...
    def laboratory(self) -> Mapping[str, float]: ...
    def why(self, since: Mapping[str, float]) -> list[str]: ...
    def dump(self) -> bytes: ...


class BodyMaker(Protocol):
    """Where bodies come from: the class `Patient` itself. `gift` makes what `give` takes."""

    def start(self, kind: str, values: Mapping[str, float]) -> TeachingBody: ...
    def resume(self, values: Mapping[str, float], snapshot: bytes) -> TeachingBody:
        """A virtual person's body from their moment. Raises Malformed: not a snapshot of a person of this maker."""
        ...

    def load(self, kept: bytes) -> TeachingBody: ...
    def gift(self, what: str, amount: float, unit: str, over_s: float) -> Gift: ...
    def vocabulary(self) -> Vocabulary: ...


class Vocabulary:
    """What a body can be asked and given; name -> unit, or the units allowed."""

    def __init__(
        self, numerics: Mapping[str, str], laboratory: Mapping[str, str], givable: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.numerics, self.laboratory, self.givable = dict(numerics), dict(laboratory), dict(givable)

    def unit(self, name: str) -> str:
        return self.numerics.get(name) or self.laboratory.get(name, "")
