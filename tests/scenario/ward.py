"""Virtual patients in a hospital under test: their charts, their series, their twins."""

from __future__ import annotations

import csv
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from services.cli.mapping_file import from_toml
from services.cli.story_hospital import mrn_of
from services.cli.virtual import generate
from services.cli.virtual_fhir import MRN_SYSTEM
from tests import invariants
from tests.hospital import Hospital
from twinward.clock import utc
from twinward.errors import Busy, Unavailable
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, ingest_pb2, ingest_pb2_grpc, record_pb2, twin_pb2, twin_pb2_grpc

GRID_MS = 300_000
GLUCOSE_CELL = 2  # time, mrn, glucose, ...
WAIT_S = 60.0


@dataclass(frozen=True)
class Row:
    """One line of a patient's table."""

    at_ms: int
    cells: tuple[str, ...]
    glucose: float | None

    def with_glucose(self, value: str) -> Row:
        """The same reading with another value: a correction."""
        assert self.glucose is not None
        cells = list(self.cells)
        cells[GLUCOSE_CELL] = value
        return Row(self.at_ms, tuple(cells), float(value))


class Ward:
    """`patients` people with `days` of life that end now; nothing is sent before `admit`."""

    def __init__(self, hospital: Hospital, patients: int = 2, days: int = 2, seed: int = 5) -> None:
        self.hospital = hospital
        self.folder = Path(tempfile.mkdtemp(prefix="tw-ward-", dir=hospital.folder))
        self.now_ms = hospital.clock.now_ms() // GRID_MS * GRID_MS
        generate(self.folder, patients, days, seed, utc(self.now_ms).isoformat())
        self.charts = sorted(self.folder.glob("*.json"))
        self.mrns = [mrn_of(chart) for chart in self.charts]
        self.mapping = from_toml(self.folder / "patient-0001.mapping.toml", None).mapping
        self.header: tuple[str, ...] = ()
        self.rows = [self._read(table) for table in sorted(self.folder.glob("*.csv"))]

    def _read(self, table: Path) -> list[Row]:
        header, *lines = csv.reader(io.StringIO(table.read_text()))
        self.header = tuple(header)
        time_at, glucose_at = header.index("time"), header.index("glucose")
        assert glucose_at == GLUCOSE_CELL
        return [
            Row(_ms(line[time_at]), tuple(line), float(line[glucose_at]) if line[glucose_at] else None)
            for line in lines
        ]

    def stub(self, role: str = "data-steward") -> ingest_pb2_grpc.IngestStub:
        return ingest_pb2_grpc.IngestStub(self.hospital.session(role).channel("ingest"))

    def admit(self) -> None:
        """Sends every chart through the front door."""
        stub = self.stub()
        for chart in self.charts:
            request = ingest_pb2.PutFhirRequest(
                feed="files",
                idempotency_key=f"{self.folder.name} {chart.name}",
                payload=chart.read_bytes(),
                deidentified=True,
            )
            answer = stub.PutFhir(request)
            assert answer.counts["stored"] >= 8, answer

    def admit_waiting(self, stub: ingest_pb2_grpc.IngestStub) -> None:
        """Charts and tables of patients whom nobody can name now: everything must be taken and wait."""
        for chart, rows in zip(self.charts, self.rows, strict=True):
            request = ingest_pb2.PutFhirRequest(
                feed="files", idempotency_key=f"waits {chart.name}", payload=chart.read_bytes(), deidentified=True
            )
            assert stub.PutFhir(request).counts["intake"] >= 8
            assert self.put(stub, rows).counts["intake"] > 0

    def put(
        self, stub: ingest_pb2_grpc.IngestStub, rows: Sequence[Row], key: str = "", feed: str = "files"
    ) -> ingest_pb2.PutResponse:
        """Sends rows of one table; with `key` a repetition is answered like the first time."""
        lines = [self.header, *(row.cells for row in rows)]
        body = "".join(",".join(line) + "\n" for line in lines).encode()
        request = ingest_pb2.PutSeriesRequest(
            feed=feed, idempotency_key=key, mapping=self.mapping, csv=body, deidentified=True
        )
        answer: ingest_pb2.PutResponse = stub.PutSeries(request)
        return answer

    def identifier(self, number: int) -> record_pb2.Identifier:
        return record_pb2.Identifier(system=MRN_SYSTEM, value=self.mrns[number])

    def ref(self, number: int) -> record_pb2.PatientRef:
        return record_pb2.PatientRef(identifier=self.identifier(number))

    def handle(self, number: int) -> UUID:
        found = invariants.handle_of(self.hospital.directory, MRN_SYSTEM, self.mrns[number])
        assert found is not None
        return found

    def twins(self, role: str = "clinician") -> twin_pb2_grpc.TwinStub:
        return twin_pb2_grpc.TwinStub(self.hospital.session(role).channel("twin"))

    def auth(self, role: str) -> auth_pb2_grpc.AuthStub:
        return auth_pb2_grpc.AuthStub(self.hospital.session(role).channel("auth"))

    def forecast(self, number: int, as_of_ms: int = 0) -> twin_pb2.ForecastResponse:
        request = twin_pb2.ForecastRequest(patient=self.ref(number), as_of_ms=as_of_ms)
        answer: twin_pb2.ForecastResponse = self.twins().Forecast(request)
        return answer

    def withdraw(self, number: int, *purposes: str) -> auth_pb2.WithdrawConsentResponse:
        request = auth_pb2.WithdrawConsentRequest(patient=self.ref(number), purposes=purposes, reason="story")
        answer: auth_pb2.WithdrawConsentResponse = self.auth("data-steward").WithdrawConsent(request)
        return answer

    def status(self) -> ingest_pb2.IngestStatusResponse:
        answer: ingest_pb2.IngestStatusResponse = self.stub().IngestStatus(ingest_pb2.IngestStatusRequest())
        return answer

    def holds(self) -> None:
        """Every promise of tests/invariants.py."""
        invariants.holds(self.hospital.directory)


def _ms(text: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(text).timestamp() * 1000)


T = TypeVar("T")


def patiently(call: Callable[[], T], seconds: float = WAIT_S) -> T:
    """What a client does while something is down or busy: the same again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (Unavailable, Busy):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def until(ready: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"did not come in {seconds:.0f} s: {what}"
        time.sleep(0.1)
