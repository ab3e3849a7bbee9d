"""What the what-if is worth on real people: `python -m bench.whatif_people --write` (T1D-UOM, ShanghaiT1DM).

Corrections: a bolus of at least 0.3 IU with no other bolus and no carbohydrate logged three hours before and
after, a reading at most 15 min old. Before it is taken the twin is asked what it would do; later

    observed effect = what was measured three hours on, less what the twin expects without the bolus
    predicted       = the middle of the stated effect then

Nobody was given a dose by lot and meals go unlogged: a slope below 1 is misprediction and confounding together.

Open loop: the body alone through 24 h from logged insulin and meals, no reading in between, on the days of the
last third: with the population's numbers, with those identified on the 14 days before it, beside the person's own mean.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from bench import skill_limits, skill_shanghai, uom
from services.twin.glucose import GlucoseTwin, warm
from services.twin.glucose_plan import Bolus, Plan
from services.twin.glucose_whatif import VERSION, Course
from twinward.errors import Unready
from twinward.learning import identify
from twinward.learning.response import response, student
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BASAL_RATE, INSULIN_BOLUS, Measurement

APART_MS, FRESH_MS, LEAST, MOST = 180 * 60_000, 15 * 60_000, 0.3, 25.0
AHEAD = (60, 120, 180)
CACHE, EVIDENCE = Path(".cache/whatif"), Path("docs/evidence")
FIT_DAYS, LEAD_MIN, DAY = 14, 720, 1440
BEGIN, END = "<!-- table: python -m bench.whatif_people --write -->", "<!-- end of people -->"
Pair = dict[str, Any]


def isolated(rows: Sequence[Measurement]) -> list[Measurement]:
    """Corrections; carbohydrates of 0 g are a meal that nobody weighed and count."""
    acting = [row for row in rows if row.code == CARBOHYDRATES or (row.code == INSULIN_BOLUS and row.value > 0)]
    times = np.array([row.effective_ms for row in acting])
    return [
        row
        for row, ms in zip(acting, times, strict=True)
        if row.code == INSULIN_BOLUS and LEAST <= row.value <= MOST and int((np.abs(times - ms) < APART_MS).sum()) == 1
    ]


def asked(name: str, rows: list[Measurement], weight: float | None) -> list[Pair]:
    """What was said and seen of every isolated correction of one person."""
    wanted = {row.effective_ms: row.value for row in isolated(rows)}
    readings = [row for row in rows if row.code == CGM_GLUCOSE]
    t, g = np.array([row.effective_ms for row in readings]), np.array([row.value for row in readings])
    twin = GlucoseTwin.start(name.encode().ljust(16, b"\0"), rows[0].effective_ms, weight)
    pairs = []
    for ms, instant in groupby(rows, key=lambda row: row.effective_ms):
        k = int(np.searchsorted(t, ms))
        if ms in wanted and k and ms - t[k - 1] <= FRESH_MS:
            try:
                answer = twin.what_if([Plan("correction", (Bolus(0, round(wanted[ms], 2)),))], AHEAD[-1], ms)
                pair = _pair(answer.courses, np.array([measured(t, g, ms + m * 60_000) for m in AHEAD]))
                if pair:
                    pairs.append({"person": name, "ms": ms, "units": wanted[ms], "title": answer.title} | pair)
            except Unready:
                pass
        twin.advance(list(instant))
    return pairs


def measured(t: np.ndarray, g: np.ndarray, ms: int) -> float:
    """Glucose then, between readings at most 22 min apart; NaN elsewhere."""
    k = int(np.searchsorted(t, ms))
    if not 0 < k < len(t) or t[k] - t[k - 1] > 22 * 60_000:
        return float("nan")
    return float(np.interp(ms, t, g))


def _pair(courses: Sequence[Course], seen: np.ndarray) -> Pair | None:
    if any(not course.steps for course in courses):
        return None
    reference, plan = ({step.minutes: step for step in course.steps} for course in courses)
    if np.isnan(seen[-1]):
        return None
    last, without = plan[AHEAD[-1]].effect, reference[AHEAD[-1]].glucose
    told = [plan[m].glucose for m in AHEAD]
    return {
        "bands": [(one.value, one.low, one.high, None if np.isnan(y) else float(y))
                  for one, y in zip(told, seen, strict=True)],
        "predicted": last.value, "low": last.low, "high": last.high, "observed": float(seen[-1]) - without.value,
        "without_low": without.low - without.value, "without_high": without.high - without.value,
    }  # fmt: skip


def kept(name: str, rows: list[Measurement], weight: float | None) -> list[Pair]:
    """`asked`, from the cache where it is."""
    path = CACHE / f"{name}-{VERSION}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asked(name, rows, weight)))
    found: list[Pair] = json.loads(path.read_text())
    return found


def slope_of(pairs: Sequence[Pair]) -> tuple[float, float, float, int] | None:
    found = response([p["predicted"] for p in pairs], [p["observed"] for p in pairs])
    return (found.slope, found.low, found.high, found.n) if found else None


def pooled(slopes: Sequence[tuple[float, float, float, int]]) -> tuple[float, float, float]:
    """(mean slope, its 95 % half width, SD between people): DerSimonian and Laird 1986 (Control Clin Trials 7:177)."""
    s = np.array([one[0] for one in slopes])
    error = np.array([(high - low) / 2 / student(n - 2, 0.95) for _, low, high, n in slopes])
    w = error**-2
    q = float(w @ (s - w @ s / w.sum()) ** 2)
    between = max((q - len(s) + 1) / float(w.sum() - w @ w / w.sum()), 0.0)
    w = 1 / (error**2 + between)
    return float(w @ s / w.sum()), float(student(max(len(s) - 1, 1), 0.95) / np.sqrt(w.sum())), float(np.sqrt(between))


def series(rows: list[Measurement]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sensor every 5 min, g per minute, U per minute above the usual rate) from the first reading on."""
    first = min(row.effective_ms for row in rows) // 60_000
    n = (max(row.effective_ms for row in rows) // 60_000 - first) // 5 + 1
    sensor, grams, rate, bolus = np.full(n, np.nan), np.zeros(5 * n), np.full(5 * n, np.nan), np.zeros(5 * n)
    for row in rows:
        m = row.effective_ms // 60_000 - first
        if row.code == CGM_GLUCOSE:
            sensor[m // 5] = row.value
        elif row.code == INSULIN_BOLUS:
            bolus[m] += row.value
        elif row.code == INSULIN_BASAL_RATE:
            rate[m : m + DAY] = row.value / 60
        elif row.code == CARBOHYDRATES:
            for k in range(int(np.ceil(row.value / 5))):
                if m + k < 5 * n:
                    grams[m + k] += min(5.0, row.value - 5 * k)
    usual = float(np.nanmean(rate)) if np.isfinite(rate).any() else 0.0
    return sensor, grams, bolus + np.where(np.isfinite(rate), rate - usual, 0.0)


def open_loop(rows: list[Measurement], weight: float) -> dict[str, float] | None:
    """RMSE (mg/dL) and error of time in range (points) over the whole days of the last third."""
    sensor, grams, above = series(rows)
    cut = 2 * len(sensor) // 3
    first = max(cut - FIT_DAYS * 288, 0)
    part = slice(5 * first, 5 * cut)
    try:
        one = identify.identify(identify.Block(sensor[first:cut], grams[part], above[part], weight))
    except Unready:
        return None
    base, basal = identify.population(weight)
    middle = (cut - first) / 288 / 2
    fitted = np.concatenate((one.theta, one.nuisance))
    level = fitted[identify.GAIN] + fitted[identify.DRIFT] * middle + fitted[identify.CURVATURE] * middle**2
    people = {"population": (identify.PRIOR_MEAN, identify.PRIOR_MEAN[identify.GAIN]), "fitted": (fitted, level)}
    mean = float(np.nanmean(sensor[first:cut]))
    errors: dict[str, list[float]] = {name: [] for name in (*people, "mean")}
    ranges: dict[str, list[float]] = {name: [] for name in (*people, "mean")}
    for start in range(cut, len(sensor) - 287, 288):
        y = sensor[start : start + 288]
        seen = np.isfinite(y)
        if seen.mean() < 0.2:
            continue
        lead = slice(5 * start - LEAD_MIN, 5 * (start + 288))
        said = {"mean": np.full(288, mean)}
        for name, (v, gain) in people.items():
            out = np.empty((lead.stop - lead.start) // 5)
            identify.expect(base, basal, v, grams[lead], above[lead], out)
            said[name] = np.clip(gain * out[-288:] + v[identify.OFFSET], 40.0, 400.0)
        for name, f in said.items():
            errors[name] += ((f - y)[seen] ** 2).tolist()
            inside = [((z >= 70) & (z <= 180))[seen].mean() for z in (f, y)]
            ranges[name].append(100 * abs(inside[0] - inside[1]))
    if not errors["mean"]:
        return None
    found = {f"rmse_{name}": float(np.sqrt(np.mean(values))) for name, values in errors.items()}
    return found | {f"range_{name}": float(np.mean(values)) for name, values in ranges.items()}


def people() -> Iterator[tuple[str, str, list[Measurement], float | None]]:
    for person in uom.PEOPLE:
        if person != "2303":
            yield "T1D-UOM", person, uom.rows_of(person), None
    for record in skill_shanghai.records(unweighed=True):
        if any(row.code == INSULIN_BOLUS for row in record.rows):
            yield f"Shanghai{record.group}", record.name, record.rows, record.weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="docs/evidence/whatif-people.md and .csv")
    arguments = parser.parse_args()
    warm()
    pairs: dict[str, list[Pair]] = {}
    loops: list[dict[str, Any]] = []
    for group, name, rows, weight in people():
        pairs.setdefault(group, []).extend(kept(name, rows, weight))
        if group == "T1D-UOM" and (found := open_loop(rows, weight or 75.0)):
            loops.append({"person": name} | found)
    text = report(pairs, loops)
    print(text)
    if arguments.write:
        write(pairs, text)


def report(pairs: dict[str, list[Pair]], loops: list[dict[str, Any]]) -> str:
    lines = ["| data | corrections | people | slope by person | pooled slope (95 %) | SD between people | "
             "band with the bolus at 60 / 120 / 180 min | the same, factor of the others | "
             "effect at 180 min, with what the reference leaves open | |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for group, mine in pairs.items():
        by = {name: [p for p in mine if p["person"] == name] for name in dict.fromkeys(p["person"] for p in mine)}
        slopes = [found for found in map(slope_of, by.values()) if found]
        told = f"{np.median([s[0] for s in slopes]):.2f} ({len(slopes)} with one)" if slopes else "-"
        mean = "{:.2f} ± {:.2f} | {:.2f}".format(*pooled(slopes)) if len(slopes) > 1 else "- | -"
        bands = [_share([low <= y <= high for p in mine for _, low, high, y in [p["bands"][k]] if y is not None])
                 for k in range(3)]  # fmt: skip
        effect = _share([effect_holds(p) for p in mine])
        others = [_share(held_out(mine, k)) for k in range(3)]
        green = (
            bool(mine) and all(b is not None and 0.85 <= b <= 0.97 for b in (*bands, *others, effect)) and bool(slopes)
        )
        green = green and _tells(slopes)
        lines.append(
            f"| {group} | {len(mine)} | {len(by)} | {told} | {mean} | {' / '.join(map(_percent, bands))} | "
            f"{' / '.join(map(_percent, others))} | "
            f"{_percent(effect)} | {'green' if green else '**red**'} |"
        )
    lines += ["", "| open loop, 24 h | population | fitted | own mean |", "|---|---|---|---|"]
    names = ("population", "fitted", "mean")
    for row in loops:
        lines.append(
            f"| {row['person']}, RMSE mg/dL | " + " | ".join(f"{row[f'rmse_{name}']:.0f}" for name in names) + " |"
        )
    if loops:
        for key, what in (("rmse", "mean RMSE, mg/dL"), ("range", "mean error of time in range, points")):
            values = [float(np.mean([row[f"{key}_{name}"] for row in loops])) for name in names]
            lines.append(f"| {what} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    return "\n".join(lines)


def _tells(slopes: Sequence[tuple[float, float, float, int]]) -> bool:
    """Whether the pooled slope's interval holds 1 and leaves out 0: an interval that holds both says nothing."""
    if len(slopes) < 2:
        return False
    mean, half, _ = pooled(slopes)
    return mean - half > 0 and abs(mean - 1) <= half


def effect_holds(p: Pair) -> bool:
    """Whether the observed effect lies in the stated one, with the reference's own band added in quadrature."""
    low = p["low"] - p["predicted"], p["without_low"]
    high = p["high"] - p["predicted"], p["without_high"]
    off = p["observed"] - p["predicted"]
    return bool(-np.hypot(*low) <= off <= np.hypot(*high))


def held_out(pairs: Sequence[Pair], k: int) -> list[bool]:
    """Whether each measured value lies in the band made as many times wider as nine in ten of other people's needed."""
    needed = [(p["person"], _needed(p["bands"][k])) for p in pairs if p["bands"][k][3] is not None]
    found = []
    for person, factor in needed:
        rest = [other for name, other in needed if name != person]
        if len(rest) >= 10:
            found.append(bool(factor <= np.quantile(rest, 0.9)))
    return found


def _needed(band: Sequence[float]) -> float:
    """By how much a band had to be wider about its middle to hold what was measured."""
    middle, low, high, seen = band
    return (seen - middle) / (high - middle) if seen > middle else (middle - seen) / (middle - low)


def _share(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if len(values) >= 10 else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def write(pairs: dict[str, list[Pair]], text: str) -> None:
    with (EVIDENCE / "whatif-people.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("data", "person", "number", "units", "predicted", "low", "high", "observed"))
        for group, mine in pairs.items():
            for k, p in enumerate(mine):
                out.writerow((group, p["person"], k, f"{p['units']:.2f}",
                              *(f"{p[key]:.1f}" for key in ("predicted", "low", "high", "observed"))))  # fmt: skip
    skill_limits.fill(EVIDENCE / "whatif-people.md", BEGIN, END, text)


if __name__ == "__main__":
    main()
