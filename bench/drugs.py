"""Drugs against what was published, and the laws over every drug.

    python -m bench.drugs            prints the tables
    python -m bench.drugs --write    docs/evidence/drugs.md, drugs.csv and drugs.png
    python -m bench.drugs --json

Deterministic: the same tables on every machine to the digits shown.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinward.physiology import drugs, slow_pressure
from twinward.physiology import pharmacokinetics as pk
from twinward.physiology.drugs import Covariates
from twinward.physiology.pharmacokinetics_batch import Batch
from twinward.physiology.slow_pressure import AVERAGE, Treatment, steady

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "evidence"
WHO = Covariates()
ENSINGER = ((0.01, 0.363, 0.605), (0.06, 2.27, 3.39), (0.10, 3.61, 4.41))  # ug/kg/min, ug/L
ENSINGER_ABSTRACT = (("before", 0.0, 0.199, 0.075), ("at 0.2 ug/kg/min", 0.2, 7.475, 1.071))  # ug/L
MARTINSSON = ((0.5, 2.5, 5.2), (1.0, 5.0, 13.0), (2.0, 12.0, 26.0), (4.0, 36.0, 78.0))  # ug/kg/min, ug/L


@dataclass(frozen=True, slots=True)
class Row:
    group: str
    what: str
    unit: str
    ours: float
    low: float
    high: float
    kind: str  # external, fitted-to, self, sources (two sources against each other)
    source: str

    @property
    def green(self) -> bool:
        return self.low <= self.ours <= self.high


def held(model: str, who: Covariates, per_kg: float, minutes: int) -> float:
    course = pk.Course.start(drugs.kinetics(model, who).parameters, 1.0)
    course.infuse(per_kg * who.weight)
    course.advance(minutes)
    return course.plasma


def norepinephrine() -> Iterable[Row]:
    for rate, low, high in ENSINGER:
        level = held("norepinephrine/healthy", Covariates(age=35.0), rate, 60)
        yield Row("norepinephrine", f"plasma at {rate:g} ug/kg/min, 70 kg, 35 years", "ug/L", level, low, high,
                  "external", "Ensinger 1992, range as our design notes record it; kinetics: Li 2024")  # fmt: skip


def ensinger_abstract() -> Iterable[Row]:
    """Mean +- what the abstract gives without saying whether SD or SEM; eight volunteers, 30 min at each rate."""
    for what, rate, mean, spread in ENSINGER_ABSTRACT:
        level = held("norepinephrine/healthy", Covariates(age=35.0), rate, 30)
        yield Row("norepinephrine", f"plasma {what}, 70 kg, 35 years", "ug/L", level, mean - spread, mean + spread,
                  "external", "Ensinger 1992, abstract [S]: mean +- (SD or SEM not said)")  # fmt: skip


def phenylephrine() -> Iterable[Row]:
    for rate, low, high in MARTINSSON:
        level = held("phenylephrine/fda", WHO, rate, 20)
        yield Row("phenylephrine", f"plasma after 20 min at {rate:g} ug/kg/min", "ug/L", level, low, high,
                  "external", "Martinsson, range as our design notes record it; kinetics: FDA NDA 203826")  # fmt: skip


def clearance(model: str) -> float:
    """mL/min/kg at 70 kg."""
    return float(drugs.kinetics(model, WHO).parameters[pk.CL] * 1000 / 70)


def sources() -> Iterable[Row]:
    """Clearances of two sources each; green within 25 %."""
    for model, other, where in (
        ("fentanyl/shafer", 10.2, "Scott & Stanski 1987 as a port of stanpumpR"),
        ("fentanyl/shafer", 15.5, "BioGears Fentanyl.xml, one stored version"),
        ("fentanyl/shafer", 68.0, "BioGears Fentanyl.xml, another version, as our design notes record it"),
        ("morphine/lotsch", 12.0, "BioGears as our design notes record it"),
        ("midazolam/buhrer", 5.55, "BioGears as our design notes record it"),
        ("ketamine/stanpump", 20.0, "BioGears as our design notes record it"),
        ("rocuronium/wierda", 2.5, "BioGears as our design notes record it"),
    ):
        yield Row("clearance, two sources", f"{model} against {other:g}", "mL/min/kg", clearance(model), other * 0.75,
                  other * 1.25, "sources", where)  # fmt: skip
    p = drugs.kinetics("metformin", WHO).parameters
    yield Row("clearance, two sources", "metformin CL/F at a creatinine clearance of 100", "mL/min",
              float(p[pk.CL] / p[pk.F] * 1000), 933.0, 1317.0, "sources", "PMC8357762 table 1")  # fmt: skip


def half_life(model: str) -> float:
    """Minutes; of one compartment."""
    p = drugs.kinetics(model, WHO).parameters
    return float(np.log(2) * p[pk.V1] / p[pk.CL])


def peak(model: str) -> float:
    """Hours to the greatest level after one swallowed dose."""
    course = pk.Course.start(drugs.kinetics(model, WHO).parameters, 1.0)
    course.swallow(10_000.0)
    levels = []
    for _ in range(1440):
        course.advance(1)
        levels.append(course.plasma)
    return (1 + int(np.argmax(levels))) / 60


def times() -> Iterable[Row]:
    g = "half-lives and peaks"
    yield Row(g, "vasopressin half-life", "min", half_life("vasopressin"), 0, 10, "fitted-to", "label: at most 10 min")
    p = drugs.kinetics("phenylephrine", WHO).parameters
    out, across, back = p[pk.CL] / p[pk.V1], p[pk.Q2] / p[pk.V1], p[pk.Q2] / p[pk.V2]
    both = float(out + across + back)
    root = float(np.sqrt(both**2 - 4 * out * back))
    for word, rate, published in (("fast", (both + root) / 2, 2.3), ("slow", (both - root) / 2, 53.0)):
        yield Row(g, f"phenylephrine, {word} half-life", "min", float(np.log(2) / rate), 0.97 * published,
                  1.03 * published, "fitted-to", "FDA NDA 203826 as AnaSim")  # fmt: skip
    yield Row(g, "dobutamine half-life", "min", half_life("dobutamine"), 1.5, 2.5, "fitted-to", "label: about 2 min")
    yield Row(g, "milrinone half-life", "h", half_life("milrinone") / 60, 2.25, 2.45, "fitted-to", "label: 2.3-2.4 h")
    yield Row(g, "metformin half-life", "h", half_life("metformin") / 60, 5.2, 7.2, "sources", "label: about 6.2 h")
    yield Row(g, "lisinopril half-life", "h", half_life("lisinopril") / 60, 12.1, 13.1, "fitted-to", "label: 12.6 h")
    yield Row(g, "lisinopril peak", "h", peak("lisinopril"), 6.9, 7.1, "fitted-to", "label: 7 h")
    yield Row(g, "metoprolol half-life", "h", half_life("metoprolol") / 60, 3, 7, "fitted-to", "label: 3-7 h [M]")
    yield Row(g, "metoprolol peak", "h", peak("metoprolol"), 1.4, 1.6, "fitted-to", "monograph: about 1.5 h")
    yield Row(g, "metformin peak", "h", peak("metformin"), 2, 3, "sources", "label: 2-3 h [M]")


def law_rows() -> Iterable[Row]:
    g = "tablets (Law 2003)"
    cases = (
        ("one standard dose at 154/97", (Treatment(AVERAGE, 1.0),), 154.0, 97.0, 9.1, 5.5, 0.05, "fitted-to",
         "abstract [S]"),
        ("half a dose at 154/97", (Treatment(AVERAGE, 0.5),), 154.0, 97.0, 7.1, 4.4, 0.05, "fitted-to", "abstract [S]"),
        ("three halves at 150/90", (Treatment(AVERAGE, 0.5),) * 3, 150.0, 90.0, 20.0, 11.0, 0.5, "fitted-to",
         "conclusion, about 20/11 [M]"),
    )  # fmt: skip
    for what, treatments, s, d, ps, pd, tolerance, kind, source in cases:
        fall = steady(treatments, s, d)
        yield Row(g, f"{what}, systolic fall", "mmHg", fall.systolic, ps - tolerance, ps + tolerance, kind, source)
        yield Row(g, f"{what}, diastolic fall", "mmHg", fall.diastolic, pd - tolerance, pd + tolerance, kind, source)
    names = [n for n in slow_pressure.FALLS if n != AVERAGE]
    for place, word, mean in ((0, "half", 7.1), (1, "standard", 9.1)):
        ours = float(np.mean([slow_pressure.FALLS[n][place][0] for n in names]))
        yield Row(g, f"mean of five classes [M], {word} dose", "mmHg", ours, mean - 0.4, mean + 0.4, "self",
                  "abstract's average [S]")  # fmt: skip


def laws() -> Iterable[Row]:
    """The worst of every drug; relative errors."""
    worst = dict.fromkeys(("area = dose/CL", "double dose", "mass", "superposition", "step 1 s against 60 min"), 0.0)
    p_all = np.array([drugs.kinetics(m, WHO).parameters for m in drugs.models()])
    for p in p_all:
        q = p.copy()
        q[pk.R0] = 0.0
        wait = float((q[pk.V1] + q[pk.V2] * (q[pk.Q2] > 0) + q[pk.V3] * (q[pk.Q3] > 0)) / q[pk.CL])
        wait += sum(float(q[v] / q[f]) for v, f in ((pk.V2, pk.Q2), (pk.V3, pk.Q3)) if q[f] > 0)
        long = pk.Course.start(q, min(1440.0, wait))
        long.bolus(1000.0)
        long.advance(int(60 * wait / long.h) + 1)
        note(worst, "area = dose/CL", long.x[pk.AUC], 1000.0 / q[pk.CL])
        one, two, drip, both = (pk.Course.start(q, 0.5) for _ in range(4))
        one.bolus(100.0)
        two.bolus(200.0)
        both.bolus(100.0)
        drip.infuse(7.0)
        both.infuse(7.0)
        for k in range(1, 121):
            for course in (one, two, drip, both):
                course.advance(1)
            note(worst, "double dose", two.plasma, 2 * one.plasma)
            note(worst, "superposition", both.plasma, one.plasma + drip.plasma)
            note(worst, "mass", float(both.x[:4].sum() + both.x[pk.E]), 100.0 + 3.5 * k)
        short, hour = pk.Course.start(q, 1 / 60), pk.Course.start(q, 60.0)
        for course in (short, hour):
            course.bolus(100.0)
            course.infuse(1.0)
        short.advance(3600)
        hour.advance(1)
        note(worst, "step 1 s against 60 min", short.plasma, hour.plasma)
    for name, value in worst.items():
        yield Row("laws, worst of every drug", name, "relative", value, 0, 1e-9, "self", "linear kinetics")
    batch, courses = Batch(p_all), [pk.Course.start(p, 30.0) for p in p_all]
    batch.bolus(np.full(len(p_all), 250.0))
    seen = batch.advance(30.0, np.full(len(p_all), 4.0), 3000)
    error = 0.0
    for course, value in zip(courses, seen, strict=True):
        course.bolus(250.0)
        course.infuse(4.0)
        course.advance(1)
        error = max(error, abs(course.plasma / value - 1))
    yield Row("laws, worst of every drug", "exact step against RK4 of the second writing", "relative", error, 0, 1e-8,
              "self", "two writings")  # fmt: skip


def note(worst: dict[str, float], name: str, seen: float, expected: float) -> None:
    worst[name] = max(worst[name], abs(float(seen) / float(expected) - 1))


def every() -> list[Row]:
    return [*norepinephrine(), *ensinger_abstract(), *phenylephrine(), *sources(), *times(), *law_rows(), *laws()]


def number(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value:.4g}"


def shown(row: Row) -> tuple[str, ...]:
    """Errors at the level of rounding differ between machines: only that they are below their bound is written."""
    ours = f"below {number(row.high)}" if row.unit == "relative" and row.green else number(row.ours)
    held_to = f"at most {number(row.high)}" if row.unit == "relative" else f"{number(row.low)}-{number(row.high)}"
    return row.what, row.unit, ours, held_to, row.kind, "green" if row.green else "**red**", row.source


def tables(rows: list[Row]) -> str:
    text = ""
    for group in dict.fromkeys(row.group for row in rows):
        text += f"\n### {group[0].upper()}{group[1:]}\n\n"
        text += "| what | unit | ours | published or bound | type | | source |\n|---|---|---|---|---|---|---|\n"
        text += "".join(f"| {' | '.join(shown(row))} |\n" for row in rows if row.group == group)
    return text


HEAD = """# Drugs

Our numbers beside published ones, green inside and red outside, as they came out. Written by
`python -m bench.drugs --write`; the same rows are `drugs.csv`. Education and research; not a medical device.

Types: *external*, measured or stated by others than those whose numbers the model is made of; *fitted-to*, the model
was made from it, or from the same paper; *self*, a law or a second writing; *sources*, two sources of one number
against each other (green within 25 %, or within the other's range).
"As our design notes record it": read there, not in the paper. Kinetics are at 70 kg, 40 years, 170 cm, creatinine
clearance 100 mL/min unless a row says otherwise.

{count}

![Levels of norepinephrine and phenylephrine, and pressure under tablets](drugs.png)
"""

TAIL = """
## What the red rows mean

- **Norepinephrine.** Two of three rates lie 1-2 % below the lowest measured level. The age of 35 is that of the
  kinetic model's reference; younger people clear more and would lie further below. Before the
  infusion and at 0.2 ug/kg/min the same trial's abstract is met. Pressure and heart rate of the trial need the
  circulation and are not judged here.
- **Phenylephrine.** The FDA's kinetics give 1.1-1.4 times the highest level of Martinsson at the three lower rates and
  lie inside at the highest: levels measured there rise more than in proportion, which no linear model does. The prior
  is widened (factor 2 on each rate constant) and the rows say WIDENED; whoever shows phenylephrine shows that band.
- **Fentanyl.** 9 to 68 mL/min/kg stand in tables. 68 would exceed the liver's blood flow (about 21 mL/min/kg [M]), so
  the two published clinical sets are used; the range keeps all, and the row says DISPUTED.
- **Morphine, midazolam, ketamine, rocuronium.** Sets from trials against one number of a simulator: the trials' are
  used, the ranges hold both.
- **Metformin.** One label's own volume, bioavailability and renal clearance make a half-life of 12 h where the same
  label states 6.2 h; CL/F of another source is about 1.5-2 times ours. One compartment cannot hold them all; the peak
  comes late for the same reason.

## What is not here

Glargine, NPH and regular insulin (no numbers read in a source yet): refused as unknown. What rocuronium, morphine and
midazolam do to a circulation: unknown, not nothing. Lisinopril acts through the tablets' table. Active metabolites,
saturation, protein binding, children, and synergy of hypnotic and opioid are not modelled. The classes of Law's table,
its reference pressure and doubled doses are from memory [M]; the onset (8.5 days) is an estimate [G]. Most effect
sizes were read in other programs' tables, not in the papers they cite; limits above which a dose is refused are mostly
ours [G].
"""


def picture(path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6))
    rates = np.linspace(0.005, 0.12, 24)
    left.plot(rates, [held("norepinephrine/healthy", Covariates(age=35.0), float(r), 60) for r in rates])
    left.vlines([r for r, _, _ in ENSINGER], [a for _, a, _ in ENSINGER], [b for _, _, b in ENSINGER], lw=4, alpha=0.5)
    left.set(title="norepinephrine (bars: Ensinger)", xlabel="ug/kg/min", ylabel="plasma, ug/L")
    rates = np.linspace(0.25, 4.2, 20)
    middle.plot(rates, [held("phenylephrine/fda", WHO, float(r), 20) for r in rates])
    middle.vlines(
        [r for r, _, _ in MARTINSSON], [a for _, a, _ in MARTINSSON], [b for _, _, b in MARTINSSON], lw=4, alpha=0.5
    )
    middle.set(title="phenylephrine, 20 min (bars: Martinsson)", xlabel="ug/kg/min", ylabel="plasma, ug/L")
    days = np.arange(0, 61)
    for n in (1, 2, 3):
        course = slow_pressure.Course(150.0, 90.0)
        course.treat((Treatment(AVERAGE, 0.5),) * n)
        right.plot(days, [150.0] + [course.advance(1.0)[0] for _ in days[1:]], label=f"{n} x half dose")
    right.set(title="tablets from 150/90 (Law 2003)", xlabel="days", ylabel="systolic, mmHg")
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def write(rows: list[Row]) -> None:
    red = sum(not row.green for row in rows)
    page = HEAD.format(count=f"**{len(rows) - red} green, {red} red.**") + tables(rows) + TAIL
    (FOLDER / "drugs.md").write_text(page, encoding="utf-8")
    with (FOLDER / "drugs.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("group", "what", "unit", "ours", "published", "type", "verdict", "source"))
        out.writerows((row.group, *(cell.strip("*") for cell in shown(row))) for row in rows)
    picture(FOLDER / "drugs.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = every()
    if arguments.write:
        write(rows)
    elif arguments.json:
        print(json.dumps({"green": sum(r.green for r in rows), "red": [r.what for r in rows if not r.green]}))
    else:
        print(tables(rows))


if __name__ == "__main__":
    main()
