"""A refit in a real node: asked for by a clinician, worked off by the jobs program, taken by the living twin."""

from __future__ import annotations

import json

import pytest

from tests.hospital import Hospital
from tests.scenario.ward import Ward, until
from twinward.errors import BadInput, Denied, TwinwardError, Underage
from twinward.wire.v1 import twin_pb2, twin_pb2_grpc

pytestmark = pytest.mark.slow  # a node of its own and six days of life


@pytest.fixture(scope="module")
def ward(hospital: Hospital) -> Ward:
    made = Ward(hospital, patients=2, days=6, seed=21)
    chart = json.loads(made.charts[1].read_text())
    patient = next(one["resource"] for one in chart["entry"] if one["resource"]["resourceType"] == "Patient")
    patient["birthDate"] = "2015-03-01"
    made.charts[1].write_text(json.dumps(chart))
    made.admit()
    for rows in made.rows:
        made.put(made.stub(), rows[:-3])
    return made


def upkeep(ward: Ward, role: str = "clinician") -> twin_pb2_grpc.TwinUpkeepStub:
    return twin_pb2_grpc.TwinUpkeepStub(ward.hospital.session(role).channel("twin"))


def test_identify_is_a_job_and_the_twin_goes_on_from_it(ward: Ward) -> None:
    stub = upkeep(ward)
    ward.hospital.kill("twin-jobs")  # its supervisor starts it again; the job waits in the table
    answer = stub.Identify(twin_pb2.IdentifyRequest(patient=ward.ref(0)), timeout=120)
    assert {one.name for one in answer.parameters} == {"SI", "Gb", "meal", "skin"}
    assert all(one.personal == (one.prior_ratio <= 0.7) for one in answer.parameters)
    assert sorted(answer.spectrum, reverse=True) == list(answer.spectrum)
    assert answer.days >= 5
    assert answer.changes
    again = stub.Identify(twin_pb2.IdentifyRequest(patient=ward.ref(0)), timeout=120)
    assert again.state_ms == answer.state_ms
    jobs = upkeep(ward, "site-admin").ListJobs(twin_pb2.ListJobsRequest()).jobs
    assert [(one.state, one.progress) for one in jobs] == [("done", 100)]  # asked twice with nothing new: one job
    with pytest.raises(Denied):
        stub.ListJobs(twin_pb2.ListJobsRequest())
    with pytest.raises(BadInput):
        upkeep(ward, "site-admin").CancelJob(twin_pb2.CancelJobRequest(id="x"))
    ward.put(ward.stub(), ward.rows[0][-3:])

    def taken() -> bool:
        seen = ward.twins().ShowTwin(twin_pb2.ShowTwinRequest(patient=ward.ref(0)))
        return bool(seen.refit_ms == answer.state_ms)

    until(taken, "the living twin has the refit")
    line = stub.Timeline(twin_pb2.TimelineRequest(patient=ward.ref(0))).entries
    assert [one.what for one in line] == ["first_record", "refit"]
    assert line[1].at_ms == answer.state_ms
    ward.holds()


def test_a_child_has_no_personal_twin_and_is_told_why(ward: Ward) -> None:
    def refused() -> bool:
        try:
            ward.forecast(1)
        except Underage as refusal:
            return "18" in refusal.public
        except TwinwardError:
            return False
        return False

    until(refused, "the chart is filed and the question refused")


def test_a_child_is_not_identified_either(ward: Ward) -> None:
    with pytest.raises(Underage):
        upkeep(ward).Identify(twin_pb2.IdentifyRequest(patient=ward.ref(1)))


def test_the_log_of_the_jobs_program_names_nobody(ward: Ward) -> None:
    status = ward.hospital.twinward("--json", "node", "status")
    assert "twin-jobs" in status.stdout
    log = ward.hospital.log("twin-jobs")
    assert str(ward.handle(0)) not in log
