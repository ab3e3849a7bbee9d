"""The circulation beside published values: at rest, bleeding, with norepinephrine, in disease.

    python -m bench.circulation --json           # the numbers
    python -m bench.circulation --write          # also docs/evidence/circulation.csv, .png and the tables of .md

Types: external (never used for fitting), fitted-to, self (our own promise), target (what a case should look like, a
design target and no measurement). A row is red where the published value is missed, and stays red.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.judged import Row
from twinward.physiology import circulation as c
from twinward.physiology.body import DIED as BODY_DIED
from twinward.physiology.body import SHOWN, Body
from twinward.physiology.circulation_interventions import (
    Intervention,
    Kind,
    bleed,
    norepinephrine,
    norepinephrine_level,
)
from twinward.physiology.circulation_run import Circulation
from twinward.physiology.monitor import Features, features

EVIDENCE = Path("docs/evidence")
BEGIN, END = "<!-- table: python -m bench.circulation --write -->", "<!-- end of table -->"
BSA = 1.9  # m2, of a man with 5.3 L of blood [G]
WATCHED_S = 20.0


def seen(one: Circulation) -> Features:
    return features(one.advance(WATCHED_S, 250))


def after(seconds: float, *interventions: Intervention) -> Features:
    """Beats of the last 20 s before `seconds`, of the typical person."""
    one = Circulation.start()
    one.schedule(interventions)
    one.advance(seconds - WATCHED_S)
    return seen(one)


def at_rest() -> list[Row]:
    f = after(WATCHED_S)
    heldt = "1 Heldt 2004, Table 4.1 (mean ± SD; range, else ± 2 SD; the fit had rest in sight)"
    rows = [
        Row(heldt, "systolic, mmHg", f.systolic, 106, 164, "135 ± 15.7 (106-164), radial", "fitted-to"),
        Row(heldt, "mean arterial pressure, mmHg", f.mean, 75, 110, "91 ± 8.7 (75-110)", "fitted-to"),
        Row(heldt, "diastolic, mmHg", f.diastolic, 64, 86, "71 ± 7.4 (64-86)", "fitted-to"),
        Row(heldt, "right atrium, mmHg", f.cvp, -3.2, 3.2, "0 ± 1.6", "fitted-to"),
        Row(heldt, "right ventricle systolic, mmHg", f.rv_systolic, 18.2, 31.8, "25 ± 3.4", "fitted-to"),
        Row(heldt, "pulmonary artery mean, mmHg", f.pa_mean, 10, 21, "17 ± 3.1 (10-21)", "fitted-to"),
        Row(heldt, "left atrium, mmHg", f.lap, 1.9, 13.9, "7.9 ± 3", "fitted-to"),
        Row(heldt, "left ventricle end-diastolic, mmHg", f.lvedp, 4.1, 13.3, "8.7 ± 2.3", "fitted-to"),
        Row(heldt, "EDV index, mL/m2", f.edv / BSA, 30, 110, "70 ± 20", "fitted-to"),
        Row(heldt, "ESV index, mL/m2", f.esv / BSA, 4, 44, "24 ± 10", "fitted-to"),
        Row(heldt, "cardiac index, L/min/m2", f.output / BSA, 2.5, 5.3, "3.5 ± 0.7 (2.5-5.3)", "fitted-to"),
        Row(heldt, "stroke index, mL/m2", f.stroke_volume / BSA, 30, 62, "46 ± 8", "fitted-to"),
        Row(heldt, "heart rate, 1/min", f.heart_rate, 59, 113, "79 ± 14 (59-113)", "fitted-to"),
        Row(heldt, "SVR, mmHg s/mL", f.svr * 60 / 80000, 0.51, 1.19, "0.85 ± 0.17", "fitted-to"),
    ]
    pulse = "2 ranges of BioGears and Pulse (points ± 15 %, our choice)"
    points: tuple[tuple[str, float, float], ...] = (
        ("output, L/min", f.output, 5.6),
        ("SVR, mmHg s/mL", f.svr * 60 / 80000, 1.0),
        ("ejection fraction", f.ejection_fraction, 0.55),
        ("blood volume, mL", 5300.0, 5674.0),
    )
    ranges: tuple[tuple[str, float, float, float], ...] = (
        ("mean arterial pressure, mmHg", f.mean, 70, 105),
        ("CVP, mmHg", f.cvp, 2, 6),
        ("stroke volume, mL", f.stroke_volume, 55, 93),
        ("left atrium (PCWP), mmHg", f.lap, 4, 12),
        ("PA systolic, mmHg", f.pa_systolic, 15, 30),
        ("PA diastolic, mmHg", f.pa_diastolic, 4, 12),
        ("PA mean, mmHg", f.pa_mean, 9, 18),
    )
    rows += [Row(pulse, what, value, low, high, f"{low}-{high}", "fitted-to") for what, value, low, high in ranges]
    rows += [Row(pulse, what, value, p * 0.85, p * 1.15, f"{p:g}", "fitted-to") for what, value, p in points]
    return rows


def litre() -> list[Features]:
    """Rest, then after each of three stages: 333 mL in 5 min, 5 min to settle (Johnson 2013)."""
    stages = [after(WATCHED_S)]
    one = Circulation.start()
    one.schedule([bleed(1000 / 3, 600.0 * k, 300.0) for k in range(3)])
    for _ in range(3):
        one.advance(600.0 - WATCHED_S)
        stages.append(seen(one))
    return stages


def change(a: float, b: float) -> float:
    return 100 * (b / a - 1)


def bleeding(stages: list[Features]) -> list[Row]:
    rest, last = stages[0], stages[-1]
    johnson = "3 bleed of 1 L in 30 min (Johnson 2013, meeting abstract, n = 6, ± SEM; tolerance ours)"
    pulse = [f.systolic - f.diastolic for f in (rest, last)]
    rows = [
        Row(johnson, "change of MAP, %", change(rest.mean, last.mean), -16, -4, "89.5 → 80.8: -10 ± 6", "fitted-to"),
        Row(johnson, "change of SV, %", change(rest.stroke_volume, last.stroke_volume), -24, -8, "118 → 99: -16 ± 8",
            "fitted-to"),
        Row(johnson, "change of pulse pressure, %", change(*pulse), -25, -9, "58 → 48: -17 ± 8", "fitted-to"),
        Row(johnson, "change of heart rate, 1/min", last.heart_rate - rest.heart_rate, 1, 13, "59 → 66: +7 ± 6",
            "fitted-to"),
        Row(johnson, "change of CVP, mmHg", last.cvp - rest.cvp, -6.5, -2.9, "5.8 → 1.1: -4.7 ± 1.8", "fitted-to"),
    ]  # fmt: skip
    later = "3b between 333 and 1000 mL (PMC4747890, n = 9, ± SEM)"
    first = stages[1]
    rows += [
        Row(later, "change of SV, %", change(first.stroke_volume, last.stroke_volume), -23, -7, "80±3 → 68±4: -15 ± 8",
            "external"),
        Row(later, "change of CVP, mmHg", last.cvp - first.cvp, -3.1, -0.7, "4.0 ± 0.8 → 2.1 ± 0.9: -1.9 ± 1.2",
            "external"),
    ]  # fmt: skip
    guyton = "4 shock curve (Guyton, as Pulse uses it; tolerance ours)"
    lost = {share: after(60 * share * 53 / 250 + WATCHED_S, bleed(share * 53.0, 0, 60 * share * 53 / 250))
            for share in (10, 20, 30, 40)}  # fmt: skip
    second = after(260.0, bleed(1000, 0, 240))
    rows += [
        Row(guyton, "10 % lost: MAP, % of rest", 100 * lost[10].mean / rest.mean, 90, 105, "held", "external"),
        Row(guyton, "20 % lost: MAP, % of rest", 100 * lost[20].mean / rest.mean, 80, 90, "85", "external"),
        Row(guyton, "30 % lost: systolic, mmHg", lost[30].systolic, 75, 95, "85", "external"),
        Row(
            guyton, "40 % lost: MAP, % of rest", 100 * lost[40].mean / rest.mean, 25, 55, "35-45 (plateau)", "external"
        ),
        Row(guyton, "1 L in 4 min: MAP, % of rest", 100 * second.mean / rest.mean, 75, 85, "80", "external"),
        Row(guyton, "1 L in 4 min: output, % of rest", 100 * second.output / rest.output, 65, 70, "65-70", "external"),
    ]
    return rows


def pressor() -> list[Row]:
    part = "5 norepinephrine, ug/kg/min (Ensinger; mean pressure: Beloeil's curve)"
    rows, rest = [], after(WATCHED_S)
    published = {0.01: ((0.363, 0.605), (125, 145), (46, 66)), 0.06: ((2.27, 3.39), (136, 160), (41, 57)),
                 0.1: ((3.61, 4.41), (146, 168), (40, 56))}  # fmt: skip
    for rate, (levels, systolic, beats) in published.items():
        f, level = after(900.0, norepinephrine(rate, 70.0, 0.0)), norepinephrine_level(rate, 70.0)
        rise = 98.7 * level**1.8 / (7.04**1.8 + level**1.8)
        rows += [
            Row(part, f"{rate:g}: plasma, ug/L", level, *levels, f"{levels[0]}-{levels[1]}", "external"),
            Row(part, f"{rate:g}: systolic, mmHg", f.systolic, *systolic, f"{systolic[0]}-{systolic[1]}", "external"),
            Row(part, f"{rate:g}: heart rate, 1/min", f.heart_rate, *beats, f"{beats[0]}-{beats[1]}", "external"),
            Row(
                part,
                f"{rate:g}: rise of MAP, mmHg",
                f.mean - rest.mean,
                rise - 5,
                rise + 5,
                f"{rise:.1f} ± 5",
                "fitted-to",
            ),
        ]
    return rows


def cases() -> list[Row]:
    part = "6 set-ups of disease at full strength, an hour on (design targets, not measurements)"
    septic = after(3600.0, Intervention(Kind.SEPTIC, 0, strength=1.0))
    failing = after(3600.0, Intervention(Kind.HEART_FAILURE, 0, strength=1.0))
    tense = after(3600.0, Intervention(Kind.HYPERTENSION, 0, strength=1.0))
    return [
        Row(part, "septic: MAP, mmHg", septic.mean, 40, 65, "< 65", "target"),
        Row(part, "septic: SVR, dyn s/cm5", septic.svr, 300, 600, "≤ 600", "target"),
        Row(part, "septic: heart rate, 1/min", septic.heart_rate, 90, 140, "> 90", "target"),
        Row(part, "septic: output, L/min", septic.output, 4.9, 12, "normal or high", "target"),
        Row(part, "heart failure: LAP, mmHg", failing.lap, 18, 35, "> 18", "target"),
        Row(part, "heart failure: ejection fraction", failing.ejection_fraction, 0.1, 0.35, "< 0.35", "target"),
        Row(part, "hypertension: systolic, mmHg", tense.systolic, 210, 230, "220", "target"),
        Row(part, "hypertension: diastolic, mmHg", tense.diastolic, 120, 140, "130", "target"),
    ]


def bled(share: float, given_ml: float = 0.0) -> tuple[Body, np.ndarray]:
    """A body six hours after it began to lose `share` of its blood in 20 min; `given_ml` of blood after an hour."""
    body = Body.start()
    plan = [bleed(share * 5300.0, 0.0, 1200.0)]
    if given_ml:
        plan.append(Intervention(Kind.TRANSFUSION, 3600.0, 5400.0, rate_ml_min=given_ml / 30.0))
    body.schedule(plan)
    rows, _ = body.advance(6 * 3600.0)
    return body, rows


def bodies() -> list[Row]:
    part = "7 the body: untreated bleeds in 20 min, six hours on (design targets; debt scale Crowell 1964, dogs)"
    mild, moderate, massive, treated = bled(0.2), bled(0.4), bled(0.45), bled(0.45, 2000.0)
    last = SHOWN.index("MAP"), SHOWN.index("lactate"), SHOWN.index("debt")
    end = massive[0].slow[BODY_DIED] / 60.0
    return [
        Row(part, "20 % lost: MAP, mmHg", mild[1][-1, last[0]], 80, 93, "recovers", "target"),
        Row(
            part,
            "40 % lost: greatest debt, mL/kg",
            moderate[1][:, last[2]].max() / 75,
            1,
            60,
            "owed and repaid",
            "target",
        ),
        Row(part, "40 % lost: MAP, mmHg", moderate[1][-1, last[0]], 60, 80, "recovers", "target"),
        Row(part, "45 % lost: death, min", end, 30, 360, "does not recover", "target"),
        Row(part, "45 % lost: debt at death, mL/kg", massive[1][-1, last[2]] / 75, 100, 140, "LD50 120", "fitted-to"),
        Row(part, "45 % lost: greatest lactate, mmol/L", massive[1][:, last[1]].max(), 4, 15, "> 4", "target"),
        Row(
            part, "45 % lost, 2 L of blood after 1 h: MAP, mmHg", treated[1][-1, last[0]], 75, 100, "recovers", "target"
        ),
    ]


def numerics() -> list[Row]:
    part = "8 numerics"
    one = Circulation.start()
    ends = []
    for h in (0.002, 0.0005):
        x, sums = one.state.copy(), np.zeros(46)
        c.run(one.parameters, x, np.zeros((0, 5)), 0, round(60 / h), h, 0, np.empty((0, 46)), sums)
        ends.append(sums / 60)
    still = Circulation.start()
    before = still.blood_now_ml()
    still.advance(3600.0)
    return [
        Row(part, "MAP, 2 ms against 0.5 ms, mmHg", abs(ends[0][c.PSA] - ends[1][c.PSA]), 0, 0.01, "≤ 0.01", "self"),
        Row(part, "output, 2 ms against 0.5 ms, %", abs(change(ends[1][36 + c.O_FLV], ends[0][36 + c.O_FLV])), 0, 0.1,
            "≤ 0.1", "self"),
        Row(part, "blood gained or lost in an hour, mL", abs(still.blood_now_ml() - before), 0, 1e-6, "≤ 1e-6", "self"),
    ]  # fmt: skip


def every_row() -> tuple[list[Row], list[Features]]:
    stages = litre()
    return at_rest() + bleeding(stages) + pressor() + cases() + bodies() + numerics(), stages


def number(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < 0.005 else f"{value:.4g}"


def tables(rows: list[Row]) -> str:
    lines = [f"{sum(r.green for r in rows)} of {len(rows)} rows are green.", ""]
    for part in dict.fromkeys(row.part for row in rows):
        lines += [f"### {part}", "", "| | ours | published | type | |", "|---|---|---|---|---|"]
        lines += [
            f"| {r.what} | {number(r.ours)} | {r.published} | {r.type} | {'green' if r.green else '**red**'} |"
            for r in rows
            if r.part == part
        ] + [""]
    return "\n".join(lines)


def plot(stages: list[Features], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    lost = [0, 333, 667, 1000]
    shown = (
        ("mean pressure, % of rest", [f.mean for f in stages], (80.8 / 89.5, 0.06)),
        ("stroke volume, % of rest", [f.stroke_volume for f in stages], (99 / 118, 0.08)),
        ("pulse pressure, % of rest", [f.systolic - f.diastolic for f in stages], (48 / 58, 0.08)),
        ("heart rate, % of rest", [f.heart_rate for f in stages], (66 / 59, 0.10)),
    )
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
    for axis, (title, values, (end, tolerance)) in zip(axes, shown, strict=True):
        axis.plot(lost, 100 * np.array(values) / values[0], "o-", color="#1f5fa8", label="model")
        axis.plot([0], [100], "s", color="#b4451f")
        axis.errorbar([1000], [100 * end], 100 * tolerance, fmt="s", color="#b4451f", capsize=4, label="Johnson 2013")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("blood lost, mL")
    axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=90, metadata={"Software": None})


def write(rows: list[Row], stages: list[Features]) -> None:
    with (EVIDENCE / "circulation.csv").open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["part", "what", "ours", "low", "high", "published", "type", "green"])
        table.writerows([r.part, r.what, f"{r.ours:.6g}", r.low, r.high, r.published, r.type, r.green] for r in rows)
    plot(stages, EVIDENCE / "circulation.png")
    page = EVIDENCE / "circulation.md"
    text = page.read_text()
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    page.write_text(f"{head}{BEGIN}\n{tables(rows)}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    rows, stages = every_row()
    if arguments.write:
        write(rows, stages)
    if arguments.json:
        print(json.dumps([asdict(row) | {"green": row.green} for row in rows]))
    else:
        print(tables(rows))


if __name__ == "__main__":
    main()
