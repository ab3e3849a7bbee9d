"""Hourly 24 hours, daily 30 days, monthly for life."""

from __future__ import annotations

from services.twin.retention import DAY_MS, HOUR_MS, Kept, kind_of, stops, superfluous
from twinward.clock import utc

START = 1_767_225_600_000  # 2026-01-01T00:00Z


def test_a_life_of_snapshots_keeps_the_ladder() -> None:
    kept: list[Kept] = []
    previous: int | None = None
    at = START
    for number in range(75 * 24 * 2):  # every 30 minutes for 75 days
        at = START + number * HOUR_MS // 2
        new = Kept(at, number, kind_of(at, previous))
        kept.append(new)
        gone = set(superfluous(kept, new))
        kept = [one for one in kept if one not in gone]
        previous = at
    ages = [(at - one.state_ms) / DAY_MS for one in kept]
    assert sum(age < 1 for age in ages) in range(24, 27)
    assert sum(1 <= age < 30 for age in ages) in range(28, 31)
    old = [utc(one.state_ms) for one, age in zip(kept, ages, strict=True) if age >= 30]
    assert [(each.month, each.day) for each in old] == [(1, 1), (2, 1)]


def test_replay_pauses_at_days_then_hours() -> None:
    last = START + 40 * DAY_MS + 5 * HOUR_MS
    found = stops(None, START, last)
    assert found == sorted(found)
    assert found[0] >= last - 31 * DAY_MS
    assert sum(each % DAY_MS == 0 for each in found) == 30
    assert sum(each > last - DAY_MS for each in found) == 24
    assert stops(last - HOUR_MS // 2, START, last) == [last]


def test_nothing_is_superfluous_that_is_newest() -> None:
    newest = Kept(START, 7, "latest")
    assert superfluous([newest], newest) == []
    assert superfluous([Kept(START - 1, 6, "latest")], newest) == [Kept(START - 1, 6, "latest")]
