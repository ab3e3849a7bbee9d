"""The metabolism beside what is published: writes docs/evidence/metabolism.md and metabolism.png.

    python -m bench.metabolism             # the rows, about 15 s
    python -m bench.metabolism --write     # also the tables of docs/evidence/metabolism.md and the plot

Type of an oracle: external (another's measurement), fitted-to (numbers of ours were searched until it was met),
direction, target (of a guideline or a design). [S] read, abstracts included; [M] from memory. A miss stays red.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.glucose_models import Row, markdown
from twinward.physiology import metabolism_dka
from twinward.physiology.metabolism import Metabolism

PAGE = Path("docs/evidence/metabolism.md")
BEGIN, END = "<!-- table: python -m bench.metabolism --write -->", "<!-- end of table -->"
BODY = (93.0, 5.0, 5300.0, 1.0, 40.0)
CONSENSUS = "ADA/EASD 2024 consensus, physiology.md 5 [S]"
Hook = Callable[[Metabolism, int], None]


def within(what: str, ours: float, low: float, high: float, kind: str, source: str, digits: int = 1) -> Row:
    said = f"{low:g} to {high:g}"
    return Row(what, f"{ours:.{digits}f}", said, kind, bool(low <= ours <= high), source)


def spread(what: str, ours: float, mean: float, sd: float, kind: str, source: str, digits: int = 1) -> Row:
    """Green within one standard deviation."""
    return Row(what, f"{ours:.{digits}f}", f"{mean:g} ± {sd:g}", kind, bool(abs(ours - mean) <= sd), source)


def course(one: Metabolism, minutes: int, body: tuple[float, ...] = BODY) -> np.ndarray:
    """(minutes,) glucose, mg/dL."""
    return np.array([one.advance(60.0, *body).glucose for _ in range(minutes)])


def low(how: str, amount: float, unit: str) -> Metabolism:
    """Type 1 diabetes brought to 50 mg/dL; an infusion is then stopped."""
    one = Metabolism.start("t1d", 75.0)
    one.give(how, amount, unit)
    while one.glucose >= 50.0 and one.now_s < 8 * 3600:
        one.advance(60.0, *BODY)
    if unit == "IU/h":
        one.give(how, 0.0, unit)
    return one


def treated(start: bytes, what: str, amount: float, unit: str, minutes: int) -> np.ndarray:
    one = Metabolism.load(start)
    if what:
        one.give(what, amount, unit)
    return course(one, minutes)


def lows() -> list[Row]:
    one = Metabolism.start("t1d", 75.0, glucose=150.0)
    one.give("insulin_sc", 1.0, "IU")
    unit = 150.0 - course(one, 300).min()
    one = Metabolism.start("t1d", 75.0)
    one.give("insulin_sc", 10.0, "IU")
    g = course(one, 240)
    reached = int(np.argmax(g < 54.0)) + 1 if (g < 54.0).any() else 999
    start = low("insulin_iv", 3.0, "IU/h").dump()
    nothing = treated(start, "", 0.0, "", 90)
    shot = treated(start, "glucagon", 1.0, "mg", 90)
    success = int(np.argmax((shot >= 70.0) | (shot >= np.minimum.accumulate(shot) + 20.0))) + 1
    ten, fifteen, twenty = (treated(start, "glucose_oral", g, "g", 45) for g in (10.0, 15.0, 20.0))
    vein = Metabolism.start("healthy", 75.0)
    vein.give("glucose_iv", 25.0, "g")
    up = course(vein, 15) - 92.0
    balentine = "healthy volunteers (Balentine 1998 [M]), as a guideline quotes them [S]"
    rosenfalck = "Rosenfalck 1992, 12 people with type 1 diabetes [S]"
    return [
        spread("1 IU under the skin at 150 mg/dL takes off, mg/dL", unit, 36, 9, "fitted-to",
               "rule of 1,800 at 50 IU a day [M]"),
        within("10 IU without a meal, from 110: minutes to below 54", reached, 45, 120, "target", "case design", 0),
        spread("health, 25 g by vein: rise after 5 min, mg/dL", up[4], 162, 31, "external", balentine),
        spread("health, 25 g by vein: rise after 15 min, mg/dL", up[14], 63.5, 38.8, "external", balentine),
        spread("low, nothing given: rise in 15 min, mg/dL", nothing[14] - 50, 5.4, 7.2, "external", rosenfalck),
        spread("low, glucagon 1 mg: rise in 15 min, mg/dL", shot[14] - 50, 45, 18, "fitted-to", rosenfalck),
        spread("low, glucagon 1 mg: minutes to 70 or 20 above the least", success, 13, 4, "external",
               "Rickels 2016, 75 people, mean 13 [S]; ± ours", 0),
        spread("low, glucagon 1 mg: glucose after 90 min, mg/dL", shot[89], 180, 36, "external",
               rosenfalck + "; about 10 mmol/L, ± ours"),
        spread("low, 10 g by mouth: rise in 30 min, mg/dL", ten[29] - 50, 37, 15, "external",
               "Wiethop and Cryer 1993 [M]; ± ours"),
        within("low, 15 g by mouth: rise in 15 min, mg/dL", fifteen[14] - 50, 10, 40, "direction",
               "recheck after 15 min, physiology.md 5 [S]"),
        spread("low, 20 g by mouth: rise in 45 min, mg/dL", twenty[44] - 50, 64, 20, "external",
               "Wiethop and Cryer 1993 [M]; ± ours"),
    ]  # fmt: skip


def brought_in() -> list[Row]:
    one = metabolism_dka.kept()
    v, x = one.values, one.slow
    PaCO2 = v["PaCO20"] - v["Winters"] * (v["HCO30"] - one.bicarbonate(1.0))
    found = one.laboratory(1.0, PaCO2)
    Na = v["Na0"] * v["ECF"] - x["Na_e"] / v["weight"]
    usual = "usual deficits, ADA 2009 [M]"
    return [
        within("hours without insulin", one.now_s / 3600, 24, 48, "target", "physiology.md 5", 0),
        within("glucose, mg/dL", found["glucose"], 450, 600, "target", "physiology.md 5", 0),
        Row("3-hydroxybutyrate, mmol/L", f"{found['ketones']:.1f}", "at least 3", "external", found["ketones"] >= 3.0,
            CONSENSUS),
        Row("pH", f"{found['pH']:.2f}", "below 7.3", "external", found["pH"] < 7.3, CONSENSUS),
        Row("bicarbonate, mmol/L", f"{found['HCO3']:.1f}", "below 18", "external", found["HCO3"] < 18.0, CONSENSUS),
        within("water missing, mL/kg", 1000 * (x["water_out"] - x["water_in"]) / 75, 60, 100, "target",
               "100 mL/kg, " + usual + "; 6 L [G]", 0),
        within("sodium missing, mmol/kg", Na, 7, 10, "external", usual),
        within("potassium missing, mmol/kg", (x["K_out"] - x["K_in"]) / 75, 3, 5, "external", usual),
        within("potassium in plasma all the same, mmol/L", found["K"], 4.2, 6.5, "direction", "textbook [M]"),
        within("sodium in plasma, mmol/L", found["Na"], 125, 138, "direction", "textbook [M]"),
    ]  # fmt: skip


def ward(hours: int, hook: Hook) -> dict[str, np.ndarray]:
    """The patient in a bed, hour by hour as columns: what `hook` gives each minute, blood from what is moved."""
    one = metabolism_dka.kept()
    v, blood = one.values, one.values["usual_blood"] + one.slow["plasma"]
    rows: list[dict[str, float]] = []
    for minute in range(hours * 60 + 1):
        PaCO2 = max(v["PaCO20"] - v["Winters"] * (v["HCO30"] - one.bicarbonate(1.0)), 12.0)
        rows.append(dict(one.laboratory(1.0, PaCO2)))
        hook(one, minute)
        blood += one.advance(60.0, 90.0, 5.0, blood, 1.0, PaCO2).plasma_ml
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def insulin_only(one: Metabolism, minute: int) -> None:
    if minute == 0:
        one.give("insulin_iv", 0.1 * 75, "IU/h")


def saline_only(one: Metabolism, minute: int) -> None:
    if minute == 0:
        one.give("crystalloid", 1000.0, "mL/h")


def both(one: Metabolism, minute: int) -> None:
    if minute == 0:
        one.give("crystalloid", 500.0, "mL/h")
        one.give("insulin_iv", 0.1 * 75, "IU/h")
    if minute == 240:
        one.give("crystalloid", 250.0, "mL/h")


def guideline(one: Metabolism, minute: int) -> None:
    """Fluid, insulin, potassium from the first hour; below 250 mg/dL dextrose, below 160 half the insulin."""
    both(one, minute)
    K = one.slow["K_e"] / one.outside
    one.give("potassium_chloride", 0.0 if K > 5.0 else 20.0 if K > 3.5 else 40.0, "mmol/h")
    one.give("insulin_iv", (0.05 if one.glucose < 160.0 else 0.1) * 75, "IU/h")
    one.give("glucose_iv", 10.0 if one.glucose < 170.0 else 5.0 if one.glucose < 250.0 else 0.0, "g/h")


def treatment() -> list[Row]:
    alone, fluid, two, whole = (ward(24, hook) for hook in (insulin_only, saline_only, both, guideline))

    def until_250(found: dict[str, np.ndarray]) -> float:
        end = int(np.argmax(found["glucose"] < 250.0))
        return float((found["glucose"][0] - found["glucose"][end]) / end * 60.0)

    hourly = -np.diff(two["glucose"][:301:60])
    closed = int(np.argmax(whole["HCO3"] >= 18.0)) / 60
    clear = int(np.argmax(whole["ketones"] < 0.6)) / 60
    return [
        within("0.1 IU/kg/h alone: mean fall to 250 mg/dL, mg/dL/h", until_250(alone), 50, 75, "target", CONSENSUS),
        within("0.1 IU/kg/h with 500 mL/h: mean fall to 250, mg/dL/h", until_250(two), 50, 75, "target", CONSENSUS),
        within("the same, fastest hour of five, mg/dL/h", hourly.max(), 50, 75, "target", CONSENSUS),
        within("fluid alone, 1 L/h: mean fall of two hours, mg/dL/h", (fluid["glucose"][0] - fluid["glucose"][120]) / 2,
               25, 70, "direction", "Waldhäusl 1979, fluids alone lower it [M]"),
        Row("potassium with insulin and fluid, none given: after 0, 1, 2, 4 h, mmol/L",
            " ".join(f"{two['K'][h * 60]:.1f}" for h in (0, 1, 2, 4)), "falls below 3.5", "direction",
            bool(two["K"][240] < 3.5 < two["K"][0]), "why it is known before insulin, " + CONSENSUS),
        within("least potassium of 24 h under the guideline", whole["K"].min(), 3.3, 5.3, "target", CONSENSUS, 2),
        within("glucose under the guideline, hours 6 to 24: mean, mg/dL", whole["glucose"][360:].mean(), 150, 200,
               "target", CONSENSUS, 0),
        Row("least glucose in 24 h without and with dextrose, mg/dL",
            f"{two['glucose'].min():.0f} {whole['glucose'].min():.0f}", "higher with it, above 70", "direction",
            bool(two["glucose"].min() < whole["glucose"].min() > 70.0), CONSENSUS),
        within("bicarbonate at 18 after, h", closed, 6, 18, "external", "resolution usually in 10 to 18 h [M]"),
        within("ketones below 0.6 mmol/L after, h", clear, 6, 18, "external", "the same [M]"),
        within("fall of 3-hydroxybutyrate in the first six hours, mmol/L/h",
               (whole["ketones"][0] - whole["ketones"][360]) / 6, 0.5, 1.5, "external", "JBDS: at least 0.5 [M]", 2),
        Row("ketones are gone before bicarbonate is whole", f"{whole['HCO3'][round(clear * 60)]:.1f} mmol/L then",
            "below 24", "direction", bool(whole["HCO3"][round(clear * 60)] < 23.0), "acids lost in urine, saline [M]"),
    ]  # fmt: skip


def salts_and_kidney() -> list[Row]:
    held = (35.0, 5.0, 5300.0, 1.0, 40.0)  # nothing is filtered, so nothing is lost
    one = Metabolism.start("t1d", 75.0)
    before = one.laboratory(1.0, 40.0)
    one.give("glucose_iv", 80.0, "g")
    one.advance(120.0, *held)
    after = one.laboratory(1.0, 40.0)
    katz = (before["Na"] - after["Na"]) / (after["glucose"] - before["glucose"]) * 100.0
    high = Metabolism.start("t1d", 75.0, K0=6.2)
    high.give("insulin_iv", 10.0, "IU")
    high.give("glucose_iv", 25.0, "g", 300.0)
    K = [high.advance(60.0, *BODY).K for _ in range(240)]
    wet = Metabolism.start("healthy", 75.0)
    wet.give("furosemide", 40.0, "mg")
    urine = np.array([wet.advance(60.0, *BODY).urine_ml for _ in range(360)]) - 1.25
    dry = Metabolism.start("healthy", 75.0)
    dry.advance(86_400.0, 50.0, *BODY[1:])
    return [
        within("sodium falls per 100 mg/dL of glucose, mmol/L", katz, 1.3, 2.4, "external",
               "1.6 Katz 1973, 1.5 in dialysis (Tzamaloukas), 2.4 Hillier 1999 [S]", 2),
        spread("10 IU and 25 g by vein at 6.2 mmol/L: fall in 60 min, mmol/L", 6.2 - K[59], 0.78, 0.25, "fitted-to",
               "Harel and Kamel 2016, mean [S], SD [M]", 2),
        Row("the same, after 4 h", f"{6.2 - K[239]:.2f}", "less: it comes back", "direction", K[239] > K[59] + 0.2,
            "the effect is temporary [S]"),
        within("furosemide 40 mg: greatest effect after, min", int(urine.argmax()) + 1, 10, 30, "external",
               "US label: within the first half hour [S]", 0),
        within("the same: effect after 120 min over the greatest, %", 100 * urine[119] / urine.max(), 0, 25, "external",
               "US label: about 2 h [S]; 25 % ours"),
        within("the same: urine of 6 h beyond the usual, mL", urine.sum(), 600, 2000, "external",
               "0.6 to 2 L, secondary sources that disagree [M]", 0),
        Row("a day at mean pressure 50 mmHg: creatinine, mg/dL", f"{dry.slow['creatinine']:.2f}", "rises, by 0.3 to 2",
            "direction", bool(1.2 < dry.slow["creatinine"] < 2.9), "0.5 to 1.5 a day without filtration [M]"),
    ]  # fmt: skip


def speed() -> list[Row]:
    rows = []
    for kind in ("healthy", "t1d", "dka"):
        one = Metabolism.start(kind, 75.0)
        one.advance(60.0, *BODY)
        begin = time.perf_counter()
        for _ in range(3000):
            one.advance(2.0, *BODY)
        ms = (time.perf_counter() - begin) / 3.0
        rows.append(Row(f"{kind}: a step of 2 s, ms", f"{ms:.4f}", "< 0.3", "target", ms < 0.3, "one core, Python"))
    return rows


def sections() -> dict[str, list[Row]]:
    return {
        "Low glucose": lows(),
        "Ketoacidosis, as brought in (75 kg)": brought_in(),
        "Ketoacidosis, treated": treatment(),
        "Salts and kidney": salts_and_kidney(),
    }


def plot() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.3))
    hooks = {"insulin": insulin_only, "saline 1 L/h": saline_only, "both": both, "guideline": guideline}
    for name, hook in hooks.items():
        found = ward(18, hook)
        hours = np.arange(len(found["glucose"])) / 60
        axes[0].plot(hours, found["glucose"], label=name)
        axes[1].plot(hours, found["K"], label=name)
    axes[0].axhspan(150, 200, color="0.9")
    axes[0].set(title="ketoacidosis: glucose, mg/dL", xlabel="h", ylim=(0, None))
    axes[1].axhline(3.5, color="k", lw=0.7, ls="--")
    axes[1].set(title="potassium, mmol/L", xlabel="h")
    axes[0].legend(fontsize=7)
    start = low("insulin_iv", 3.0, "IU/h").dump()
    for name, what, amount, unit in (
        ("nothing", "", 0.0, ""), ("15 g by mouth", "glucose_oral", 15.0, "g"),
        ("glucagon 1 mg", "glucagon", 1.0, "mg"), ("25 g by vein", "glucose_iv", 25.0, "g"),
    ):  # fmt: skip
        axes[2].plot(np.arange(1, 91), treated(start, what, amount, unit, 90), label=name)
    axes[2].axhline(70, color="k", lw=0.7, ls="--")
    axes[2].set(title="low glucose treated, mg/dL", xlabel="min")
    axes[2].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(PAGE.with_suffix(".png"), dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    arguments = parser.parse_args()
    text = markdown(sections() | {"Speed": speed()})
    print(text)
    if arguments.write:
        head, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
        plot()


if __name__ == "__main__":
    main()
