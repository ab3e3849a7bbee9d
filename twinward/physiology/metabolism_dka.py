"""Ketoacidosis, reached by mechanism: type 1 diabetes, resistant, no insulin, drinking too little, until it is severe.

SI x 0.4 and no insulin (physiology.md 1b.5); glucose made on the order of stress hormones, and how much is drunk [G],
searched until the start looked as a case of DKA does. The body around it is the usual one but for what was lost: blood
is the usual less what this model moved, carbon dioxide follows Winters. dka_start.csv holds the state reached at 75 kg;
a test runs the days again and compares. Any other weight or changed value is run, in a fraction of a second.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np

from twinward.errors import Unready
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology.glucose_state import State
from twinward.physiology.metabolism import Metabolism
from twinward.physiology.metabolism_glucose import DKA_SENSITIVITY
from twinward.physiology.metabolism_meaning import FLOWS, STATES, VALUES

TABLE = Path(__file__).with_name("dka_start.csv")
CHANGED = {"sensitivity": DKA_SENSITIVITY, "stress": 6.0}
DRINKING = 1.1  # share of the usual [G]; no salt, no potassium is eaten
HOURS_MOST = 72
# What has to be there at once.
GLUCOSE, PH, KETONES, DEFICIT_L = 450.0, 7.25, 5.0, 5.0
STRETCH_S = 600.0


def start(weight_kg: float, **values: float) -> Metabolism:
    """The patient as brought in: nothing by mouth from now on, no insulin.

    Raises:
        BadInput: a value nobody has. Unready: with these values it does not come to ketoacidosis in 72 h.
    """
    if values or weight_kg != VALUES["weight"]:
        return develop(weight_kg, **values)
    return kept()


def develop(weight_kg: float = VALUES["weight"], **values: float) -> Metabolism:
    """Runs the days without insulin."""
    one = Metabolism.at_rest("dka", weight_kg, CHANGED | values)
    v, x = one.values, one.slow
    one.give("basal", 0.0, "dimensionless")
    one.give("drinking", DRINKING, "dimensionless")
    one.give("eating", 0.0, "dimensionless")
    for _ in range(round(HOURS_MOST * 3600 / STRETCH_S)):
        PaCO2 = max(v["PaCO20"] - v["Winters"] * (v["HCO30"] - one.bicarbonate(v["lactate0"])), 12.0)
        one.advance(STRETCH_S, v["usual_MAP"], 5.0, v["usual_blood"] + x["plasma"], v["lactate0"], PaCO2)
        found = one.laboratory(v["lactate0"], PaCO2)
        if (
            found["glucose"] >= GLUCOSE
            and found["pH"] <= PH
            and found["ketones"] >= KETONES
            and x["water_out"] - x["water_in"] >= DEFICIT_L
        ):
            one.give("drinking", 0.0, "dimensionless")
            return one
    raise Unready("with these values three days without insulin do not end in ketoacidosis")


def rows(one: Metabolism) -> list[tuple[str, str, float]]:
    """The state reached, as the table has it."""
    found = [("minute", "body", float(one.body.minute))]
    found += [(name, "state", value) for name, value in one.slow.items()]
    found += [(name, "flow", value) for name, value in one.flow.items()]
    found += [(name, "glucose", float(value)) for name, value in zip(options.STATES, one.body.x, strict=True)]
    found += [(str(k), "memory", float(value)) for k, value in enumerate(one.body.memory)]
    return found


def write(one: Metabolism) -> None:
    lines = ["name,part,value", *(f"{name},{part},{value!r}" for name, part, value in rows(one))]
    TABLE.write_text("\n".join(lines) + "\n")
    kept_rows.cache_clear()


@cache
def kept_rows() -> tuple[tuple[str, str, float], ...]:
    with TABLE.open(newline="") as lines:
        return tuple((row["name"], row["part"], float(row["value"])) for row in csv.DictReader(lines))


def kept() -> Metabolism:
    """The start in the table."""
    found = {(part, name): value for name, part, value in kept_rows()}
    one = Metabolism.at_rest("dka", VALUES["weight"], CHANGED)
    one.slow = {name: found["state", name] for name in STATES}
    one.flow = {name: found["flow", name] for name in FLOWS}
    x = np.array([found["glucose", name] for name in options.STATES])
    memory = np.array([found["memory", str(k)] for k in range(s2008.MEMORY)])
    one.body = State(one.body.model, round(found["body", "minute"]), one.body.p, x, memory)
    return one
