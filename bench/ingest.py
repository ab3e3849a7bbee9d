"""Speed of ingest, end to end: gRPC with mTLS and tokens, sealing, receipts, durable commit.

    python -m bench.ingest --quick --json

fhir_resources_per_s       resources in bundles, two senders at once; auth admits every patient anew
fhir_again_per_s           the same bundles a second time: all duplicates
live_messages_per_s        single Observations of known patients, 16 senders
live_p50_ms, live_p99_ms   of these, from call to acknowledgement
series_rows_per_s          rows of a sensor's CSV

Real processes on the wheel's PostgreSQL: site-idp, auth, ingest, filer; no twin, no
compactor. Input: the Synthea bundles of $TWINWARD_DATA, else bundles made here.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson

from bench.node import folder, supervised
from infra.embedded.node import init
from services.cli.session import Session
from twinward.clock import SystemChance, SystemClock, utc
from twinward.errors import TwinwardError, Unavailable
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc, record_pb2

WANTED = ("site-idp", "auth", "ingest", "ingest-filer")
MRN = "urn:bench:mrn"
LOINC = ("2339-0", "4548-4", "2160-0", "8480-6", "8867-4", "29463-7")
UNITS = ("mg/dL", "%", "mg/dL", "mm[Hg]", "/min", "kg")
FIRST_MS = 1_735_689_600_000  # 2025-01-01


@contextmanager
def node() -> Iterator[Path]:
    """A node with what ingest needs, in a temporary folder."""
    with folder("tw-bench-") as place:
        made = init(place / "node", "Bench", "demo", SystemClock(), SystemChance())
        with supervised(made, WANTED):
            yield made.directory


def steward(directory: Path) -> Session:
    """A data steward's session, as soon as the programs answer."""
    deadline = time.monotonic() + 60
    while True:
        try:
            session = Session.open(directory, "data-steward", None)
            stub = ingest_pb2_grpc.IngestStub(session.channel("ingest"))
            stub.IngestStatus(ingest_pb2.IngestStatusRequest(), timeout=5)
        except TwinwardError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return session


def bundles() -> tuple[str, list[bytes]]:
    """What is sent, and a word for where it comes from."""
    data = Path(os.environ.get("TWINWARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    files = sorted((data / "interop/synthea-r4-smart").glob("*.json.gz"))
    if files:
        return "synthea", [gzip.decompress(file.read_bytes()) for file in files]
    return "made", [made_bundle(number) for number in range(50)]


def made_bundle(number: int, resources: int = 300) -> bytes:
    """A patient and values of the usual kinds, from a seed."""
    rng = np.random.default_rng(number)
    urn = f"urn:uuid:00000000-0000-4000-8000-{number:012d}"
    patient = {"resourceType": "Patient", "id": f"b{number}", "identifier": [{"system": MRN, "value": str(number)}]}
    entries: list[dict[str, object]] = [{"fullUrl": urn, "resource": patient}]
    for place in range(resources):
        kind = int(rng.integers(len(LOINC)))
        entries.append({"resource": reading(f"b{number}-{place}", urn, kind, float(rng.normal(100, 15)), place)})
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def reading(name: str, subject: str, kind: int, value: float, place: int) -> dict[str, object]:
    unit = UNITS[kind]
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
                                  "code": "laboratory", "display": "laboratory"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": LOINC[kind]}]},
        "subject": {"reference": subject},
        "effectiveDateTime": utc(FIRST_MS + place * 3_600_000).isoformat(),
        "valueQuantity": {"value": round(value, 2), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }  # fmt: skip


class Sender:
    """Sends and waits for the acknowledgement."""

    def __init__(self, session: Session) -> None:
        self._stub = ingest_pb2_grpc.IngestStub(session.channel("ingest"))

    def fhir(self, payload: bytes) -> ingest_pb2.PutResponse:
        request = ingest_pb2.PutFhirRequest(feed="files", payload=payload, deidentified=True)
        return self._stub.PutFhir(request, timeout=60)

    def series(self, csv: bytes) -> ingest_pb2.PutResponse:
        column = ingest_pb2.SeriesColumn(column="g", kind="glucose", unit="mg/dL")
        return self._stub.PutSeries(
            ingest_pb2.PutSeriesRequest(
                feed="files",
                patient=record_pb2.Identifier(system=MRN, value="series"),
                mapping=ingest_pb2.SeriesMapping(time_column="t", time_format="epoch-ms", columns=[column]),
                csv=csv,
                deidentified=True,
            ),
            timeout=60,
        )


def together(
    act: Callable[[bytes], ingest_pb2.PutResponse], inputs: Sequence[bytes], senders: int
) -> tuple[float, list[ingest_pb2.PutResponse], list[float]]:
    """(seconds, answers, milliseconds of each) with so many senders at once."""
    taken: list[float] = []

    def one(payload: bytes) -> ingest_pb2.PutResponse:
        begin = time.perf_counter()
        answer = act(payload)
        taken.append((time.perf_counter() - begin) * 1000)
        return answer

    begin = time.perf_counter()
    with ThreadPoolExecutor(senders) as pool:
        answers = list(pool.map(one, inputs))
    return time.perf_counter() - begin, answers, taken


def measure(full: bool) -> dict[str, float | str]:
    source, payloads = bundles()
    with node() as directory:
        session = steward(directory)
        sender = Sender(session)
        sender.fhir(made_bundle(9_000, 10))  # the first call loads schemas and keys
        seconds, answers, _ = together(sender.fhir, payloads, 2)
        resources = sum(sum(answer.counts.values()) for answer in answers)
        missing = sum(answer.counts["intake"] + answer.counts["quarantined"] for answer in answers)
        if missing:
            raise Unavailable(f"{missing} of {resources} resources were not filed: the figures would not be honest")
        again, repeated, _ = together(sender.fhir, payloads, 2)
        singles = [
            orjson.dumps(reading(f"live-{number}", "Patient/b9000", 0, 100 + number % 50, number))
            for number in range(4_000 if full else 800)
        ]
        live, _, taken = together(sender.fhir, singles, 16)
        rows = 60_000 if full else 20_000
        csv = b"t,g\n" + b"".join(b"%d,%d\n" % (FIRST_MS + n * 300_000, 90 + n % 60) for n in range(rows))
        serial, _, _ = together(sender.series, [csv], 1)
        session.close()
    taken.sort()
    return {
        "source": source,
        "resources": float(resources),
        "fhir_resources_per_s": round(resources / seconds, 1),
        "fhir_again_per_s": round(sum(sum(one.counts.values()) for one in repeated) / again, 1),
        "live_messages_per_s": round(len(singles) / live, 1),
        "live_p50_ms": round(statistics.median(taken), 2),
        "live_p99_ms": round(taken[int(len(taken) * 0.99)], 2),
        "series_rows_per_s": round(rows / serial, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true", help="ends within 90 s (the default)")
    choice.add_argument("--full", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = measure(chosen.full)
    if chosen.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
