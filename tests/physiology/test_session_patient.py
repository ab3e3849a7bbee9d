"""The virtual patient in a session: exact on the way back, and answering to what is done."""

from __future__ import annotations

from services.twin.session_case import shipped_case
from services.twin.session_command import Act, Mode, Rewind
from services.twin.session_engine import Session, replay
from services.twin.session_patient import Patients

CASE = shipped_case("haemorrhage")
BODIES = Patients()


def course(session: Session) -> None:
    session.do(Act("pressure"))
    session.do(Act("oxygen", {"dose": 0.5}))
    session.advance(70)
    session.do(Act("blood", {"dose": 400.0, "over_s": 120.0}))
    session.advance(130, 125)


def test_a_patients_session_is_replayed_rewound_and_forked_exactly() -> None:
    session = Session.open(CASE, 7, Mode.TRAINING, BODIES)
    course(session)
    body, rows, entries = session.body.dump(), list(session.rows), list(session.entries)
    again = replay(CASE, 7, session.log, Mode.TRAINING, BODIES, session.now_s)
    assert again.body.dump() == body
    assert again.entries == entries
    untreated = session.fork(0)
    untreated.advance(200)
    assert session.body.dump() == body
    session.do(Rewind(70))
    session.do(Act("blood", {"dose": 400.0, "over_s": 120.0}))
    session.advance(130, 250)
    assert session.body.dump() == body
    assert session.rows == rows
    assert session.series("MAP")[-1] > untreated.series("MAP")[-1] + 5.0
    assert untreated.why(120)


def test_a_kept_patients_session_goes_on_the_same() -> None:
    session = Session.open(CASE, 7, Mode.ASSESSMENT, BODIES)
    session.do(Act("crystalloid"))
    session.advance(90)
    back = Session.load(session.dump(), CASE, BODIES)
    for one in (session, back):
        one.advance(60)
    assert back.dump() == session.dump()


def test_seeds_draw_other_people() -> None:
    one, other = (Session.open(CASE, seed, Mode.TRAINING, BODIES) for seed in (1, 2))
    assert one.series("Hb")[0] != other.series("Hb")[0]


def test_waves_of_the_monitor_are_those_attached() -> None:
    frame = Session.open(CASE, 1, Mode.TRAINING, BODIES).advance(4, 250)
    assert set(frame.waves) == {"ecg", "pleth", "resp"}
    assert {len(wave) for wave in frame.waves.values()} == {1000}
    assert {str(wave.dtype) for wave in frame.waves.values()} == {"float32"}
    assert set(frame.numerics) == set(CASE.setting.monitor)
