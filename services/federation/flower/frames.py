"""Asks and answers as bytes: through Flower's messages and through the hospital's private socket alike.

The float64 vector travels as its own bytes, so that what arrives is bit for bit what was sent, whatever it
holds; whether its numbers make sense is asked where they are used.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from services.federation.course import REFUSALS, Answer, Ask, Floats
from twinward.errors import Malformed, TooLarge

FRAME_BYTES = 64 * 1024 * 1024
STUDY_BYTES = 32
FLOAT = np.dtype("<f8")


class _Ask(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    study: bytes
    round: int
    step: str
    vector: bytes
    config: dict[str, Any]


class _Answer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    vector: bytes
    numbers: dict[str, float]
    refusal: str


class _Work(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    bundle: bytes
    ask: bytes


S = TypeVar("S")


def encode_ask(ask: Ask) -> bytes:
    """Raises TooLarge over FRAME_BYTES."""
    return _encoded(_Ask(ask.study, ask.round, ask.step, _raw(ask.vector), dict(ask.config)))


def decode_ask(frame: bytes) -> Ask:
    """Raises Malformed, or TooLarge."""
    found = _decoded(frame, _Ask)
    if len(found.study) != STUDY_BYTES or found.round < 0:
        raise Malformed("an ask names no study and round")
    return Ask(found.study, found.round, found.step, _floats(found.vector), found.config)


def encode_answer(answer: Answer) -> bytes:
    """Raises TooLarge over FRAME_BYTES."""
    numbers = {name: float(value) for name, value in answer.numbers.items()}
    return _encoded(_Answer(_raw(answer.vector), numbers, answer.refusal))


def decode_answer(frame: bytes) -> Answer:
    """Raises Malformed (also for a refusal that is no word of ours), or TooLarge."""
    found = _decoded(frame, _Answer)
    if found.refusal and found.refusal not in REFUSALS:
        raise Malformed("an answer refuses with a word that nobody knows")
    return Answer(_floats(found.vector), found.numbers, found.refusal)


def encode_work(bundle: bytes, ask: bytes) -> bytes:
    """What goes over the private socket: the running bundle's hash, and the ask as it came."""
    return _encoded(_Work(bundle, ask))


def decode_work(frame: bytes) -> tuple[bytes, Ask]:
    """Raises Malformed, or TooLarge."""
    found = _decoded(frame, _Work)
    return found.bundle, decode_ask(found.ask)


def refusal(word: str) -> Answer:
    """The answer that says no with a word of REFUSALS."""
    return Answer(np.zeros(0), {}, word)


def _raw(vector: Floats) -> bytes:
    return np.ascontiguousarray(vector, dtype=FLOAT).tobytes()


def _floats(raw: bytes) -> Floats:
    if len(raw) % FLOAT.itemsize:
        raise Malformed("a vector is no whole number of floats")
    return np.frombuffer(raw, dtype=FLOAT).astype(np.float64)  # a copy: may be written to, and keeps no frame alive


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise Malformed(f"a {type(value).__name__} cannot travel in an ask or an answer")


def _encoded(value: msgspec.Struct) -> bytes:
    frame = msgspec.msgpack.encode(value, enc_hook=_plain)
    if len(frame) > FRAME_BYTES:
        raise TooLarge(f"an ask or answer has more than {FRAME_BYTES} bytes")
    return frame


def _decoded(frame: bytes, kind: type[S]) -> S:
    if len(frame) > FRAME_BYTES:
        raise TooLarge(f"an ask or answer has more than {FRAME_BYTES} bytes")
    try:
        return msgspec.msgpack.decode(frame, type=kind)
    except msgspec.DecodeError:  # its text quotes what came in
        raise Malformed("an ask or answer cannot be read") from None
