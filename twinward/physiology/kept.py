"""A model's run as bytes: its name and version, then state and parameters as float64. Restored, its future is
bit-identical."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinward.errors import Malformed
from twinward.physiology.meaning import Meaning, check

Array: TypeAlias = NDArray[np.float64]


def pack(model: bytes, state: Array, parameters: Array) -> bytes:
    return model + np.concatenate([state, parameters]).astype("<f8").tobytes()


def unpack(
    model: bytes, data: bytes, states: Mapping[str, Meaning], parameters: Mapping[str, Meaning]
) -> tuple[Array, Array]:
    """(state, parameters), in the order of their tables.

    Raises:
        Malformed: not a run of this model.
        BadInput: a value outside the model.
    """
    if not data.startswith(model) or len(data) != len(model) + 8 * (len(states) + len(parameters)):
        raise Malformed(f"not a snapshot of {model.rstrip(bytes(1)).decode()}")
    numbers = np.frombuffer(data[len(model) :], "<f8").astype(float)
    x, p = numbers[: len(states)].copy(), numbers[len(states) :].copy()
    check(dict(zip(states, x.tolist(), strict=True)), states)
    check(dict(zip(parameters, p.tolist(), strict=True)), parameters)
    return x, p
