"""How strongly what a model says hangs on each of its numbers, and what could be told from measurements.

    python -m bench.sensitivity --write        # docs/evidence/sensitivity.md, .csv, .png; about 2 min

Local and normalised: S = d ln output / d ln parameter, central differences of 1 % either way about the typical
values; Saltelli 2008 (Global Sensitivity Analysis: The Primer) [M] says why local is not everything.

Singular values: of the Jacobian of realistic measurements by the logarithms of the parameters, each row over
the standard deviation of its measurement, each column times .3, which is how people differ [G]. A direction
with singular value s keeps 1 / (1 + s^2) of its prior variance; below 1 more than half of it stays prior. All of
it were the model true: people are not, and docs/models.md counts that in where something is called personal.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinward.physiology import circulation as c
from twinward.physiology import cohort, dalla_man, drugs, hovorka, inflammation, slow_pressure, virus
from twinward.physiology import glucose as s2008
from twinward.physiology import pharmacokinetics as pk
from twinward.physiology.circulation_meaning import shipped
from twinward.physiology.circulation_run import Circulation

Array = NDArray[np.float64]
STEP, PRIOR_SD = 0.01, 0.3
EVIDENCE = Path("docs/evidence")
TOP = 6
S2008_DERIVED = ("kp1", "Vm0", "u2ss", "m30")
Answer = tuple[dict[str, float], Array]  # outputs by name; measurements


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    typical: dict[str, float]
    run: Callable[[dict[str, float]], Answer]
    sd: Callable[[Array], Array]  # of the measurements
    seen: str  # what is measured, in words


@dataclass(frozen=True, slots=True)
class Found:
    model: Model
    parameters: tuple[str, ...]
    outputs: tuple[str, ...]
    sensitivities: Array  # (parameters, outputs)
    singular: Array
    leading: tuple[str, ...]  # of each direction, what carries most of it


def measure(model: Model) -> Found:
    names = tuple(name for name, value in model.typical.items() if value != 0.0)
    base, seen = model.run(model.typical)
    scale = model.sd(seen)
    S, J = np.empty((len(names), len(base))), np.empty((len(seen), len(names)))
    for k, name in enumerate(names):
        up, down = (model.run(model.typical | {name: model.typical[name] * f}) for f in (1 + STEP, 1 - STEP))
        for j, output in enumerate(base):
            S[k, j] = (up[0][output] - down[0][output]) / (2 * STEP * base[output])
        J[:, k] = (up[1] - down[1]) / (2 * STEP) / scale * PRIOR_SD
    _, singular, directions = np.linalg.svd(J, full_matrices=False)
    leading = tuple(", ".join(names[i] for i in np.argsort(-np.abs(row))[:3]) for row in directions)
    return Found(model, names, tuple(base), S, singular, leading)


DAY_MEALS = ((420, 45.0), (720, 70.0), (1080, 80.0))


def _day(rate: float) -> tuple[Array, Array]:
    grams, units = np.zeros(1440), np.full(1440, rate)
    for minute, amount in DAY_MEALS:
        grams[minute : minute + round(amount / 5)] += 5.0
        units[minute] += amount / 10
    return grams, units


def _of_day(out: Array, lowered: float) -> Answer:
    return (
        {"peak after breakfast": float(out[420:720].max()), "mean of the day": float(out.mean()),
         "fall by 1 U": lowered},
        np.asarray(out[14::15], np.float64),
    )  # fmt: skip


def s2008_model() -> Model:
    p0, basal = cohort.typical()
    typical = {name: float(v) for name, v in zip(s2008.PARAMETERS, p0, strict=True) if name not in S2008_DERIVED}
    EGPb = float(p0[s2008.KP1] - p0[s2008.KP2] * p0[s2008.VG] * basal - p0[s2008.KP3] * p0[s2008.IB])

    def run(values: dict[str, float]) -> Answer:
        p = p0.copy()
        for name, value in values.items():
            if name not in ("Gb", "EGPb"):
                p[s2008.PARAMETERS.index(name)] = value
        s2008.balance(p, values["Gb"], values["EGPb"])
        out = [np.empty(1440), np.empty(360), np.empty(360)]
        grams, units = _day(s2008.basal_rate(p))
        more = np.full(360, s2008.basal_rate(p))
        more[0] += 1.0
        for g, u, o in zip((grams, np.zeros(360)), (units, more), out, strict=False):
            x = np.empty(13)
            s2008.rest(p, values["Gb"], x)
            s2008.simulate(p, x, np.zeros(3), g, u, 1, o)
        return _of_day(out[0], float((values["Gb"] - out[1]).mean()))

    return Model("S2008", typical | {"Gb": basal, "EGPb": EGPb}, run, lambda y: np.full(len(y), 10.0),
                 "a sensor every 15 min for a day, SD 10 mg/dL")  # fmt: skip


def hovorka_model() -> Model:
    typical = dict(zip(hovorka.PARAMETERS, hovorka.TYPICAL.tolist(), strict=True)) | {"Gb": 130.0}

    def run(values: dict[str, float]) -> Answer:
        p = np.array([values[name] for name in hovorka.PARAMETERS])
        x, rate = hovorka.rest(p, values["Gb"])
        grams, units = _day(rate)
        units += (units - rate) * (0.25 - 1)  # a unit does four times as much here
        out, more, low = np.empty(1440), np.full(360, rate), np.empty(360)
        more[0] += 1.0
        hovorka.simulate(p, x.copy(), grams, units, np.ones(1440), out)
        hovorka.simulate(p, x.copy(), np.zeros(360), more, np.ones(360), low)
        return _of_day(out, float((values["Gb"] - low).mean()))

    return Model(
        "Hovorka", typical, run, lambda y: np.full(len(y), 10.0), "a sensor every 15 min for a day, SD 10 mg/dL"
    )


def dalla_man_model() -> Model:
    def run(values: dict[str, float]) -> Answer:
        _, course = dalla_man.run(dalla_man.drink(dalla_man.rest(dalla_man.person(values)), 75.0), 240)
        times = np.array([10, 20, 30, 60, 90, 120, 150, 180]) - 1
        outputs = {"peak glucose": float(course.glucose.max()), "glucose at 120 min": float(course.glucose[119]),
                   "peak insulin": float(course.insulin.max())}  # fmt: skip
        return outputs, np.concatenate((course.glucose[times], course.insulin[times]))

    given = ("Vm0", "kp1", "m6", "Sb")  # follow from rest
    typical = {name: float(value) for name, value in dalla_man.NORMAL.items() if name not in given}
    return Model("Dalla Man, health", typical, run, lambda y: np.where(np.arange(len(y)) < 8, 5.0, 0.1 * y + 3.0),
                 "75 g of glucose, blood 8 times in 3 h, glucose SD 5 mg/dL, insulin 10 %")  # fmt: skip


def circulation_model() -> Model:
    typical = dict(zip(c.PARAMETERS, shipped().tolist(), strict=True)) | {"blood volume": 5300.0}

    def run(values: dict[str, float]) -> Answer:
        one = Circulation.start(np.array([values[name] for name in c.PARAMETERS]), values["blood volume"])
        trace = one.advance(30.0, 50)
        mean, rate = float(trace["Psa"].mean()), 60.0 / float(trace["T"].mean())
        flow, high, low = float(trace["Fsa"].mean()) * 0.06, float(trace["Psa"].max()), float(trace["Psa"].min())
        outputs = {"mean pressure": mean, "heart rate": rate, "output": flow,
                   "right atrium": float(trace["Pra"].mean()),
                   "left atrium": float(trace["Pla"].mean())}  # fmt: skip
        return outputs, np.array([high, low, rate])

    return Model("circulation", typical, run, lambda _: np.array([6.0, 4.0, 4.0]),
                 "cuff pressure (SD 6 and 4 mmHg) and heart rate (SD 4)")  # fmt: skip


def inflammation_model() -> Model:
    typical = dict(zip(inflammation.NAMES, inflammation.TYPICAL.tolist(), strict=True)) | {"P0": 0.4}

    def run(values: dict[str, float]) -> Answer:
        p, x = np.array([values[name] for name in inflammation.NAMES]), inflammation.start(values["P0"])
        path = [x := inflammation.run(x, p, 2.0) for _ in range(60)]
        rows = np.array(path)
        outputs = {"most damage": float(rows[:, 2].max()), "most phagocytes": float(rows[:, 1].max()),
                   "most CRP": float(rows[:, 4].max())}  # fmt: skip
        return outputs, rows[5::6, 4]

    return Model("inflammation", typical, run, lambda y: 0.15 * y + 3.0, "CRP every 12 h for 5 days, 15 %")


def virus_model() -> Model:
    def run(values: dict[str, float]) -> Answer:
        q = np.array([values[name] for name in virus.NAMES])
        x = virus.start(q)
        rows = np.array([x := virus.run(x, q, 0.05) for _ in range(160)])
        level = np.log10(np.maximum(rows[:, virus.VIRUS], 1e-9))
        outputs = {"log10 of the peak": float(level.max()),
                   "cells lost": float(1 - rows[-1, virus.TARGET] / q[virus.T0]),
                   "area of virus": float(rows[:, virus.VIRUS].sum() * 0.05)}  # fmt: skip
        return outputs, level[19::20]

    return Model("virus", dict(zip(virus.NAMES, virus.SETS["eclipse"].tolist(), strict=True)), run,
                 lambda y: np.full(len(y), 0.5), "log10 of virus in nasal wash daily for 8 days, SD 0.5")  # fmt: skip


def drug_model(name: str, mg: float, minutes: float, oral: bool) -> Model:
    kinetics = drugs.kinetics(name, drugs.Covariates())
    typical = dict(zip(pk.PK_PARAMETERS, kinetics.parameters.tolist(), strict=True))
    if typical["Q2"] == 0:
        typical |= {"V2": 0.0}
    if typical["Q3"] == 0:
        typical |= {"V3": 0.0}

    def run(values: dict[str, float]) -> Answer:
        p = np.array([values[key] or (1.0 if key in ("V2", "V3") else 0.0) for key in pk.PK_PARAMETERS])
        course = pk.Course.start(p, minutes / 120)
        if oral:
            course.swallow(mg * 1000)
        else:
            course.infuse(mg * 1000 / minutes)
        levels = []
        for k in range(360):
            if k == 120 and not oral:
                course.infuse(0.0)
            course.advance(1)
            levels.append((course.plasma, course.effect))
        plasma, effect = np.array(levels).T
        outputs = {"highest in plasma": float(plasma.max()), "highest effect site": float(effect.max()),
                   "area": float(plasma.sum() * minutes / 120)}  # fmt: skip
        return outputs, plasma[[20, 60, 119, 150, 200, 340]]

    return Model(f"drug {name}", typical, run, lambda y: 0.15 * y, "six plasma samples, 15 %")


@contextmanager
def _values(changed: dict[str, float]) -> Iterator[None]:
    before = dict(slow_pressure.VALUES)
    try:
        slow_pressure.VALUES.update({name: changed[name] for name in before})
        yield
    finally:
        slow_pressure.VALUES.update(before)


def slow_model() -> Model:
    typical = dict(slow_pressure.VALUES) | {"systolic before": 165.0, "diastolic before": 98.0, "multiple": 1.0}

    def run(values: dict[str, float]) -> Answer:
        with _values(values):
            course = slow_pressure.Course(values["systolic before"], values["diastolic before"])
            course.treat((slow_pressure.Treatment("ace inhibitor", values["multiple"]),))
            weeks = np.array([course.advance(7.0) for _ in range(8)])
        outputs = {"systolic fall": values["systolic before"] - float(weeks[-1, 0]),
                   "diastolic fall": values["diastolic before"] - float(weeks[-1, 1])}  # fmt: skip
        return outputs, weeks.ravel()

    return Model("slow pressure", typical, run, lambda y: np.full(len(y), 4.0),
                 "mean home pressure of each of 8 weeks, SD 4 mmHg")  # fmt: skip


def models() -> tuple[Model, ...]:
    return (
        s2008_model(), hovorka_model(), dalla_man_model(), circulation_model(), inflammation_model(), virus_model(),
        drug_model("norepinephrine/healthy", 0.42, 60.0, False), drug_model("propofol/schnider", 400.0, 60.0, False),
        drug_model("metoprolol/label", 100.0, 240.0, True), slow_model(),
    )  # fmt: skip


def table(found: list[Found]) -> str:
    lines = []
    for one in found:
        lines += [f"### {one.model.name}", "", "| output | what it hangs on most (percent for 1 % of the parameter) |",
                  "|---|---|"]  # fmt: skip
        for j, output in enumerate(one.outputs):
            order = np.argsort(-np.abs(one.sensitivities[:, j]))[:TOP]
            told = ", ".join(f"{one.parameters[k]} {one.sensitivities[k, j]:+.2f}" for k in order)
            lines.append(f"| {output} | {told} |")
        kept = one.singular[:8]
        told = "; ".join(f"{s:.3g} ({who})" for s, who in zip(kept[:5], one.leading, strict=False))
        lines += ["", f"Measured: {one.model.seen}. Of {len(one.parameters)} parameters "
                  f"{int((one.singular > 1).sum())} directions are told better than they were known (singular value "
                  f"above 1). Largest: {told}.", ""]  # fmt: skip
    return "\n".join(lines)


def plot(found: list[Found]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 5, figsize=(17, 11))
    for axis, one in zip(axes.ravel(), found, strict=True):
        order = np.argsort(-np.abs(one.sensitivities).max(axis=1))[:24]
        axis.imshow(one.sensitivities[order], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axis.set_yticks(range(len(order)), [one.parameters[k] for k in order], fontsize=6)
        axis.set_xticks(range(len(one.outputs)), one.outputs, rotation=60, fontsize=6, ha="right")
        axis.set_title(one.model.name, fontsize=9)
    figure.tight_layout()
    figure.savefig(EVIDENCE / "sensitivity.png", dpi=75)


def write(found: list[Found]) -> None:
    from bench.skill_limits import fill

    with (EVIDENCE / "sensitivity.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("model", "parameter", "output", "sensitivity"))
        for one in found:
            for k, name in enumerate(one.parameters):
                for j, output in enumerate(one.outputs):
                    out.writerow((one.model.name, name, output, f"{one.sensitivities[k, j]:.4f}"))
            for k, s in enumerate(one.singular[:12]):
                out.writerow((one.model.name, f"direction {k + 1}", "singular value", f"{s:.4g}"))
    fill(
        EVIDENCE / "sensitivity.md", "<!-- table: python -m bench.sensitivity --write -->", "<!-- end -->", table(found)
    )
    plot(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="docs/evidence/sensitivity.*")
    parser.add_argument("--quick", action="store_true", help="without the circulation")
    arguments = parser.parse_args()
    found = [measure(model) for model in models() if not (arguments.quick and model.name == "circulation")]
    print(table(found))
    if arguments.write and not arguments.quick:
        write(found)


if __name__ == "__main__":
    main()
