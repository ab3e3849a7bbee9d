"""What every session keeps: replay, rewind and fork are exact, time is in twos, assessment has one course."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.twin.session_case import Giving, read_case
from services.twin.session_command import (
    Act,
    Bookmark,
    Command,
    Diagnose,
    End,
    EntryKind,
    Guess,
    Hide,
    Inject,
    Logged,
    Message,
    Mode,
    Pause,
    Rate,
    Resume,
    Rewind,
    Role,
    Silence,
    Speed,
)
from services.twin.session_compare import compare
from services.twin.session_engine import Session, replay
from services.twin.session_score import score
from services.twin.session_snapshots import SNAPSHOTS_MOST, Snapshot, nearest, thinned
from tests.unit.twin.small_body import SmallBodies
from twinward.errors import BadInput, Denied, Malformed, Unready

CASE = read_case((Path(__file__).parent / "small_case.yaml").read_bytes())
BODIES = SmallBodies()


def opened(mode: Mode = Mode.TRAINING, seed: int = 1) -> Session:
    return Session.open(CASE, seed, mode, BODIES)


def present(session: Session) -> tuple[object, ...]:
    """All that a learner, a score and the future depend on."""
    return (session.body.dump(), session.desk, session.rows, session.lab_rows, session.entries, session.paused)


doses = st.fixed_dictionaries({}, optional={"dose": st.floats(0.0, 2000.0), "over_s": st.floats(2.0, 3600.0)})
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Act, st.sampled_from([one.id for one in CASE.actions]), doses),
    st.builds(Act, st.sampled_from([one.id for one in CASE.actions])),
    st.builds(Rewind, st.integers(0, 300).map(lambda x: 2 * x)),
    st.builds(Inject, st.sampled_from([one.id for one in CASE.events])),
    st.builds(Silence, st.sampled_from(["HR", "MAP"])),
    st.builds(Speed, st.floats(1.0, 60.0)),
    st.builds(Diagnose, st.just((Guess("bleeding", 0.7),))),
    st.builds(Message, st.text(max_size=5)),
    st.just(Hide(("HR",))),
    st.just(Rate(3)),
    st.just(Pause()),
    st.just(Resume(12.0)),
)
moves = st.lists(st.one_of(commands, st.integers(1, 60).map(lambda x: 2 * x)), max_size=14)


def play(session: Session, course: list[Command | int]) -> None:
    """Commands as they come, numbers are seconds lived; what is refused is left out, as at a bedside."""
    for one in course:
        try:
            if isinstance(one, int):
                session.advance(one)
            else:
                session.do(one, Role.INSTRUCTOR)
        except (BadInput, Unready):
            continue


@settings(max_examples=60, deadline=None)
@given(course=moves, seed=st.integers(0, 2**31))
def test_any_course_is_replayed_to_the_same_bytes(course: list[Command | int], seed: int) -> None:
    session = Session.open(CASE, seed, Mode.TRAINING, BODIES)
    play(session, course)
    again = replay(CASE, seed, read(msgspec.json.encode(session.log)), Mode.TRAINING, BODIES, session.now_s)
    assert present(again) == present(session)
    assert again.log == session.log
    assert again.speed == session.speed
    assert score(again) == score(session)
    assert 0.0 <= score(session).total <= 100.0


@settings(max_examples=40, deadline=None)
@given(course=moves, data=st.data())
def test_rewound_and_done_again_it_comes_out_the_same(course: list[Command | int], data: st.DataObject) -> None:
    session = opened()
    play(session, [one for one in course if not isinstance(one, Rewind | Pause | Resume)])
    end_s, course_then = session.now_s, list(session.course)
    body, rows = session.body.dump(), list(session.rows)
    to_s = 2 * data.draw(st.integers(0, end_s // 2))
    session.do(Rewind(to_s), Role.INSTRUCTOR)
    assert session.now_s == to_s
    assert session.rows == rows[: to_s // 2 + 1]
    for one in course_then:
        if one.at_s >= to_s:
            while session.now_s < one.at_s:
                session.advance(2)
            session.do(one.command, one.by)
    while session.now_s < end_s:
        session.advance(2)
    assert session.body.dump() == body
    assert session.rows == rows


@settings(max_examples=40, deadline=None)
@given(course=moves, data=st.data())
def test_a_fork_leaves_its_parent_untouched(course: list[Command | int], data: st.DataObject) -> None:
    session = opened()
    play(session, course)
    before = session.dump()
    child = session.fork(2 * data.draw(st.integers(0, session.now_s // 2)))
    play(child, [Act("fluid", {"dose": 900.0}), 120, Inject("worse"), 60])
    assert session.dump() == before
    both = compare(session, child)
    common = both.parted_s // 2 + 1
    assert (both.a[: max(common - 1, 1)] == both.b[: max(common - 1, 1)]).all()


@settings(max_examples=30, deadline=None)
@given(course=moves)
def test_a_kept_session_goes_on_as_the_one_that_was_not(course: list[Command | int]) -> None:
    session = opened()
    play(session, course)
    back = Session.load(session.dump(), CASE, BODIES)
    assert back.dump() == session.dump()
    play(session, [Resume(), Act("press"), 120])
    play(back, [Resume(), Act("press"), 120])
    assert present(back) == present(session)


def test_watching_changes_nothing() -> None:
    watched, alone = opened(), opened()
    for one in (watched, alone):
        one.do(Act("line"))
    for _ in range(100):
        watched.advance(2, 250)
    alone.advance(200)
    assert watched.body.dump() == alone.body.dump()
    assert watched.desk == alone.desk


def test_waves_come_at_their_rate_and_only_from_what_is_attached() -> None:
    session = opened()
    assert {k: v.shape for k, v in session.advance(4, 125).waves.items()} == {"ecg": (500,)}
    session.do(Act("line"))
    session.advance(130)
    assert {k: v.shape for k, v in session.advance(2, 250).waves.items()} == {"ecg": (500,), "abp": (500,)}


def test_staff_is_busy_and_orders_wait() -> None:
    session = opened()
    session.do(Act("press"))
    session.do(Act("gas"))
    session.do(Act("look"))
    frame = session.advance(2)
    assert frame.waiting == ("gas",)  # the nurse presses, the doctor looks
    session.advance(70)
    assert session.desk.done == {"look": [20], "press": [60], "gas": [70]}
    frame = session.advance(90)
    result = [one for one in frame.entries if one.kind is EntryKind.RESULT and one.what == "gas"]
    assert [(one.at_s, one.sampled_s) for one in result] == [(160, 70)]
    assert set(result[0].values) == {"glucose", "K"}


def test_numerics_have_unit_age_and_source() -> None:
    frame = opened().advance(50)
    assert "SpO2" not in frame.numerics  # nobody measures it
    one = frame.numerics["MAP"]
    assert (one.unit, one.age_s, one.source) == ("mmHg", 50, "cuff")
    assert frame.numerics["HR"].age_s == 0


def test_scheduled_conditional_and_injected_events_happen_once() -> None:
    session = opened()
    session.advance(20)
    assert session.desk.fired == {}
    session.advance(2)
    assert session.desk.fired == {"wound": 20}
    while not session.desk.happened("pale"):
        session.advance(2)
    below = next(i for i, row in enumerate(session.rows) if row[1] < 75.0)
    assert session.desk.fired["pale"] == 2 * below + 10
    session.do(Inject("worse"), Role.INSTRUCTOR)
    session.advance(120)
    texts = [one.what for one in session.entries if one.kind is EntryKind.EVENT]
    assert texts == ["wound", "pale", "worse"]


def test_a_silent_event_is_not_told_to_the_learner() -> None:
    session = opened()
    told = [one.what for one in session.advance(60).entries]
    assert "wound" not in told
    assert "wound" in [one.what for one in session.entries]


def test_alarms_begin_end_and_are_silenced() -> None:
    session = opened()
    while not (frame := session.advance(2)).alarms:
        pass
    one = frame.alarms[0]
    assert (one.name, one.limit, one.high, one.silenced) == ("HR", 100.0, True, False)
    session.do(Silence("HR", 60))
    assert session.frame().alarms[0].silenced
    assert not session.advance(60).alarms[0].silenced
    session.do(Act("fluid", {"dose": 2000.0, "over_s": 60.0}))
    session.do(Act("press"))
    session.advance(400)
    assert EntryKind.QUIET in [one.kind for one in session.entries]


def test_death_ends_it_and_the_clock_does_not_go_on() -> None:
    session = opened()
    session.do(Inject("worse"), Role.INSTRUCTOR)
    frame = session.advance(1800)
    assert frame.ended == "died"
    assert session.now_s < 1800
    with pytest.raises(Unready):
        session.advance(2)
    with pytest.raises(Unready):
        session.do(Act("press"))
    session.do(Rewind(60))
    assert session.ended == ""
    session.advance(2)


def test_an_assessment_has_one_course_at_speed_one() -> None:
    session = opened(Mode.ASSESSMENT)
    session.advance(60)
    for command in (Rewind(20), Speed(2.0)):
        with pytest.raises(Denied):
            session.do(command)
    with pytest.raises(Denied):
        session.fork(20)
    session.do(Speed(1.0))
    free = score(session).total
    session.do(Act("look"))
    session.do(Pause())
    with pytest.raises(Unready):
        session.advance(2)
    session.do(Resume(180.0))
    session.advance(30)
    lines = {line.part: line.points for line in score(session).lines}
    assert lines["pause"] == -4.0  # one pause and three minutes
    assert score(session).total != free


def test_who_may_say_what() -> None:
    session = opened()
    for command in (Inject("pale"), Rate(3), Hide(("HR",))):
        with pytest.raises(Denied):
            session.do(command, Role.LEADER)
    with pytest.raises(Denied):
        session.do(Act("look"), Role.OBSERVER)
    session.do(Bookmark("here"), Role.OBSERVER)
    session.do(Hide(("HR",)), Role.INSTRUCTOR)
    assert "HR" not in session.advance(2).numerics


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Act("fly"), BadInput),
        (Act("fluid", {"dose": 1.0}), BadInput),
        (Act("fluid", {"dose": float("nan")}), BadInput),
        (Act("fluid", {"dose": "much"}), BadInput),
        (Act("fluid", {"route": "oral"}), BadInput),
        (Act("fluid", {"over_s": 1e9}), BadInput),
        (Act("press", {"dose": 3.0}), BadInput),
        (Act("insulin"), Unready),
        (Inject("flood"), BadInput),
        (Resume(), Unready),
        (Speed(61.0), BadInput),
        (Speed(float("nan")), BadInput),
        (Rewind(3), BadInput),
        (Rewind(100), BadInput),
        (Silence("SpO2"), BadInput),
        (Rate(6), BadInput),
        (Hide(("pH",)), BadInput),
        (Diagnose(()), BadInput),
        (Diagnose((Guess("plague", 0.5),)), BadInput),
        (Diagnose((Guess("sepsis", 0.7), Guess("bleeding", 0.7))), BadInput),
        (Message("x" * 3000), BadInput),
    ],
)
def test_what_is_refused_leaves_no_trace(command: Command, error: type[Exception]) -> None:
    session = opened()
    session.advance(10)
    before = session.dump()
    with pytest.raises(error):
        session.do(command, Role.INSTRUCTOR)
    assert session.dump() == before


def test_time_goes_in_twos() -> None:
    session = opened()
    for seconds in (1, 3.0, -2):
        with pytest.raises(BadInput):
            session.advance(seconds)


def test_what_the_body_takes_nothing_of_is_not_done() -> None:
    """A drink for one who cannot swallow: harm may count, credit must not, and the log says why."""
    press = next(one for one in CASE.actions if one.id == "press")
    milk = replace(press, gives=(Giving("milk", "mL", 1.0, 1.0, 1.0),))
    case = replace(CASE, actions=tuple(milk if one.id == "press" else one for one in CASE.actions))
    session = Session.open(case, 1, Mode.TRAINING, BODIES)
    session.do(Act("press"))
    session.advance(200)
    seen = [(one.kind, one.what) for one in session.entries]
    assert (EntryKind.REFUSED, "press") in seen
    assert (EntryKind.DONE, "press") not in seen
    assert not session.desk.happened("press")
    assert next(one.points for one in score(session).lines if one.id == "press") == 0.0


def test_an_order_often_enough_is_refused() -> None:
    session = opened()
    session.do(Act("line"))
    with pytest.raises(Unready):
        session.do(Act("line"))


def test_foreign_bytes_and_logs_are_malformed() -> None:
    session = opened()
    session.do(Act("look"))
    session.advance(20)
    for kept in (b"", b"\x81", session.dump()[:-9]):
        with pytest.raises(Malformed):
            Session.load(kept, CASE, BODIES)
    other = read_case((Path(__file__).parent / "small_case.yaml").read_text().replace("minutes: 30", "minutes: 31"))
    with pytest.raises(Malformed):
        Session.load(session.dump(), other, BODIES)
    with pytest.raises(Malformed):
        replay(CASE, 1, [*session.log, *opened_with_unknown()], Mode.TRAINING, BODIES)


def read(log: bytes) -> list[Logged]:
    return msgspec.json.decode(log, type=list[Logged])


def opened_with_unknown() -> list[Logged]:
    return read(b'[{"at_s":40,"by":"leader","command":{"type":"act","action":"fly"}}]')


def test_why_names_the_physiology() -> None:
    session = opened()
    session.advance(120)
    assert session.why(60) == ["blood is being lost"]


def test_the_end_is_the_learners_and_instructors_rate_after_it() -> None:
    session = opened()
    session.advance(10)
    session.do(End())
    assert session.ended == "stopped"
    session.do(Rate(4, "first"), Role.INSTRUCTOR)
    assert session.desk.ratings == [("first", 4)]


@given(minutes=st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_snapshots_stay_few_and_near(minutes: int) -> None:
    kept: list[Snapshot] = []
    for minute in range(minutes + 1):
        kept = thinned([*kept, Snapshot(60 * minute, b"", b"", 0, 0)])
    assert len(kept) <= SNAPSHOTS_MOST
    assert kept[0].at_s == 0
    assert kept[-1].at_s == 60 * minutes
    for minute in range(minutes + 1):
        age = minutes - minute
        assert 60 * minute - nearest(kept, 60 * minute).at_s <= 60 * max(2, age // 2)
