"""What the what-if of the glucose twin is worth on simulated people: `python -m bench.whatif --write`.

People live two weeks with three meals (carbohydrates miscounted, SD 20 %) and two isolated
corrections a day, doses by lot. Then a plan is asked of their twin at several times and carried
out in their body, beside nothing; what glucose at the sensor's site does is compared with the
bands, its difference with the effect. Bodies: Hovorka as published between people, and members
of our S2008 cohort. The twin runs both equations: it is flattered by either, and by regular
sensitivities and complete logs. Real people are not in it. Type of every row: self.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.twin.glucose import GlucoseTwin
from services.twin.glucose_plan import Basal, Bolus, Fast, Meal, Plan
from services.twin.glucose_whatif import OWN, Course
from twinward.errors import Unready
from twinward.physiology import cgm, hovorka, virtual
from twinward.physiology import glucose as s2008
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BASAL_RATE, INSULIN_BOLUS, Measurement

Array = NDArray[np.float64]
FIRST_MS = 1_735_689_600_000
DAYS, PEOPLE, SEED = 14, 16, 77
ASKED = [day * 1440 + minute for day in (10, 11, 12, 13) for minute in (330, 660, 930, 1320)]
AHEAD = (60, 120, 240, 360)
MEALS = ((450, 45.0), (750, 60.0), (1150, 60.0))
CORRECTIONS = (180, 945)
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "evidence"
HEADER = (
    "truth",
    "plan",
    "asked",
    "refused",
    *(f"band_{m}" for m in AHEAD),
    "effect_band",
    "sure",
    "same_sign",
    "ratio",
)


@dataclass
class Tally:
    asked: int = 0
    refused: int = 0
    inside: list[list[bool]] = field(default_factory=list)
    effect_inside: list[bool] = field(default_factory=list)
    pairs: list[tuple[float, float, bool]] = field(default_factory=list)  # told and true mean effect, told sign is sure

    def take(self, course: Course, path: Array, effect: Array) -> None:
        self.asked += 1
        if not course.steps or course.effect is None:
            self.refused += 1
            return
        by = {step.minutes: step.glucose for step in course.steps}
        self.inside.append([by[m].low <= path[m // 5 - 1] <= by[m].high for m in AHEAD])
        self.effect_inside.append(course.effect.low - 1e-9 <= float(effect.mean()) <= course.effect.high + 1e-9)
        sure = not course.effect.low < 0 < course.effect.high
        self.pairs.append((course.effect.value, float(effect.mean()), sure))

    def row(self) -> list[str]:
        told, true, sure = np.array(self.pairs).T
        cells = [f"{self.asked}", f"{self.refused}", *(f"{each:.2f}" for each in np.mean(self.inside, axis=0))]
        if not np.any(true):  # the reference
            return [*cells, "", "", "", ""]
        signs = (told * true > 0)[sure > 0]
        same = f"{signs.mean():.2f}" if len(signs) else ""
        ratio = f"{np.median(true / told):.2f}"
        return [*cells, f"{np.mean(self.effect_inside):.2f}", f"{sure.mean():.2f}", same, ratio]


def plans_for(ratio: float) -> list[Plan]:
    """`ratio` g/IU: doses as this person would take them."""
    return [
        Plan("bolus for 20 g", (Bolus(0, round(20 / ratio, 1)),)),
        Plan("meal 40 g", (Meal(0, 40.0),)),
        Plan("meal 40 g, bolus", (Bolus(0, round(40 / ratio, 1)), Meal(0, 40.0))),
        Plan("fast 15 g", (Fast(0, 15.0),)),
        Plan("basal off 90 min", (Basal(0, -10.0, 90),)),
    ]


def carried_out(body: virtual._Body, plan: Plan | None, eating: Array) -> Array:
    """(72,) mg/dL at the sensor's site, 5 min apart; the body is as before afterwards.

    Fast carbohydrate goes past the stomach, as in the twin.
    """
    kept, memory = body.x.copy(), body.memory.copy() if body.kind == "s2008" else None
    grams, units = np.zeros(360), np.full(360, body.rate)
    grams[: len(eating)] = eating
    for action in plan.actions if plan else ():
        if isinstance(action, Bolus):
            units[action.minute] += action.units
        elif isinstance(action, Basal):
            units[action.minute : action.minute + action.minutes] = 0.0
        elif isinstance(action, Fast) and body.kind == "s2008":
            body.x[s2008.QGUT] += action.grams * s2008.MG_PER_G
        elif isinstance(action, Fast):
            body.x[hovorka.D2] += body.p[hovorka.AG] * action.grams * hovorka.MMOL_PER_G
        else:
            grams[action.minute : action.minute + round(action.grams / 5)] += 5.0
    path = [body.step(grams[k : k + 5], units[k : k + 5], np.ones(5)) for k in range(0, 360, 5)]
    body.x[:] = kept
    if memory is not None:
        body.memory[:] = memory
    return np.array(path)


def person(kind: str, number: int, tallies: dict[str, Tally]) -> tuple[float, float, bool]:
    """Lives, asks, carries out; the own slope (NaN: none), its low end, whether the answer was the person's own."""
    chance = np.random.Generator(np.random.Philox(key=np.array([SEED, number], np.uint64)))
    body = virtual._Body(chance, kind)
    ratio = body.grams_per_unit()
    rows, grams, units = _diary(body, ratio, chance)
    truth, answers = np.empty(DAYS * 288), {}
    for k in range(len(truth)):
        if 5 * k in ASKED:
            eating = grams[5 * k : 5 * k + 30]
            plans = plans_for(ratio)
            paths = [carried_out(body, plan, eating) for plan in (None, *plans)]
            answers[5 * k] = (plans, paths)
        truth[k] = body.step(grams[5 * k : 5 * k + 5], units[5 * k : 5 * k + 5], np.ones(5))
    sensor = cgm.wear(truth, chance)
    rows += [_row(CGM_GLUCOSE, 5 * k + 5, float(v), "mg/dL") for k, v in enumerate(sensor)]
    rows.sort(key=lambda one: one.effective_ms)
    twin = GlucoseTwin.start(f"whatif {kind} {number}".encode(), FIRST_MS, body.weight)
    at, slope, low, own = 0, float("nan"), float("nan"), False
    for minute, (plans, paths) in answers.items():
        end = at
        while end < len(rows) and rows[end].effective_ms <= FIRST_MS + minute * 60_000:
            end += 1
        twin.advance(rows[at:end])
        at = end
        try:
            answer = twin.what_if(plans, 360, FIRST_MS + minute * 60_000)
        except Unready:
            continue
        own = answer.title == OWN
        if answer.response:
            slope, low = answer.response.slope, answer.response.low
        for course, path in zip(answer.courses, paths, strict=True):
            tallies.setdefault(course.name, Tally()).take(course, path, path - paths[0])
    return slope, low, own


def _diary(body: virtual._Body, ratio: float, chance: np.random.Generator) -> tuple[list[Measurement], Array, Array]:
    grams, units = np.zeros(DAYS * 1440 + 400), np.full(DAYS * 1440 + 400, body.rate)
    rows = []
    for day in range(DAYS):
        rows.append(_row(INSULIN_BASAL_RATE, day * 1440 + 1, body.rate * 60, "[IU]/h"))
        for usual, amount in MEALS:
            minute = day * 1440 + usual
            eaten = 5.0 * round(float(np.clip(amount * np.exp(0.2 * chance.standard_normal()), 20, 90)) / 5)
            counted = float(round(eaten * np.exp(0.2 * chance.standard_normal())))
            grams[minute : minute + round(eaten / 5)] += 5.0
            units[minute] += 0.8 * counted / ratio
            rows += [_row(INSULIN_BOLUS, minute, 0.8 * counted / ratio, "[IU]"),
                     _row(CARBOHYDRATES, minute, counted, "g")]  # fmt: skip
        for usual in CORRECTIONS:
            dose = float(chance.uniform(8, 30)) / ratio
            units[day * 1440 + usual] += dose
            rows.append(_row(INSULIN_BOLUS, day * 1440 + usual, dose, "[IU]"))
    return rows, grams, units


def _row(code: str, minute: int, value: float, unit: str) -> Measurement:
    ms = FIRST_MS + minute * 60_000
    return Measurement(code, ms, ms, value, unit, b"")


def measure(people: int) -> tuple[list[list[str]], list[str]]:
    table, told = [], []
    for kind in ("hovorka", "s2008"):
        tallies: dict[str, Tally] = {}
        found = [person(kind, number, tallies) for number in range(people)]
        table += [[kind, name, *tally.row()] for name, tally in tallies.items()]
        slopes = np.array([slope for slope, _, _ in found])
        told.append(
            f"{kind}: own slope median {np.nanmedian(slopes):.2f} "
            f"({np.nanmin(slopes):.2f} to {np.nanmax(slopes):.2f}), "
            f"interval above 0 in {sum(low > 0 for _, low, _ in found)} of {people}; "
            f'titled "this patient" at the end: {sum(own for _, _, own in found)} of {people}'
        )
    return table, told


def write(table: list[list[str]], told: list[str], people: int) -> None:
    with (FOLDER / "whatif.csv").open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([HEADER, *table])
    lines = [
        "# What-if on simulated people",
        f"`python -m bench.whatif --write`: {people} people of each body, {DAYS} days, asked {len(ASKED)} times each. "
        "Type: self (the twin runs both equations).",
        "",
        "`band_M`: share of true values M minutes on inside the 90 % band. `effect_band`: share of true mean effects "
        "inside the interval of the effect. `sure`: share whose interval leaves out 0; `same_sign`: share of those "
        "with the told direction. `ratio`: median of true over "
        "told effect; 1 is right. "
        "Green is a band from 0.85 to 0.97 and a direction right in at least 0.95; all else is red and stays so.",
        "",
        "| " + " | ".join((*HEADER, "")) + " |",
        "|" + "---|" * (len(HEADER) + 1),
    ]
    for row in table:
        bands = [float(cell) for cell in (*row[4:8], *([row[8]] if row[8] else []))]
        good = all(0.85 <= each <= 0.97 for each in bands) and (not row[10] or float(row[10]) >= 0.95)
        lines.append("| " + " | ".join((*row, "green" if good else "red")) + " |")
    lines += ["", "Own response, slope of observed on predicted effects of isolated corrections:", ""]
    lines += [f"- {each}" for each in told]
    lines += [
        "",
        "On real people: [whatif-people.md](whatif-people.md).",
        "Bands of glucose are as wide as people need (isolated corrections of T1D-UOM), which is too wide (above 0.97) "
        "for bodies that the twin itself runs. Intervals of an effect are what either body alone allows, both ends "
        "wider by the factor that people of another seed (78) needed.",
        "Education and research; not a medical device.",
        "",
    ]
    (FOLDER / "whatif.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--write", action="store_true", help="docs/evidence/whatif.md and .csv")
    arguments = parser.parse_args()
    table, told = measure(arguments.people)
    for row in (HEADER, *table):
        print("  ".join(f"{cell:>16}" for cell in row))
    print("\n".join(told))
    if arguments.write:
        write(table, told, arguments.people)


if __name__ == "__main__":
    main()
