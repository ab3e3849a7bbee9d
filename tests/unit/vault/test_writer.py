"""One acknowledgement, one transaction: what waits, what is answered, what others hear, who comes twice."""

from __future__ import annotations

import threading
from uuid import UUID

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.vault.store import NOW_MS, Store, batch, reading, readings, receipt
from twinward.errors import BadInput, Unavailable
from twinward.record import Category
from twinward.vault import batches, hpke, tail
from twinward.vault.acceptance import Batch, ConsentItem, IntakeItem, SealedPart, Written, consent_info, intake_info

ITEMS = "select coalesce(sum(n), 0) from vault.manifest where handle = %s and tag <> %s"  # the index is no item


def test_what_waits_is_sealed_to_those_who_may_open_it(store: Store) -> None:
    rng = np.random.default_rng(50)
    patient = store.patient()
    index = rng.bytes(16)
    written = store.writer().write(
        Batch(
            "observations",
            [SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 2), [])],
            [],
            [IntakeItem(index, "unknown-patient", "intake", 3, b"a bundle"),
             IntakeItem(None, "unknown-unit", "quarantine", 4, b"an entry")],
            [ConsentItem(patient.handle, None, "consent", b"a consent"),
             ConsentItem(None, index, "care_team", b"a team")],
            5,
            6,
            None,
            b"",
            b"",
        )
    )  # fmt: skip
    counts = store.owner.execute(
        """select feed, accepted, dropped, duplicates, intake, quarantined from ingest.receipt_batch where id = %s""",
        (written.receipt,),
    ).fetchone()
    assert counts == ("observations", 2, 5, 6, 3, 4)
    waiting = store.owner.execute(
        "select feed_index, kind, reason, state, items, key_id, blob from ingest.intake order by id desc limit 2"
    ).fetchall()
    pair = hpke.private_key(store.issuer.intake_seed)
    opened = [hpke.open_sealed(pair, row[6], intake_info(store.issuer.site, 1)) for row in waiting]
    assert [(*row[:6], plain) for row, plain in zip(waiting, opened, strict=True)] == [
        (None, "quarantine", "unknown-unit", "waiting", 4, 1, b"an entry"),
        (UUID(bytes=index), "intake", "unknown-patient", "waiting", 3, 1, b"a bundle"),
    ]
    consents = store.owner.execute(
        "select handle, feed_index, kind, blob from vault.intake_consent order by id desc limit 2"
    ).fetchall()
    auth = hpke.private_key(store.issuer.admit_seed)
    info = consent_info(store.issuer.site)
    assert [(*row[:3], hpke.open_sealed(auth, row[3], info)) for row in consents] == [
        (None, UUID(bytes=index), "care_team", b"a team"),
        (patient.handle, None, "consent", b"a consent"),
    ]


def test_the_twin_hears_of_it_and_the_answer_is_kept(store: Store) -> None:
    rng = np.random.default_rng(51)
    patient, key = store.patient(), rng.bytes(16)
    part = SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 2), [])
    answers: list[Written] = []

    def answer(written: Written) -> bytes:
        answers.append(written)
        return b"accepted %d" % written.accepted

    store.twin_worker.execute("listen twin_pending")
    store.writer().write(Batch("files", [part, part], [], [], [], 0, 0, key, b"hash", answer))
    assert [one.channel for one in store.twin_worker.notifies(timeout=5, stop_after=1)] == ["twin_pending"]
    pending = store.owner.execute("select seq from twin.pending where handle = %s", (patient.handle,)).fetchone()
    kept = store.owner.execute(
        "select body_hash, answer from ingest.answer where key = %s", (UUID(bytes=key),)
    ).fetchone()
    assert (pending, kept) == ((2,), (b"hash", b"accepted 4"))
    store.twin_worker.execute("unlisten *")


def test_rows_prove_themselves(store: Store) -> None:
    """The chain of the patient's state runs over the rows' hashes, which the signed batches name."""
    rng = np.random.default_rng(52)
    patient = store.patient()
    for _ in range(3):
        store.writer().write(batch([SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 1), [])]))
    lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), tails=True)
    rows = tail.visible_rows(store.twin_worker, (patient.handle,), lease.tags.values())
    chain = bytes(32)
    for row in rows:
        chain = batches.next_chain(chain, row.seq, row.hash())
    state = store.owner.execute("select chain from vault.patient_state where handle = %s", (patient.handle,)).fetchone()
    assert state == (chain,)
    assert [row.seq for row in rows] == [1, 2, 3]


def test_more_rows_than_a_record_holds_become_several(store: Store) -> None:
    rng = np.random.default_rng(53)
    patient = store.patient()
    sent = readings(rng, NOW_MS - 9000 * 60_000, 9000, 60_000)
    written = store.writer().write(batch([SealedPart(patient.handle, Category.LABS, sent, [])]))
    assert (written.rows, written.accepted) == (2, 9000)
    lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), tails=True)
    assert store.reader().rows(lease).measurements() == sent


def test_one_batch_many_times_at_once_is_stored_once(store: Store) -> None:
    rng = np.random.default_rng(54)
    patients = [store.patient() for _ in range(3)]
    lineages = [rng.bytes(16) for _ in patients]
    parts = [
        SealedPart(patient.handle, Category.LABS, [reading(NOW_MS, 4.0, lineage)], [])
        for patient, lineage in zip(patients, lineages, strict=True)
    ]
    receipts = [
        receipt(rng.bytes(16), lineage, patient.handle, Category.LABS)
        for patient, lineage in zip(patients, lineages, strict=True)
    ]
    outcomes: list[str] = []

    def send(turn: int) -> None:
        with psycopg.connect(store.database.dsn("ingest"), autocommit=True) as connection:
            order = list(np.random.default_rng(turn).permutation(3))
            one = batch([parts[at] for at in order], [receipts[at] for at in order])
            try:
                store.issuer.writer(connection).write(one)
                outcomes.append("stored")
            except psycopg.errors.UniqueViolation:
                outcomes.append("there already")

    threads = [threading.Thread(target=send, args=(turn,)) for turn in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["stored"] + ["there already"] * 11
    assert [store.count("vault.tail", patient.handle) for patient in patients] == [1, 1, 1]


def test_two_writers_of_one_patient_leave_no_gap(store: Store) -> None:
    rng = np.random.default_rng(55)
    patients = [store.patient() for _ in range(2)]
    sent = [readings(rng, NOW_MS - (at + 1) * 60_000, 1) for at in range(24)]

    def send(turn: int) -> None:
        with psycopg.connect(store.database.dsn("ingest"), autocommit=True) as connection:
            writer = store.issuer.writer(connection)
            for one in sent[turn::4]:
                chosen = patients if turn % 2 else patients[::-1]
                writer.write(batch([SealedPart(patient.handle, Category.LABS, one, []) for patient in chosen]))

    threads = [threading.Thread(target=send, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for patient in patients:
        lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), tails=True)
        found = store.reader().read(lease)  # checks the chain over all rows
        assert (found.next_seq, len(found.rows)) == (25, 24)


def test_a_database_that_is_gone_is_told_as_such(store: Store) -> None:
    rng = np.random.default_rng(56)
    patient = store.patient()
    with psycopg.connect(store.database.dsn("ingest"), autocommit=True) as connection:
        writer = store.issuer.writer(connection)
        store.owner.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(Unavailable):
            writer.write(batch([SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 1), [])]))


def test_a_kind_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(BadInput):
        store.writer().write(batch([], intake=[IntakeItem(None, "x", "later", 1, b"")]))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=6))
def test_accepted_is_what_lies_in_tail_and_blocks(store: Store, messages: list[tuple[int, int]]) -> None:
    """Invariant of the counts: items in tail and blocks = items accepted."""
    rng = np.random.default_rng(57)
    patient = store.patient()
    categories = (Category.LABS, Category.DEVICES, Category.VITALS)
    accepted = 0
    for at, (which, n) in enumerate(messages):
        sent = readings(rng, NOW_MS - 50 * 60_000, n)
        accepted += store.writer().write(batch([SealedPart(patient.handle, categories[which], sent, [])])).accepted
        if at % 2:
            store.settle()
    filed = store.owner.execute(ITEMS, (patient.handle, store.issuer.tag(patient.handle, Category.COHORT_INDEX)))
    row = filed.fetchone()
    assert row is not None
    lease = store.issuer.lease(patient.handle, "twin_worker", categories, tails=True)
    assert accepted == len(store.reader().rows(lease)) == sum(n for _, n in messages)
    store.settle()
    filed = store.owner.execute(ITEMS, (patient.handle, store.issuer.tag(patient.handle, Category.COHORT_INDEX)))
    assert filed.fetchone() == (accepted,)
