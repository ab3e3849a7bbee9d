"""The shipped teaching cases under scripted learners: do they tell good care from none, from too much and from wrong?

    python -m bench.cases                                      # all cases, the four policies, seed 1
    python -m bench.cases --case haemorrhage                   # one
    python -m bench.cases --case haemorrhage --full --write    # all seeds, delays, chance, what is left out; its files
    python -m bench.cases --page                               # docs/evidence/cases.md from the files of all cases

Every case has its own docs/evidence/cases/<id>.csv (rows), <id>-runs.csv (each run's score) and <id>.png; the page is
made of these. Limits are those of the design: expert at least 85, inaction at most 25, order-everything at most 60,
wrong-drug at most 40, never better for being later, chance (median) below the 10th percentile of perturbed experts. A
row that misses its limit is red and stays. Expected numbers of a case must hold with every seed, their source beside
them. Runs of one seed share the patient as met, and delayed experts share the untreated time before they come.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.cases_page import Row, Run, page, picture
from services.twin import session_policies as policies
from services.twin.session_body import EXCHANGE_S
from services.twin.session_case import Case, shipped, shipped_case
from services.twin.session_command import Mode
from services.twin.session_engine import Session
from services.twin.session_patient import Patients
from services.twin.session_score import score

EVIDENCE = Path("docs/evidence")
LIMITS = {"expert": (85.0, 100.0), "inaction": (0.0, 25.0), "order-everything": (0.0, 60.0), "wrong-drug": (0.0, 40.0)}
SEEDS = (1, 2, 3)  # patients the four policies meet
DELAY_SEEDS = (1, 2)
DELAYS_MIN = (2.0, 5.0, 10.0, 20.0, 30.0)
DAYS = 12  # perturbed experts, and learners by chance; the patient is seed 1 + day % 3
OMITTED = 3  # weightiest critical actions left out, one at a time
PARTIAL = (30.0, 80.0)  # where partial competence should land


@dataclass(slots=True)
class Bench:
    """Runs one case; each seed's patient is begun once."""

    case: Case
    bodies: Patients = field(default_factory=Patients)
    runs: list[Run] = field(default_factory=list)
    begun: dict[tuple[int, int], bytes] = field(default_factory=dict)  # (seed, second untreated) -> session
    sessions: dict[tuple[str, int], Session] = field(default_factory=dict)  # of the four policies

    def session(self, seed: int, at_s: int = 0) -> Session:
        """Of this seed's patient, untreated until then (or dead before)."""
        if (seed, at_s) not in self.begun:
            earlier = max((s for one, s in self.begun if one == seed and s <= at_s), default=None)
            if earlier is None:
                session = Session.open(self.case, seed, Mode.ASSESSMENT, self.bodies)
            else:
                session = Session.load(self.begun[seed, earlier], self.case, self.bodies)
            if not session.ended and session.now_s < at_s:
                session.advance(at_s - session.now_s)
            self.begun[seed, at_s] = session.dump()
        return Session.load(self.begun[seed, at_s], self.case, self.bodies)

    def run(self, name: str, policy: policies.Policy, seed: int, detail: float = 0.0, at_s: int = 0) -> float:
        session = self.session(seed, at_s)
        found = score(session) if session.ended else policies.onwards(session, policy)
        self.runs.append(Run(name, detail, seed, round(found.total, 2), session.ended, round(session.now_s / 60, 1)))
        if name in LIMITS:
            self.sessions[name, seed] = session
        return found.total

    def four(self, seeds: Sequence[int]) -> list[Row]:
        rows = []
        for name, make in policies.named(self.case).items():
            totals = [self.run(name, make(), seed) for seed in seeds]
            low, high = LIMITS[name]
            wanted = f"at least {low:g}" if high == 100.0 else f"at most {high:g}"
            ends = sorted({f"{one.ended} at {one.minutes:.0f} min" for one in self.runs if one.policy == name})
            text = f"{', '.join(f'{x:.1f}' for x in totals)} ({'; '.join(ends)})"
            rows.append(Row(name, text, wanted, "console.md 3", all(low <= x <= high for x in totals)))
        return rows

    def expected(self, seeds: Sequence[int]) -> list[Row]:
        """The case's own numbers, with every seed."""
        rows = []
        for one in self.case.expected:
            values = [_at(self.sessions[one.policy, seed], one.name, one.at_s) for seed in seeds]
            text = ", ".join("not lived" if x is None else f"{x:.3g}" for x in values)
            what = f"{one.name} at {one.at_s / 60:.3g} min, {one.policy}"
            green = all(x is not None and one.low <= x <= one.high for x in values)
            source = self.case.sources.get(one.source, one.source)
            rows.append(Row(what, text, f"{one.low:g} to {one.high:g}", source, green))
        return rows

    def later(self) -> Row:
        """Who comes later is never better off."""
        courses, green = [], True
        for seed in DELAY_SEEDS:
            totals = [next(one.total for one in self.runs if one.policy == "expert" and one.seed == seed)]
            for minutes in (one for one in DELAYS_MIN if one < self.case.minutes):
                late = policies.delayed(policies.expert(self.case), minutes)
                totals.append(round(self.run("delayed", late, seed, minutes, round(60 * minutes)), 2))
            green = green and all(a >= b for a, b in pairwise(totals))
            courses.append(f"seed {seed}: {', '.join(f'{x:.0f}' for x in totals)}")
        mins = ", ".join(f"{x:g}" for x in (0.0, *DELAYS_MIN) if x < self.case.minutes)
        return Row(f"expert who comes {mins} min late", "; ".join(courses), "never better", "console.md 3", green)

    def partial(self) -> Row:
        """Experts who never do one of the weightiest things, beside those who come late: something in between."""
        full = next(one.total for one in self.runs if one.policy == "expert")
        left_out = {}
        for one in sorted(self.case.critical, key=lambda one: -one.weight)[:OMITTED]:
            names = one.actions or tuple(
                action.id
                for action in self.case.actions
                if one.reached is not None and any(giving.what == one.reached.total for giving in action.gives)
            )
            left_out[one.id] = self.run(f"without {one.id}", policies.without(self.case, names), SEEDS[0])
        between = [*left_out.values(), *(one.total for one in self.runs if one.policy == "delayed")]
        low, high = PARTIAL
        green = all(x < full for x in left_out.values()) and any(low <= x <= high for x in between)
        text = ", ".join(f"{id} {x:.1f}" for id, x in left_out.items())
        wanted = f"below the expert; of these and who come late some at {low:g} to {high:g}"
        return Row("expert without one critical action", text, wanted, "design target", green)

    def chance(self) -> Row:
        """Learners by chance, and experts on other days."""
        experts, chance = [], []
        for day in range(DAYS):
            seed = SEEDS[day % len(SEEDS)]
            other = policies.perturbed(self.case, policies.expert(self.case), day)
            experts.append(self.run("perturbed", other, seed, day))
            chance.append(self.run("random", policies.random(self.case, day), seed, day))
        bar, median = float(np.percentile(experts, 10)), float(np.median(chance))
        what = f"chance, {DAYS} learners"
        text = (
            f"median {median:.1f}, best {max(chance):.1f}; perturbed experts {min(experts):.1f} to {max(experts):.1f}"
        )
        return Row(what, text, f"median below {bar:.1f}", "10th percentile of perturbed experts", median < bar)


def _at(session: Session, name: str, at_s: int) -> float | None:
    values = session.series(name)
    return float(values[at_s // EXCHANGE_S]) if at_s // EXCHANGE_S < len(values) else None


def rows(bench: Bench, full: bool) -> list[Row]:
    seeds = SEEDS if full else SEEDS[:1]
    found = bench.four(seeds)
    if full:
        found += [bench.later(), bench.chance(), bench.partial()]
    return found + bench.expected(seeds)


def keep(bench: Bench, found: Sequence[Row]) -> None:
    folder, id = EVIDENCE / "cases", bench.case.id
    folder.mkdir(exist_ok=True)
    _table(folder / f"{id}.csv", [asdict(one) for one in found])
    _table(folder / f"{id}-runs.csv", [asdict(one) for one in bench.runs])
    courses: Mapping[str, Session] = {name: bench.sessions[name, SEEDS[0]] for name in LIMITS}
    picture(bench.case, courses, bench.runs, folder / f"{id}.png")


def _table(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=list(shipped()), action="append")
    parser.add_argument("--full", action="store_true", help="also other patients, delays, chance, what is left out")
    parser.add_argument("--write", action="store_true", help="the files of each case, and the page")
    parser.add_argument("--page", action="store_true", help="only the page, from the files")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    everything: list[dict[str, object]] = []
    for id in [] if asked.page else asked.case or list(shipped()):
        bench = Bench(shipped_case(id))
        found = rows(bench, asked.full)
        if asked.write:
            keep(bench, found)
        everything += [{"case": id, **asdict(row)} for row in found]
        for row in [] if asked.json else found:
            mark = "green" if row.green else "RED  "
            print(f"{mark} {id}: {row.what}: {row.found} (wanted {row.wanted}; {row.source})", flush=True)
    if asked.json:
        print(json.dumps({"rows": everything, "red": sum(not row["green"] for row in everything)}))
    if asked.write or asked.page:
        (EVIDENCE / "cases.md").write_text(page(EVIDENCE / "cases", list(shipped())))


if __name__ == "__main__":
    main()
