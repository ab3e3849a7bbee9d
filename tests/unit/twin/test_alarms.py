"""What a twin's watch sees, and that a replay sees the same."""

from __future__ import annotations

import numpy as np
import pytest

from services.twin import alarms
from services.twin import glucose_layout as at
from services.twin.glucose import GlucoseTwin
from twinward.record import CGM_GLUCOSE, Measurement, Precision

STEP = 300_000
START = 1_790_000_100_000


def sensor(values: list[float], first: int = 0, skip: int = 0) -> list[Measurement]:
    return [
        Measurement(
            CGM_GLUCOSE, START + (first + skip + k) * STEP, START, value, "mg/dL", b"", precision=Precision.INSTANT
        )
        for k, value in enumerate(values)
    ]


def wave(n: int) -> list[float]:
    return [130.0 + 25.0 * float(np.sin(k / 20)) + (k * 7 % 5) for k in range(n)]


def twin_of(rows: list[Measurement]) -> GlucoseTwin:
    twin = GlucoseTwin.start(b"watched", rows[0].effective_ms)
    twin.advance(rows)
    return twin


def words(twin: GlucoseTwin) -> set[str]:
    return {one.word for one in twin.alarms}


def test_a_quiet_sensor_raises_nothing_and_a_stuck_one_does() -> None:
    assert not words(twin_of(sensor(wave(60)))) & {"SENSOR_STUCK", "SENSOR_JUMP", "IMPOSSIBLE_VALUE"}
    stuck = twin_of(sensor([*wave(60), *[141.0] * 14]))
    assert "SENSOR_STUCK" in words(stuck)
    assert "SENSOR_STUCK" not in words(twin_of(sensor([*wave(60), *[400.0] * 14])))  # its limit repeats itself
    stuck.advance(sensor([150.0], first=74))
    assert "SENSOR_STUCK" not in words(stuck)


def test_a_jump_is_seen_for_an_hour_and_a_gap_is_no_jump() -> None:
    jumped = twin_of(sensor([*wave(40), 320.0]))
    assert "SENSOR_JUMP" in words(jumped)
    jumped.advance(sensor(wave(14), first=60))
    assert "SENSOR_JUMP" not in words(jumped)
    assert jumped.gaps == [(START + 40 * STEP, START + 60 * STEP)]


def test_an_impossible_value_is_kept_in_mind_and_never_used() -> None:
    rows = sensor(wave(30))
    odd = Measurement(CGM_GLUCOSE, START + 5 * STEP + 1, START, 1.8, "mg/dL", b"", precision=Precision.INSTANT)
    seen = twin_of(sorted([*rows, odd], key=lambda one: one.effective_ms))
    assert "IMPOSSIBLE_VALUE" in words(seen)
    assert np.array_equal(seen._parts.members, twin_of(rows)._parts.members)


def test_the_watch_is_part_of_the_state() -> None:
    rows = sensor([*wave(300), *[141.0] * 14])
    whole = twin_of(rows)
    part = GlucoseTwin.load(twin_of(rows[:170]).dump())
    part.advance(rows[170:])
    assert part.dump() == whole.dump()
    assert part.alarms == whole.alarms


@pytest.mark.parametrize(("held", "word"), [(0.7, "COVERAGE_LOW"), (0.9, ""), (1.0, "COVERAGE_HIGH")])
def test_coverage_of_the_last_two_hundred_intervals(held: float, word: str) -> None:
    watch = np.zeros(at.WATCH)
    for k in range(at.INTERVALS - 1):
        alarms.see_interval(watch, 1, False)
        assert alarms.coverage(watch, 1) is None, k
    for k in range(at.INTERVALS):
        alarms.see_interval(watch, 1, k % 10 < round(10 * held))
    assert alarms.coverage(watch, 1) == pytest.approx(held)
    parts = at.views(np.zeros(at.SIZE))
    parts.watch[:] = watch
    assert {one.word for one in alarms.alarms(parts)} == ({word} if word else set())


@pytest.mark.parametrize(
    ("scores", "word"),
    [
        (np.random.Generator(np.random.Philox(5)).standard_normal(72), ""),
        (np.random.Generator(np.random.Philox(5)).standard_normal(72) + 1.2, "INNOVATION_BIAS"),
        (np.random.Generator(np.random.Philox(5)).standard_normal(72) * 2.2, "INNOVATION_SPREAD"),
        (1.6 * np.sin(np.arange(72) / 6), "INNOVATION_MEMORY"),
    ],
)
def test_innovations_say_when_the_body_is_another(scores: np.ndarray, word: str) -> None:
    parts = at.views(np.zeros(at.SIZE))
    for score in scores[:-1]:
        alarms.see_score(parts.watch, float(score))
    assert not alarms.alarms(parts)  # not before the window is full
    alarms.see_score(parts.watch, float(scores[-1]))
    assert {one.word for one in alarms.alarms(parts)} == ({word} if word else set())
