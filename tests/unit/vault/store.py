"""A hospital's store in one process for tests: real PostgreSQL, real keys (bench/issuer.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import TupleRow

from bench.issuer import Issuer, Patient
from services.compactor.run import Compaction
from tests.conftest import Database
from twinward.clock import SetClock, SystemChance
from twinward.record import CGM_GLUCOSE, Category, Document, Handle, Measurement
from twinward.vault.acceptance import Batch, IntakeItem, Receipt, SealedPart
from twinward.vault.reader import Reader
from twinward.vault.writer import TailWriter

Connection = psycopg.Connection[TupleRow]
NOW_MS = 1_795_348_800_000  # 2026-11-22T12:00Z
MINUTE_MS = 60_000
CATEGORIES = (Category.VITALS, Category.LABS, Category.DEVICES, Category.IDENTITY)


class SeededChance:
    """The same bytes for the same seed: tests only."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def bytes(self, n: int) -> bytes:
        return self._rng.bytes(n)


def reading(
    at_ms: int, value: float, lineage: bytes, *, received_ms: int = NOW_MS, code: str = CGM_GLUCOSE
) -> Measurement:
    return Measurement(code, at_ms, received_ms, value, "mg/dL", lineage, source="files/sensor")


def readings(rng: np.random.Generator, first_ms: int, n: int, step_ms: int = 5 * MINUTE_MS) -> list[Measurement]:
    return [reading(first_ms + at * step_ms, float(rng.integers(40, 400)), rng.bytes(16)) for at in range(n)]


def document(at_ms: int, lineage: bytes, body: bytes, *, received_ms: int = NOW_MS) -> Document:
    return Document("Observation", at_ms, received_ms, lineage, body, source="files")


def receipt(
    key: bytes, lineage: bytes, handle: Handle | None, category: int | None, bucket: int | None = None
) -> Receipt:
    return Receipt(key, lineage, bytes(16), handle, category, bucket)


def batch(
    parts: Sequence[SealedPart],
    receipts: Sequence[Receipt] = (),
    *,
    intake: Sequence[IntakeItem] = (),
    dropped: int = 0,
    answer_key: bytes | None = None,
) -> Batch:
    return Batch("files", parts, receipts, intake, (), dropped, 0, answer_key, bytes(32), b"answered")


@dataclass
class Store:
    """Connections of every role that touches the store, and the parts over them."""

    database: Database
    issuer: Issuer
    clock: SetClock
    ingest: Connection
    twin_worker: Connection
    compactor: Connection
    owner: Connection

    @classmethod
    def open(cls, database: Database) -> Store:
        def connect(role: str) -> Connection:
            return psycopg.connect(database.dsn(role), autocommit=True)

        clock = SetClock(NOW_MS)
        owner = connect("postgres")
        issuer = Issuer(connect("auth"), owner, clock, SystemChance())
        return cls(database, issuer, clock, connect("ingest"), connect("twin_worker"), connect("compactor"), owner)

    def close(self) -> None:
        for one in (self.ingest, self.twin_worker, self.compactor, self.owner, self.issuer.connection):
            one.close()

    def patient(self, categories: Sequence[int] = CATEGORIES) -> Patient:
        return self.issuer.enrol(1, categories)[0]

    def writer(self) -> TailWriter:
        return self.issuer.writer(self.ingest)

    def reader(self) -> Reader:
        return Reader(self.twin_worker, site=self.issuer.site, authority=self.issuer.authority_public, clock=self.clock)

    def compaction(self, **limits: Any) -> Compaction:
        return Compaction(
            self.compactor,
            self.issuer,
            self.issuer.site,
            self.issuer.authority_public,
            self.clock,
            SystemChance(),
            **limits,
        )

    def settle(self) -> None:
        """Files what other tests left in the tail."""
        while self.compaction().run().tail_rows:
            pass

    def release(self) -> None:
        """Lets another compactor work."""
        self.compactor.execute("select pg_advisory_unlock_all()")

    def count(self, table: str, handle: Handle) -> int:
        """Rows of the patient, seen by the superuser."""
        row = self.owner.execute(f"select count(*) from {table} where handle = %s", (handle,)).fetchone()  # noqa: S608
        assert row is not None
        return int(row[0])
