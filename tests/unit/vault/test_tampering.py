"""Whoever rewrites the database is noticed: refused or incomplete, never silently less (T1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench.issuer import Patient
from tests.unit.vault.store import NOW_MS, Store, batch, reading, readings
from twinward.errors import Incomplete, Tampered
from twinward.record import Category
from twinward.vault import batches, contents, hpke, tail
from twinward.vault.acceptance import SealedPart
from twinward.vault.batches import TailRow
from twinward.vault.lease import Lease
from twinward.wire.codec.compaction import Change

DAY_MS = 86_400_000
TABLES = ("vault.block", "vault.manifest", "vault.manifest_group", "vault.manifest_head", "vault.tail",
          "vault.patient_state")  # fmt: skip


@dataclass
class Case:
    """A patient with two compacted generations and two rows of tail; `old` is the first generation."""

    store: Store
    patient: Patient
    lease: Lease
    old: dict[str, list[tuple[object, ...]]]
    values: list[float]

    @property
    def handle(self) -> object:
        return self.patient.handle

    def sql(self, text: str, *values: object) -> int:
        return self.store.owner.execute(text, values).rowcount

    def read(self) -> list[float]:
        return sorted(self.store.reader().rows(self.lease).value.tolist())

    def put_back(self, table: str) -> int:
        """Replaces the patient's rows of a table by those of the first generation."""
        self.sql(f"delete from {table} where handle = %s", self.handle)  # noqa: S608
        for row in self.old[table]:
            marks = ", ".join(["%s"] * len(row))
            self.sql(f"insert into {table} values ({marks})", *row)  # noqa: S608
        return len(self.old[table])


def rows_of(store: Store, handle: object) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: store.owner.execute(f"select * from {table} where handle = %s", (handle,)).fetchall()  # noqa: S608
        for table in TABLES
    }


@pytest.fixture
def case(store: Store) -> Iterator[Case]:
    store.settle()
    rng = np.random.default_rng(20)
    patient = store.patient()
    values: list[float] = []

    def write(n: int) -> None:
        sent = readings(rng, NOW_MS - DAY_MS // 4 + len(values) * 60_000, n, 60_000)
        values.extend(one.value for one in sent)
        store.writer().write(batch([SealedPart(patient.handle, Category.LABS, sent, [])]))

    write(30)
    store.compaction().run()
    old = rows_of(store, patient.handle)
    store.clock.ms += 1000
    write(600)
    store.compaction().run()
    write(5)
    write(6)
    store.clock.ms += 1000
    lease = store.issuer.lease(patient.handle, "twin_worker", (Category.LABS,), tails=True)
    made = Case(store, patient, lease, old, values)
    assert made.read() == sorted(values)
    yield made
    # So that other tests' runs find nothing that does not prove itself.
    for table in TABLES:
        made.sql(f"delete from {table} where handle = %s", patient.handle)  # noqa: S608


STORED: dict[str, tuple[type[Tampered], Callable[[Case], object]]] = {
    "newest block deleted": (
        Incomplete,
        lambda c: c.sql("delete from vault.block where handle = %s and seq = 2", c.handle),
    ),
    "all blocks deleted": (Incomplete, lambda c: c.sql("delete from vault.block where handle = %s", c.handle)),
    "block and manifest deleted": (
        Incomplete,
        lambda c: [c.sql(f"delete from {t} where handle = %s", c.handle) for t in ("vault.block", "vault.manifest")],  # noqa: S608
    ),
    "older block replayed": (Incomplete, lambda c: c.put_back("vault.block")),
    "older blocks and manifests replayed": (
        Incomplete,
        lambda c: [c.put_back(table) for table in TABLES[:3]],
    ),
    "the whole head replayed": (Incomplete, lambda c: [c.put_back(table) for table in TABLES[:4]]),
    "everything replayed": (Incomplete, lambda c: [c.put_back(table) for table in TABLES]),
    "head deleted": (Incomplete, lambda c: c.sql("delete from vault.manifest_head where handle = %s", c.handle)),
    "head edited": (
        Tampered,
        lambda c: c.sql("update vault.manifest_head set next_seq = next_seq - 1 where handle = %s", c.handle),
    ),
    "count edited": (Incomplete, lambda c: c.sql("update vault.manifest set n = n - 1 where handle = %s", c.handle)),
    "ciphertext flipped": (
        Tampered,
        lambda c: c.sql(
            "update vault.block set blob = set_byte(blob, 100, get_byte(blob, 100) # 1) where handle = %s", c.handle
        ),
    ),
    "ciphertext cut": (
        Tampered,
        lambda c: c.sql(
            "update vault.block set blob = substring(blob for length(blob) - 1) where handle = %s", c.handle
        ),
    ),
    "blocks exchanged": (
        Incomplete,
        lambda c: [
            c.sql("update vault.block set seq = %s where handle = %s and seq = %s", to, c.handle, at)
            for at, to in ((1, 9), (2, 1), (9, 2))
        ],
    ),
    "padded count edited": (
        Tampered,
        lambda c: c.sql("update vault.block set n = n * 2 where handle = %s and seq = 2", c.handle),
    ),
    "tail row deleted": (
        Incomplete,
        lambda c: c.sql("delete from vault.tail where handle = %s and seq = 3", c.handle),
    ),
    "last tail row deleted": (
        Incomplete,
        lambda c: c.sql("delete from vault.tail where handle = %s and seq = 4", c.handle),
    ),
    "tail deleted and state rewound": (
        Tampered,
        lambda c: [
            c.sql("delete from vault.tail where handle = %s and seq = 4", c.handle),
            c.sql("update vault.patient_state set next_seq = 4 where handle = %s", c.handle),
        ],
    ),
    "tail row flipped": (
        Tampered,
        lambda c: c.sql(
            "update vault.tail set blob = set_byte(blob, 1130, get_byte(blob, 1130) # 1) where handle = %s", c.handle
        ),
    ),
    "tail rows exchanged": (
        Tampered,
        lambda c: [
            c.sql("update vault.tail set seq = %s where handle = %s and seq = %s", to, c.handle, at)
            for at, to in ((3, 9), (4, 3), (9, 4))
        ],
    ),
    "batch edited": (
        Tampered,
        lambda c: c.sql(
            """update ingest.receipt_batch set accepted = accepted + 1
               where id in (select receipt from vault.tail where handle = %s)""",
            c.handle,
        ),
    ),
    "batch deleted": (
        Incomplete,
        lambda c: c.sql(
            "delete from ingest.receipt_batch where id in (select receipt from vault.tail where handle = %s)", c.handle
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", STORED)
def test_what_was_rewritten_is_noticed(case: Case, attack: str) -> None:
    refusal, act = STORED[attack]
    act(case)
    with pytest.raises(refusal):
        case.read()


def forged(case: Case, *, sign_with_known_batch: bool) -> None:
    """A row that opens with the patient's own keys, from somebody who is no sealing program."""
    store, handle = case.store, case.patient.handle
    public = store.owner.execute(
        "select public_key from vault.public_key where handle = %s and tag = %s",
        (handle, store.issuer.tag(handle, Category.LABS)),
    ).fetchone()
    known = store.owner.execute(
        "select receipt, received_month, chain from vault.tail join vault.patient_state using (handle) "
        "where handle = %s",
        (handle,),
    ).fetchone()
    assert public is not None
    assert known is not None
    receipt, month, chain = known
    row = TailRow(handle, 5, store.issuer.tag(handle, Category.LABS), 1, month, 1,
                  receipt if sign_with_known_batch else 0, 0, b"")  # fmt: skip
    info = hpke.INFO_TAIL + tail.associated(store.issuer.site, row, Category.LABS)
    lie = contents.encode([reading(NOW_MS, 33.0, bytes(16))], [])
    row = replace(row, blob=hpke.seal(hpke.public_key(public[0]), lie, info))
    if not sign_with_known_batch:
        case.sql(
            """insert into ingest.receipt_batch select 0, feed, instance, at, accepted, dropped, duplicates, intake,
               quarantined, %s, %s, signature, null from ingest.receipt_batch where id = %s""",
            row.hash(), bytes(32), receipt,
        )  # fmt: skip
    case.sql(
        """insert into vault.tail (handle, seq, tag, version, received_month, n, receipt, place, blob)
           values (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        row.handle, row.seq, row.tag, row.version, row.received_month, row.n, row.receipt, row.place, row.blob,
    )  # fmt: skip
    case.sql(
        "update vault.patient_state set next_seq = 6, chain = %s where handle = %s",
        batches.next_chain(chain, 5, row.hash()), handle,
    )  # fmt: skip


@pytest.mark.parametrize("sign_with_known_batch", [True, False])
def test_a_forged_row_is_refused(case: Case, sign_with_known_batch: bool) -> None:
    try:
        forged(case, sign_with_known_batch=sign_with_known_batch)
        with pytest.raises(Tampered):
            case.read()
        counts = case.store.compaction().run()
        assert (counts.refused, counts.tail_rows) == (1, 0)
        assert case.store.count("vault.tail", case.patient.handle) == 3
    finally:
        case.sql("delete from ingest.receipt_batch where id = 0")


@pytest.mark.parametrize("attack", ["older blocks and manifests replayed", "tail row deleted", "ciphertext flipped"])
def test_the_compactor_files_nothing_over_a_lie(case: Case, attack: str) -> None:
    """And another patient of the same run is filed all the same."""
    STORED[attack][1](case)
    rng = np.random.default_rng(21)
    other = case.store.patient()
    case.store.writer().write(batch([SealedPart(other.handle, Category.LABS, readings(rng, NOW_MS, 3), [])]))
    before = case.store.count("vault.tail", case.patient.handle)
    counts = case.store.compaction().run()
    assert (counts.refused, counts.patients, counts.items) == (1, 1, 3)
    assert counts.trouble is not None
    assert case.store.count("vault.tail", case.patient.handle) == before


def test_a_head_that_was_being_signed_while_the_grant_was_decided_is_believed(case: Case) -> None:
    """The grant knew the root before, and its time is later than the head's: it follows on it all the same."""
    head = case.store.issuer.head(case.patient.handle)
    assert head is not None
    late = replace(case.lease, manifest_root=head.previous, manifest_previous=b"", issued_ms=head.at_ms + 1)
    assert sorted(case.store.reader().rows(late).value.tolist()) == sorted(case.values)
    later = replace(late, manifest_root=bytes(32))
    with pytest.raises(Incomplete):
        case.store.reader().rows(later)


def test_auth_refusing_one_patient_stops_no_other(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(22)
    others = [case.store.patient() for _ in range(3)]
    for other in others:
        case.store.writer().write(batch([SealedPart(other.handle, Category.LABS, readings(rng, NOW_MS, 3), [])]))
    seal = case.store.issuer.seal

    def refusing(changes: Sequence[Change]) -> None:
        if any(change.handle == case.patient.handle for change in changes):
            raise Incomplete("not this one")
        seal(changes)

    monkeypatch.setattr(case.store.issuer, "seal", refusing)
    counts = case.store.compaction().run()
    assert (counts.refused, counts.patients, counts.items) == (1, 3, 9)
    assert case.read() == sorted(case.values)
