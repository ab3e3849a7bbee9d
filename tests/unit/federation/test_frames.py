"""Asks and answers as bytes: what comes back is what went in, and anything else is refused."""

from __future__ import annotations

import math
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.federation.course import REFUSALS, Answer, Ask
from services.federation.flower import frames
from twinward.errors import BadInput, Malformed, TooLarge

VECTORS = arrays(np.float64, st.integers(0, 40), elements=st.floats(width=64, allow_nan=True, allow_infinity=True))
WORDS = st.text(max_size=12)
CONFIGS = st.dictionaries(
    WORDS, st.one_of(st.integers(-(2**62), 2**62), st.floats(allow_nan=False), WORDS, st.lists(WORDS)), max_size=4
)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit: NaN is NaN, and minus zero is not zero."""
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**40), WORDS, VECTORS, CONFIGS)
def test_an_ask_arrives_as_it_was_sent(study: bytes, number: int, step: str, vector: np.ndarray, config: dict) -> None:
    found = frames.decode_ask(frames.encode_ask(Ask(study, number, step, vector, config)))
    assert (found.study, found.round, found.step, dict(found.config)) == (study, number, step, config)
    assert same(found.vector, vector)
    found.vector[:] = 1  # a recipe may write to what is its own


@given(VECTORS, st.dictionaries(WORDS, st.floats(allow_nan=True), max_size=4), st.sampled_from(["", *REFUSALS]))
def test_an_answer_arrives_as_it_was_sent(vector: np.ndarray, numbers: dict[str, float], word: str) -> None:
    found = frames.decode_answer(frames.encode_answer(Answer(vector, numbers, word)))
    assert same(found.vector, vector)
    assert found.refusal == word
    assert found.numbers.keys() == numbers.keys()
    assert all(
        a == b or (math.isnan(a) and math.isnan(b))
        for a, b in zip(found.numbers.values(), numbers.values(), strict=True)
    )


def test_numpy_scalars_travel_as_numbers() -> None:
    ask = Ask(bytes(32), 1, "s", np.arange(3.0), {"k": np.float64(0.5), "n": np.int64(7)})
    assert dict(frames.decode_ask(frames.encode_ask(ask)).config) == {"k": 0.5, "n": 7}


@given(st.binary(max_size=200))
def test_noise_is_refused_with_our_types_alone(noise: bytes) -> None:
    for decode in (frames.decode_ask, frames.decode_answer, frames.decode_work):
        with suppress(BadInput):  # any other type fails the test
            found = decode(noise)
            assert isinstance(found, Ask | Answer | tuple)


@pytest.mark.parametrize(
    "frame",
    [
        msgspec.msgpack.encode([bytes(31), 1, "s", b"", {}]),
        msgspec.msgpack.encode([bytes(32), -1, "s", b"", {}]),
        msgspec.msgpack.encode([bytes(32), 1, "s", bytes(9), {}]),
        msgspec.msgpack.encode([bytes(32), 1, "s", b"", {}, "more"]),
    ],
    ids=["short study", "negative round", "half a float", "a field more"],
)
def test_an_ask_that_is_none(frame: bytes) -> None:
    with pytest.raises(Malformed):
        frames.decode_ask(frame)


def test_a_refusal_in_other_words_is_refused() -> None:
    frame = msgspec.msgpack.encode([b"", {}, "ValueError: Anna Muster is 93"])
    with pytest.raises(Malformed) as said:
        frames.decode_answer(frame)
    assert "Anna" not in f"{said.value}{said.value.detail}"


def test_what_is_too_large_is_not_built() -> None:
    with pytest.raises(TooLarge):
        frames.encode_answer(Answer(np.zeros(frames.FRAME_BYTES // 8 + 1)))
    with pytest.raises(TooLarge):
        frames.decode_answer(bytes(frames.FRAME_BYTES + 1))
