"""Anatomy, valves and narrow vessels beside what is known exactly, published or promised.

    python -m bench.anatomy --json           # the rows, speed of solver and meshes
    python -m bench.anatomy --write          # also docs/evidence/anatomy.csv, .png and the table of .md

Types: external (never used for fitting), fitted-to, self (our own promise or an identity). Red stays red.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench import stenosis as solver
from bench.judged import Row
from twinward.physiology import anatomy, anatomy_read, stenosis, valve
from twinward.physiology import stenosis_flow as flow
from twinward.physiology import stenosis_surrogate as surrogate_of
from twinward.physiology.anatomy_circulation import fit, measure
from twinward.physiology.anatomy_mesh import surface
from twinward.physiology.anatomy_phantom import Phantom
from twinward.physiology.circulation_run import Circulation
from twinward.physiology.monitor import features

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
BEGIN, END = "<!-- table: python -m bench.anatomy --write -->", "<!-- end of table -->"
DATA = Path(os.environ.get("TWINWARD_DATA", Path(__file__).parents[2] / "shared" / "data"))


def shapes() -> tuple[list[Row], float]:
    """Rows, and seconds of a left ventricle's mesh."""
    part, rows, seconds = "Phantom: exact volumes and diameters", [], 0.0
    for grid in ((1.0, 1.0, 1.0), (0.8, 0.8, 1.5)):
        seen, exact = Phantom().drawn(grid), Phantom().ml
        for name in ("heart_ventricle_left", "heart_atrium_left", "heart_ventricle_right", "heart_atrium_right"):
            begun = time.perf_counter()
            ml = surface(seen, name).ml
            seconds = time.perf_counter() - begun if name == "heart_ventricle_left" else seconds
            miss = 100 * (ml / exact[name] - 1)
            at = "x".join(f"{h:g}" for h in grid)
            rows.append(Row(part, f"mesh of {name}, {at} mm, error %", miss, -0.5, 0.5, "0 ± 0.5", "self"))
    smooth = 100 * (surface(seen, "heart_ventricle_left", 1.0).ml / exact["heart_ventricle_left"] - 1)
    rows.append(
        Row(part, "the same smoothed by one voxel, left ventricle, error %", smooth, -0.5, 0.5, "0 ± 0.5", "self")
    )
    seen = Phantom().drawn()
    mitral = anatomy.opening(seen, "heart_atrium_left", "heart_ventricle_left").area_mm2
    rows += [
        Row(part, "aortic diameter, mm", anatomy.vessel(seen, "aorta").diameter_mm, 21.5, 22.5, "22", "self"),
        Row(part, "mitral annulus, error %", 100 * (mitral / Phantom().mitral_mm2 - 1), -5, 5, "0 ± 5", "self"),
    ]
    return rows, seconds


def labels() -> list[Row]:
    """TotalSegmentator's example; empty without the data."""
    folder = DATA / "interop" / "imaging-totalseg"
    part, rows = "Real labels: example of TotalSegmentator (abdomen; no chamber in it)", []
    for name in ("example_seg.nii.gz", "example_seg_dicom.nii.gz"):
        if not (folder / name).is_file():
            continue
        seen = anatomy_read.read(folder / name)
        for label in ("aorta", "liver"):
            one = anatomy.volume(seen, label)
            miss = 100 * (surface(seen, label).ml / one.ml - 1)
            rows.append(
                Row(part, f"{name}: {label} {one.ml:.1f} mL, mesh against voxels, %", miss, -2, 2, "0 ± 2", "self")
            )
        wide = anatomy.vessel(seen, "aorta").diameter_mm
        rows.append(
            Row(part, f"{name}: aorta, mm", wide, 13, 30, "13-30, an adult's from arch to iliacs [M]", "external")
        )
    return rows


def heart() -> list[Row]:
    part = "From the phantom's anatomy to a beating heart, which is not told EDV and ESV"
    full, emptied = Phantom(), Phantom(1.0)
    fitted = fit(measure(full.drawn(), emptied.drawn()), 120.0, "descending")
    f = features(Circulation.start(fitted.parameters).advance(12.0, 250))
    edv, esv = full.ml["heart_ventricle_left"], emptied.ml["heart_ventricle_left"]
    return [
        Row(part, "EDV, mL", f.edv, 0.95 * edv, 1.05 * edv, f"{edv:.1f} ± 5 %", "self"),
        Row(part, "ESV, mL", f.esv, 0.9 * esv, 1.1 * esv, f"{esv:.1f} ± 10 %", "self"),
        Row(part, "systolic, mmHg", f.systolic, 108, 132, "120 ± 10 %, given", "self"),
    ]


def valves() -> list[Row]:
    part, one, rows = "Aortic valve in the typical circulation", Circulation.start(), []
    severe = "severe below 1 cm2: at least 40 mmHg, 4 m/s (guidelines) [M]"
    seen, _ = valve.at_rest(one, valve.Valves(aortic=1.0))
    rows.append(Row(part, "EOA 1.0: mean gradient, mmHg", seen.mean_gradient, 32, 48, severe, "external"))
    rows.append(Row(part, "EOA 1.0: peak velocity, m/s", seen.peak_velocity, 3.5, 4.5, severe, "external"))
    for area in (0.7, 1.0, 2.0):
        seen, _ = valve.at_rest(one, valve.Valves(aortic=area))
        back = stenosis.effective_area_cm2(seen.rms_flow, seen.mean_gradient)
        rows.append(
            Row(part, f"EOA {area}: from 4 v^2 and rms flow", back, area - 1e-6, area + 1e-6, f"{area}", "self")
        )
        gorlin = stenosis.gorlin_cm2(seen.mean_flow, seen.mean_gradient)
        rows.append(Row(part, f"EOA {area}: Gorlin, cm2", gorlin, 0.9 * area, 1.1 * area, f"{area} ± 10 %", "external"))
    before, _ = valve.at_rest(one, valve.Valves(aortic=0.8))
    after, _ = valve.at_rest(one, valve.Valves(aortic=1.6))
    fall = before.lv_systolic - after.lv_systolic
    rows.append(Row(part, "0.8 to 1.6 cm2: LV systolic falls by, mmHg", fall, 20, 90, "direction", "self"))
    gain = after.stroke_volume - before.stroke_volume
    rows.append(Row(part, "0.8 to 1.6 cm2: stroke volume rises by, mL", gain, 0.5, 30, "direction", "self"))
    return rows


def poiseuille(nodes: int, magic: float) -> float:
    found = flow.solve(flow.Narrowing(1.0, 1.0, 20.0), nodes, magic=magic)
    y = (np.arange(nodes) + 0.5) / nodes
    exact = 6 * y * (1 - y)
    return float(np.linalg.norm(found.u[found.u.shape[0] // 2] - exact) / np.linalg.norm(exact))


def flows() -> list[Row]:
    part, s = "Flow solver (plane) and surrogate", surrogate_of.surrogate()
    error, ratio = 100 * s.leave_one_out(), np.exp(s.y)
    coarse, fine = poiseuille(12, 0.25), poiseuille(24, 0.25)
    slow = flow.Narrowing(0.7, 4.0, 1.0)
    lubrication = 100 * (flow.solve(slow, 24).loss / stenosis.plane_loss(slow) - 1)
    leaks = [100 * float(row["flux_error"]) for row in surrogate_of.rows("table") if row["flux_error"]]
    rms = float(np.sqrt(np.mean(error**2)))
    return [
        Row(part, "Poiseuille, 24 nodes, relative L2, magic 1/4", fine, 0, 1e-3, "below 1e-3", "self"),
        Row(
            part,
            "Poiseuille, 24 nodes, relative L2, magic 3/16",
            poiseuille(24, flow.MAGIC),
            0,
            1e-3,
            "below 1e-3",
            "self",
        ),
        Row(part, "order of convergence", float(np.log2(coarse / fine)), 1.9, 2.1, "2", "self"),
        Row(part, "Re 1, slow narrowing, against lubrication, %", lubrication, -3, 3, "0 ± 3", "self"),
        Row(
            part, "plane law against solver, smallest ratio", float(ratio.min()), 0.7, 1.5, "0.7-1.5, our band", "self"
        ),
        Row(part, "plane law against solver, largest ratio", float(ratio.max()), 0.7, 1.5, "0.7-1.5, our band", "self"),
        Row(part, "flow through two columns differs, worst of the table, %", max(leaks), 0, 1, "below 1", "self"),
        Row(part, "steady flows in the table", float(len(s.y)), 200, 200, "200", "self"),
        Row(part, "leave-one-out, root mean square, %", rms, 0, 5, "below 5", "self"),
        Row(part, "leave-one-out, greatest, %", float(np.abs(error).max()), 0, 10, "below 10", "self"),
        Row(part, "a lattice half as fine again, rms, %", 100 * s.lattice, 0, 2, "below 2", "self"),
    ]


def plot() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    s = surrogate_of.surrogate()
    used = [row for row in surrogate_of.rows("table") if row["outcome"] == "steady"]
    loss = np.array([float(row["loss"]) for row in used])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    left.loglog(loss, loss * (1 + s.leave_one_out()), ".", ms=4, label="left out, predicted")
    left.loglog(loss, loss / np.exp(s.y), "x", ms=4, alpha=0.5, label="plane law")
    left.plot(loss[[loss.argmin(), loss.argmax()]], loss[[loss.argmin(), loss.argmax()]], "k-", lw=0.7)
    left.set_xlabel("loss, solved [rho U^2 / 2]")
    left.set_ylabel("loss, predicted")
    left.legend(fontsize=7)
    one, areas = Circulation.start(), np.array([0.5, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0])
    seen = [valve.at_rest(one, valve.Valves(aortic=float(a)))[0] for a in areas]
    right.plot(areas, [x.mean_gradient for x in seen], "o-", ms=3, label="mean gradient, mmHg")
    right.plot(areas, [x.stroke_volume for x in seen], "s-", ms=3, label="stroke volume, mL")
    right.axvline(1.0, color="k", lw=0.7, ls="--")
    right.set_xlabel("effective area of the aortic valve, cm2")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(EVIDENCE / "anatomy.png", dpi=80)


def table(rows: list[Row], speed: dict[str, float]) -> str:
    lines = [f"{sum(r.green for r in rows)} of {len(rows)} rows are green.", ""]
    for part in dict.fromkeys(r.part for r in rows):
        lines += [f"### {part}", "", "| | ours | known | type | |", "|---|---|---|---|---|"]
        lines += [f"| {r.what} | {r.ours:.4g} | {r.published} | {r.type} | {'green' if r.green else '**red**'} |"
                  for r in rows if r.part == part]  # fmt: skip
        lines.append("")
    mlups, seconds = speed["stenosis_mlups"], speed["mesh_seconds"]
    said = f"{mlups:.0f} million lattice updates a second on 400 x 80 (one core), {seconds:.2f} s a ventricle's mesh"
    lines += [f"Speed of this run, on a shared machine: {said}.", ""]
    return "\n".join(lines)


def write(rows: list[Row], speed: dict[str, float]) -> None:
    with (EVIDENCE / "anatomy.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "what", "ours", "low", "high", "published", "type", "colour"])
        for r in rows:
            colour = "green" if r.green else "red"
            writer.writerow([r.part, r.what, f"{r.ours:.6g}", r.low, r.high, r.published, r.type, colour])
    page = EVIDENCE / "anatomy.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + "\n" + table(rows, speed) + END + rest.partition(END)[2])
    plot()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="docs/evidence/anatomy.csv, .png and the table of .md")
    arguments = parser.parse_args()
    drawn, seconds = shapes()
    speed = solver.speed() | {"mesh_seconds": seconds}
    rows = [*drawn, *labels(), *heart(), *valves(), *flows()]
    if arguments.write:
        write(rows, speed)
    if arguments.json:
        print(json.dumps(speed | {"rows": [asdict(r) | {"green": r.green} for r in rows]}, indent=1))
    else:
        print(table(rows, speed))


if __name__ == "__main__":
    main()
