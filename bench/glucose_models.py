"""The further glucose models beside what is published: writes docs/evidence/glucose-models.md.

    python -m bench.glucose_models             # the rows, about 3 min
    python -m bench.glucose_models --write     # also the tables of docs/evidence/glucose-models.md

Type of an oracle: external (another's measurement, print or program), self (our own first run of the printed
equations), law, target. A row that misses stays red. Row 6 needs simglucose 0.2.11 on the path (`pip install
--no-deps --target FOLDER simglucose==0.2.11`, PYTHONPATH=FOLDER): it is no dependency, and without it the row says so.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import beside_c, recovery
from twinward.learning import identify
from twinward.physiology import cohort, dalla_man, exercise, hovorka
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options

PAGE = Path("docs/evidence/glucose-models.md")
BEGIN, END = "<!-- table: python -m bench.glucose_models --write -->", "<!-- end of table -->"
REFERENCE = Path("tests/physiology/reference.csv")
PUBLISHED_DAY = {
    "adult#001": [138.56, 178.95, 195.60, 157.74, 102.44],
    "adolescent#001": [149.02, 153.48, 125.77, 107.54, 85.85],
}
INSTANTS = [0, 500, 800, 1200, 1439]


@dataclass(frozen=True)
class Row:
    what: str
    ours: str
    published: str
    kind: str
    green: bool | None  # None: not run here
    source: str


def near(what: str, ours: float, published: float, within: float, kind: str, source: str, digits: int = 2) -> Row:
    return Row(
        what,
        f"{ours:.{digits}f}",
        f"{published:.{digits}f} ± {within:g}",
        kind,
        abs(ours - published) <= within,
        source,
    )


def below(what: str, ours: float, most: float, kind: str, source: str) -> Row:
    return Row(what, f"{ours:.2g}", f"< {most:g}", kind, ours < most, source)


def a_day(p: np.ndarray, x: np.ndarray) -> np.ndarray:
    """45, 70 and 80 g at minute 420, 720 and 1080, 1 U per 10 g, basal all day."""
    grams, units, out = np.zeros(1440), np.full(1440, s2008.basal_rate(p)), np.empty(1440)
    for minute, meal in ((420, 45), (720, 70), (1080, 80)):
        grams[minute : minute + meal // 5] = 5.0
        units[minute] += meal / 10
    s2008.simulate(p, x.copy(), np.zeros(3), grams, units, 1, out)
    return out[INSTANTS]


def simulated_patients() -> list[Row]:
    rows = []
    spec = importlib.util.find_spec("simglucose")
    source = "simglucose 0.2.11, minutes 0, 500, 800, 1200, 1439"
    for name, expected in PUBLISHED_DAY.items():
        said = " ".join(f"{value:.2f}" for value in expected) + " ± 0.05"
        if spec is None or not spec.submodule_search_locations:
            rows.append(Row(f"S2008, {name}, mg/dL", "not run: no simglucose here", said, "external", None, source))
            continue
        table = Path(spec.submodule_search_locations[0]) / "params" / "vpatient_params.csv"
        row = next(row for row in csv.DictReader(table.read_text().splitlines()) if row["Name"] == name)
        p = np.array([float(row[symbol]) for symbol in s2008.PARAMETERS])
        seen = a_day(p, np.array([float(row[f"x0_{k:2d}"]) for k in range(1, 14)]))
        ok = bool(np.abs(seen - expected).max() <= 0.05)
        rows.append(Row(f"S2008, {name}, mg/dL", " ".join(f"{v:.2f}" for v in seen), said, "external", ok, source))
    people = cohort.load()
    worst = 0.0
    for name, *cells in list(csv.reader(REFERENCE.read_text().splitlines()))[1:]:
        k, x = people.names.index(name), np.zeros(13)
        s2008.rest(people.parameters[k], people.basal[k], x)
        worst = max(worst, float(np.abs(a_day(people.parameters[k], x) - [float(c) for c in cells]).max()))
    rows.append(below("S2008, six of our cohort, worst difference, mg/dL", worst, 0.05, "self", "NumPy, 0.1 min steps"))
    return rows


def oral() -> list[Row]:
    state = dalla_man.rest(dalla_man.person(dalla_man.NORMAL))
    _, course = dalla_man.run(dalla_man.drink(state, 78.0), 240)
    source = "row 7; 78 g glucose, 78 kg, NumPy, 0.1 min steps"
    rows = [
        near("health: peak glucose, mg/dL", course.glucose.max(), 157.3, 0.05, "self", source, 1),
        near("health: when, min", course.glucose.argmax() + 1, 66, 1, "self", source, 0),
        near("health: glucose at 120 min, mg/dL", course.glucose[119], 132.9, 0.05, "self", source, 1),
        near("health: peak insulin, pmol/L", course.insulin.max(), 254, 1, "self", source, 0),
        near("health: when, min", course.insulin.argmax() + 1, 98, 1, "self", source, 0),
    ]
    for name, printed in (("health", dalla_man.NORMAL), ("type 2", dalla_man.TYPE_2)):
        p = dalla_man.person(printed)
        for symbol in ("Vm0", "kp1", "m6"):
            derived, said = float(p[dalla_man.PARAMETERS.index(symbol)]), printed[symbol]
            rows.append(
                near(f"{name}: {symbol} from rest", derived, said, 0.01 * said, "external", "as printed, 1 %", 4)
            )
        still = dalla_man.run(dalla_man.rest(p), 1440)[1].glucose
        rows.append(
            below(f"{name}: drift at rest, mg/dL in 24 h", np.abs(still - p[dalla_man.GB]).max(), 0.5, "law", "row 13")
        )
    return rows


def second_opinion() -> list[Row]:
    p = hovorka.TYPICAL
    state, rate = hovorka.resting(p, 130.0)
    _, out, _ = hovorka.run(state, 1440, None, np.full(1440, rate))
    drift = below("Hovorka: drift at rest, mg/dL in 24 h", np.abs(out - 130).max(), 0.5, "law", "row 13")
    # Where glucose is below 9 mmol/L the resting insulin has a closed form (quadratic), as LoopInsighT1 has it.
    G = 100 / hovorka.MG_DL_PER_MMOL_L
    q1, made = G * p[hovorka.VG] * p[hovorka.BW], p[hovorka.EGP0] * p[hovorka.BW]
    used = p[hovorka.F01] * p[hovorka.BW] * min(G / 4.5, 1.0)
    k12, sit, sid, sie = p[[hovorka.K12, hovorka.SIT, hovorka.SID, hovorka.SIE]]
    a, b, c = -q1 * sit * sid - made * sid * sie, (made - used) * sid - made * k12 * sie, (made - used) * k12
    level = (-b - np.sqrt(b * b - 4 * a * c)) / 2 / a
    exact = float(level * p[hovorka.KE] * p[hovorka.VI] * p[hovorka.BW] * 60 / 1000)
    ours = hovorka.rest(p, 100.0)[1] * 60
    return [
        drift,
        near("Hovorka: U/h that rest at 100 mg/dL", ours, exact, 1e-4, "external", "LoopInsighT1, closed form", 4),
    ]


def effort() -> list[Row]:
    people = cohort.load().group("adult")
    falls = []
    for p, Gb in zip(people.parameters, people.basal, strict=True):
        inputs = options.Inputs(units=np.full(30, s2008.basal_rate(p)), effort=np.full(30, 40.0))
        state, _, _ = options.run(options.rest(p, float(Gb)), 30, inputs)
        falls.append(state.x[s2008.GP] / p[s2008.VG] - Gb)
    state = dalla_man.rest(dalla_man.person(dalla_man.NORMAL))
    _, course = dalla_man.run(state, 60, None, np.full(60, 40.0))
    fall = float(course.glucose[59] - state.p[dalla_man.GB])
    lasts = exercise.H2 - exercise.H1 * 40
    return [
        Row("type 1, 30 min at 40 %: change of glucose, mg/dL, mean of 100 adults", f"{np.mean(falls):.1f}", "-18 ± 9",
            "external", bool(-27 <= np.mean(falls) <= -9), "T1DEXI, aerobic sessions of about 30 min, -18 (SD 39) [M]"),
        Row("health, 60 min at 40 %: change of glucose, mg/dL", f"{fall:.1f}", "a small fall", "direction",
            bool(-15 < fall < 0), "Roy and Parker 2007 show falls of this order [M]"),
        near("stores last at 40 %, min", lasts, 41.4, 0.1, "self", "Roy and Parker 2007, ATH/u [S]", 1),
    ]  # fmt: skip


def speed() -> list[Row]:
    answer = beside_c.compare(200)
    x, ratio = answer["glucose_x_realtime"], answer["glucose_vs_c"]
    assert x is not None
    return [
        Row("S2008, seconds of one body per second", f"{x:.2g}", "> 2e8", "target", x > 2e8, "one core, numba"),
        Row("the same over C at gcc -O3 -march=native", "null: no compiler" if ratio is None else f"{ratio:.2f}",
            "> 0.6", "target", None if ratio is None else ratio > 0.6, "bench/s2008.c, in turns, agree to 1e-9 mg/dL"),
    ]  # fmt: skip


def identification(count: int) -> list[Row]:
    rows, z, ratio, spectra = [], [], [], []
    for k in range(2 * count):
        block, truth = recovery.matched(1 + k % 2, k // 2, 7)
        one = identify.identify(block)
        z.append((one.theta - truth) / one.sd)
        spectra.append(one.spectrum)
    cover = (np.abs(z) < 1.6449).mean(0)
    slack = 1.96 * np.sqrt(0.9 * 0.1 / (2 * count))
    source = f"{2 * count} people, 7 days, seeds 1 and 2; only the four differ from the population"
    for name, share in zip(identify.NAMES, cover, strict=True):
        rows.append(near(f"model true: 90 % interval contains {name}", share, 0.9, round(slack, 3), "law", source, 3))
    middle = " ".join(f"{value:.3g}" for value in np.median(spectra, 0))
    rows.append(Row("model true: sensitivity spectrum, medians", middle, "-", "recorded", None, source))
    z, errors, slack = [], [], 1.96 * np.sqrt(0.9 * 0.1 / count)
    for k in range(count):
        block, truth = recovery.lived(4, k, 7, "s2008")
        one = identify.identify(block)
        theta, sd = one.own
        z.append((theta - truth) / sd)
        errors.append((theta[0], truth[0], *((one.theta - truth) / one.sd)))
        ratio.append([*one.ratio.values()])
    source = f"{count} cohort members, 7 days, seed 4; unlogged meals, daily rhythm, 28 other numbers differ"
    for k, name in enumerate(identify.NAMES):
        share = float((np.abs(np.array(z)[:, k]) < 1.6449).mean())
        rows.append(
            near(f"real-like: 90 % interval of own {name} contains it", share, 0.9, round(slack, 3), "law", source, 3)
        )
    table = np.array(errors)
    naive = float((np.abs(table[:, 2]) < 1.6449).mean())
    rows.append(near("the same, were the model believed: SI", naive, 0.9, round(slack, 3), "law", source, 3))
    for k, name in enumerate(identify.NAMES):
        kept = float(np.median(np.array(ratio)[:, k]))
        said = "personal" if kept <= identify.PERSONAL_BELOW else "stays the population's"
        rows.append(
            Row(f"posterior over prior deviation, {name}", f"{kept:.2f}: {said}", "-", "recorded", None, source)
        )
    order = float(np.corrcoef(recovery.ranks(table[:, 0]), recovery.ranks(table[:, 1]))[0, 1])
    rows.append(Row("rank correlation of SI with the truth", f"{order:.2f}", "-", "recorded", None, source))
    pairs = []
    for k in range(count):
        block, sensitivity = recovery.lived(5, k, 7, "hovorka")
        pairs.append((identify.identify(block).theta[0], sensitivity[0]))
    found, true = np.array(pairs).T
    order = float(np.corrcoef(recovery.ranks(found), recovery.ranks(true))[0, 1])
    rows.append(Row("rank correlation of SI with Hovorka's sensitivities", f"{order:.2f}", "-", "recorded", None,
                    f"{count} Hovorka bodies, 7 days, seed 5: the filter's equations are not the truth's"))  # fmt: skip
    return rows


def sections(count: int) -> dict[str, list[Row]]:
    return {
        "Type 1, S2008": simulated_patients(),
        "Health and type 2, Dalla Man 2007": oral(),
        "Second opinion, Hovorka 2004": second_opinion(),
        "Effort, Roy-Parker 2007": effort(),
        "Speed": speed(),
        "Identification": identification(count),
    }


def markdown(found: dict[str, list[Row]]) -> str:
    lines = []
    for title, rows in found.items():
        lines += [f"### {title}", "", "| what | ours | published | type | | source |", "|---|---|---|---|---|---|"]
        for row in rows:
            colour = {True: "green", False: "**red**", None: ""}[row.green]
            lines.append(f"| {row.what} | {row.ours} | {row.published} | {row.kind} | {colour} | {row.source} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    parser.add_argument("--people", type=int, default=40, help="of each identification study")
    arguments = parser.parse_args()
    text = markdown(sections(arguments.people))
    print(text)
    if arguments.write:
        head, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
