"""Pictures and the page of docs/evidence/cases: what bench/cases.py found, for people."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.twin.session_body import EXCHANGE_S
from services.twin.session_case import Case, shipped_case
from services.twin.session_engine import Session

SHOWN = {  # five courses a case; the sixth field is scores
    "haemorrhage": ("HR", "MAP", "SpO2", "Hb", "lactate"),
    "septic_shock": ("HR", "MAP", "SpO2", "output", "lactate"),
    "diabetic_ketoacidosis": ("HR", "MAP", "glucose", "K", "pH"),
    "hypoglycaemia": ("HR", "MAP", "SpO2", "glucose", "K"),
    "hypertensive_emergency": ("HR", "MAP", "SBP", "SpO2", "output"),
    "acute_heart_failure": ("HR", "MAP", "SpO2", "LAP", "lactate"),
}
USUAL = ("HR", "MAP", "SpO2", "glucose", "lactate")
HEAD = (
    "# Teaching cases under scripted learners",
    "",
    "`python -m bench.cases --full --write`; one case with `--case ID`, this page alone with `--page`. Education and",
    "research; not a medical device. Scripted learners: `services/twin/session_policies.py`; limits: `console.md` 3.",
    "Rows of policies are self (our own design). Rows of expected numbers name a human source or say design target;",
    "they were in sight when cases were tuned, so green is no validation. Scores side by side are of seeds 1, 2, 3:",
    "other people of the same case. An expert who comes late is the same script begun so much later. Red stays red.",
)


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    found: str
    wanted: str
    source: str
    green: bool


@dataclass(frozen=True, slots=True)
class Run:
    policy: str
    detail: float  # minutes of delay, or number of the day
    seed: int
    total: float
    ended: str
    minutes: float


def picture(case: Case, sessions: Mapping[str, Session], runs: Sequence[Run], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 6.5))
    for axis, name in zip(axes.flat, SHOWN.get(case.id, USUAL), strict=False):
        for policy, session in sessions.items():
            values = session.series(name)
            axis.plot(EXCHANGE_S * np.arange(len(values)) / 60.0, values, label=policy, lw=1.2)
        for target in (one for one in case.targets if one.name == name):
            for bound in (target.low, target.high):
                if bound is not None:
                    axis.axhline(bound, color="grey", lw=0.6, ls=":")
        axis.set_ylabel(f"{name} {next(iter(sessions.values())).vocabulary.unit(name)}")
        axis.set_xlabel("minutes")
    axes[0][0].legend(fontsize=7)
    _scores(axes[1][2], runs)
    figure.suptitle(f"{case.title}: scripted learners, seed 1; dotted: targets. A model, for teaching.")
    figure.tight_layout()
    figure.savefig(path, dpi=65, metadata={"Software": None})
    plt.close(figure)


def _scores(axis: Any, runs: Sequence[Run]) -> None:  # noqa: ANN401 -- matplotlib has no types
    """Score over delay; experts of other days and learners by chance at the sides."""
    for seed in sorted({one.seed for one in runs if one.policy == "delayed"}):
        first = [(0.0, one.total) for one in runs if one.policy == "expert" and one.seed == seed]
        late = first + [(one.detail, one.total) for one in runs if one.policy == "delayed" and one.seed == seed]
        axis.plot(*zip(*late, strict=True), marker="o", ms=3, lw=1, label=f"expert, later; seed {seed}")
    for policy, x in (("perturbed", -4.0), ("random", 34.0)):
        totals = [one.total for one in runs if one.policy == policy]
        axis.plot(x + np.linspace(-1, 1, len(totals)), totals, ls="", marker=".", label=policy)
    axis.set_ylim(-3, 103)
    axis.set_ylabel("score")
    axis.set_xlabel("minutes late")
    axis.legend(fontsize=7)


def page(folder: Path, ids: Sequence[str]) -> str:
    """Of the files that are there."""
    lines, tables = list(HEAD), []
    lines += ["", "| case | red | rows |", "|---|---|---|"]
    for id in ids:
        path = folder / f"{id}.csv"
        if not path.exists():
            lines.append(f"| {id} | not run | |")
            continue
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        red = [row for row in rows if row["green"] != "True"]
        lines.append(f"| [{id}](#{id}) | {len(red)} | {len(rows)} |")
        tables += ["", f"## {id}", "", shipped_case(id).title + ".", ""]
        tables += ["| what | found | wanted | source | |", "|---|---|---|---|---|"]
        for row in rows:
            mark = "green" if row["green"] == "True" else "**red**"
            tables.append(f"| {row['what']} | {row['found']} | {row['wanted']} | {row['source']} | {mark} |")
        if (folder / f"{id}.png").exists():
            tables += ["", f"![{id}](cases/{id}.png)", "", f"Every run: [{id}-runs.csv](cases/{id}-runs.csv)."]
    return "\n".join(lines + tables) + "\n"
