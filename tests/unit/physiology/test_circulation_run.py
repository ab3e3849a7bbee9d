"""What a circulation refuses, flags, and tells; what is personal; what a monitor shows."""

from __future__ import annotations

import numpy as np
import pytest

from twinward.errors import BadInput, Malformed, Unready
from twinward.physiology import circulation as c
from twinward.physiology import monitor
from twinward.physiology.circulation_interventions import Intervention, Kind, bleed, norepinephrine
from twinward.physiology.circulation_meaning import shipped
from twinward.physiology.circulation_personal import PERSONAL, Person, nadler_ml, personalise
from twinward.physiology.circulation_run import Circulation, Outside, Trace

MAN = Person(50, "male", 178, 80)


@pytest.fixture(scope="module")
def rest() -> bytes:
    return Circulation.start().dump()


@pytest.fixture(scope="module")
def trace(rest: bytes) -> Trace:
    return Circulation.load(rest).advance(20.0, 250)


def test_refuses_what_no_adult_has() -> None:
    p = shipped()
    p[c.CSA] = float("nan")
    with pytest.raises(BadInput, match="large arteries"):
        Circulation.start(p)
    p[c.CSA] = -1.0
    with pytest.raises(BadInput):
        Circulation.start(p)
    with pytest.raises(BadInput, match="blood volume"):
        Circulation.start(blood_ml=100.0)


def test_a_state_nobody_can_have_stops_and_leaves_things_as_they_were(rest: bytes) -> None:
    one = Circulation.load(rest)
    one.schedule([Intervention(Kind.HAEMORRHAGE, 0.0, 600.0, rate_ml_min=3000.0)])
    before = one.dump()
    with pytest.raises(Unready, match="left what the model can describe"):
        one.advance(300.0)
    assert one.dump() == before
    one.state[c.VLV] = float("nan")
    with pytest.raises(Malformed):
        Circulation.load(one.dump())
    with pytest.raises(Malformed):
        Circulation.load(b"nothing")


@pytest.mark.parametrize("target", [-1.0, 75.0, 2.5, 999.0, 1003.0, float("nan")])
def test_a_snapshot_that_would_write_elsewhere_is_refused(rest: bytes, target: float) -> None:
    one = Circulation.load(rest)
    one.events = np.array([[target, 0.0, 9.0, 1.0, 0.0]])
    with pytest.raises(Malformed):
        Circulation.load(one.dump())


def test_flags_where_it_should_not_be_believed(rest: bytes, trace: Trace) -> None:
    one = Circulation.load(rest)
    assert one.believed(trace) == ()
    one.schedule([bleed(2500.0, 0.0, 600.0)])
    one.advance(600.0)
    assert set(one.believed(one.advance(10.0, 250))) >= {Outside.LOSS, Outside.PRESSURE}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": Kind.HAEMORRHAGE, "start_s": 0.0, "end_s": 60.0},
        {"kind": Kind.HAEMORRHAGE, "start_s": 0.0, "rate_ml_min": 100.0},
        {"kind": Kind.HAEMORRHAGE, "start_s": 0.0, "end_s": 60.0, "rate_ml_min": float("nan")},
        {"kind": Kind.CRYSTALLOID, "start_s": 0.0, "end_s": 60.0, "rate_ml_min": -5.0},
        {"kind": Kind.SEPTIC, "start_s": 0.0},
        {"kind": Kind.SEPTIC, "start_s": 0.0, "strength": 1.1},
        {"kind": Kind.SEPTIC, "start_s": 0.0, "strength": 0.5, "rate_ml_min": 1.0},
        {"kind": Kind.SEPTIC, "start_s": 9.0, "end_s": 8.0, "strength": 0.5},
        {"kind": Kind.SEPTIC, "start_s": 0.0, "strength": 0.5, "onset_s": -1.0},
    ],
)
def test_refuses_what_cannot_be_done(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Intervention(**wrong)  # type: ignore[arg-type]


def test_the_past_stays_as_it_was_and_time_has_steps(rest: bytes) -> None:
    one = Circulation.load(rest)
    one.advance(10.0)
    with pytest.raises(BadInput, match="past"):
        one.schedule([bleed(100.0, 5.0, 60.0)])
    with pytest.raises(BadInput, match="2 ms"):
        one.advance(0.001)
    with pytest.raises(BadInput, match="divides"):
        one.advance(1.0, 120)
    with pytest.raises(BadInput):
        norepinephrine(0.5, 70.0, 0.0)


def test_a_watched_second_has_its_samples(rest: bytes) -> None:
    one = Circulation.load(rest)
    one.advance(0.006)
    first, second = one.advance(0.5, 125), one.advance(0.5, 125)
    times = np.concatenate([first.seconds, second.seconds])
    assert np.diff(times) == pytest.approx(0.008)
    assert first.start_s == pytest.approx(0.008)


def test_pressure_and_rate_become_a_persons_own() -> None:
    found = personalise(MAN, 128, 78, 68)
    assert found.reached == pytest.approx((128, 78, 68), abs=0.5)
    assert found.blood_ml == pytest.approx(nadler_ml("male", 178, 80))
    assert found.circulation.parameters[c.T0] != shipped()[c.T0]
    seen = monitor.features(found.circulation.advance(20.0, 250))
    assert (seen.systolic, seen.diastolic, seen.heart_rate) == pytest.approx((128, 78, 68), abs=0.7)
    everything = (*found.personal, *found.scaled, *found.assumed, *found.typical)
    assert sorted(everything) == sorted(c.PARAMETERS)
    assert found.personal == PERSONAL
    untouched = [c.PARAMETERS.index(symbol) for symbol in found.typical]
    assert np.array_equal(found.circulation.parameters[untouched], shipped()[untouched])


def test_nadler_of_a_man_and_a_woman() -> None:
    """Nadler 1962 [M]: 175 cm and 75 kg is 4.98 L; 165 cm and 60 kg is 3.77 L."""
    assert nadler_ml("male", 175, 75) == pytest.approx(4985, abs=10)
    assert nadler_ml("female", 165, 60) == pytest.approx(3768, abs=10)


@pytest.mark.parametrize(
    ("person", "values"),
    [
        (Person(17.9, "male", 178, 80), (120, 80, 70)),
        (Person(float("nan"), "male", 178, 80), (120, 80, 70)),
        (Person(50, "male", 90, 80), (120, 80, 70)),
        (MAN, (120, 110, 70)),
        (MAN, (80, 50, 70)),
        (MAN, (120, 80, 150)),
        (MAN, (float("nan"), 80, 70)),
    ],
)
def test_who_and_what_is_refused(person: Person, values: tuple[float, float, float]) -> None:
    with pytest.raises(BadInput):
        personalise(person, *values)


def test_features_are_those_of_the_waves(trace: Trace) -> None:
    f = monitor.features(trace)
    assert f.diastolic < f.mean < f.systolic
    assert f.stroke_volume == pytest.approx(f.edv - f.esv, rel=0.01)
    assert f.output == pytest.approx(f.stroke_volume * f.heart_rate / 1000, rel=1e-9)
    assert f.heart_rate == pytest.approx(60 / trace["T"].mean(), rel=1e-3)
    slow = Trace(0.0, 50.0, trace.rows)
    with pytest.raises(BadInput):
        monitor.features(slow)
    with pytest.raises(BadInput):
        monitor.features(Trace(0.0, 250.0, trace.rows[:100]))


def test_waves_follow_the_beat(trace: Trace) -> None:
    beats = round(float(trace["beat"][-1] - trace["beat"][0]))
    ecg, pleth = monitor.ecg(trace), monitor.pleth(trace)
    peaks = np.flatnonzero((ecg[1:-1] > 0.8) & (ecg[1:-1] >= ecg[:-2]) & (ecg[1:-1] > ecg[2:]))
    assert abs(len(peaks) - beats) <= 1
    assert len(pleth) == len(trace.rows)
    inner = pleth[500:-500]
    assert abs(inner.mean()) < 0.2
    assert np.ptp(inner) > 1.0
    assert np.array_equal(monitor.arterial(trace), trace["Psa"])


def test_breaths_end_at_what_was_said() -> None:
    seconds = np.arange(0, 60, 1 / 125)
    co2, chest = monitor.capnogram(seconds, 15.0, 38.0), monitor.respiration(seconds, 15.0)
    assert co2.max() == pytest.approx(38.0, rel=0.01)
    assert co2.min() == 0.0
    assert int(np.sum((co2[1:] > 0) & (co2[:-1] == 0))) == 15
    assert (chest.min(), chest.max()) == pytest.approx((0, 1), abs=1e-3)
    with pytest.raises(BadInput):
        monitor.respiration(seconds, 0.0)
