"""Makes twinward/physiology/cohort.csv: people drawn around the S2008 means.

    python -m bench.cohort            # writes cohort.csv and cohort.toml anew, same seed
    python -m bench.cohort --check    # makes them in memory and compares

The S2008 table is read in a throw-away environment (uv run --isolated) and goes no
further than its means and covariances of logarithms.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from twinward.errors import Unready
from twinward.physiology import cohort

SOURCE = "simglucose==0.2.11"
SEED = 20080301
GROUPS = {"adult": 100, "adolescent": 30}
SHRINK = 0.3  # towards independent parameters: 27 degrees of freedom for 25 of them

READ = """
import csv, importlib.util, json, pathlib
folder = importlib.util.find_spec("simglucose").submodule_search_locations[0]
print(json.dumps(list(csv.DictReader(open(pathlib.Path(folder, "params", "vpatient_params.csv"))))))
"""


def statistics() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Mean logarithms of each age group, and the pooled covariance within groups."""
    local = Path(".tools/bin/uv")
    uv = os.environ.get("UV") or (str(local) if local.exists() else shutil.which("uv"))
    if uv is None:
        raise Unready("uv is needed to read the published table; run make setup, or name it in UV")
    command = [uv, "run", "--isolated", "--no-project", "--python", sys.executable, "--with", SOURCE, "python", "-"]
    answer = subprocess.run(command, input=READ, text=True, capture_output=True, check=True)
    rows = json.loads(answer.stdout)
    means, inside = {}, []
    for group in ("adult", "adolescent", "child"):
        logs = np.log([[float(row[name]) for name in cohort.DRAWN] for row in rows if row["Name"].startswith(group)])
        means[group] = logs.mean(0)
        inside.append(logs - logs.mean(0))
    away = np.concatenate(inside)
    covariance = away.T @ away / (len(away) - len(inside))
    return means, (1 - SHRINK) * covariance + SHRINK * np.diag(np.diag(covariance))


def draw(means: dict[str, np.ndarray], covariance: np.ndarray) -> tuple[list[list[str]], dict[str, int]]:
    """Rows of the file, and how many draws were refused for what."""
    generator = np.random.Generator(np.random.Philox(SEED))
    root = np.linalg.cholesky(covariance)
    rows: list[list[str]] = []
    refused: dict[str, int] = {}
    for group, wanted in GROUPS.items():
        kept = 0
        while kept < wanted:
            drawn = np.exp(means[group] + root @ generator.standard_normal(len(root)))
            drawn = np.array([float(f"{value:.7g}") for value in drawn])
            why = cohort.refusal(cohort.person(drawn), float(drawn[cohort.DRAWN.index("Gb")]))
            if why:
                refused[why] = refused.get(why, 0) + 1
                continue
            kept += 1
            rows.append([f"{group}-{kept:03d}", *(f"{value:.7g}" for value in drawn)])
    return rows, refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    means, covariance = statistics()
    rows, refused = draw(means, covariance)
    body = "\n".join(",".join(row) for row in [["name", *cohort.DRAWN], *rows]) + "\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    if arguments.check:
        same = (cohort.FOLDER / "cohort.csv").read_bytes() == body.encode()
        print("same" if same else "differs")
        sys.exit(0 if same else 1)
    (cohort.FOLDER / "cohort.csv").write_text(body)
    (cohort.FOLDER / "cohort.toml").write_text(_about(digest, means, covariance, refused))
    print(f"{len(rows)} people, refused {refused}")


def _about(digest: str, means: dict[str, np.ndarray], covariance: np.ndarray, refused: dict[str, int]) -> str:
    lines = [
        "# Generated people, not patients: python -m bench.cohort",
        f'sha256 = "{digest}"',
        f'around = "means and pooled within-group covariance of logarithms of {SOURCE} (30 in-silico patients)"',
        f"seed = {SEED}",
        f"shrink_to_diagonal = {SHRINK}",
        'units = "twinward/physiology/meaning.py; Gb mg/dL, EGPb mg/kg/min"',
        "[refused]",
        *(f'"{why}" = {count}' for why, count in sorted(refused.items())),
        "[geometric_mean_adult]",
        *(f"{name} = {np.exp(value):.5g}" for name, value in zip(cohort.DRAWN, means["adult"], strict=True)),
        "[sd_of_logarithm]",
        *(f"{name} = {value:.4g}" for name, value in zip(cohort.DRAWN, np.sqrt(np.diag(covariance)), strict=True)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
