"""What a skill table has to hold (physiology.md 1b.1 and 1b.2), for any data set: `bench/skill*.py` use it.

Traces are kept in `.cache/skill`, one file a record, under a name that tells the twin's code and the
rows: what was computed once is not computed again, and a stopped run goes on where it was.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import skill
from twinward.record import Measurement

CACHE = Path(".cache/skill")
LIMITS = {30: 1.02, 60: 1.00}
LOW = 70.0
# Files of services/twin, learning and physiology that a forecast comes from.
FORECASTS = (
    *("glucose", "glucose_kernels", "glucose_layout", "glucose_features", "glucose_prior", "glucose_inputs"),
    *("conformal", "ensemble", "regression", "chance", "cohort"),
)
WARN_MIN, APART_MIN, FALSE_A_DAY = 60.0, 30.0, 1.0
LEVELS = np.arange(60.0, 121.0, 1.0)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of one person; several records of a person are one block."""

    name: str
    block: str
    group: str
    rows: list[Measurement]
    weight: float | None = None


@dataclass(slots=True)
class Lows:
    """Alarms on one stretch: days, episodes, and per level how many were warned of, how early, how many falsely."""

    days: float = 0.0
    episodes: int = 0
    warned: np.ndarray = field(default_factory=lambda: np.zeros(len(LEVELS)))
    false: np.ndarray = field(default_factory=lambda: np.zeros(len(LEVELS)))
    lead: list[list[float]] = field(default_factory=lambda: [[] for _ in LEVELS])

    def add(self, other: Lows) -> None:
        self.days += other.days
        self.episodes += other.episodes
        self.warned += other.warned
        self.false += other.false
        for mine, theirs in zip(self.lead, other.lead, strict=True):
            mine += theirs


def _code() -> bytes:
    told = hashlib.sha256()
    for folder in ("services/twin", "twinward/learning", "twinward/physiology"):
        for path in sorted(Path(folder).glob("*")):
            if path.stem in FORECASTS:
                told.update(path.read_bytes())
    return told.digest()


def traced(record: Record) -> skill.Trace:
    """The trace of a record, from the cache where it is."""
    told = hashlib.sha256(_code() + repr((record.name, record.weight)).encode())
    for row in record.rows:
        told.update(repr((row.effective_ms, row.code, row.value, row.duration_s)).encode())
    path = CACHE / f"{record.name}-{told.hexdigest()[:20]}.npz"
    names = ("t", "g", "x", "whole", "said", "own")
    if path.exists():
        with np.load(path) as kept:
            t, g, x, whole, said, own = (kept[name] for name in names)
            return skill.Trace(t, g, x, whole, said, own, 0.0)
    trace = skill.follow(record.rows, record.name, record.weight)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part.npz")
    np.savez_compressed(beside, **{name: getattr(trace, name) for name in names})
    beside.replace(path)
    return trace


def alarms(trace: skill.Trace, forecast: np.ndarray, there: np.ndarray) -> Lows:
    """Lows among the readings `there`, and what alarms at each level ("30 min on it will be below") did.

    An episode begins with a reading below 70 after half an hour of none. It is warned of where an alarm sounded
    in the hour before while glucose was at least 70. An alarm without a low within the hour is false;
    false ones less than half an hour apart are one.
    """
    t, g = trace.t, trace.g
    low = t[there & (g < LOW)]
    first = low[np.diff(low, prepend=-1e12) > APART_MIN]
    found = Lows(days=float(np.minimum(np.diff(t[there]), 30.0).sum() / 1440), episodes=len(first))
    for k, level in enumerate(LEVELS):
        sounds = t[there & (g >= LOW) & (forecast < level)]
        for start in first:
            before = sounds[(sounds >= start - WARN_MIN) & (sounds < start)]
            if len(before):
                found.warned[k] += 1
                found.lead[k].append(float(start - before[0]))
        after = np.searchsorted(low, sounds, side="right")
        next_low = np.where(after < len(low), low[np.minimum(after, len(low) - 1)], np.inf) if len(low) else np.inf
        wrong = sounds[np.broadcast_to(next_low, sounds.shape) > sounds + WARN_MIN]
        found.false[k] = int((np.diff(wrong, prepend=-1e12) > APART_MIN).sum())
    return found


def warned(middle: Lows, last: Lows) -> skill.Row:
    """The highest level with at most one false alarm a day on the middle third, and what it did on the last."""
    good = np.flatnonzero(middle.false <= FALSE_A_DAY * middle.days)
    k = int(good[-1]) if len(good) else 0
    share = float(last.warned[k] / last.episodes) if last.episodes else float("nan")
    lead = float(np.median(last.lead[k])) if last.lead[k] else float("nan")
    return {"level": float(LEVELS[k]), "episodes": last.episodes, "sensitivity": share, "lead_min": lead,
            "false_a_day": float(last.false[k] / last.days)}  # fmt: skip


def lows_of(traces: Sequence[skill.Trace]) -> dict[str, skill.Row]:
    """For the twin and for ARX, pooled."""
    found = {}
    for who in ("twin", "arx"):
        middle, last = Lows(), Lows()
        for trace in traces:
            y = skill.outcome(trace, 30)
            usable = ~np.isnan(y) & trace.whole
            said = trace.said[:, 0, 0] if who == "twin" else skill.ridge(trace, y, usable, [*range(skill.ARX)], 30)
            said = np.where(trace.whole, said, np.inf)
            place = np.arange(len(trace.t)) / len(trace.t)
            middle.add(alarms(trace, said, (place >= 1 / 3) & (place < 2 / 3)))
            last.add(alarms(trace, said, place >= 2 / 3))
        found[who] = warned(middle, last)
    return found


def judged(
    records: Sequence[Record], say: Callable[[str], None] = lambda _: None
) -> tuple[list[skill.Row], list[skill.Trace]]:
    """Rows of every record with enough behind it, and the traces."""

    def one(record: Record) -> tuple[Record, skill.Trace]:
        say(record.name)
        return record, traced(record)

    rows, traces = [], []
    with ThreadPoolExecutor(2) as pool:
        for record, trace in pool.map(one, records):
            found = skill.judge(record.name, trace)
            if all(row["n"] >= 50 for row in found):
                rows += [row | {"block": record.block, "group": record.group} for row in found]
                traces.append(trace)
    return rows, traces


def verdict(pooled: skill.Row, lows: dict[str, skill.Row] | None) -> list[tuple[str, str, str, bool]]:
    """(what, ours, limit, green)."""
    minutes, best = pooled["minutes"], pooled["best"]
    bands = {
        name: pooled[f"pooled_twin_{band}"] for name, band in zip(("<70", "70-180", ">180"), skill.BANDS, strict=True)
    }
    share = pooled["patients_calibrated"] / pooled["patients"]
    known = {name: value for name, value in bands.items() if value is not None}
    rows = [
        (f"{minutes} min: RMSE over the best baseline's ({skill.NAMES[best]}), upper 95 % limit",
         f"{pooled[f'ratio_{best}']:.3f} ({pooled[f'upper_{best}']:.3f})", f"<= {LIMITS[minutes]:.2f}",
         pooled[f"upper_{best}"] <= LIMITS[minutes]),
        (f"{minutes} min: coverage of the 90 % interval, all", f"{100 * pooled['pooled_twin']:.1f} %", "85-95 %",
         0.85 <= pooled["pooled_twin"] <= 0.95),
        (f"{minutes} min: coverage by band {', '.join(known)}",
         ", ".join(f"{100 * value:.0f}" for value in known.values()) + " %", ">= 80 % each",
         all(value >= 0.8 for value in known.values())),
        (f"{minutes} min: records with 85-95 % and every band at least 80 %",
         f"{pooled['patients_calibrated']} of {pooled['patients']}", ">= 80 %", share >= 0.8),
        (f"{minutes} min: interval score over ARX's",
         f"{pooled['interval_score_twin']:.0f} / {pooled['interval_score_arx']:.0f}", "below",
         pooled["interval_score_twin"] < pooled["interval_score_arx"]),
    ]  # fmt: skip
    if lows and minutes == 30 and lows["twin"]["episodes"]:
        twin, arx = lows["twin"], lows["arx"]
        rows.append(
            (f"lows warned of in the hour before, {twin['episodes']} episodes, one false alarm a day allowed",
             f"{100 * twin['sensitivity']:.0f} %, {twin['lead_min']:.0f} min, {twin['false_a_day']:.2f} false a day "
             f"(ARX {100 * arx['sensitivity']:.0f} %, {arx['lead_min']:.0f} min, {arx['false_a_day']:.2f})",
             "no worse than ARX, <= 1 a day",
             twin["sensitivity"] >= arx["sensitivity"] and twin["lead_min"] >= arx["lead_min"]
             and twin["false_a_day"] <= FALSE_A_DAY)
        )  # fmt: skip
    return rows


def markdown(title: str, rows: list[skill.Row], lows: dict[str, skill.Row] | None) -> str:
    """One table of limits and one of errors."""
    lines = [f"### {title}", "", "| what | ours | limit | |", "|---|---|---|---|"]
    pools = [skill.summary(rows, minutes) for minutes in skill.HORIZONS]
    for pooled in pools:
        lines += [f"| {what} | {ours} | {limit} | {'green' if green else '**red**'} |"
                  for what, ours, limit, green in verdict(pooled, lows)]  # fmt: skip
    lines += ["", "| RMSE, mg/dL | records | people | n | " + " | ".join(skill.NAMES[who] for who in skill.BASELINES)
              + " | body alone | twin |", "|" + (6 + len(skill.BASELINES)) * "---|"]  # fmt: skip
    for pooled in pools:
        errors = " | ".join(f"{pooled[f'pooled_rmse_{who}']:.1f}" for who in (*skill.BASELINES, "body", "twin"))
        lines.append(
            f"| {pooled['minutes']} min | {pooled['patients']} | {pooled['blocks']} | {pooled['outcomes']} | {errors} |"
        )
    over = "; ".join(
        f"{pooled['minutes']} min: " + ", ".join(f"{skill.NAMES[who]} {pooled[f'ratio_{who}']:.3f} "
                                                 f"({pooled[f'upper_{who}']:.3f})" for who in skill.BASELINES)
        for pooled in pools
    )  # fmt: skip
    return "\n".join([*lines, "", f"Twin over each (upper limit): {over}.", ""])


def write_rows(path: Path, rows: list[skill.Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()})


def fill(page: Path, begin: str, end: str, text: str) -> None:
    """Puts `text` between the two marks of a page."""
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
