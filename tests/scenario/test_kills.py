"""kill -9 of every program and of PostgreSQL under load, three rounds.

The clients are as a feed must be: each keeps a row until it is acknowledged and sends
it again under the same key. Afterwards every acknowledged value is in the store
exactly once, nothing else is, and every key that left auth has its entry.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import pytest

from services.twin.session_case import shipped_case
from services.twin.session_command import Logged, Mode
from services.twin.session_engine import replay
from services.twin.session_patient import Patients
from tests import invariants
from tests.hospital import Hospital
from tests.scenario.ward import Row, Ward, patiently, until
from tests.stream import Stream
from twinward.clock import SystemChance
from twinward.errors import Busy, TwinwardError, Unauthenticated, Unavailable, Unready
from twinward.record import CGM_GLUCOSE
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, session_pb2, session_pb2_grpc, twin_pb2

ROUNDS = 3
VICTIMS = ("ingest", "auth", "compactor", "ingest-filer", "twin-worker", "twin", "postgres")
PIECE = 3  # rows of a message
PASSING = (Unavailable, Busy, Unauthenticated, Unready)  # what a caller meets while something is down


@dataclass
class Feed:
    """Sends one patient's rows in order, each message until it is acknowledged."""

    ward: Ward
    number: int
    stop: threading.Event
    acknowledged: dict[int, float] = field(default_factory=dict)  # ms -> mg/dL
    messages: int = 0
    again: int = 0
    broken: list[TwinwardError] = field(default_factory=list)

    def run(self) -> None:
        stub = self.ward.stub()
        readings = [row for row in self.ward.rows[self.number] if row.glucose is not None]
        for at in range(0, len(readings), PIECE):
            if self.stop.is_set():
                return
            if not self._send(stub, readings[at : at + PIECE], f"feed {self.number} {at}"):
                return
            time.sleep(0.02)

    def _send(self, stub: object, rows: list[Row], key: str) -> bool:
        while True:
            try:
                self.ward.put(stub, rows, key=key)  # type: ignore[arg-type]
            except PASSING:
                self.again += 1
                time.sleep(0.1)
                continue
            except TwinwardError as error:
                self.broken.append(error)
                return False
            self.messages += 1
            self.acknowledged.update({row.at_ms: row.glucose or 0.0 for row in rows})
            return True


@dataclass
class Clinician:
    """Asks for forecasts all the time and keeps the entries that the answers name."""

    ward: Ward
    stop: threading.Event
    leaves: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        twins = self.ward.twins()
        request = twin_pb2.ForecastRequest(patient=self.ward.ref(0), as_of_ms=self.ward.now_ms)
        while not self.stop.is_set():
            try:
                self.leaves.append(twins.Forecast(request).leaf)
            except TwinwardError as error:
                self.refused[error.reason] += 1
            time.sleep(0.1)


def test_nothing_acknowledged_is_lost_or_doubled(hospital: Hospital) -> None:
    ward = Ward(hospital, patients=3, days=6, seed=21)
    ward.admit()
    stop = threading.Event()
    feeds = [Feed(ward, number, stop) for number in range(3)]
    clinician = Clinician(ward, stop)
    threads = [threading.Thread(target=one.run) for one in feeds]
    threads.append(threading.Thread(target=clinician.run))
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            for victim in VICTIMS:
                hospital.kill(victim)
                hospital.wait_healthy(victim)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    hospital.wait_healthy()
    assert not [error.public for feed in feeds for error in feed.broken]
    assert all(feed.messages > 5 for feed in feeds)
    assert sum(feed.again for feed in feeds) > 0, "nothing was interrupted: the load was not there"
    until(lambda: patiently(ward.status).intake_waiting == 0, "everything that waited is filed")

    ward.holds()
    store = invariants.open_store(hospital.directory)
    for feed in feeds:
        rows = store.of(ward.handle(feed.number)).every().with_code(CGM_GLUCOSE).measurements()
        stored = Counter((one.effective_ms, one.value) for one in rows)
        twice = [one for one in rows if stored[one.effective_ms, one.value] > 1]
        assert not [(one.effective_ms, one.received_ms, one.lineage.hex()[:8]) for one in twice]
        assert stored.keys() == feed.acknowledged.items()
    ward.holds()
    _every_answer_has_its_entry(ward, clinician)
    _twins_are_current(ward, feeds)
    ward.holds()


def _every_answer_has_its_entry(ward: Ward, clinician: Clinician) -> None:
    assert clinician.leaves, clinician.refused
    asked = auth_pb2.ListEntriesRequest(patient=ward.ref(0), kind="grant", page_size=500)
    entries = {entry.index for entry in patiently(lambda: ward.auth("auditor").ListEntries(asked)).entries}
    assert set(clinician.leaves) <= entries
    assert "INTERNAL" not in clinician.refused


def _twins_are_current(ward: Ward, feeds: list[Feed]) -> None:
    for feed in feeds:
        last = max(feed.acknowledged)

        def reading(feed: Feed = feed) -> int:
            answer = patiently(lambda: ward.forecast(feed.number, as_of_ms=ward.now_ms))
            return int(answer.last_reading.time_ms)

        assert reading() == last


@pytest.mark.parametrize(("program", "seed"), [("twin-worker", 31), ("compactor", 32)])
def test_what_waited_when_a_program_ended_is_done_by_the_next(hospital: Hospital, program: str, seed: int) -> None:
    ward = Ward(hospital, patients=1, days=1, seed=seed)
    ward.admit()
    stub = ward.stub()
    half = len(ward.rows[0]) // 2
    ward.put(stub, ward.rows[0][:half])
    hospital.kill(program)
    ward.put(stub, ward.rows[0][half:])
    hospital.wait_healthy(program)
    last = max(row.at_ms for row in ward.rows[0] if row.glucose is not None)
    assert patiently(lambda: ward.forecast(0)).last_reading.time_ms == last
    ward.holds()


def test_a_teaching_session_outlives_its_program(hospital: Hospital) -> None:
    """Killed with a learner at the bedside: what was acknowledged is there once, and no bit of the patient differs."""
    learner = hospital.session("learner")
    teaching = session_pb2_grpc.TeachingStub(learner.channel("sessions"))
    case = "haemorrhage"
    action = teaching.ShowCase(session_pb2.ShowCaseRequest(name=case)).actions[0].name
    wish = session_pb2.OpenSessionRequest(id=SystemChance().bytes(16), case=case, seed=3)
    session = teaching.OpenSession(wish).session.id
    stream = Stream(learner.channel("sessions"), learner)
    stream.attach(session)
    assert stream.ask(speed=session_pb2.SetSpeed(factor=20.0)).done
    stream.until(lambda: stream.frames[-1].at_s >= 20)
    act = {"id": SystemChance().bytes(16), "act": session_pb2.Act(action=action)}
    first = stream.ask(**act)
    assert first.done
    hospital.kill("sessions")
    assert isinstance(stream.ended(), TwinwardError)
    hospital.wait_healthy("sessions")
    stream = Stream(learner.channel("sessions"), learner)
    patiently(lambda: stream.attach(session))
    again = stream.ask(**act)
    assert again.again
    assert again.entry == first.entry
    begun = stream.frames[0].at_s
    stream.until(lambda: stream.frames[-1].at_s >= begun + 30)
    assert stream.ask(pause=session_pb2.Pause()).done
    log = session_pb2.SessionLogRequest(session=session)
    assert [one.id for one in teaching.SessionLog(log).commands].count(act["id"]) == 1
    shown = next(frame for frame in reversed(stream.frames) if frame.numerics)
    with hospital.connect("sessions") as line:
        rows = line.execute("select body from teaching.entry where session = %s order by n", [UUID(bytes=session)])
        kept = [msgspec.json.decode(bytes(body), type=Logged) for (body,) in rows]
    alone = replay(shipped_case(case), 3, kept, Mode.TRAINING, Patients(), int(shown.at_s))
    there = alone.frame().numerics
    assert {one.name: one.quantity.value for one in shown.numerics} == {name: there[name].value for name in there}
    stream.ask(finish=session_pb2.Finish())
    stream.close()
    entries = auth_pb2_grpc.AuthStub(hospital.session("auditor").channel("auth"))

    def told() -> bool:
        found = entries.ListEntries(auth_pb2.ListEntriesRequest(kind="session_end")).entries
        return any(session.hex().encode() in one.body for one in found)

    until(told, "the entry of the session's end")
