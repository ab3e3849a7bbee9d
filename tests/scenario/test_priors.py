"""Another prior in a real node: imported, adopted with an entry, every twin made again, and back."""

from __future__ import annotations

import json

import pytest

from tests.hospital import Hospital
from tests.scenario.ward import Ward, until
from twinward.errors import Denied
from twinward.wire.v1 import twin_pb2, twin_pb2_grpc

pytestmark = pytest.mark.slow  # a node of its own


@pytest.fixture(scope="module")
def ward(hospital: Hospital) -> Ward:
    made = Ward(hospital, patients=2, days=1, seed=22)
    made.admit()
    for rows in made.rows:
        made.put(made.stub(), rows)
    return made


def test_adopt_and_revert(ward: Ward) -> None:
    stub = twin_pb2_grpc.TwinPriorsStub(ward.hospital.session("site-admin").channel("twin"))
    upkeep = twin_pb2_grpc.TwinUpkeepStub(ward.hospital.session("site-admin").channel("twin"))
    (shipped,) = stub.ListPriors(twin_pb2.ListPriorsRequest()).priors
    assert shipped.in_force
    body = json.loads(stub.ShowPrior(twin_pb2.ShowPriorRequest(prior=shipped.version)).file)
    body["version"], body["logarithms"]["SI"]["mean"] = "scenario-1", 0.3
    with pytest.raises(Denied):
        twin_pb2_grpc.TwinPriorsStub(ward.hospital.session("clinician").channel("twin")).ListPriors(
            twin_pb2.ListPriorsRequest()
        )

    def shown(n: int) -> twin_pb2.ShowTwinResponse:
        return ward.twins().ShowTwin(twin_pb2.ShowTwinRequest(patient=ward.ref(n)))

    for n in (0, 1):
        until(lambda n=n: shown(n).readings > 200, "the twin lives")  # type: ignore[misc]
    new = stub.ImportPrior(twin_pb2.ImportPriorRequest(file=json.dumps(body).encode())).prior
    assert not new.in_force
    answer = stub.AdoptPrior(twin_pb2.AdoptPriorRequest(prior="scenario-1"))
    assert answer.prior.in_force
    assert answer.leaf

    def done() -> bool:
        jobs = upkeep.ListJobs(twin_pb2.ListJobsRequest()).jobs
        return bool(jobs) and all(one.state == "done" for one in jobs if one.kind == "rebuild")

    until(done, "the job made the twins again")
    for n in (0, 1):
        assert shown(n).prior == f"scenario-1 ({new.sha256[:8]})"
        assert {"first_record", "prior", "migration"} <= {one.what for one in shown(n).timeline}
    (run,) = stub.ListMigrations(twin_pb2.ListMigrationsRequest()).migrations
    assert (run.twins, run.left) == (2, 0)
    stub.AdoptPrior(twin_pb2.AdoptPriorRequest(prior=shipped.sha256, back=True))
    until(done, "and back")
    assert shown(0).prior == f"{shipped.version} ({shipped.sha256[:8]})"
    listed = ward.hospital.twinward("--json", "twin", "prior", "list")
    assert [one["back"] for one in json.loads(listed.stdout)["adoptions"]] == [True, False]
    ward.holds()
