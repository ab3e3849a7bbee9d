"""How well twins forecast real people: T1D-UOM, last third of each record.

    python -m bench.skill --json            # the numbers
    python -m bench.skill --write           # also docs/evidence/glucose.csv and glucose.png

Beside the twin, on the same readings and with the same inputs: persistence, ridge on 12
lags (AR), ridge on 12 lags and the same insulin and carbohydrate pools (ARX), ARX with the clock
and the bends that the twin's regression has ("clocked"): all but the body. The ridges are
refitted every day on everything before, as the twin's regression is; the interval of ARX is
split conformal on the middle third. Every number is of forecasts made before their outcome
was known, on complete lags. No constant was chosen on these thirds (bench/choose.py).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench import boosting, uom
from services.twin import glucose_layout as at
from services.twin.glucose import GlucoseTwin, warm
from services.twin.glucose_prior import SCALES, STRENGTHS
from twinward.record import Measurement

HORIZONS = (30, 60)
ALPHA = 0.1
BASELINES = ("persistence", "ar", "arx", "clocked", "boosting")
AR, ARX = 13, 17  # leading features of the twin's regression
CLOCKED = [*range(ARX), *range(at.CLOCK, at.BENDS + 4)]  # ARX with the twin's clock and bends: all but the body
RIDGE = 40.0
EVIDENCE = Path("docs/evidence")
Row = dict[str, Any]
NAMES = {"persistence": "persistence", "ar": "AR", "arx": "ARX", "clocked": "ARX+clock", "boosting": "boosting"}
BEGIN, END = "<!-- table: python -m bench.skill --write -->", "<!-- end of table -->"
UOM_BEGIN, UOM_END = "<!-- table: python -m bench.skill --write, limits -->", "<!-- end of T1D-UOM -->"
BANDS = {"below_70": (0.0, 70.0), "70_180": (70.0, 180.0 + 1e-9), "above_180": (180.0 + 1e-9, 1e9)}


@dataclass
class Trace:
    """What the twin said and saw at each used reading, n of them."""

    t: np.ndarray  # minutes
    g: np.ndarray  # mg/dL
    x: np.ndarray  # (n, SHARED)
    whole: np.ndarray  # no lag was guessed
    said: np.ndarray  # (n, 3, 4): horizon; median, low, high, sigma
    own: np.ndarray  # (n, 3, 2): what the body model alone expects to change, at the horizon and halfway
    seconds: float


def follow(rows: list[Measurement], name: str, weight: float | None = None) -> Trace:
    """Runs a twin through a record, instant by instant."""
    twin = GlucoseTwin.start(name.encode().ljust(16, b"\0"), rows[0].effective_ms, weight)
    kept: list[tuple[Any, ...]] = []
    used = 0.0
    begin = time.perf_counter()
    for _, instant in groupby(rows, key=lambda row: row.effective_ms):
        twin.advance(list(instant))
        flat = twin._flat
        if flat[at.PENDING_N] == used:
            continue
        used = flat[at.PENDING_N]
        row = twin._parts.pending[(int(used) - 1) % at.PENDING]
        answers = row[3 + at.SHARED :].reshape(3, at.ANSWER)
        kept.append(
            (flat[at.LAST_T], flat[at.LAST_G], row[3 : 3 + at.SHARED].copy(), row[1] == 1.0, answers[:, 2:6].copy(),
             answers[:, :2].copy())
        )  # fmt: skip
    t, g, x, whole, said, own = (np.array(column) for column in zip(*kept, strict=True))
    return Trace(t, g, x, whole, said, own, time.perf_counter() - begin)


def outcome(trace: Trace, minutes: int) -> np.ndarray:
    """(n,) glucose `minutes` later, on a line between readings at most 22 min apart; NaN elsewhere."""
    later = trace.t + minutes
    k = np.clip(np.searchsorted(trace.t, later), 1, len(trace.t) - 1)
    y = np.interp(later, trace.t, trace.g)
    return np.where((trace.t[k] - trace.t[k - 1] <= 22.0) & (later <= trace.t[-1]), y, np.nan)


def ridge(trace: Trace, y: np.ndarray, usable: np.ndarray, columns: list[int], minutes: int) -> np.ndarray:
    """(n,) forecasts, each day's from a fit on outcomes that were known before that day."""
    x, d = trace.x[:, columns], y - trace.g
    day = np.floor(trace.t / 1440).astype(int)
    strength = np.where(np.array(columns) < ARX, RIDGE, STRENGTHS[columns])
    A, b = np.diag(strength * SCALES[columns] ** 2), np.zeros(len(columns))
    answer = np.full(len(y), np.nan)
    taken = 0
    for today in np.unique(day):
        first = np.searchsorted(trace.t, today * 1440.0)
        known = np.searchsorted(trace.t, today * 1440.0 - minutes)
        rows = np.arange(taken, known)[usable[taken:known]]
        A, b, taken = A + x[rows].T @ x[rows], b + x[rows].T @ d[rows], max(taken, known)
        last = np.searchsorted(trace.t, (today + 1) * 1440.0)
        answer[first:last] = trace.g[first:last] + x[first:last] @ np.linalg.solve(A, b)
    return answer


def boosted(trace: Trace, y: np.ndarray, usable: np.ndarray, h: int, end: float) -> np.ndarray:
    """(n,) forecasts of gradient boosting with everything the twin's regression sees, the body too; NaN before `end`.

    Fitted five times, on the outcomes known before each fifth of what follows the share `end`.
    """
    n = len(y)
    x, d = np.hstack([trace.x, trace.own[:, h]]), y - trace.g
    answer = np.full(n, np.nan)
    cuts = np.linspace(int(np.ceil(end * n)), n, 6).astype(int)
    for first, last in pairwise(cuts):
        known = usable & (trace.t <= trace.t[min(first, n - 1)] - HORIZONS[h])
        if known.sum() >= 100 and last > first:
            answer[first:last] = trace.g[first:last] + boosting.fit(x[known], d[known]).predict(x[first:last])
    return answer


def score(y: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Mean interval score (Gneiting and Raftery 2007) of 90 % intervals, mg/dL."""
    return float(np.mean(high - low + 2 / ALPHA * (np.maximum(low - y, 0) + np.maximum(y - high, 0))))


def judge(name: str, trace: Trace, begin: float = 1 / 3, end: float = 2 / 3) -> list[Row]:
    """A row per horizon: errors, coverage and interval scores on what follows the share `end` of the trace.

    ARX's interval is calibrated on what lies between `begin` and `end`.
    """
    rows = []
    n = len(trace.t)
    for h, minutes in enumerate(HORIZONS):
        y = outcome(trace, minutes)
        usable = ~np.isnan(y) & trace.whole
        place = np.arange(n)
        middle, last = usable & (place >= begin * n) & (place < end * n), usable & (place >= end * n)
        said = {
            "persistence": trace.g,
            "ar": ridge(trace, y, usable, [*range(AR)], minutes),
            "arx": ridge(trace, y, usable, [*range(ARX)], minutes),
            "clocked": ridge(trace, y, usable, CLOCKED, minutes),
            "boosting": boosted(trace, y, usable, h, end),
            "body": trace.g + trace.own[:, h, 0],
            "twin": trace.said[:, h, 0],
        }
        row: Row = {"patient": name, "minutes": minutes, "n": int(last.sum())}
        for who, f in said.items():
            row[f"rmse_{who}"] = float(np.sqrt(np.mean((f[last] - y[last]) ** 2)))
        width = float(np.quantile(np.abs(y - said["arx"])[middle], 1 - ALPHA))
        ends = {
            "twin": (trace.said[:, h, 1], trace.said[:, h, 2]),
            "arx": (said["arx"] - width, said["arx"] + width),
        }
        for who, (low, high) in ends.items():
            inside = (y >= low) & (y <= high)
            row[f"coverage_{who}"] = float(inside[last].mean())
            for band, (bottom, top) in BANDS.items():
                there = last & (y >= bottom) & (y < top)
                row[f"coverage_{who}_{band}"] = float(inside[there].mean()) if there.sum() >= 10 else None
                row[f"n_{band}"] = int(there.sum())
                row[f"hits_{who}_{band}"] = int(inside[there].sum())
            row[f"interval_score_{who}"] = score(y[last], low[last], high[last])
        rows.append(row)
    return rows


def summary(rows: list[Row], minutes: int) -> Row:
    """Pooled over patients with inputs, each weighing the same.

    `ratio_X`: the twin's RMSE over that of baseline X on the same forecasts; `upper_X`: its upper
    95 % limit, paired, patients drawn with replacement as whole blocks, 4000 times.
    """
    mine = [row for row in rows if row["minutes"] == minutes and row["patient"] != "2303"]
    blocks = sorted({str(row.get("block", row["patient"])) for row in mine})
    found: Row = {"minutes": minutes, "patients": len(mine), "blocks": len(blocks)}
    found["outcomes"] = sum(row["n"] for row in mine)
    for key in mine[0]:
        values = [row[key] for row in mine if isinstance(row[key], float)]
        if values:
            found[key] = float(np.mean(values))
    drawn = np.random.Generator(np.random.Philox(7)).integers(0, len(blocks), (4000, len(blocks)))
    member = np.array([[row.get("block", row["patient"]) == block for row in mine] for block in blocks], float)
    twin = member @ np.array([row["rmse_twin"] ** 2 for row in mine])
    for who in (*BASELINES, "body", "twin"):
        other = member @ np.array([row[f"rmse_{who}"] ** 2 for row in mine])
        found[f"pooled_rmse_{who}"] = float(np.sqrt(other.sum() / len(mine)))
        found[f"ratio_{who}"] = float(np.sqrt(twin.sum() / other.sum()))
        found[f"upper_{who}"] = float(np.quantile(np.sqrt(twin[drawn].sum(1) / other[drawn].sum(1)), 0.95))
    found["best"] = min(BASELINES, key=lambda who: found[f"pooled_rmse_{who}"])
    hits, sizes = [], []
    for band in BANDS:
        hits.append(sum(row[f"hits_twin_{band}"] for row in mine))
        sizes.append(sum(row[f"n_{band}"] for row in mine))
        found[f"pooled_twin_{band}"] = hits[-1] / sizes[-1] if sizes[-1] >= 10 else None
    found["pooled_twin"] = sum(hits) / max(sum(sizes), 1)
    good = [
        all(c is None or c >= 0.8 for c in (row[f"coverage_twin_{band}"] for band in BANDS))
        and 0.85 <= row["coverage_twin"] <= 0.95
        for row in mine
    ]
    found["patients_calibrated"] = sum(good)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="docs/evidence/glucose.csv and glucose.png")
    parser.add_argument("--people", default=",".join(uom.PEOPLE))
    arguments = parser.parse_args()
    from bench import skill_limits

    warm()
    records = [skill_limits.Record(name, name, "T1D-UOM", uom.rows_of(name)) for name in arguments.people.split(",")]
    rows, traces = skill_limits.judged(records)
    answer = {"patients": rows, "pooled": [summary(rows, minutes) for minutes in HORIZONS]}
    if arguments.write:
        write(rows)
        logged = [trace for record, trace in zip(records, traces, strict=True) if record.name != "2303"]
        text = skill_limits.markdown("T1D-UOM, the eight with logs", rows, skill_limits.lows_of(logged))
        skill_limits.fill(EVIDENCE / "skill.md", UOM_BEGIN, UOM_END, text)
    if arguments.json:
        print(json.dumps(answer, indent=1))
        return
    for minutes in HORIZONS:
        for row in [*(r for r in rows if r["minutes"] == minutes), summary(rows, minutes)]:
            print(
                " ".join(
                    f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
                )
            )


def write(rows: list[Row]) -> None:
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    with (EVIDENCE / "glucose.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()})
    plot(rows)
    page = EVIDENCE / "glucose.md"
    if page.exists():
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(before + BEGIN + "\n" + table(rows) + END + after)


def table(rows: list[Row]) -> str:
    """The page's tables: a line per patient, and the mean of those with insulin and meals."""
    lines = []
    for minutes in HORIZONS:
        lines += [
            f"### {minutes} minutes ahead",
            "",
            "| patient | n | persistence | AR | ARX | ARX+clock | boosting | body alone | twin | cover | <70 (n) | "
            "70-180 | >180 | interval score twin / ARX |",
            "|" + 14 * "---|",
        ]
        pooled = summary(rows, minutes)
        lines += [_line(row) for row in [*(row for row in rows if row["minutes"] == minutes), pooled]]
        lines += [
            "",
            "RMSE over the baseline's (upper 95 % limit): "
            + ", ".join(
                f"{NAMES[who]} {pooled[f'ratio_{who}']:.3f} ({pooled[f'upper_{who}']:.3f})" for who in BASELINES
            )
            + ". Calibrated (85-95 % overall and at least 80 % "
            f"in every band): {pooled['patients_calibrated']} of {pooled['patients']}. ARX covers "
            f"{100 * pooled['coverage_arx_below_70']:.0f} % below 70 and "
            f"{100 * pooled['coverage_arx_above_180']:.0f} % above 180.",
            "",
        ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    mean = "patient" not in row
    errors = " | ".join(f"{row[f'rmse_{who}']:.1f}" for who in (*BASELINES, "body", "twin"))
    covered = (row[f"coverage_twin_{band}"] for band in BANDS)
    bands = ["-" if share is None else f"{100 * share:.0f}" for share in covered]
    if not mean:
        bands[0] += f" ({row['n_below_70']})"
    return (
        f"| {'mean of 8' if mean else row['patient']} | {'' if mean else row['n']} | {errors} | "
        f"{100 * row['coverage_twin']:.0f} | {' | '.join(bands)} | "
        f"{row['interval_score_twin']:.0f} / {row['interval_score_arx']:.0f} |"
    )


def plot(rows: list[Row]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=False)
    for axis, minutes in zip(axes, HORIZONS, strict=True):
        mine = [row for row in rows if row["minutes"] == minutes]
        for k, who in enumerate((*BASELINES, "twin")):
            axis.bar(np.arange(len(mine)) + 0.16 * k, [row[f"rmse_{who}"] for row in mine], 0.16, label=who)
        axis.set_xticks(np.arange(len(mine)) + 0.3, [str(row["patient"]) for row in mine], rotation=45)
        axis.set_title(f"RMSE {minutes} min ahead, mg/dL")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(EVIDENCE / "glucose.png", dpi=80)


if __name__ == "__main__":
    main()
