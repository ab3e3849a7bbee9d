"""kill -9 at every statement of the compactor and of auth beside it: each observation exactly once (S3)."""

from __future__ import annotations

import copy
import os
import signal
import threading
import time

import numpy as np
import pytest

from services.compactor.run import Compaction
from tests.fuse import Fuse, Fused
from tests.unit.vault.store import NOW_MS, Store, batch, readings
from twinward.clock import SystemChance
from twinward.record import Category
from twinward.vault.acceptance import SealedPart
from twinward.vault.cohortreader import CohortReader

CATEGORIES = (Category.LABS, Category.DEVICES, Category.VITALS)
MINUTE_MS = 60_000


def run_killed(store: Store, at: int) -> bool:
    """One run in a process of its own that dies at its n-th statement; False where it came to its end."""
    store.release()
    child = os.fork()
    if child == 0:
        try:
            _doomed(store, at)
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _doomed(store: Store, at: int, *, patient: bool = True) -> None:
    fuse = Fuse(0)  # not lit
    connections = []
    for role in ("compactor", "auth"):
        connection = Fused.connect(store.database.dsn(role), autocommit=True)
        connection.fuse = fuse
        connections.append(connection)
    issuer = copy.copy(store.issuer)
    issuer.connection = connections[1]
    authority = issuer.authority_public
    compaction = Compaction(connections[0], issuer, issuer.site, authority, store.clock, SystemChance())
    while patient and not compaction.alone():  # the one killed before may take a moment to be gone
        time.sleep(0.01)
    fuse.left = at
    compaction.run()
    os._exit(0)


def test_a_kill_at_every_statement_loses_and_doubles_nothing(store: Store) -> None:
    store.settle()
    rng = np.random.default_rng(30)
    patients = [store.patient(CATEGORIES) for _ in range(2)]
    sent: dict[object, list[float]] = {patient.handle: [] for patient in patients}

    def write() -> None:
        parts = []
        for patient in patients:
            for category in CATEGORIES:
                more = readings(rng, NOW_MS - 90 * MINUTE_MS, 4)
                sent[patient.handle] += [one.value for one in more]
                parts.append(SealedPart(patient.handle, category, more, []))
        store.writer().write(batch(parts))

    def stored() -> dict[object, list[float]]:
        found: dict[object, list[float]] = {}
        for patient in patients:
            lease = store.issuer.lease(patient.handle, "twin_worker", CATEGORIES, tails=True)
            found[patient.handle] = store.reader().rows(lease).value.tolist()
        return found

    def indexed() -> dict[object, tuple[bool, int]]:
        """Patient -> whether the index is whole, and how many values it has seen."""
        leases = [store.issuer.lease(one.handle, "twin_worker", (Category.COHORT_INDEX,)) for one in patients]
        site, authority = store.issuer.site, store.issuer.authority_public
        page = CohortReader(store.twin_worker, site=site, authority=authority, clock=store.clock).read(leases)
        assert not page.failed
        found = {handle: one.index for handle, one in page.found.items()}
        return {
            handle: (index is None or index.whole, sum(span.count for span in index.codes.values()) if index else 0)
            for handle, index in found.items()
        }

    write()
    at = 0
    while True:
        at += 1
        if store.count("vault.tail", patients[0].handle) == 0:
            write()
        killed = run_killed(store, at)
        found = stored()
        assert {handle: sorted(values) for handle, values in found.items()} == {
            handle: sorted(values) for handle, values in sent.items()
        }, f"killed at statement {at}"
        waiting = store.count("vault.tail", patients[0].handle) * 4
        assert indexed() == {handle: (True, len(values) - waiting) for handle, values in sent.items()}
        if not killed:
            break
    assert at > 20  # it did die on the way
    assert all(store.count("vault.tail", patient.handle) == 0 for patient in patients)


def test_a_reader_beside_the_compactor_sees_each_observation_once(store: Store) -> None:
    """Every reading equals the first next_seq - 1 batches, whatever is being filed meanwhile."""
    store.settle()
    rng = np.random.default_rng(31)
    patient = store.patient(CATEGORIES)
    batches_sent = [readings(rng, NOW_MS - (100 - at) * MINUTE_MS, 3, 1000) for at in range(25)]
    store.writer().write(batch([SealedPart(patient.handle, Category.DEVICES, batches_sent[0], [])]))
    lease = store.issuer.lease(patient.handle, "twin_worker", CATEGORIES, tails=True)
    reader, stop = store.reader(), threading.Event()
    seen: list[tuple[int, list[float]]] = []
    troubles: list[Exception] = []

    def watch() -> None:
        while not stop.is_set() and not troubles:
            try:
                found = reader.read(lease)
            except Exception as error:
                troubles.append(error)
                return
            seen.append((found.next_seq, found.rows.value.tolist()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for at, sent in enumerate(batches_sent[1:]):
            store.writer().write(batch([SealedPart(patient.handle, Category.DEVICES, sent, [])]))
            if at % 2:
                store.compaction().run()
    finally:
        stop.set()
        watcher.join()
    assert not troubles, troubles
    assert len(seen) > 5
    for next_seq, values in seen:
        assert sorted(values) == sorted(one.value for sent in batches_sent[: next_seq - 1] for one in sent)


def test_two_runs_at_once_file_a_row_once(store: Store) -> None:
    """One of them gives way."""
    store.settle()
    rng = np.random.default_rng(32)
    patient = store.patient(CATEGORIES)
    sent = readings(rng, NOW_MS - 90 * MINUTE_MS, 10)
    store.writer().write(batch([SealedPart(patient.handle, Category.LABS, sent, [])]))
    store.release()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                _doomed(store, 0, patient=False)
            finally:
                os._exit(7)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    store.settle()
    lease = store.issuer.lease(patient.handle, "twin_worker", CATEGORIES, tails=True)
    assert store.reader().rows(lease).value.tolist() == [one.value for one in sent]
    labs = store.issuer.tag(patient.handle, Category.LABS)
    counted = store.owner.execute("select n from vault.manifest where tag = %s", (labs,)).fetchall()
    assert counted == [(10,)]


@pytest.mark.parametrize("categories", [CATEGORIES[:1], CATEGORIES])
def test_rows_of_a_tag_that_auth_does_not_lease_wait_and_hold_up_what_follows(
    store: Store, categories: tuple[Category, ...]
) -> None:
    store.settle()
    rng = np.random.default_rng(33)
    patient = store.patient(CATEGORIES)
    for category in CATEGORIES:
        part = SealedPart(patient.handle, category, readings(rng, NOW_MS - MINUTE_MS * 60, 2), [])
        store.writer().write(batch([part]))
    compaction = store.compaction()
    issuer = copy.copy(store.issuer)
    tags = {issuer.tag(patient.handle, category) for category in categories}
    granted = issuer.grant
    issuer.grant = lambda units, asked: granted(  # type: ignore[method-assign]
        [unit for unit in units if unit.tag in tags], asked
    )
    compaction.door = issuer
    assert compaction.run().tail_rows == len(categories)
    lease = store.issuer.lease(patient.handle, "twin_worker", CATEGORIES, tails=True)
    assert len(store.reader().rows(lease)) == 6
    store.settle()
    assert len(store.reader().rows(lease)) == 6
