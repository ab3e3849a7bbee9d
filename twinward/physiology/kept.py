"""A model's run as bytes: its name and version, then state and parameters as float64. Restored, its future is
bit-identical."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinward.errors import Malformed
from twinward.physiology.meaning import Meaning, check

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All there is of a run without events. A model states its name and its tables in a class of its own."""

    MODEL: ClassVar[bytes]
    STATES: ClassVar[Mapping[str, Meaning]]
    PARAMETERS: ClassVar[Mapping[str, Meaning]]

    state: Array
    parameters: Array

    def pack(self) -> bytes:
        return self.MODEL + np.concatenate([self.state, self.parameters]).astype("<f8").tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """State and parameters in the order of their tables.

        Raises:
            Malformed: not a snapshot of this model.
            BadInput: a value outside the model.
        """
        count = len(cls.STATES)
        if not data.startswith(cls.MODEL) or len(data) != len(cls.MODEL) + 8 * (count + len(cls.PARAMETERS)):
            raise Malformed(f"not a snapshot of {cls.MODEL.rstrip(bytes(1)).decode()}")
        numbers = np.frombuffer(data[len(cls.MODEL) :], "<f8").astype(float)
        x, p = numbers[:count].copy(), numbers[count:].copy()
        check(dict(zip(cls.STATES, x.tolist(), strict=True)), cls.STATES)
        check(dict(zip(cls.PARAMETERS, p.tolist(), strict=True)), cls.PARAMETERS)
        return cls(x, p)
