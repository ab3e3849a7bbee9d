"""The program's loop over a real database: wakes when asked, gives way, comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
import pytest

from services.compactor.loop import Loop
from services.compactor.run import LOCK
from services.compactor.settings import CompactorSettings
from tests.unit.vault.store import NOW_MS, Store, batch, readings
from twinward.clock import SystemChance, SystemClock
from twinward.errors import Unavailable
from twinward.record import Category, Handle
from twinward.settings import build
from twinward.vault.acceptance import SealedPart
from twinward.wire.codec.compaction import Granted, Unit


def settings_of(store: Store, **changed: object) -> CompactorSettings:
    database, password = store.database.for_settings("compactor")
    found: dict[str, object] = {
        "site": store.issuer.site, "profile": "demo", "program": "compactor", "ca_file": "ca.pem",
        "certificate_file": "c.pem", "key_file": "k.pem", "database": database, "database_password_file": str(password),
        "data_dir": ".", "authority_public_file": "a.pub", "poll_s": 0.05, "sweep_s": 3600.0, "least_rows": 1000,
        **changed,
    }  # fmt: skip
    return build(CompactorSettings, found, {}, Path("/"))


@contextmanager
def running(store: Store, chosen: CompactorSettings) -> Iterator[Loop]:
    """`store.issuer` has one connection and is asked by the loop alone meanwhile."""
    loop = Loop(chosen, store.issuer, store.issuer.authority_public, SystemClock(), SystemChance())
    stop = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    try:
        yield loop
    finally:
        stop.set()
        thread.join()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def write(store: Store, rng: np.random.Generator, n: int) -> Handle:
    patient = store.patient((Category.LABS,))
    for _ in range(n):
        store.writer().write(batch([SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 2), [])]))
    return patient.handle


def tail(store: Store, handle: object) -> int:
    row = store.owner.execute("select count(*) from vault.tail where handle = %s", (handle,)).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(autouse=True)
def _free(store: Store) -> None:
    store.settle()
    store.release()


def test_what_waited_is_filed_at_the_start_and_little_is_left_until_asked(store: Store) -> None:
    rng = np.random.default_rng(40)
    early, late = write(store, rng, 2), write(store, rng, 1)
    with running(store, settings_of(store)):
        until(lambda: tail(store, early) + tail(store, late) == 0)
    patient = store.patient((Category.LABS,))
    part = SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 2), [])
    lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,))
    reader = store.reader()
    assert reader.settled(lease, time.sleep)
    with running(store, settings_of(store)):
        time.sleep(0.5)  # past the first sweep
        store.writer().write(batch([part]))
        assert reader.read(lease).waiting == 1
        until(lambda: reader.settled(lease, time.sleep))
        assert len(reader.rows(lease)) == 2


def test_a_reader_is_served_though_its_patient_waits_for_the_night(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others wait on, without auth being asked again and again."""
    rng = np.random.default_rng(44)
    wanted, other = write(store, rng, 1), write(store, rng, 1)
    monkeypatch.setattr(store.issuer, "deferred", dict.fromkeys((wanted, other), NOW_MS + 3600000))
    granted, questions = store.issuer.grant, []

    def grant(units: Sequence[Unit], asked: Collection[Handle]) -> Granted:
        questions.append((sorted(unit.handle for unit in units), list(asked)))
        return granted(units, asked)

    monkeypatch.setattr(store.issuer, "grant", grant)
    lease = store.issuer.lease(wanted, "twin_worker", (Category.LABS,))
    reader = store.reader()
    with running(store, settings_of(store, sweep_s=0.1)):
        until(lambda: bool(questions))
        time.sleep(0.5)  # several sweeps
        assert questions == [(sorted([wanted, other]), [])]
        until(lambda: reader.settled(lease, time.sleep))
    assert [tail(store, one) for one in (wanted, other)] == [0, 1]
    assert questions[1:] == [([wanted], [wanted])]


def test_enough_tail_is_filed_unasked(store: Store) -> None:
    rng = np.random.default_rng(41)
    with running(store, settings_of(store, least_rows=3)):
        time.sleep(0.3)
    handle = write(store, rng, 3)
    with running(store, settings_of(store, least_rows=3)):
        until(lambda: tail(store, handle) == 0)
    runs = store.owner.execute("select units, tail_rows, items from vault.compaction_run order by id desc").fetchone()
    assert runs == (1, 3, 6)


def test_a_second_compactor_waits_for_the_first(store: Store) -> None:
    rng = np.random.default_rng(42)
    handle = write(store, rng, 1)
    with psycopg.connect(store.database.dsn("compactor"), autocommit=True) as first:
        first.execute("select pg_advisory_lock(%s)", (LOCK,))
        with running(store, settings_of(store)):
            time.sleep(0.5)
            assert tail(store, handle) == 1
            first.execute("select pg_advisory_unlock_all()")
            until(lambda: tail(store, handle) == 0)


def test_it_comes_back_when_auth_or_the_database_were_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(43)
    handle = write(store, rng, 1)
    granted, calls = store.issuer.grant, []

    def absent(units: list[Unit], asked: Collection[Handle]) -> object:
        calls.append(len(units))
        if len(calls) == 1:
            raise Unavailable("auth does not answer")
        if len(calls) == 2:
            store.owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'compactor'")
        return granted(units, asked)

    monkeypatch.setattr(store.issuer, "grant", absent)
    with running(store, settings_of(store)):
        until(lambda: tail(store, handle) == 0)
    assert len(calls) >= 3
    store.compactor.close()
    store.compactor = psycopg.connect(store.database.dsn("compactor"), autocommit=True)
