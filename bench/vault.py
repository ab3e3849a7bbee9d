"""python -m bench.vault [--quick|--full] [--json]: what the vault does on this machine.

Everything is on: row-level security, checked and signed batches, receipts, fsync and
full page writes. One PostgreSQL of the wheel, one connection a role, one process.
Plain rows are the comparison: the same columns in a table without encryption, read by
the faster of two ways into the same NumPy columns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
from psycopg.rows import TupleRow

from bench import grants
from bench.issuer import Issuer, Patient
from bench.plain import Plain
from infra.embedded.postgres import OWNER, SUPERUSER, Postgres
from infra.postgres.migrate import migrate
from services.compactor.run import Compaction
from twinward.clock import SystemChance, SystemClock
from twinward.record import CGM_GLUCOSE, Category, Measurement
from twinward.vault.acceptance import Batch, Receipt, SealedPart
from twinward.vault.reader import Reader

Connection = psycopg.Connection[TupleRow]
PATIENTS = 2_000
READ = 10_000  # observations of the patient that is read
STEP_MS = 5 * 60_000
START_MS = 1_784_000_000_000  # 2026-07-14


@contextmanager
def hospital(*databases: str) -> Iterator[list[Bench]]:
    """A fresh server with the node's own settings, and a migrated database of each name."""
    folder = Path(tempfile.mkdtemp(prefix="tw-bench-"))
    folder.chmod(0o711)
    server = Postgres(folder / "postgres", folder / "secrets", folder / "postgres.log", SystemChance())
    try:
        server.initialise()
        server.start()
        server.make_roles()
        for name in databases:
            server.make_database(name)
            migrate(server.dsn(OWNER, name), server.password_file(OWNER).read_text())
        yield [Bench(server, name) for name in databases]
    finally:
        server.stop()
        shutil.rmtree(server.home.resolve(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


class Bench:
    def __init__(self, server: Postgres, database: str) -> None:
        self.clock, self.chance = SystemClock(), SystemChance()
        self.rng = np.random.default_rng(2)

        def connect(role: str) -> Connection:
            return server.connect(role, database, autocommit=True)

        self.owner = connect(SUPERUSER)
        self.issuer = Issuer(connect("auth"), self.owner, self.clock, self.chance)
        self.writer = self.issuer.writer(connect("ingest"))
        self.compaction = Compaction(
            connect("compactor"), self.issuer, self.issuer.site, self.issuer.authority_public, self.clock, self.chance
        )
        self.reader = Reader(
            connect("twin_worker"), site=self.issuer.site, authority=self.issuer.authority_public, clock=self.clock
        )

    def readings(self, n: int, first_ms: int) -> list[Measurement]:
        """A sensor's readings: whole mg/dL, seconds of jitter, a lineage each."""
        now_ms = self.clock.now_ms()
        values = np.clip(140 + np.cumsum(self.rng.normal(0, 6, n)), 40, 400).round()
        jitter = self.rng.integers(0, 3, n) * 1000
        lineages = self.rng.bytes(16 * n)
        return [
            Measurement(
                CGM_GLUCOSE,
                first_ms + at * STEP_MS + int(jitter[at]),
                now_ms,
                float(values[at]),
                "mg/dL",
                lineages[at * 16 : at * 16 + 16],
                source="files/sensor",
            )
            for at in range(n)
        ]

    def batch(self, patients: Sequence[Patient], n: int) -> Batch:
        """n readings of each patient, one receipt a patient's message."""
        first_ms = self.clock.now_ms() - n * STEP_MS
        parts = [SealedPart(patient.handle, Category.DEVICES, self.readings(n, first_ms), []) for patient in patients]
        receipts = [
            Receipt(self.chance.bytes(16), part.measurements[0].lineage, bytes(16), part.handle, part.category, None)
            for part in parts
        ]
        return Batch("files", parts, receipts, (), (), 0, 0, self.chance.bytes(16), bytes(32), b"stored")

    def writes(self, rounds: int) -> dict[str, float]:
        """Acknowledged observations a second; public keys were checked in the first round."""
        patients = self.issuer.enrol(PATIENTS, (Category.DEVICES,))
        self.writer.write(self.batch(patients, 1))
        found: dict[str, float] = {}
        for name, n in (("write_bulk_obs_per_s", 10), ("write_live_obs_per_s", 1)):
            taken = []
            for _ in range(rounds):
                batch = self.batch(patients, n)
                began = time.perf_counter()
                self.writer.write(batch)
                taken.append(time.perf_counter() - began)
            found[name] = round(PATIENTS * n / statistics.median(taken))
            if n == 10:
                row = self.owner.execute("select avg(length(blob)) from vault.tail where n > 1").fetchone()
                assert row is not None
                found["tail_bytes_per_row"] = round(float(row[0]))
        return found

    def store(self, patient: Patient, n: int) -> None:
        """n readings through the front door and the compactor."""
        sent = self.readings(n, START_MS)
        self.writer.write(
            Batch("files", [SealedPart(patient.handle, Category.DEVICES, sent, [])], (), (), (), 0, 0, None, b"", b"")
        )
        while self.compaction.run().tail_rows:
            pass


def medians_ms(acts: Sequence[Callable[[], object]], times: int) -> list[float]:
    """Median of each, measured in turn, so that what else runs on the machine meets all alike."""
    taken: list[list[float]] = [[] for _ in acts]
    for _ in range(times):
        for act, found in zip(acts, taken, strict=True):
            began = time.perf_counter()
            act()
            found.append((time.perf_counter() - began) * 1000)
    return [statistics.median(found) for found in taken]


def reads(small: Bench, large: Bench, stored: int, times: int) -> dict[str, float]:
    """One patient's 10,000 readings: alone, and among `stored` observations of others."""
    acts: list[Callable[[], object]] = []
    for bench, patients in ((small, 1), (large, stored // READ)):
        made = bench.issuer.enrol(patients, (Category.DEVICES,))
        plain = Plain(bench.owner)
        plain.store(bench.readings(READ, START_MS), made[0].handle)
        for patient in made:
            bench.store(patient, READ)
        bench.owner.execute("analyze")
        lease = bench.issuer.lease(made[0].handle, "twin_worker", (Category.DEVICES,), seconds=3600)
        assert len(bench.reader.rows(lease)) == READ
        acts.append(partial(bench.reader.rows, lease))
        if bench is small:
            acts += [partial(way, made[0].handle) for way in plain.ways]
    size = small.owner.execute("select sum(length(blob)) from vault.block").fetchone()
    assert size is not None
    sealed, by_rows, by_arrays, among = medians_ms(acts, times)
    plainly = min(by_rows, by_arrays)
    return {
        "read_10k_sealed_ms": round(sealed, 2),
        "read_10k_plain_ms": round(plainly, 2),
        "read_ratio": round(sealed / plainly, 3),
        "read_growth_ratio": round(among / sealed, 3),
        "stored_observations": stored,
        "bytes_per_obs_block": round(float(size[0]) / READ, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 90 s (the default)")
    parser.add_argument("--full", action="store_true", help="more rounds")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rounds, times = (9, 41) if chosen.full else (3, 15)
    began = time.perf_counter()
    with hospital("write", "small", "large") as (write, small, large):
        found: dict[str, float | None] = {**write.writes(rounds), **reads(small, large, 1_000_000, times)}
    found.update(grants.measure(full=chosen.full))
    found["seconds"] = round(time.perf_counter() - began, 1)
    if chosen.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:28s} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
