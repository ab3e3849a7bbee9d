"""Late, corrected and withdrawn values: the twin is what in-order data would have made of it.

The oracle is not the worker: rows are opened from the store with the node's keys,
resolved, and fed to a fresh model in the order of their own time.
"""

from __future__ import annotations

import json
import signal
from uuid import UUID

import pytest

from bench.live_node import Further
from services.twin import living
from services.twin.eaten import Inputs
from services.twin.glucose import GlucoseTwin
from services.twin.living import Living, View
from services.twin.model_inputs import GLUCOSE, inputs_of, weight_at
from tests import invariants
from tests.hospital import Hospital
from tests.scenario.ward import Ward, patiently, until
from twinward.clock import utc
from twinward.vault.rows import from_measurements
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def ward(hospital: Hospital) -> Ward:
    made = Ward(hospital, patients=4, days=2, seed=9)
    made.admit()
    return made


def in_order(ward: Ward, handle: UUID) -> tuple[GlucoseTwin, Inputs]:
    """What a model becomes that got the rows that are true now, in order, at once."""
    stored = invariants.open_store(ward.hospital.directory).of(handle).current()
    inputs, weights = inputs_of(from_measurements(stored))
    weight = weight_at(weights, int(inputs.effective_ms[0]))
    assert weight is not None
    fresh = living.start(handle, View(inputs, weights, 1, 1, 0, {}))
    assert fresh is not None
    for _ in fresh.eat(inputs):
        pass
    return fresh.twin, inputs


def lived(ward: Ward, handle: UUID) -> Living:
    state = invariants.twin_state(ward.hospital.directory, handle)
    assert state is not None
    found = living.load(handle, state)
    assert found is not None
    return found


def same_as_in_order(ward: Ward, number: int) -> Inputs:
    handle = ward.handle(number)
    assert ward.forecast(number).points
    expected, inputs = in_order(ward, handle)
    found = lived(ward, handle)
    assert found.twin.readings == expected.readings == int((inputs.rows["code"] == GLUCOSE).sum())
    assert found.twin.dump() == expected.dump()
    ward.holds()
    return inputs


def test_rows_that_come_late_and_in_pieces(ward: Ward) -> None:
    rows, stub = ward.rows[0], ward.stub()
    third = len(rows) // 3
    held_back = rows[third : third + 40]
    early = [row for row in rows if row not in held_back]
    ward.put(stub, early[: third * 2])
    assert ward.forecast(0, as_of_ms=ward.now_ms).last_reading.value
    for at in range(third * 2, len(early), 30):
        ward.put(stub, early[at : at + 30])
    same_as_in_order(ward, 0)
    ward.put(stub, held_back[25:])
    ward.put(stub, held_back[:25])
    inputs = same_as_in_order(ward, 0)
    assert len(inputs) >= len(rows)


def test_corrected_values_and_a_restart_between(ward: Ward) -> None:
    rows, stub = ward.rows[1], ward.stub()
    ward.put(stub, rows)
    same_as_in_order(ward, 1)
    readings = [row for row in rows if row.glucose is not None]
    chosen = [*readings[20:24], readings[len(readings) // 2], readings[-2]]
    answer = ward.put(stub, [row.with_glucose("211") for row in chosen])
    assert answer.counts["stored"] + answer.counts["corrected"] == len(chosen)
    inputs = same_as_in_order(ward, 1)
    values = {row["effective_ms"]: row["value"] for row in inputs.rows if row["code"] == GLUCOSE}
    assert all(values[row.at_ms] == 211.0 for row in chosen)
    assert len(values) == len(readings)
    ward.hospital.kill("twin-worker")
    ward.hospital.wait_healthy("twin-worker")
    ward.put(stub, [readings[30].with_glucose("99")])
    same_as_in_order(ward, 1)


def test_a_value_entered_in_error_leaves_the_state(ward: Ward) -> None:
    rows, stub = ward.rows[2], ward.stub()
    ward.put(stub, rows)
    at = max(row.at_ms for row in rows) - 3 * HOUR_MS + 60_000
    same_as_in_order(ward, 2)
    put_observation(ward, stub, at, "final")
    with_it = same_as_in_order(ward, 2)
    assert int((with_it.effective_ms == at).sum()) == 1
    put_observation(ward, stub, at, "entered-in-error")
    without = same_as_in_order(ward, 2)
    assert int((without.effective_ms == at).sum()) == 0


def put_observation(ward: Ward, stub: ingest_pb2_grpc.IngestStub, at_ms: int, status: str) -> None:
    """A sensor value as FHIR Observation of patient 2, in one of its versions."""
    patient = {"resourceType": "Patient", "id": "p", "identifier": [
        {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
         "system": ward.identifier(2).system, "value": ward.identifier(2).value}]}  # fmt: skip
    observation = {
        "resourceType": "Observation", "id": "sensor-1", "status": status,
        "code": {"coding": [{"system": "http://loinc.org", "code": "99504-3"}]},
        "subject": {"reference": "Patient/p"}, "effectiveDateTime": utc(at_ms).isoformat(),
        "valueQuantity": {"value": 277, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
    }  # fmt: skip
    entries = [
        {"fullUrl": f"http://x/{one['resourceType']}/{one['id']}", "resource": one} for one in (patient, observation)
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    request = ingest_pb2.PutFhirRequest(
        feed="files", idempotency_key=f"observation {status}", payload=json.dumps(bundle).encode(), deidentified=True
    )
    answer = stub.PutFhir(request)
    assert answer.counts["stored"] + answer.counts["corrected"] >= 1, answer


def test_the_state_follows_without_being_asked(ward: Ward) -> None:
    """The queue alone brings a twin up: no question, no Freshen."""
    stub, last = ward.stub(), max(row.at_ms for row in ward.rows[3])
    ward.put(stub, ward.rows[3])
    handle = ward.handle(3)

    def eaten() -> int:
        state = invariants.twin_state(ward.hospital.directory, handle)
        found = living.load(handle, state) if state else None
        return found.through_ms if found else 0

    until(lambda: eaten() == last, "a snapshot of everything")
    before = lived(ward, handle)
    readings = [row for row in ward.rows[3] if row.glucose is not None]
    ward.put(stub, [row.with_glucose("133") for row in readings[-14:]])
    until(lambda: lived(ward, handle).seq > before.seq, "a snapshot after the correction")
    after = lived(ward, handle)
    assert after.through_ms == last
    assert after.twin.dump() != before.twin.dump()


def held_shares(ward: Ward) -> list[int]:
    """How many shares each live worker has."""
    with ward.hospital.connect() as connection:
        found = connection.execute(
            "select count(*) from twin.claim where until > clock_timestamp() and worker is not null group by worker"
        ).fetchall()
    return sorted(count for (count,) in found)


def test_two_workers_share_the_patients_and_one_takes_over(hospital: Hospital) -> None:
    """Each patient is one worker's; kill -9 of one while rows come: nothing is lost, nothing is taken twice."""
    ward = Ward(hospital, patients=6, days=1, seed=31)
    ward.admit()
    stub, everybody = ward.stub(), range(6)
    pieces = {at: [row for row in ward.rows[at] if row.glucose is not None] for at in everybody}
    second = Further(hospital.directory)
    try:
        until(lambda: held_shares(ward) == [32, 32], "an even part for each of two workers")
        for at in everybody:
            ward.put(stub, pieces[at][:-20])
        for at in everybody:
            assert ward.forecast(at, as_of_ms=ward.now_ms).last_reading.value  # whoever keeps it
        for at in everybody:
            ward.put(stub, pieces[at][-20:-10])
        second.end(signal.SIGKILL)
        for at in everybody:
            ward.put(stub, pieces[at][-10:])
        until(lambda: held_shares(ward) == [64], "the other one takes what the dead one had")
        for at in everybody:
            assert patiently(lambda at=at: ward.forecast(at, as_of_ms=ward.now_ms)).last_reading.value  # type: ignore[misc]
            handle = ward.handle(at)
            expected, _ = in_order(ward, handle)
            found = lived(ward, handle)
            assert found.twin.readings == expected.readings == len(pieces[at])
            assert found.twin.dump() == expected.dump()
    finally:
        second.end(signal.SIGKILL)
    ward.holds()
