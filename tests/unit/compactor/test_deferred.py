"""Patients whom auth defers are left alone until their time, and do not stand in the way of others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

import numpy as np
import pytest

from services.compactor import run
from services.compactor.deferred import SHORTEST_MS, Deferred
from services.compactor.run import Counts
from tests.unit.vault.store import NOW_MS, Store, batch, readings
from twinward.clock import SetClock
from twinward.record import Category, Handle
from twinward.vault.acceptance import SealedPart
from twinward.wire.codec.compaction import Granted, Unit

HOUR_MS = 3_600_000


def write(store: Store, handle: Handle, n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(n):
        store.writer().write(batch([SealedPart(handle, Category.LABS, readings(rng, NOW_MS, 2), [])]))


def patient(store: Store, n: int, *, deferred: bool) -> Handle:
    handle = store.patient((Category.LABS,)).handle
    write(store, handle, n)
    if deferred:
        store.issuer.deferred[handle] = store.clock.ms + 8 * HOUR_MS
    return handle


def tail(store: Store, *handles: Handle) -> list[int]:
    return [store.count("vault.tail", handle) for handle in handles]


@pytest.fixture
def questions(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sequence[Unit]]]:
    """What auth was asked for, of an empty store."""
    store.settle()
    asked_for: list[Sequence[Unit]] = []
    granted = store.issuer.grant

    def grant(units: Sequence[Unit], asked: Collection[Handle]) -> Granted:
        asked_for.append(units)
        return granted(units, asked)

    monkeypatch.setattr(store.issuer, "grant", grant)
    yield asked_for
    store.issuer.deferred.clear()
    store.settle()


def test_the_deferred_wait_unasked_for_until_their_time(store: Store, questions: list[Sequence[Unit]]) -> None:
    waits, ordinary = patient(store, 2, deferred=True), patient(store, 1, deferred=False)
    compaction = store.compaction()
    first = compaction.run()
    assert (first.patients, first.deferred, first.put_aside, first.refused) == (1, 1, 0, 0)
    assert tail(store, waits, ordinary) == [2, 0]
    write(store, waits, 3)
    assert [compaction.run() for _ in range(3)] == [Counts()] * 3
    assert (len(questions), compaction.deferred) == (1, 1)
    store.clock.ms += 8 * HOUR_MS
    assert compaction.run().patients == 1
    assert (tail(store, waits), compaction.deferred) == ([0], 0)


def test_a_compactor_that_begins_anew_asks_once_more(store: Store, questions: list[Sequence[Unit]]) -> None:
    patient(store, 1, deferred=True)
    for _ in range(2):
        compaction = store.compaction()
        assert [compaction.run().deferred for _ in range(3)] == [1, 0, 0]
    assert len(questions) == 2


def test_a_reader_gets_the_patient_it_asks_for_and_no_other(store: Store, questions: list[Sequence[Unit]]) -> None:
    wanted, other, ordinary = (patient(store, 1, deferred=deferred) for deferred in (True, True, False))
    compaction = store.compaction()
    assert compaction.run(asked=[wanted]).patients == 1  # before any sweep
    assert tail(store, wanted, other, ordinary) == [0, 1, 1]
    compaction.run()
    write(store, wanted, 1)
    compaction.run()
    assert compaction.run(asked=[wanted]).patients == 1  # and after one
    assert tail(store, wanted, other, ordinary) == [0, 1, 0]
    del store.issuer.deferred[wanted]
    write(store, wanted, 1)
    assert compaction.run().patients == 1  # nothing sensitive any more: not held back by what was
    assert compaction.run(asked=[wanted]) == Counts()


def test_many_who_wait_do_not_starve_those_behind_them(
    store: Store, questions: list[Sequence[Unit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LISTED", 2)
    waiting = [patient(store, 3, deferred=True) for _ in range(7)]
    last = patient(store, 1, deferred=False)
    compaction = store.compaction(most_units=2)
    runs = [compaction.run() for _ in range(5)]
    assert [one.deferred for one in runs] == [2, 2, 2, 1, 0]
    assert tail(store, last) == [0]
    assert tail(store, *waiting) == [3] * 7
    assert len(questions) == 4
    ordinary = [patient(store, 1, deferred=False) for _ in range(2)]
    compaction.run()
    assert tail(store, *ordinary) == [0, 0]


def test_those_whom_the_memory_does_not_hold_are_put_aside(store: Store, questions: list[Sequence[Unit]]) -> None:
    for _ in range(3):
        patient(store, 2, deferred=True)
    last = patient(store, 1, deferred=False)
    compaction = store.compaction(most_units=3)
    compaction._deferred.most = 2
    first = compaction.run()
    assert (first.deferred, first.put_aside, first.refused) == (2, 1, 0)
    assert compaction.run().patients == 1
    assert tail(store, last) == [0]
    assert compaction.run() == Counts()
    assert len(questions) == 2


def test_the_memory_ends_with_the_time_or_the_filing_and_no_sooner_than_a_minute() -> None:
    clock = SetClock(NOW_MS)
    one, two, three = (UUID(int=number) for number in (1, 2, 3))
    deferred = Deferred(clock, most=2)
    assert deferred.put({one: NOW_MS - 1, two: NOW_MS + HOUR_MS}) == {one, two}
    assert deferred.put({two: NOW_MS + HOUR_MS, three: NOW_MS + HOUR_MS}) == {two}
    assert set(deferred.waiting()) == {one, two}
    clock.ms += SHORTEST_MS
    assert deferred.waiting() == [two]
    deferred.forget([two, three])
    assert len(deferred) == 0
