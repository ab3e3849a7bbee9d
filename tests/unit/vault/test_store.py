"""Written, read from the tail, compacted, read from blocks: the same, each exactly once."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from bench.issuer import EVER
from tests.unit.vault.store import MINUTE_MS, NOW_MS, Store, batch, document, reading, readings, receipt
from twinward.errors import LeaseEnded, Tampered
from twinward.record import Category, Measurement, Precision, Status
from twinward.vault.acceptance import SealedPart
from twinward.vault.keytree import Period
from twinward.vault.writer import MissingKeys

DAY_MS = 24 * 60 * MINUTE_MS


def in_order(of: list[Measurement]) -> list[Measurement]:
    return sorted(of, key=lambda one: (one.effective_ms, one.received_ms))


def test_tail_then_blocks_give_what_was_written(store: Store) -> None:
    store.settle()
    rng = np.random.default_rng(1)
    patient = store.patient()
    sent = readings(rng, NOW_MS - 3 * DAY_MS, 700)
    undated = Measurement("loinc|8302-2", 0, NOW_MS, 171.0, "cm", rng.bytes(16), precision=Precision.NONE)
    texts = [document(NOW_MS - at * DAY_MS, rng.bytes(16), rng.bytes(100)) for at in (80, 40, 0)]
    writer = store.writer()
    written = writer.write(batch([SealedPart(patient.handle, Category.DEVICES, sent[:300], [])]))
    assert (written.rows, written.accepted, written.dropped) == (1, 300, 0)
    writer.write(
        batch(
            [
                SealedPart(patient.handle, Category.DEVICES, sent[300:], []),
                SealedPart(patient.handle, Category.LABS, [undated], texts),
            ]
        )
    )
    categories = (Category.DEVICES, Category.LABS)
    upkeep = store.issuer.lease(patient.handle, "twin_worker", categories, tails=True)
    before = store.reader().read(upkeep, documents=True)
    assert before.rows.measurements() == in_order([*sent, undated])
    assert sorted(before.documents, key=lambda one: one.lineage) == sorted(texts, key=lambda one: one.lineage)
    assert (before.next_seq, before.waiting, before.served) == (4, 0, 3)

    counts = store.compaction().run()
    assert (counts.tail_rows, counts.items, counts.refused) == (3, 704, 0)
    assert store.count("vault.tail", patient.handle) == 0
    after = store.reader().read(store.issuer.lease(patient.handle, "twin_worker", categories), documents=True)
    assert after.rows.measurements() == before.rows.measurements()
    assert sorted(after.documents, key=lambda one: one.lineage) == sorted(texts, key=lambda one: one.lineage)
    # The lease from before the run still reads: the newer head is signed.
    assert store.reader().rows(upkeep).measurements() == before.rows.measurements()


def test_open_blocks_are_merged_and_full_ones_left_alone(store: Store) -> None:
    store.settle()
    rng = np.random.default_rng(2)
    patient = store.patient()
    sent: list[Measurement] = []
    for _ in range(4):
        more = readings(rng, NOW_MS - DAY_MS // 2 + len(sent) * MINUTE_MS, 300, MINUTE_MS)
        sent += more
        store.writer().write(batch([SealedPart(patient.handle, Category.LABS, more, [])]))
        assert store.compaction().run().items == 300
    sizes = store.owner.execute(
        "select seq, n from vault.block where tag = %s order by seq", (store.issuer.tag(patient.handle, Category.LABS),)
    ).fetchall()
    assert sizes == [(1, 512), (2, 512), (3, 256)]
    lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,))
    assert store.reader().rows(lease).measurements() == in_order(sent)


def test_a_lease_opens_its_months_and_nothing_else(store: Store) -> None:
    rng = np.random.default_rng(3)
    patient = store.patient()
    sent = readings(rng, NOW_MS - 120 * DAY_MS, 120, DAY_MS)
    store.writer().write(batch([SealedPart(patient.handle, Category.LABS, sent, [])]))
    for compacted in (False, True):
        if compacted:
            store.compaction().run()
        lease = store.issuer.lease(
            patient.handle, "twin_worker", (Category.LABS,), Period(202609, 202610, undated=False), tails=True
        )
        got = store.reader().rows(lease).measurements()
        assert got == [one for one in sent if 1788220800000 <= one.effective_ms < 1793491200000]  # 2026-09 to 2026-10


def test_versions_after_a_withdrawal(store: Store) -> None:
    """Old blocks and old tail stay under their version; a later lease opens both."""
    rng = np.random.default_rng(4)
    patient = store.patient()
    first, second, third = (readings(rng, NOW_MS - (3 - at) * DAY_MS, 20) for at in range(3))
    write = store.writer()
    write.write(batch([SealedPart(patient.handle, Category.LABS, first, [])]))
    store.compaction().run()
    write.write(batch([SealedPart(patient.handle, Category.LABS, second, [])]))
    store.issuer.withdraw(patient.handle, (Category.LABS,))
    write.write(batch([SealedPart(patient.handle, Category.LABS, third, [])]))
    store.compaction().run()
    found = store.owner.execute(
        "select version, count(*) from vault.block where tag = %s group by 1 order by 1",
        (store.issuer.tag(patient.handle, Category.LABS),),
    ).fetchall()
    assert found == [(1, 1), (2, 1)]
    lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,))
    assert store.reader().rows(lease).measurements() == in_order([*first, *second, *third])


def test_corrections_are_resolved_and_history_stays(store: Store) -> None:
    store.settle()
    rng = np.random.default_rng(5)
    patient = store.patient()
    lineage, gone = rng.bytes(16), rng.bytes(16)

    def part(row: Measurement) -> SealedPart:
        return SealedPart(patient.handle, Category.LABS, [row], [])

    wrote = [
        reading(NOW_MS - 40 * DAY_MS, 100.0, lineage),
        reading(NOW_MS - 40 * DAY_MS, 101.0, lineage, received_ms=NOW_MS + 1000),
        reading(NOW_MS - 1 * DAY_MS, 102.0, lineage, received_ms=NOW_MS + 2000),  # moves to another month
    ]
    for at, row in enumerate(wrote):
        key = bytes([at]) + rng.bytes(15)
        written = store.writer().write(batch([part(row)], [receipt(key, lineage, patient.handle, Category.LABS, 0)]))
        assert written.accepted == (3 if at == 2 else 1)  # the value and two markers where it was
    mistaken = reading(NOW_MS, 900.0, gone)
    store.writer().write(batch([part(mistaken)]))
    undone = Measurement(
        mistaken.code, NOW_MS, NOW_MS + 1, 900.0, "mg/dL", gone, status=Status.ENTERED_IN_ERROR, source="files/sensor"
    )
    store.writer().write(batch([part(undone)]))
    old_month = Period(202610, 202610, undated=False)
    for compacted in (False, True):
        if compacted:
            assert store.compaction().run().superseded == 3
        lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), tails=True)
        assert [one.value for one in store.reader().rows(lease).measurements()] == [102.0]
        history = store.reader().rows(lease, history=True)
        assert sorted(v for v in history.value.tolist() if v == v) == [100.0, 101.0, 102.0, 900.0, 900.0]
        # Who may see the old month only is not told the old value.
        old = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), old_month, tails=True)
        assert len(store.reader().rows(old)) == 0


def test_missing_keys_write_nothing(store: Store) -> None:
    rng = np.random.default_rng(6)
    patient = store.patient((Category.LABS,))
    parts = [SealedPart(patient.handle, one, readings(rng, NOW_MS, 1), []) for one in (Category.LABS, Category.NOTES)]
    with pytest.raises(MissingKeys) as refusal:
        store.writer().write(batch(parts))
    assert refusal.value.handles == {patient.handle}
    assert refusal.value.categories[patient.handle] == {Category.NOTES}
    assert store.count("vault.tail", patient.handle) == 0


def test_keys_are_not_used_before_or_after_their_time(store: Store) -> None:
    rng = np.random.default_rng(7)
    patient = store.patient((Category.LABS,))
    writer = store.writer()
    one = batch([SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 1), [])])
    writer.write(one)
    store.clock.ms = NOW_MS + 60 * DAY_MS
    try:
        with pytest.raises(MissingKeys):
            writer.write(one)
    finally:
        store.clock.ms = NOW_MS


def test_a_swapped_public_key_is_refused(store: Store) -> None:
    rng = np.random.default_rng(8)
    mine, other = store.patient((Category.LABS,)), store.patient((Category.LABS,))
    store.owner.execute(
        """update vault.public_key set public_key = (select public_key from vault.public_key where handle = %s)
           where handle = %s""",
        (other.handle, mine.handle),
    )
    with pytest.raises(Tampered):
        store.writer().write(batch([SealedPart(mine.handle, Category.LABS, readings(rng, NOW_MS, 1), [])]))


def test_a_key_filed_under_another_category_is_refused(store: Store) -> None:
    rng = np.random.default_rng(9)
    patient = store.patient((Category.LABS,))
    store.owner.execute(
        "update vault.public_key set tag = %s where handle = %s",
        (store.issuer.tag(patient.handle, Category.NOTES), patient.handle),
    )
    with pytest.raises(Tampered):
        store.writer().write(batch([SealedPart(patient.handle, Category.NOTES, readings(rng, NOW_MS, 1), [])]))


def test_the_same_receipt_twice_is_refused_and_leaves_no_gap(store: Store) -> None:
    rng = np.random.default_rng(10)
    patient = store.patient()
    key, lineage = rng.bytes(16), rng.bytes(16)
    one = batch(
        [SealedPart(patient.handle, Category.LABS, [reading(NOW_MS, 5.0, lineage)], [])],
        [receipt(key, lineage, patient.handle, Category.LABS)],
        answer_key=rng.bytes(16),
    )
    store.writer().write(one)
    with pytest.raises(psycopg.errors.UniqueViolation):
        store.writer().write(one)
    store.writer().write(batch([SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 1), [])]))
    state = store.owner.execute(
        "select next_seq from vault.patient_state where handle = %s", (patient.handle,)
    ).fetchone()
    assert state == (3,)
    assert store.count("vault.tail", patient.handle) == 2


def test_erased_and_refusing_patients_are_counted_and_not_kept(store: Store) -> None:
    rng = np.random.default_rng(11)
    erased, refusing = store.patient(), store.patient()
    store.owner.execute("update vault.patient_state set erased = true where handle = %s", (erased.handle,))
    store.owner.execute(
        "update vault.patient_state set refused_tags = %s where handle = %s",
        ([store.issuer.tag(refusing.handle, Category.LABS)], refusing.handle),
    )
    written = store.writer().write(
        batch(
            [
                SealedPart(erased.handle, Category.LABS, readings(rng, NOW_MS, 2), []),
                SealedPart(refusing.handle, Category.LABS, readings(rng, NOW_MS, 3), []),
                SealedPart(refusing.handle, Category.VITALS, readings(rng, NOW_MS, 4), []),
            ],
            dropped=1,
        )
    )
    assert (written.accepted, written.dropped) == (4, 6)
    assert written.refused == {erased.handle, refusing.handle}
    counts = store.owner.execute(
        "select accepted, dropped from ingest.receipt_batch where id = %s", (written.receipt,)
    ).fetchone()
    assert counts == (4, 6)


def test_a_revoked_lease_reads_nothing(store: Store) -> None:
    rng = np.random.default_rng(12)
    patient = store.patient()
    store.writer().write(batch([SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 5), [])]))
    store.compaction().run()
    lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), EVER)
    store.issuer.end(lease)
    with pytest.raises(LeaseEnded):
        store.reader().rows(lease)
    late = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), EVER, seconds=0)
    with pytest.raises(LeaseEnded):
        store.reader().rows(late)


def test_a_lease_of_another_role_shows_nothing(store: Store) -> None:
    rng = np.random.default_rng(13)
    patient = store.patient()
    store.writer().write(batch([SealedPart(patient.handle, Category.LABS, readings(rng, NOW_MS, 5), [])]))
    store.compaction().run()
    lease = store.issuer.lease(patient.handle, "twin", (Category.LABS,), EVER)
    with pytest.raises(LeaseEnded):
        store.reader().rows(lease)
    shown = store.twin_worker.execute("select count(*) from vault.block where handle = %s", (patient.handle,))
    assert shown.fetchone() == (0,)
