"""Teaching sessions over a real door, a real database and a small body: what a stream promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from services.twin.database import open_pool
from services.twin.session_command import Mode
from services.twin.session_engine import replay
from services.twin.session_program import cases_of, serve_sessions
from services.twin.session_register import DAY_MS, Register
from services.twin.session_running import Means
from services.twin.session_store import SessionStore
from services.twin.settings import SessionSettings
from tests.conftest import Database
from tests.site import Site
from tests.stream import Stream
from tests.unit.twin.small_body import SmallBodies
from twinward.clock import SetClock, SystemChance, SystemClock
from twinward.errors import BadInput, Conflict, Denied, NotFound, Unauthenticated, Unready
from twinward.link.client import channel
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

SMALL = Path(__file__).parents[2] / "unit" / "twin"
VANISH_S = 0.4


@dataclass
class Leaves:
    """auth's answer without auth: the scenario has the real one."""

    acts: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        self.acts.append((kind, body))
        return len(self.acts)


class Person:
    def __init__(self, site: Site, port: int, sub: str, role: str) -> None:
        self.sub, self.role, self._site = sub, role, site
        self._identity = site.person_identity(sub)
        authority = (site.pki / "ca.pem").read_bytes()
        self.channel = channel(f"127.0.0.1:{port}", f"sessions.{site.name}", authority, self._identity, self)
        self.teaching: Any = session_pb2_grpc.TeachingStub(self.channel)

    def token(self) -> str:
        return self._site.signed(self._site.claims(self._identity[1], sub=self.sub, roles=[self.role]))

    def open(self, seed: int = 7, mode: str = "training", case: str = "small", id: bytes = b"") -> pb.SessionSummary:
        wish = pb.OpenSessionRequest(id=id or SystemChance().bytes(16), case=case, seed=seed, mode=mode)
        return self.teaching.OpenSession(wish).session

    def stream(self) -> Stream:
        return Stream(self.channel, self)


class Program:
    """Started and stopped as often as a test wants, on one database."""

    def __init__(self, site: Site, database: Database) -> None:
        self.site, self.ledger = site, Leaves()
        dsn, password = database.for_settings("sessions")
        given = asdict(site.settings("sessions"))
        given |= {"database": dsn, "database_password_file": password, "numba_cache_dir": site.folder}
        self.settings = SessionSettings(
            **{**given, "cases_dir": SMALL, "vanish_seconds": VANISH_S, "place_seconds": 0.1, "threads": 1}
        )

    @contextmanager
    def up(self) -> Iterator[Any]:
        with ExitStack() as open_until_then:
            door = open_until_then.enter_context(
                serve_sessions(
                    self.settings, SystemClock(), SystemChance(), bodies=SmallBodies(), ledger=self.ledger,
                    verifier=self.site.verifier("sessions"),
                )
            )  # fmt: skip
            people: dict[str, Person] = {}

            def person(sub: str = "ann", role: str = "learner") -> Person:
                if sub not in people:
                    people[sub] = Person(self.site, door.port, sub, role)
                    open_until_then.callback(people[sub].channel.close)
                return people[sub]

            yield person


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def program(site: Site, postgres: Database) -> Program:
    return Program(site, postgres)


@pytest.fixture(scope="module")
def person(program: Program) -> Iterator[Any]:
    with program.up() as made:
        yield made


def lived(stream: Stream, seconds: float) -> None:
    stream.until(lambda: any(frame.at_s >= seconds and not frame.HasField("ack") for frame in stream.frames))


def test_waves_and_numbers_come_in_time_with_unit_age_and_source(person: Any) -> None:
    stream = person().stream()
    assert stream.attach(person().open().id, 250).done
    assert stream.ask(speed=pb.SetSpeed(factor=10.0)).done
    lived(stream, 8)
    stream.close()
    waves = [wave for frame in stream.frames for wave in frame.waves if wave.channel == "ecg"]
    starts = np.array([wave.start_s for wave in waves])
    counts = np.array([len(wave.samples) // 4 for wave in waves])
    assert np.allclose(starts[1:], (starts + counts / 250)[:-1])  # without a gap
    assert {(wave.unit, wave.hz) for wave in waves} == {("mV", 250)}
    joined = np.concatenate([np.frombuffer(wave.samples, "<f4") for wave in waves])
    t = starts[0] + np.arange(len(joined)) / 250
    assert np.allclose(joined, np.cos(t), atol=1e-5)
    shown = [reading for frame in stream.frames for reading in frame.numerics]
    assert {(one.name, one.quantity.unit) for one in shown} == {("HR", "1/min"), ("MAP", "mmHg")}
    assert all("small-1" in one.quantity.source for one in shown)
    assert {one.quantity.age_ms for one in shown if one.name == "MAP"} > {0}  # a cuff's number grows old
    assert {frame.banner for frame in stream.frames} == {"education and research; not a medical device"}
    assert [frame.number for frame in stream.frames] == list(range(1, len(stream.frames) + 1))
    assert "abp" not in {wave.channel for frame in stream.frames for wave in frame.waves}  # no arterial line yet


def test_an_act_is_done_once_however_often_it_is_sent(person: Any) -> None:
    session, stream = person().open().id, person().stream()
    stream.attach(session, paused=True)
    act = pb.Act(action="fluid", amounts={"dose": 500.0})
    id = SystemChance().bytes(16)
    first = stream.ask(id, act=act)
    again = stream.ask(id, act=act)
    stream.close()
    other = person().stream()
    other.attach(session)
    third = other.ask(id, act=act)
    other.close()
    assert first.done
    assert first.entry
    assert not first.again
    assert again.again
    assert third.again
    assert first.entry == again.entry == third.entry
    log = person().teaching.SessionLog(pb.SessionLogRequest(session=session))
    assert [one.id for one in log.commands].count(id) == 1


def test_a_refused_act_says_why_and_leaves_no_trace(person: Any) -> None:
    session, stream = person().open().id, person().stream()
    stream.attach(session, paused=True)
    before = len(person().teaching.SessionLog(pb.SessionLogRequest(session=session)).commands)
    for command, error in (
        ({"act": pb.Act(action="dance")}, "BAD_INPUT"),
        ({"act": pb.Act(action="insulin")}, "UNREADY"),
        ({"speed": pb.SetSpeed(factor=61.0)}, "BAD_INPUT"),
        ({"play": pb.Play(policy="genius")}, "BAD_INPUT"),
        ({}, "BAD_INPUT"),
    ):
        answer = stream.ask(**command)
        assert (answer.done, answer.error) == (False, error)
        assert answer.message
    stream.close()
    assert len(person().teaching.SessionLog(pb.SessionLogRequest(session=session)).commands) == before


def test_others_do_not_see_a_training_and_an_instructor_sees_that_it_is(person: Any) -> None:
    mine = person().open().id
    for other in (person("bob"), person("ida", "instructor")):
        stream = other.stream()
        with pytest.raises(Denied, match="somebody else's"):
            stream.attach(mine)
        for call, request in (
            ("SessionLog", pb.SessionLogRequest(session=mine)),
            ("SessionScore", pb.SessionScoreRequest(session=mine)),
            ("ForkSession", pb.ForkSessionRequest(session=mine, id=b"f" * 16)),
            ("CompareSessions", pb.CompareSessionsRequest(first=mine, second=mine)),
            ("EraseSession", pb.EraseSessionRequest(session=mine)),
        ):
            with pytest.raises(Denied):
                getattr(other.teaching, call)(request)
    assert mine in {one.id for one in person("ida").teaching.Roster(pb.RosterRequest()).sessions}
    assert mine not in {one.id for one in person("bob").teaching.ListSessions(pb.ListSessionsRequest()).sessions}
    with pytest.raises(Denied, match=r"session\.watch"):
        person("bob").teaching.Roster(pb.RosterRequest())
    with pytest.raises(NotFound):
        person().stream().attach(b"?" * 16)


def test_an_instructor_steers_and_watches_an_assessment(person: Any) -> None:
    ann, ida = person(), person("ida", "instructor")
    session = ann.open(mode="assessment").id
    stream, watching = ann.stream(), ida.stream()
    assert stream.attach(session).done
    assert watching.attach(session).done
    assert watching.ask(act=pb.Act(action="look")).error == "DENIED"
    assert stream.ask(speed=pb.SetSpeed(factor=2.0)).error == "DENIED"
    steered = ida.teaching.Steer(
        pb.SteerRequest(id=SystemChance().bytes(16), session=session, message=pb.Message(text="Look closer."))
    )
    assert steered.reached == 1
    for one in (stream, watching):
        one.until(lambda one=one: any(e.text == "Look closer." for f in one.frames for e in f.happened))
    ida.teaching.Steer(pb.SteerRequest(id=SystemChance().bytes(16), pause=pb.Pause()))
    stream.until(lambda: stream.frames[-1].state == "paused")
    with pytest.raises(Unready, match="assessed on this case"):
        ann.open(mode="assessment")
    assert ida.teaching.SessionLog(pb.SessionLogRequest(session=session)).commands
    for one in (stream, watching):
        one.close()


def test_rewind_fork_and_compare(person: Any) -> None:
    ann = person()
    session, stream = ann.open().id, ann.stream()
    stream.attach(session)
    stream.ask(speed=pb.SetSpeed(factor=60.0))
    lived(stream, 60)
    assert stream.ask(pause=pb.Pause()).done
    reached = stream.frames[-1].at_s
    assert stream.ask(rewind=pb.Rewind(to_s=30)).done
    assert stream.ask(pause=pb.Pause()).at_s < reached
    forked = ann.teaching.ForkSession(pb.ForkSessionRequest(session=session, id=b"fork" * 4, at_s=20)).session
    assert (forked.parent, forked.reached_s) == (session, 20)
    beside = ann.stream()
    beside.attach(forked.id)
    beside.ask(speed=pb.SetSpeed(factor=60.0))
    assert beside.ask(act=pb.Act(action="press")).done
    lived(beside, 40)
    beside.ask(pause=pb.Pause())
    found = ann.teaching.CompareSessions(pb.CompareSessionsRequest(first=session, second=forked.id))
    assert 0 < found.same_until_s <= 22
    assert {row.unit for row in found.rows} == {"1/min", "mmHg", "%"}
    score = ann.teaching.SessionScore(pb.SessionScoreRequest(session=forked.id))
    assert 0.0 <= score.score <= 100.0
    assert score.parts
    assert not score.final
    for one in (stream, beside):
        one.close()


def test_the_expert_ends_a_case_and_the_ledger_knows(person: Any, program: Program) -> None:
    ann = person()
    session, stream = ann.open().id, ann.stream()
    stream.attach(session)
    assert stream.ask(play=pb.Play(policy="expert")).done
    stream.ask(speed=pb.SetSpeed(factor=60.0))
    lived(stream, 130)
    assert stream.ask(finish=pb.Finish()).done
    stream.until(lambda: stream.frames[-1].state == "ended")
    score = ann.teaching.SessionScore(pb.SessionScoreRequest(session=session))
    assert score.final
    assert score.score > 20.0
    stream.close()
    _until(lambda: _kinds(program, session) == {"session_open", "session_end"})
    leaf = ann.teaching.EraseSession(pb.EraseSessionRequest(session=session)).leaf
    assert program.ledger.acts[leaf - 1][0] == "session_erase"
    with pytest.raises(NotFound):
        ann.teaching.SessionLog(pb.SessionLogRequest(session=session))


def test_opening_twice_is_one_session(person: Any) -> None:
    id = SystemChance().bytes(16)
    assert person().open(id=id).leaf == person().open(id=id).leaf
    with pytest.raises(Conflict):
        person().open(id=id, seed=8)
    with pytest.raises(NotFound, match="session cases"):
        person().open(case="none")
    with pytest.raises(BadInput, match="training or assessment"):
        person().open(mode="fun")


def test_a_learner_that_vanishes_finds_a_paused_patient(person: Any) -> None:
    session, stream = person().open().id, person().stream()
    stream.attach(session)
    stream.close()
    log = pb.SessionLogRequest(session=session)
    _until(lambda: '{"type":"pause"}' in [one.body for one in person().teaching.SessionLog(log).commands])
    again = person().stream()
    assert again.attach(session).done
    assert again.frames[0].state == "paused"
    assert again.ask(resume=pb.Resume()).done
    again.close()


def test_a_program_that_ends_goes_on_from_the_log(site: Site, postgres: Database) -> None:
    """Twice the same acts at the same seconds: the restart between changes no bit."""
    program = Program(site, postgres)
    with program.up() as person:
        session, stream = person().open(seed=11).id, person().stream()
        stream.attach(session)
        stream.ask(speed=pb.SetSpeed(factor=30.0))
        stream.ask(act=pb.Act(action="fluid"))
        lived(stream, 40)
        stream.ask(pause=pb.Pause())
        before = person().teaching.ListSessions(pb.ListSessionsRequest()).sessions[0]
    assert stream.ended() is not None
    with program.up() as person:
        stream = person().stream()
        assert stream.attach(session).done
        assert stream.frames[0].at_s == before.reached_s
        assert [(one.name, one.quantity.value) for one in stream.frames[0].numerics] == [
            (one.name, one.quantity.value) for one in before.numerics
        ]
        assert stream.ask(resume=pb.Resume()).done
        lived(stream, before.reached_s + 20)
        stream.ask(pause=pb.Pause())
        after = person().teaching.ListSessions(pb.ListSessionsRequest()).sessions[0]
        with open_pool(program.settings, most=1) as pool:
            lines = SessionStore(pool).lines(UUID(bytes=session))
    alone = replay(
        cases_of(SMALL)["small"], 11, [one.logged for one in lines], Mode.TRAINING, SmallBodies(),
        int(after.reached_s),
    )  # fmt: skip
    shown = {one.name: one.quantity.value for one in after.numerics}
    assert shown["HR"] == alone.frame().numerics["HR"].value
    assert alone.now_s == after.reached_s


def test_what_nobody_touched_for_long_is_erased(site: Site, postgres: Database) -> None:
    program = Program(site, postgres)
    with program.up() as person, open_pool(program.settings, most=1) as pool:
        session = person("old").open().id
        store, later = SessionStore(pool), SetClock(SystemClock().now_ms() + 366 * DAY_MS)
        with ThreadPoolExecutor(1) as workers:
            means = Means(store, workers, later, SystemChance(), 30.0)
            books = Register(means, SmallBodies(), {}, program.ledger, most=1, idle_s=1.0, keep_days=365)
            while store.old(later.now_ms() - 365 * DAY_MS):
                books.books()
        with pytest.raises(NotFound):
            person("old").teaching.SessionLog(pb.SessionLogRequest(session=session))
    assert _kinds(program, session) == {"session_open", "session_erase"}


def test_a_stream_without_a_login_or_a_beginning(person: Any) -> None:
    ann = person()
    with pytest.raises(Unauthenticated):
        Stream(ann.channel, None).attach(b"x" * 16)
    with pytest.raises(BadInput, match="begins with"):
        ann.stream().ask(pause=pb.Pause())
    with pytest.raises(BadInput, match="250 Hz"):
        ann.stream().attach(b"x" * 16, 500)


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _kinds(program: Program, session: bytes) -> set[str]:
    return {kind for kind, body in program.ledger.acts if body["session"] == session.hex()}


def test_a_cohort_is_of_ended_assessments_and_is_rated_after_them(person: Any) -> None:
    ida, cohort = person("ida", "instructor"), pb.SessionCohortRequest(case="small")
    before = ida.teaching.SessionCohort(cohort).attempts
    ended = []
    for sub, mode in (("eve", "assessment"), ("finn", "assessment"), ("gus", "training")):
        session, stream = person(sub).open(mode=mode).id, person(sub).stream()
        stream.attach(session)
        stream.ask(finish=pb.Finish())
        stream.close()
        ended.append(session)
    _until(lambda: ida.teaching.SessionCohort(cohort).attempts == before + 2)
    found = ida.teaching.SessionCohort(cohort)
    assert (found.waiting, found.rated) == (0, 0)
    assert not found.HasField("pass_mark")
    assert "50 rated attempts" in found.pass_note
    assert {one.name for one in found.critical} == {one.id for one in cases_of(SMALL)["small"].critical}
    assert all(one.done <= found.attempts and 0.0 <= one.in_time <= 1.0 for one in found.critical)
    rating = pb.SteerRequest(id=SystemChance().bytes(16), session=ended[0], rate=pb.Rate(rating=4))
    assert ida.teaching.Steer(rating).reached == 1
    assert ida.teaching.SessionCohort(cohort).rated == 1
    training = pb.SteerRequest(id=SystemChance().bytes(16), session=b"?" * 16, rate=pb.Rate(rating=4))
    with pytest.raises(NotFound):
        ida.teaching.Steer(training)
    with pytest.raises(Denied, match=r"session\.watch"):
        person("eve").teaching.SessionCohort(cohort)
    person("finn").teaching.EraseSession(pb.EraseSessionRequest(session=ended[1]))
    assert ida.teaching.SessionCohort(cohort).attempts == before + 1  # it goes with its session
