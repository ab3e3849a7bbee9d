"""How the twin's constants were chosen: simulated people and the first two thirds of T1D-UOM.

    python -m bench.choose              # all tables, about 3 min
    python -m bench.choose --json

The last third of each record is cut off before a twin sees it. Real people are scored on the
second third ("lived"), and on days 4 to 14 ("young"); simulated ones (seed 4711, in neither
the prior's nor the tests' series) from day 4 on ("simulated"). A row is the choice with one
thing changed.

Regression: RMSE over that of ARX with the clock. Interval: coverage overall, below 70, 70-180, above
180 mg/dL, and the interval score over ARX's; means over people.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from bench import skill, uom
from services.twin import glucose_layout as at
from services.twin.glucose import MEMORY_DAYS, warm
from services.twin.glucose_kernels import HIGH, LOW, NEAR, NOW_WIDTH
from services.twin.glucose_prior import SCALES, START_FACTORS, START_STEERING, STRENGTHS
from twinward.learning import conformal
from twinward.physiology import virtual
from twinward.physiology.diary import rows_of

MINUTES = at.HORIZONS
FIRST_MS = 1_735_689_600_000
SEED, SIMULATED, DAYS = 4711, 8, 14
WINDOWS = ("lived", "young", "simulated")
CHOICE = {
    "sensor and log": slice(0, 17),
    "clock": slice(at.CLOCK, at.BENDS),
    "bends": slice(at.BENDS, at.SHARED),
    "body": slice(at.SHARED, at.FEATURES),
}
REGRESSIONS: dict[str, dict[str, float]] = {
    "as chosen": {},
    "without the body": {"body": 1e9},
    "body x 0.1": {"body": 0.1},
    "body x 10": {"body": 10.0},
    "without clock and bends": {"clock": 1e9, "bends": 1e9},
    "without bends": {"bends": 1e9},
    "clock x 0.1": {"clock": 0.1},
    "clock x 10": {"clock": 10.0},
    "everything x 0.2": dict.fromkeys(CHOICE, 0.2),
    "everything x 5": dict.fromkeys(CHOICE, 5.0),
    "half-life 30 d": {"memory": 30.0},
    "nothing forgotten": {"memory": 1e9},
}
INTERVALS: dict[str, dict[str, float]] = {
    "as chosen": {},
    "no care for the outer bands": {"reach": 0.0, "LOW_AIM": 0.0, "WEIGHT_MOST": 1.0, "weight": 1.0},
    "LOW_AIM .88": {"LOW_AIM": 0.88},
    "LOW_AIM .95": {"LOW_AIM": 0.95},
    "reach starts at 3": {"reach": 3.0},
    "reach starts at 5": {"reach": 5.0},
    "floor starts at 58": {"floor": 58.0},
    "care for lows up to 180": {"near": 180.0},
    "care for lows without end": {"near": 1e3},
    "UNEVEN 2": {"UNEVEN": 2.0},
    "HIGH_AIM .90": {"HIGH_AIM": 0.90},
    "STEADY .91": {"STEADY": 0.91},
    "STEADY .94": {"STEADY": 0.94},
    "STEP .01": {"STEP": 0.01},
    "STEP_FRESH .2": {"STEP_FRESH": 0.2},
}


def real(name: str) -> tuple[str, skill.Trace]:
    rows = uom.rows_of(name)
    return name, skill.follow(rows[: 2 * len(rows) // 3], name)


def simulated(number: int) -> tuple[str, skill.Trace]:
    life = virtual.live(DAYS, SEED, number, "s2008" if number % 2 else "hovorka")
    return "", skill.follow(rows_of(life, FIRST_MS), f"choose-{number}")


def place(trace: skill.Trace, window: str) -> np.ndarray:
    """(n,) which forecasts of a cut trace count."""
    if window == "lived":
        return np.asarray(np.arange(len(trace.t)) >= len(trace.t) // 2)
    day = (trace.t - trace.t[0]) / 1440
    return np.asarray((day >= 3) & (day < 14))


def ridge(trace: skill.Trace, h: int, strengths: np.ndarray, memory: float = MEMORY_DAYS) -> np.ndarray:
    """(n,) forecasts of the twin's regression with other strengths, refitted every day; no prior."""
    y = skill.outcome(trace, MINUTES[h])
    usable, change = ~np.isnan(y) & trace.whole, y - trace.g
    x = np.hstack([trace.x, trace.own[:, h]])
    A, b, answer, taken = np.zeros((at.FEATURES,) * 2), np.zeros(at.FEATURES), np.full(len(y), np.nan), 0
    days = np.unique(np.floor(trace.t / 1440))
    for today, before in zip(days, [days[0], *days], strict=False):
        fade = 0.5 ** ((today - before) / memory)
        known = int(np.searchsorted(trace.t, today * 1440.0 - MINUTES[h]))
        rows = np.arange(taken, known)[usable[taken:known]]
        A, b, taken = fade * A + x[rows].T @ x[rows], fade * b + x[rows].T @ change[rows], max(taken, known)
        part = slice(*np.searchsorted(trace.t, (today * 1440.0, today * 1440.0 + 1440.0)))
        answer[part] = trace.g[part] + x[part] @ np.linalg.solve(A + np.diag(strengths * SCALES**2), b)
    return answer


def rmse(trace: skill.Trace, h: int, window: str, said: np.ndarray) -> float:
    y = skill.outcome(trace, MINUTES[h])
    there = ~np.isnan(y) & trace.whole & place(trace, window)
    return float(np.sqrt(np.mean((said - y)[there] ** 2)))


def regression(trace: skill.Trace, h: int, window: str, changed: dict[str, float]) -> float:
    y = skill.outcome(trace, MINUTES[h])
    baseline = skill.ridge(trace, y, ~np.isnan(y) & trace.whole, skill.CLOCKED, MINUTES[h])
    strengths = STRENGTHS.copy()
    for name, columns in CHOICE.items():
        strengths[columns] *= changed.get(name, 1.0)
    said = ridge(trace, h, strengths, changed.get("memory", MEMORY_DAYS))
    return rmse(trace, h, window, said) / rmse(trace, h, window, baseline)


@contextmanager
def constants(changed: dict[str, float]) -> Iterator[None]:
    """Constants of conformal.py replaced; seen by its functions as Python, not by machine code."""
    names = [name for name in changed if name.isupper()]
    before = {name: getattr(conformal, name) for name in names}
    try:
        for name in names:
            setattr(conformal, name, changed[name])
        yield
    finally:
        for name in names:
            setattr(conformal, name, before[name])


def intervals(trace: skill.Trace, h: int, changed: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) low, (n,) high, as conformal.py makes them of the twin's medians and sigmas."""
    below: Callable[..., float] = getattr(conformal.below, "py_func")  # noqa: B009  the type does not tell
    above: Callable[..., float] = getattr(conformal.above, "py_func")  # noqa: B009
    learn: Callable[..., None] = getattr(conformal.learn, "py_func")  # noqa: B009
    steering, factors = START_STEERING[h].copy(), np.array([START_FACTORS, START_FACTORS, 0.0])
    for column, name in ((conformal.WEIGHT, "weight"), (conformal.FLOOR, "floor"), (conformal.REACH, "reach")):
        steering[column] = changed.get(name, steering[column])
    near = changed.get("near", NEAR)
    y = skill.outcome(trace, MINUTES[h])
    usable = ~np.isnan(y) & trace.whole
    middle, sigma = trace.said[:, h, 0], trace.said[:, h, 3]
    low, high, done = np.empty(len(y)), np.empty(len(y)), 0
    for i, now in enumerate(trace.t):
        while trace.t[done] + MINUTES[h] <= now:
            if usable[done]:
                learn(factors, steering, middle[done], sigma[done], low[done], high[done], y[done], LOW, HIGH)
            done += 1
        low[i] = max(middle[i] - max(below(middle[i], sigma[i], factors, steering, near), NOW_WIDTH), 20.0)
        high[i] = middle[i] + max(above(sigma[i], factors), NOW_WIDTH)
    return low, high


def judged(trace: skill.Trace, h: int, window: str, ends: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Coverage overall, below 70, 70-180, above 180; interval score over ARX's."""
    y = skill.outcome(trace, MINUTES[h])
    usable = ~np.isnan(y) & trace.whole
    there = usable & place(trace, window)
    arx = skill.ridge(trace, y, usable, [*range(skill.ARX)], MINUTES[h])
    calibration = usable & ~place(trace, window) & (trace.t > trace.t[0] + 1440)
    width = float(np.quantile(np.abs(y - arx)[calibration], 1 - skill.ALPHA))
    inside = (y >= ends[0]) & (y <= ends[1])
    found = [float(inside[there].mean())]
    for bottom, top in skill.BANDS.values():
        band = there & (y >= bottom) & (y < top)
        found.append(float(inside[band].mean()) if band.sum() >= 10 else np.nan)
    mine, theirs = (skill.score(y[there], low[there], high[there]) for low, high in (ends, (arx - width, arx + width)))
    return [*found, mine / theirs]


def table(
    title: str, variants: dict[str, dict[str, float]], people: dict[str, list[skill.Trace]],
    measure: Callable[[skill.Trace, int, str, dict[str, float]], Any],
) -> list[dict[str, Any]]:  # fmt: skip
    rows = []
    for name, changed in variants.items():
        for h, minutes in enumerate(MINUTES):
            row: dict[str, Any] = {"table": title, "variant": name, "minutes": minutes}
            with constants(changed):
                for window in WINDOWS:
                    found = [measure(trace, h, window, changed) for trace in people[window]]
                    row[window] = np.round(np.nanmean(np.array(found), 0), 4).tolist()
            rows.append(row)
    return rows


def interval(trace: skill.Trace, h: int, window: str, changed: dict[str, float], kept: dict[Any, Any]) -> list[float]:
    key = (id(trace), h, tuple(changed.items()))
    if key not in kept:
        kept[key] = intervals(trace, h, changed)
    return judged(trace, h, window, kept[key])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    warm()
    with ThreadPoolExecutor(2) as pool:
        lived = [trace for name, trace in pool.map(real, uom.PEOPLE) if name != "2303"]
        others = [trace for _, trace in pool.map(simulated, range(SIMULATED))]
    people = {"lived": lived, "young": lived, "simulated": others}
    rows = table("regression", REGRESSIONS, people, regression)
    rows += table("interval", INTERVALS, people, partial(interval, kept={}))
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['table']:11}{row['variant']:30}{row['minutes']:4} min", *(f" {w} {row[w]}" for w in WINDOWS))


if __name__ == "__main__":
    main()
