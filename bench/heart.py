"""Four hospitals' heart disease: local, federated and pooled models on the same held-out patients.

    python -m bench.heart --json           # the numbers
    python -m bench.heart --write          # also docs/evidence/heart.csv, heart.png and the table of heart.md

The study is docs/examples/heart.toml, run through the recipe's own halves in one process
(bench/play.py); only method and rounds change. Data: TWINWARD_DATA/heart_uci. Two tables:

    flamby   FLamby's 740 patients: whoever misses one of the findings is left out, and a cholesterol
             of 0 counts as a number, as there
    study    all 920: 0 is no pressure and no cholesterol, and what is missing is the federated mean

Nothing was chosen on held-out patients: rates, epochs and rounds stood before the first run.
The pooled fit is written here once more, from the concatenated tables, and knows nothing of the recipe.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.play import play
from services.federation.recipes.logistic import alone
from services.federation.recipes.rows import Rows, usable
from services.federation.recipes.scores import auc
from services.federation.study import Study, parse
from services.federation.table import Table

EVIDENCE = Path("docs/evidence")
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "heart.toml"
BEGIN, END = "<!-- table: python -m bench.heart --write -->", "<!-- end of table -->"
FILES = {"Cleveland": "cleveland", "Hungary": "hungarian", "Switzerland": "switzerland", "Long Beach": "va"}
RAW = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak")  # used; num is last
TESTS = 0.34
METHODS: dict[str, dict[str, Any]] = {
    "FedAvg": {"rounds": 52, "settings": {"method": "fedavg", "learning_rate": 0.05, "local_epochs": 5, "batch": 16}},
    "FedYogi": {
        "rounds": 52,
        "settings": {"method": "fedyogi", "learning_rate": 0.05, "local_epochs": 5, "batch": 16, "server_rate": 0.03},
    },
    "exact IRLS": {"rounds": 30, "settings": {"method": "irls"}},
}
ORDER = ("local only", *METHODS, "pooled")
Row = dict[str, Any]


def data_folder() -> Path:
    return Path(os.environ.get("TWINWARD_DATA", Path(__file__).parents[2] / "shared" / "data"))


def study(**changed: object) -> Study:
    return replace(parse(EXAMPLE.read_bytes(), "bench"), test_fraction=TESTS, **changed)  # type: ignore[arg-type]


def raw(file: Path) -> np.ndarray:
    """(n, 11): RAW and whether a vessel was narrowed; NaN where the file has ? or -9."""
    rows = [row for row in csv.reader(file.read_text().splitlines()) if row]
    return np.array(
        [[np.nan if row[k] in ("?", "-9") else float(row[k]) for k in range(10)] + [float(row[13]) > 0] for row in rows]
    )


def columns(found: np.ndarray) -> np.ndarray:
    """(n, 13) in the order of the example study."""
    age, sex, pain, pressure, cholesterol, sugar, ecg, rate, angina, depression = found[:, :10].T

    def above(values: np.ndarray, limit: float) -> np.ndarray:
        return np.where(np.isnan(values), np.nan, values > limit)

    return np.column_stack(
        [age, 1 - sex, above(pain, 1), above(pain, 2), above(pain, 3), pressure, cholesterol, above(sugar, 0),
         above(ecg, 0), above(ecg, 1), rate, above(angina, 0), depression]
    )  # fmt: skip


def hospitals(folder: Path, which: str, seed: int) -> dict[str, Table]:
    """The four tables, a third of each held out by lot."""
    lot = np.random.Generator(np.random.Philox(seed))
    names = tuple(column.name for column in study().columns)
    tables = {}
    for hospital, name in FILES.items():
        found = raw(folder / "heart_uci" / f"processed.{name}.data")
        if which == "flamby":
            found = found[~np.isnan(found).any(1)]
        else:
            found[:, 3:5] = np.where(found[:, 3:5] == 0, np.nan, found[:, 3:5])
        held = lot.permutation(len(found)) < np.ceil(TESTS * len(found))
        tables[hospital] = Table(names, columns(found), found[:, 10], np.where(held, 0.0, 0.9))
    return tables


def pooled_fit(parts: Sequence[Rows]) -> np.ndarray:
    """Intercept and coefficients in the columns' units: weighted least squares on all rows, by QR, until it stands."""
    x = np.concatenate([part.x for part in parts])
    y = np.concatenate([part.y for part in parts])
    x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    centre, scale = np.median(x, axis=0), np.ptp(x, axis=0)  # for conditioning alone: the fit does not depend on it
    design = np.column_stack([np.ones(len(y)), (x - centre) / scale])
    beta = np.zeros(design.shape[1])
    for _ in range(60):
        z = design @ beta
        p = 1 / (1 + np.exp(-z))
        root = np.sqrt(p * (1 - p))
        new = np.linalg.lstsq(design * root[:, None], root * z + (y - p) / root, rcond=None)[0]
        if np.max(np.abs(new - beta)) < 1e-12:
            break
        beta = new
    own = beta[1:] / scale
    return np.array([beta[0] - own @ centre, *own])


def scores(p: np.ndarray, y: np.ndarray) -> Row:
    one_class = y.min() == y.max()
    return {
        "n": len(y),
        "accuracy": float(np.mean((p >= 0.5) == (y == 1))),
        "auc": None if one_class else auc(p, y),
        "brier": float(np.mean((p - y) ** 2)),
    }


def one_seed(folder: Path, which: str, seed: int) -> tuple[list[Row], float]:
    """A row a method and hospital; and how far the exact federated fit lies from the pooled one."""
    tables = hospitals(folder, which, seed)
    asked = study(seed=seed)
    split = {hospital: usable(asked, table) for hospital, table in tables.items()}
    mean = np.nanmean(np.concatenate([learn.x for learn, _ in split.values()]), axis=0)
    models: dict[str, np.ndarray] = {}
    for name, changed in METHODS.items():
        result: Any = play(study(seed=seed, **changed), tables).result()
        models[name] = np.array([row["estimate"] for row in result["coefficients"]])
    models["pooled"] = pooled_fit([learn for learn, _ in split.values()])
    said: dict[str, dict[str, np.ndarray]] = {"local only": {}}
    for hospital, (learn, judge) in split.items():
        said["local only"][hospital], _ = alone(learn, judge, 0.0)
        x = np.where(np.isnan(judge.x), mean, judge.x)
        for name, beta in models.items():
            said.setdefault(name, {})[hospital] = 1 / (1 + np.exp(-(beta[0] + x @ beta[1:])))
    rows = [
        {"table": which, "seed": seed, "method": name, "hospital": hospital, **scores(p, split[hospital][1].y)}
        for name in ORDER
        for hospital, p in said[name].items()
    ]
    y = np.concatenate([judge.y for _, judge in split.values()])
    for name in ORDER:
        p = np.concatenate([said[name][hospital] for hospital in split])
        rows.append({"table": which, "seed": seed, "method": name, "hospital": "all together", **scores(p, y)})
    # in standard deviations of the columns, so that units do not decide what is near
    sd = np.array([1.0, *np.nanstd(np.concatenate([learn.x for learn, _ in split.values()]), axis=0)])
    return rows, float(np.max(np.abs((models["exact IRLS"] - models["pooled"])[1:] * sd[1:])))


def run(folder: Path, seeds: Sequence[int]) -> tuple[list[Row], float]:
    rows: list[Row] = []
    apart = 0.0
    for which in ("flamby", "study"):
        for seed in seeds:
            found, distance = one_seed(folder, which, seed)
            rows += found
            apart = max(apart, distance)
    return rows, apart


def spread(rows: Sequence[Row], **which: str) -> dict[str, tuple[float, float, int]]:
    """Mean, standard deviation over seeds, and seeds, of each score; `hospital="mean"`: of the four hospitals' mean."""
    wanted = {key: value for key, value in which.items() if key != "hospital"}
    mine = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    answer = {}
    for metric in ("accuracy", "auc", "brier"):
        by_seed: dict[int, list[float]] = {}
        for row in mine:
            place = row["hospital"]
            if (place != "all together") if which["hospital"] == "mean" else (place == which["hospital"]):
                by_seed.setdefault(row["seed"], []).append(np.nan if row[metric] is None else row[metric])
        values = np.array([np.mean(found) for found in by_seed.values()])
        values = values[~np.isnan(values)]
        if len(values):
            answer[metric] = (float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0, len(values))
    return answer


def flamby(folder: Path) -> dict[str, tuple[float, float]]:
    """FLamby's published accuracies, its own split: method -> mean of the four hospitals', and over all; 5 seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for file in sorted((folder / "flamby_results").glob("heart_*.csv")):
        for row in csv.DictReader(file.read_text().splitlines()):
            method, test = row["Method"], row["Test"]
            if method.startswith("Local"):
                if test != f"client_test_{method[-1]}":
                    continue
                method = "Local"
            found.setdefault(method, {}).setdefault(test, []).append(float(row["Metric"]))
    answer = {}
    for method, tests in found.items():
        sites = [float(np.mean(values)) for test, values in tests.items() if test.startswith("client_test")]
        answer[method] = (float(np.mean(sites)), float(np.mean(tests.get("Pooled Test", [np.nan]))))
    return answer


def write(rows: list[Row], apart: float, published: Mapping[str, tuple[float, float]]) -> None:
    with (EVIDENCE / "heart.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()})
    plot(rows, published)
    page = EVIDENCE / "heart.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + "\n" + tables(rows, apart, published) + END + rest.partition(END)[2])


def tables(rows: list[Row], apart: float, published: Mapping[str, tuple[float, float]]) -> str:
    seeds = len({row["seed"] for row in rows})
    lines = []
    for which, title in (("flamby", "FLamby's 740 patients"), ("study", "All 920 patients, as the example study asks")):
        lines += [f"### {title}", ""]
        for metric, name in (("accuracy", "Accuracy"), ("auc", "AUC"), ("brier", "Brier score")):
            places = ("mean", *FILES, "all together")
            heads = " | ".join("mean of hospitals" if place == "mean" else place for place in places)
            lines += [f"{name}, mean ± SD of {seeds} splits:", "", f"| method | {heads} |", "|" + 7 * "---|"]
            for method in ORDER:
                cells = []
                for place in places:
                    found = spread(rows, table=which, method=method, hospital=place).get(metric)
                    cells.append("-" if found is None else f"{found[0]:.3f} ± {found[1]:.3f}{_few(found[2], seeds)}")
                lines.append(f"| {method} | {' | '.join(cells)} |")
            lines.append("")
    lines += [
        "### FLamby's published rows (its own split, 5 training seeds)",
        "",
        "| method | mean of hospitals | all together |",
        "|---|---|---|",
        *(f"| {name} | {site:.3f} | {_or_dash(all_)} |" for name, (site, all_) in _best(published)),
        "",
        "Greatest distance of a coefficient of the exact federated fit from the pooled fit, over "
        f"{seeds} splits of both tables: {apart:.1e} per standard deviation of its column.",
        "",
    ]
    return "\n".join(lines)


def _few(n: int, seeds: int) -> str:
    return "" if n == seeds else f" ({n})"


def _or_dash(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _best(published: Mapping[str, tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    """Pooled and local first, then the federated ones from the best down."""
    first = [(name, published[name]) for name in ("Pooled Training", "Local") if name in published]
    rest = sorted((one for one in published.items() if one not in first), key=lambda one: -one[1][0])
    return first + rest


def plot(rows: list[Row], published: Mapping[str, tuple[float, float]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    places = ("mean", *FILES, "all together")
    for axis, (which, title) in zip(axes, (("flamby", "FLamby's 740"), ("study", "all 920")), strict=True):
        for k, method in enumerate(ORDER):
            found = [spread(rows, table=which, method=method, hospital=place)["accuracy"] for place in places]
            at = np.arange(len(places)) + 0.16 * k
            axis.bar(at, [one[0] for one in found], 0.16, yerr=[one[1] for one in found], label=method,
                     error_kw={"lw": 0.8})  # fmt: skip
        axis.set_xticks(np.arange(len(places)) + 0.32, places, rotation=30, ha="right", fontsize=8)
        axis.set_title(f"accuracy on held-out patients, {title}", fontsize=9)
        axis.set_ylim(0.4, 1.0)
    best = max(site for name, (site, _) in published.items() if name.startswith("Fed"))
    axes[0].plot([-0.1, 0.8], [best, best], "k--", lw=1, label="best federated row of FLamby")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="lower center", ncol=6, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(EVIDENCE / "heart.png", dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="docs/evidence/heart.csv, heart.png, heart.md")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    folder = data_folder()
    rows, apart = run(folder, range(1, arguments.seeds + 1))
    published = flamby(folder)
    if arguments.write:
        write(rows, apart, published)
    if arguments.json:
        found = [
            {"table": which, "method": method, "hospital": place}
            | spread(rows, table=which, method=method, hospital=place)
            for which in ("flamby", "study")
            for method in ORDER
            for place in ("mean", *FILES, "all together")
        ]
        print(json.dumps({"scores": found, "irls_minus_pooled": apart, "flamby": published}, indent=1))
        return
    print(tables(rows, apart, published))


if __name__ == "__main__":
    main()
