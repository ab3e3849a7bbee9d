"""The whole of a glucose model's state, and runs as functions from state to state.

What is not in a `State` does not exist: parameters, hidden memory of the stomach, stores during effort.
So a run cut anywhere, dumped and loaded, goes on with the same bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed, Tampered

Array = NDArray[np.float64]
MAGIC = "twinward-glucose-state"


class Outside(StrEnum):
    """Why a result is not to be trusted though the equations gave one."""

    LOW = "glucose below 54 mg/dL: no hormone that works against lows is modelled"
    HIGH = "glucose above 400 mg/dL: neither ketones nor loss of water are modelled"
    LONG_EFFORT = "effort of more than two hours: stores beyond what was measured"


@dataclass(frozen=True, slots=True)
class State:
    """`x` what the equations move, `memory` what meals left behind, `p` whose body it is."""

    model: str  # name and version, as in "dalla-man-2007/1"
    minute: int
    p: Array
    x: Array
    memory: Array

    def dump(self) -> bytes:
        arrays = (self.p, self.x, self.memory)
        head = f"{MAGIC} {self.model} {self.minute} {' '.join(str(len(a)) for a in arrays)}\n".encode()
        body = head + b"".join(np.ascontiguousarray(a, "<f8").tobytes() for a in arrays)
        return body + hashlib.sha256(body).digest()

    @staticmethod
    def load(dump: bytes, model: str) -> State:
        """Raises:
        Malformed: not a dump. Tampered: not what was dumped. BadInput: of another model or version.
        """
        body, seal = dump[:-32], dump[-32:]
        head, _, rest = body.partition(b"\n")
        words = head.decode("ascii", "replace").split(" ")
        if len(words) != 6 or words[0] != MAGIC:
            raise Malformed("this is no state of a glucose model")
        if hashlib.sha256(body).digest() != seal:
            raise Tampered("the state is not the one that was stored")
        if words[1] != model:
            raise BadInput(f"this state is of {words[1]}, not of {model}")
        ends = np.cumsum([int(word) for word in words[3:]])
        p, x, memory = np.split(np.frombuffer(rest, "<f8").astype(np.float64), ends[:-1])
        return State(model, int(words[2]), p.copy(), x.copy(), memory.copy())


def series(name: str, values: Array | None, minutes: int, most: float) -> Array:
    """(minutes,) of an input; None is nothing at all.

    Raises:
        BadInput: another length, or a value that is not finite, negative or above `most`.
    """
    if values is None:
        return np.zeros(minutes)
    taken = np.asarray(values, np.float64)
    if taken.shape != (minutes,):
        raise BadInput(f"{name} has to have one value for each of the {minutes} minutes")
    if not bool(np.all((taken >= 0.0) & (taken <= most))):  # also false for NaN
        raise BadInput(f"{name} has to lie in 0..{most:g}")
    return taken


def outside(glucose: Array, effort: Array | None = None) -> tuple[Outside, ...]:
    """What to say beside a run; `glucose` mg/dL, `effort` % above rest per minute."""
    found = []
    if glucose.min() < 54.0:
        found.append(Outside.LOW)
    if glucose.max() > 400.0:
        found.append(Outside.HIGH)
    if effort is not None and int((effort > 0).sum()) > 120:
        found.append(Outside.LONG_EFFORT)
    return tuple(found)
