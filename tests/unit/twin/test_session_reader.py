"""A reader that is too slow: waves are left out and counted, what happened never is, and memory has its bound."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services.twin.session_command import Entry, EntryKind, Reading
from services.twin.session_reader import KEPT_MOST, SLICES_MOST, Answer, Reader, Slice
from twinward.errors import Busy, Unavailable

WAVE = {"ecg": np.zeros(50, np.float32)}


def piece(at_s: float, entry: str = "") -> Slice:
    entries = (Entry(int(at_s), EntryKind.EVENT, entry, entry),) if entry else ()
    numerics = {"HR": Reading(70.0, "1/min", 0, "ecg")}
    return Slice(at_s, "running", 1.0, 0.0, numerics, WAVE, 250, at_s, entries=entries)


async def drained(reader: Reader) -> list[Slice]:
    return [await reader.get() for _ in range(len(reader))]


def test_a_slow_reader_gets_the_newest_waves_and_all_that_happened() -> None:
    async def story() -> None:
        reader = Reader(250)
        for k in range(400):
            reader.put(piece(k, f"event {k}" if k % 100 == 50 else ""))
        reader.put(Slice(400.0, "running", 1.0, 0.0, answer=Answer(b"x" * 16, True)))
        assert len(reader) <= SLICES_MOST
        found = await drained(reader)
        assert [entry.what for one in found for entry in one.entries] == [f"event {k}" for k in (50, 150, 250, 350)]
        assert [one.answer is not None for one in found][-1]
        waves = [one.at_s for one in found if one.waves]
        assert waves == list(map(float, range(int(waves[0]), 400)))  # the newest, without a gap
        assert reader.left_out == 400 - len(waves)

    asyncio.run(story())


def test_one_who_reads_nothing_has_gone() -> None:
    async def story() -> None:
        reader = Reader(0)
        for k in range(KEPT_MOST + 2):
            reader.put(Slice(float(k), "running", 1.0, 0.0, answer=Answer(k.to_bytes(16, "big"), True)))
        with pytest.raises(Busy, match="attach again"):
            await reader.get()
        assert len(reader) == 0

    asyncio.run(story())


def test_without_waves_none_come_and_an_end_comes_after_what_waits() -> None:
    async def story() -> None:
        reader = Reader(0)
        reader.put(piece(1.0, "one"))
        reader.fail(Unavailable("the log could not be written"))
        assert (await reader.get()).waves == {}
        with pytest.raises(Unavailable):
            await reader.get()

    asyncio.run(story())
