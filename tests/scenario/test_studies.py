"""Three hospitals that have never met, one coordinator, real processes: what a study lives through.

Named after what they keep from happening (public reports of other systems: docs/federation.md).
"""

from __future__ import annotations

import base64
import csv
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import psutil
import pytest

from services.cli import pooled
from tests.hospital import Hospital
from tests.scenario.consortium import MANY_ROUNDS, Consortium, study, until
from tests.scenario.interception import Proxy
from twinward.errors import Denied, TwinwardError, Unready
from twinward.wire.v1 import federation_pb2 as pb

# A patient of the second hospital whose every cell can be told from anything else.
CANARY = {
    "number": "canary-7f3a9c51", "seen": "2025-03-17", "age": "61", "sex": "f", "systolic": "151.0625",
    "cholesterol": "222.8125", "st_depression": "1.9", "disease": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def consortium() -> Iterator[Consortium]:
    """The second hospital is read along with, the third can be cut off."""
    made = Consortium(canary=CANARY)
    try:
        first, second, third = made.hospitals
        made.join(first)
        made.join(second, Proxy(made.keys(second)))
        made.join(third, Proxy())
        until(lambda: len(made.online()) == 3)
        yield made
    finally:
        made.close()


def children(hospital: Hospital) -> list[psutil.Process]:
    """SuperNode and executor, and what they forked."""
    return psutil.Process(hospital.pid("federation")).children(recursive=True)


def kill(processes: list[psutil.Process]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)


def answered(consortium: Consortium, found: bytes) -> list[set[str]]:
    return [set(one.answered) for one in consortium.rounds(found)]


def reached(consortium: Consortium, found: bytes, rounds: int) -> None:
    """Waits until so many rounds are done."""
    until(lambda: len(consortium.rounds(found)) >= rounds)


def test_three_learn_what_pooling_would_have_taught(consortium: Consortium) -> None:
    found = consortium.approved(study("together"))
    consortium.run(found)
    summary = consortium.finished(found)
    assert summary.state == "done", summary.note
    assert answered(consortium, found)[0] == {one.node.site for one in consortium.hospitals}
    model = consortium.model(found)
    coefficients = model["coefficients"]
    assert isinstance(coefficients, list)
    ours = np.array([one["estimate"] for one in coefficients])
    assert np.abs(ours - _pooled(consortium)).max() < 1e-6
    consortium.check()


def _pooled(consortium: Consortium) -> np.ndarray:
    """The unpenalised fit on all rows in one place; only somebody who wrote the tables can do this."""
    rows = [row for place in range(3) for row in consortium.patients(place)]
    columns = [[float(row["age"]), float(row["sex"] == "f"), float(row["systolic"])] for row in rows]
    return pooled.logistic(np.array(columns), np.array([float(row["disease"]) for row in rows]))


def test_partial_approval_goes_on_and_nothing_runs_without(consortium: Consortium) -> None:
    first, second, third = consortium.hospitals
    found = consortium.submit(study("partial"))
    with pytest.raises(TwinwardError) as none_yet:
        consortium.run(found)
    assert isinstance(none_yet.value, Unready)
    consortium.decide(first, found)
    consortium.decide(second, found)
    consortium.decide(third, found, "refuse")
    consortium.run(found)
    assert consortium.finished(found).state == "done"
    assert all(one == {first.node.site, second.node.site} for one in answered(consortium, found))


def test_researchers_do_not_approve_and_stewards_do_not_run(consortium: Consortium) -> None:
    found = consortium.submit(study("roles"))
    with pytest.raises(Denied):
        consortium.stub("data-steward").RunStudy(pb.RunStudyRequest(study=found))
    consortium.decide(consortium.hospitals[0], found, "refuse")


def test_a_small_cohort_says_no_number(consortium: Consortium) -> None:
    found = consortium.approved(study("small", minimum_cohort=10_000))
    consortium.run(found)
    summary = consortium.finished(found)
    assert summary.state == "stopped"
    refused = consortium.rounds(found)[-1].refused if consortium.rounds(found) else {}
    assert "cohort" in summary.note or set(refused.values()) == {"COHORT"}, summary.note


def test_consent_withdrawn_before_the_first_round_is_not_counted(consortium: Consortium) -> None:
    found = consortium.approved(study("withdrawn"))
    before = [len(consortium.patients(place)) for place in range(3)]
    consortium.withdraw(0)
    consortium.run(found)
    assert consortium.finished(found).state == "done"
    assert round(consortium.rounds(found)[0].metrics["patients"]) == sum(before) - 1


def test_node_killed_mid_round(consortium: Consortium) -> None:
    """The study goes on at once with two, and again with three."""
    third = consortium.hospitals[2]
    found = consortium.approved(study("killed node", rounds=60, settings=MANY_ROUNDS))
    consortium.run(found)
    reached(consortium, found, 3)
    kill(children(third))
    third.kill("federation")
    until(lambda: any(third.node.site not in one for one in answered(consortium, found)[3:]))
    third.wait_healthy("federation")
    until(lambda: third.node.site in answered(consortium, found)[-1] or consortium.summary(found).state == "done")
    consortium.stub().StopStudy(pb.StopStudyRequest(study=found, reason="seen enough"))
    assert consortium.finished(found).state in ("stopped", "done")
    rounds = answered(consortium, found)
    gone = [place for place, one in enumerate(rounds) if third.node.site not in one]
    assert gone
    assert all(len(one) >= 2 for one in rounds)
    assert any(third.node.site in one for one in rounds[gone[0] :]), "it never came back"
    assert all(one.seconds < 30 for one in consortium.rounds(found)[1:])  # nobody waited for the deadline
    consortium.check()


@pytest.mark.parametrize("victim", ["coordinator", "superlink", "rounds"])
def test_coordinator_killed_mid_round(consortium: Consortium, victim: str) -> None:
    found = consortium.approved(study(f"killed {victim}", rounds=8, settings=MANY_ROUNDS))
    consortium.run(found)
    reached(consortium, found, 3)
    consortium.coordinator.kill(victim)
    consortium.coordinator.wait_healthy(victim)
    summary = consortium.finished(found)
    assert summary.state == "done", summary.note
    numbers = [one.round for one in consortium.rounds(found)]
    assert numbers == sorted(set(numbers)), "a round was counted twice"


@pytest.mark.parametrize("cut_s", [8.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_network_cut(consortium: Consortium, cut_s: float) -> None:
    third, proxy = consortium.hospitals[2], consortium.proxies[1]
    found = consortium.approved(study(f"cut {cut_s}", rounds=150, settings=MANY_ROUNDS))
    consortium.run(found)
    reached(consortium, found, 3)
    proxy.cut()
    time.sleep(cut_s)
    until(lambda: third.node.site not in answered(consortium, found)[-1])
    proxy.restore()
    until(lambda: third.node.site in answered(consortium, found)[-1] or consortium.summary(found).state == "done")
    consortium.stub().StopStudy(pb.StopStudyRequest(study=found, reason="seen enough"))
    assert consortium.finished(found).state in ("stopped", "done")
    lost = [place for place, one in enumerate(answered(consortium, found)) if third.node.site not in one]
    assert any(third.node.site in one for one in answered(consortium, found)[lost[0] :]), "it never came back"


def test_stopped_and_resumed_is_the_same_study(consortium: Consortium) -> None:
    settings = 'method = "fedavg"\nlearning_rate = 0.05\nlocal_epochs = 2'
    straight = consortium.approved(study("straight", rounds=6, settings=settings))
    consortium.run(straight)
    assert consortium.finished(straight).state == "done"
    broken = consortium.approved(study("broken", rounds=6, settings=settings))
    consortium.run(broken)
    reached(consortium, broken, 2)
    consortium.stub().StopStudy(pb.StopStudyRequest(study=broken, reason="a pause"))
    if consortium.finished(broken).state == "stopped":
        consortium.stub().ResumeStudy(pb.ResumeStudyRequest(study=broken))
        assert consortium.finished(broken).state == "done"
    assert consortium.model(broken)["coefficients"] == consortium.model(straight)["coefficients"]


def test_no_byte_of_a_record_leaves(consortium: Consortium) -> None:
    """Everything that the second hospital sent and received since it joined, in clear: handles, numbers, cells."""
    second, recorder = consortium.hospitals[1], consortium.proxies[0]
    before = len(recorder.sent)
    found = consortium.approved(study("read along"))
    consortium.run(found)
    assert consortium.finished(found).state == "done"
    carried = opened(b"".join(recorder.sent)) + opened(b"".join(recorder.received))
    # It was read along indeed: the study's hash, and the number of patients as the recipe sends it.
    assert found in carried
    patients = len(consortium.patients(1))
    assert struct.pack("<d", patients) in b"".join(recorder.sent[before:])
    with second.connect() as line:
        handles = [row[0] for row in line.execute("select handle from vault.patient_state").fetchall()]
    secrets = [form for handle in handles for form in (handle.bytes, str(handle).encode(), handle.hex.encode())]
    with consortium.tables[1].open() as table:
        secrets += [form for row in csv.DictReader(table) for form in forms(row["number"].encode())]
    for cell in ("systolic", "cholesterol"):
        value = float(CANARY[cell])
        secrets += [*forms(CANARY[cell].encode()), *(struct.pack(form, value) for form in ("<d", ">d", "<f", ">f"))]
    assert [one for one in secrets if one in carried] == []


def forms(text: bytes) -> list[bytes]:
    """As it is, and as it may be written."""
    plain = base64.b64encode(text).rstrip(b"=")[:-1]
    return [text, text.hex().encode(), text.hex().upper().encode(), plain, text.decode().encode("utf-16-le")]


def opened(stream: bytes) -> bytes:
    """The stream, and what zlib and gzip hide in it."""
    found = [stream]
    for magic, bits in ((b"\x1f\x8b\x08", 31), (b"\x78\x9c", 15), (b"\x78\x01", 15), (b"\x78\xda", 15)):
        at = stream.find(magic)
        while at >= 0:
            with suppress(zlib.error):
                found.append(zlib.decompressobj(bits).decompress(stream[at : at + 1_000_000]))
            at = stream.find(magic, at + 1)
    return b"\0".join(found)


def test_consent_withdrawn_between_rounds_ends_the_hospitals_part(consortium: Consortium) -> None:
    found = consortium.approved(study("left", rounds=90, settings=MANY_ROUNDS))
    consortium.run(found)
    reached(consortium, found, 2)
    consortium.withdraw(0)
    site = consortium.hospitals[0].node.site
    until(lambda: consortium.rounds(found)[-1].refused.get(site) == "COHORT_CHANGED")
    consortium.stub().StopStudy(pb.StopStudyRequest(study=found, reason="seen enough"))
    assert consortium.finished(found).state in ("stopped", "done")
    lost = [one.round for one in consortium.rounds(found) if site not in one.answered]
    assert lost
    assert all(site not in one.answered for one in consortium.rounds(found) if one.round >= lost[0])


def test_no_list_of_patients_lies_on_a_hospitals_disk(consortium: Consortium) -> None:
    for hospital in consortium.hospitals:
        with hospital.connect() as line:
            handles = [row[0] for row in line.execute("select handle from vault.patient_state").fetchall()]
        files = [file for file in (hospital.directory / "run" / "federation").rglob("*") if file.is_file()]
        written = b"".join(file.read_bytes() for file in files)
        assert written
        shown = [form for handle in handles for form in (handle.bytes, handle.hex.encode(), str(handle).encode())]
        assert not [one for one in shown if one in written]
