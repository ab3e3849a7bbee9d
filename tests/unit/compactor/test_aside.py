"""Patients whom auth refuses, or whose tail proves nothing, do not starve the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

import numpy as np
import pytest

from services.compactor.aside import FIRST_PAUSE_S, LONGEST_PAUSE_S, Aside
from tests.unit.vault.store import NOW_MS, Store, batch, readings
from twinward.clock import SetClock
from twinward.errors import BadInput
from twinward.record import Category, Handle
from twinward.vault.acceptance import SealedPart
from twinward.wire.codec.compaction import Granted, Unit


def write(store: Store, rng: np.random.Generator, n: int) -> Handle:
    handle = store.patient((Category.LABS,)).handle
    for _ in range(n):
        store.writer().write(batch([SealedPart(handle, Category.LABS, readings(rng, NOW_MS, 2), [])]))
    return handle


@pytest.mark.parametrize("how", ["left out", "all refused"])
def test_those_behind_the_refused_are_filed(store: Store, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    store.settle()
    rng = np.random.default_rng(7)
    refused, last = [write(store, rng, 3) for _ in range(4)], write(store, rng, 1)
    granted = store.issuer.grant

    def grant(units: Sequence[Unit], asked: Collection[Handle]) -> Granted:
        if how == "all refused" and any(unit.handle in refused for unit in units):
            raise BadInput("a unit cannot be compacted")
        return granted([unit for unit in units if unit.handle not in refused], asked)

    monkeypatch.setattr(store.issuer, "grant", grant)
    compaction = store.compaction(most_units=2)
    runs = [compaction.run() for _ in range(3)]
    assert [one.put_aside for one in runs] == [2, 2, 0]
    assert [one.refused for one in runs] == ([2, 2, 0] if how == "all refused" else [0, 0, 0])
    assert store.count("vault.tail", last) == 0
    assert [store.count("vault.tail", handle) for handle in refused] == [3] * 4
    assert compaction.run().put_aside == 0  # asked again only after a while
    monkeypatch.setattr(store.issuer, "grant", granted)
    store.clock.ms += int(LONGEST_PAUSE_S * 1000)
    compaction.run()
    compaction.run()
    assert [store.count("vault.tail", handle) for handle in refused] == [0] * 4


def test_the_pause_doubles_ends_and_is_forgotten_and_the_memory_is_bounded() -> None:
    clock = SetClock(NOW_MS)
    one, two, three = (UUID(int=number) for number in (1, 2, 3))
    aside = Aside(clock, most=2)
    aside.put([one])
    assert aside.waits(one)
    assert not aside.waits(two)
    clock.ms += int(FIRST_PAUSE_S * 1000)
    assert not aside.waits(one)
    aside.put([one])
    clock.ms += int(FIRST_PAUSE_S * 1000)
    assert aside.waits(one)
    clock.ms += int(FIRST_PAUSE_S * 1000)
    assert not aside.waits(one)
    for _ in range(20):
        aside.put([one])
    clock.ms += int(LONGEST_PAUSE_S * 1000)
    assert not aside.waits(one)
    aside.put([one, two, three])
    assert len(aside) == 2
    assert not aside.waits(one)
    aside.forget([two])
    assert not aside.waits(two)
    assert aside.waits(three)
