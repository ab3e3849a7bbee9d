"""The table behind the stenosis surrogate: plane narrowings, each solved on our own lattice.

    nice -n 15 python -m bench.stenosis --compute        # goes on where it stopped; about 20 min for 200
    python -m bench.stenosis --fit                       # then the kernel of the surrogate: stenosis_kernel.csv
    python -m bench.stenosis --json                      # speed of the solver, leave-one-out error of the surrogate

`twinward/physiology/stenosis.csv`: one row a geometry (a Halton sequence over the ranges of the surrogate), written
when it is done. Rows of kind "check" are every 20th geometry on a lattice half as fine again: what the lattice adds
to the surrogate's uncertainty. A flow that did not become steady stays in the table with its reason and is not used.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import qmc

from twinward.errors import Unready
from twinward.physiology import stenosis_flow as flow
from twinward.physiology import stenosis_surrogate as surrogate_of

TABLE = Path(__file__).parents[1] / "twinward" / "physiology" / "stenosis.csv"
COLUMNS = (
    *("case", "kind", "area_ratio", "length", "reynolds", "eccentricity", "nodes", "loss", "throat_drop"),
    *("peak_velocity", "flux_error", "steps", "settled", "solver", "outcome"),
)
CASES, SEED, CHECK_EVERY = 200, 20, 20
LOW, HIGH = (0.4, 1.0, np.log(5.0), 0.0), (0.9, 3.0, np.log(100.0), 1.0)
LEAST_NODES, THROAT_NODES = 32, 16


def designs(cases: int = CASES) -> list[flow.Narrowing]:
    points = qmc.scale(qmc.Halton(4, scramble=True, rng=np.random.default_rng(SEED)).random(cases), LOW, HIGH)
    return [flow.Narrowing(*(round(v, 5) for v in (a, s, float(np.exp(r)), e))) for a, s, r, e in points.tolist()]


def nodes(one: flow.Narrowing, kind: str) -> int:
    coarse = max(LEAST_NODES, 2 * int(np.ceil(THROAT_NODES / one.area_ratio / 2)))
    return coarse if kind == "table" else coarse * 3 // 2


def row(case: int, kind: str, one: flow.Narrowing) -> dict[str, object]:
    n = nodes(one, kind)
    head = dict(zip(COLUMNS, (case, kind, *one.values, n), strict=False))
    try:
        found = flow.solve(one, n)
    except Unready as error:
        return head | {"solver": flow.SOLVER, "outcome": error.public}
    return head | {
        "loss": f"{found.loss:.6f}",
        "throat_drop": f"{found.throat_drop:.6f}",
        "peak_velocity": f"{found.peak_velocity:.6f}",
        "flux_error": f"{found.flux_error:.2e}",
        "steps": found.steps,
        "settled": f"{found.settled:.2e}",
        "solver": flow.SOLVER,
        "outcome": "steady",
    }


def compute(table: Path, cases: int) -> None:
    wanted = [(k, "table", one) for k, one in enumerate(designs(cases))]
    wanted += [(k, "check", one) for k, _, one in wanted[CHECK_EVERY - 1 :: CHECK_EVERY]]
    wanted.sort(key=lambda one: one[0])
    have: set[tuple[int, str]] = set()
    if table.exists():
        with table.open() as file:
            have = {(int(r["case"]), r["kind"]) for r in csv.DictReader(file) if r["solver"] == flow.SOLVER}
    left = [one for one in wanted if one[:2] not in have]
    begun = time.perf_counter()
    for done, (case, kind, one) in enumerate(left, 1):
        found = row(case, kind, one)
        new = not table.exists()
        with table.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(found)
        spent = time.perf_counter() - begun
        print(f"{len(wanted) - len(left) + done} of {len(wanted)}: {found['outcome']}, "
              f"{spent / done * (len(left) - done) / 60:.0f} min left", file=sys.stderr)  # fmt: skip


def fit() -> None:
    found = surrogate_of.best(*surrogate_of.data())
    lines = [f"{name},{value:.6g}" for name, value in zip(surrogate_of.KERNEL, found.tolist(), strict=True)]
    TABLE.with_name("stenosis_kernel.csv").write_text("\n".join(["name,value", *lines]) + "\n")


def speed(height: int = 80, steps: int = 400) -> dict[str, float]:
    """Million lattice updates a second on a 400 x 80 narrowing, second run."""
    one = flow.Narrowing(0.5, 1.0, 50.0)
    grid = flow.channel(one, height)
    f, inlet = flow.started(one, grid, 0.04, 0.04 * height / 50)
    g = f.copy()
    rates = (1 / (0.12 * height / 50 + 0.5), 1.0)
    flow.sweep(f, g, grid.lo, grid.hi, grid.links, grid.q, inlet, *rates, 2)
    begun = time.perf_counter()
    flow.sweep(f, g, grid.lo, grid.hi, grid.links, grid.q, inlet, *rates, steps)
    spent = time.perf_counter() - begun
    return {"stenosis_mlups": float((grid.hi - grid.lo + 1)[1:-1].sum() * steps / spent / 1e6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compute", action="store_true", help="go on with the table")
    parser.add_argument("--fit", action="store_true", help="the surrogate's kernel from the finished table")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="as it is: nothing here is slow but --compute")
    arguments = parser.parse_args()
    if arguments.compute:
        compute(TABLE, arguments.cases)
        return
    if arguments.fit:
        fit()
        return
    found = speed() | {"loo_rms_percent": 100 * float(np.sqrt(np.mean(surrogate_of.surrogate().leave_one_out() ** 2)))}
    print(json.dumps(found) if arguments.json else found)


if __name__ == "__main__":
    main()
