"""What a report says of each recipe's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.federation import report_plots as plots
from services.federation.report_page import Markup, el, figure, interval, number, table

Json = Mapping[str, Any]
__all__ = ["leaf", "logistic", "number", "statistics"]
METHODS = {
    "irls": "exact: sums of all hospitals, as if their patients lay in one table",
    "fedavg": "federated averaging of the hospitals' models",
    "fedyogi": "adaptive federated averaging (FedYogi)",
}


def leaf(value: object) -> str:
    return "–" if value is None else str(value)


def logistic(card: Json, model: Json, rounds: Sequence[Json]) -> list[Markup]:
    evaluation = model.get("evaluation") or {}
    made = [el("h2", "What came out"), el("p", _found(model))]
    figures = []
    losses = [(one["round"], one["metrics"]["loss"]) for one in rounds if "loss" in (one.get("metrics") or {})]
    if len(losses) > 1:
        said = "Mean loss of the patients learnt from, by round"
        figures.append(figure(plots.curve(said, losses, "round", "mean loss"), said + ". Less is better."))
    rows = [row for row in model["coefficients"] if row["name"] != "intercept"]
    if rows:
        drawn = [
            (row["name"], *(row["normalised"][key] for key in ("odds_ratio", "odds_low", "odds_high"))) for row in rows
        ]
        said = "Odds ratio for one standard deviation more, with 95 % interval"
        if rows[0]["se"] is None:
            said = "Odds ratio for one standard deviation more (this method gives no interval)"
        figures.append(figure(plots.forest(said, drawn, "odds ratio, logarithmic"), said + "."))
    if evaluation:
        figures += _judged(evaluation)
    made.append(el("div", *figures, class_="figures"))
    made += [el("h2", "Coefficients"), _coefficients(model)]
    if evaluation:
        made += [el("h2", "On patients held out"), *_scores(evaluation)]
    return made


def _found(model: Json) -> str:
    method = METHODS.get(model["method"], model["method"])
    penalty = f" with a ridge of {number(model['ridge'])}" if model["ridge"] else ""
    end = {True: " The search converged.", False: " The search had not converged when the rounds ran out.", None: ""}
    return (
        f"A logistic model of {model['outcome']}, learnt from {number(model['patients'])} patients of "
        f"{len(model['sites'])} hospitals: {method}{penalty}.{end[model['converged']]} "
        "It says who tends to have the outcome among such patients, and nothing about causes."
    )


def _judged(evaluation: Json) -> list[Markup]:
    sites = sorted(evaluation["sites"])
    series = {}
    for who, name in (("federated", "model of all"), ("local", "own model")):
        if any(who in one for one in evaluation["sites"].values()):
            found = [evaluation["sites"][site].get(who) for site in sites]
            series[name] = [one and (one["accuracy"], one["accuracy_low"], one["accuracy_high"]) for one in found]
    said = "Accuracy on held-out patients of each hospital, with 95 % interval"
    names = " (upper bar: model of all; lower bar: the hospital's own model)" if len(series) > 1 else ""
    made = [figure(plots.bars(said, sites, series), said + names + ".")]
    groups = evaluation["pooled"].get("groups") or []
    if len(groups) > 1:
        calibration = [(one["said"], one["seen"], one["low"], one["high"]) for one in groups]
        said = "Calibration over all hospitals: share that had the outcome against what was said"
        made.append(
            figure(
                plots.square(said, calibration, "said probability", "seen share", line=False),
                f"{said}, with 95 % interval; {len(groups)} groups with at least 10 patients of each class.",
            )
        )
        said = "ROC over all hospitals"
        caption = f"{said}, at the borders of the same groups; the AUC in the table is from finer steps."
        made.append(figure(plots.square(said, _roc(groups), "false positives", "true positives", line=True), caption))
    return made


def _roc(groups: Sequence[Json]) -> list[tuple[float, float, None, None]]:
    ones = sum(one["positives"] for one in groups)
    zeros = sum(one["n"] - one["positives"] for one in groups)
    points: list[tuple[float, float, None, None]] = [(0.0, 0.0, None, None)]
    some, none = 0.0, 0.0
    for one in reversed(groups):
        some, none = some + one["positives"], none + one["n"] - one["positives"]
        points.append((none / zeros, some / ones, None, None))
    return points


def _coefficients(model: Json) -> Markup:
    rows = []
    for row in model["coefficients"]:
        per = row["unit"] or ("" if row["name"] == "intercept" else "1")
        odds = interval(row.get("odds_ratio"), row.get("odds_low"), row.get("odds_high"))
        scaled = row["normalised"]
        spread = f"{number(row['mean'])} ± {number(row['sd'])}" if row["sd"] is not None else "–"
        own = interval(row["estimate"], row["low"], row["high"])
        rows.append(
            [row["name"], per or "–", own, odds, interval(scaled["estimate"], scaled["low"], scaled["high"]), spread]
        )
    n = number(model["patients"])
    return table(
        f"Log-odds and odds ratio for one unit more, with 95 % interval where the method gives one; n = {n} patients. "
        "Source: this study's model.",
        ["column", "unit", "log-odds per unit", "odds ratio per unit", "log-odds per SD", "mean ± SD of all"],
        rows,
        words=(1,),
    )


def _scores(evaluation: Json) -> list[Markup]:
    rows = []
    for site, found in [*sorted(evaluation["sites"].items()), ("all together", evaluation["pooled"])]:
        for who, name in (("federated", "model of all"), ("local", "own model")):
            if who in found:
                rows.append([site, name, *_score(found[who])])
    shrunk = sorted(site for site, found in evaluation["sites"].items() if found.get("local_ridge"))
    made = [
        table(
            "Scores with 95 % intervals. A dash: withheld, as fewer than 10 patients, or fewer than 10 of a class, "
            "stand behind it. Brier score: 0 is best, and .25 is what saying 50 % to everybody gets. Slope: 1 is best.",
            ["hospital", "model", "n", "with outcome", "accuracy", "AUC", "Brier score", "calibration slope"],
            rows,
            words=(1,),
        )
    ]
    pooled = evaluation["pooled"].get("federated") or {}
    if pooled.get("auc_bins") is not None:
        said = f"AUC over all comes from 256 bins of probability and lies within {number(pooled['auc_bins'], 2)} "
        made.append(el("p", said + "of the exact one.", class_="soft"))
    if shrunk:
        said = "The own model needed a ridge, because the hospital's patients alone are separated: "
        made.append(el("p", said + ", ".join(shrunk) + ".", class_="soft"))
    return made


def _score(found: Json | None) -> list[str]:
    if not found:
        return ["–"] * 6
    shown = [number(found["n"]), number(found["positives"])]
    return shown + [
        interval(found[name], found[f"{name}_low"], found[f"{name}_high"])
        for name in ("accuracy", "auc", "brier", "slope")
    ]


def statistics(card: Json, model: Json, rounds: Sequence[Json]) -> list[Markup]:
    said = f"{number(model['pooled']['n'])} patients of {len(model['sites'])} hospitals were counted. "
    said += f"Withheld: {model['withheld']} counts, each below {model['minimum_cell']} or needed to hide one that is."
    made = [el("h2", "What came out"), el("p", said)]
    figures = []
    for name, column in model["pooled"]["columns"].items():
        if "edges" in column:
            title = f"{name}, all hospitals"
            text = f"{title}. A dash: withheld."
            text += "".join(f" Quantile {q}: {number(value)}." for q, value in column["quantiles"].items())
            axis = f"{name}, {column['unit']}" if column["unit"] else name
            figures.append(figure(plots.histogram(title, column["edges"], column["counts"], axis), text))
    if figures:
        made.append(el("div", *figures, class_="figures"))
    made += [el("h2", "Columns"), _columns("all together", model["pooled"])]
    made += [_columns(site, place) for site, place in sorted(model["sites"].items())]
    for cross in model["pooled"]["crosstabs"]:
        head = [f"{cross['rows']} \\ {cross['columns']}", *cross["answers"]]
        cells = [[answer, *map(number, row)] for answer, row in zip(cross["answers"], cross["cells"], strict=True)]
        made.append(table(f"Patients by {cross['rows']} and {cross['columns']}, all together", head, cells))
    return made


def _columns(place: str, found: Json) -> Markup:
    rows = []
    for name, column in found["columns"].items():
        if "share" in column:
            value = interval(column["share"], column["low"], column["high"])
            rows.append([name, "share", number(column["count"]), number(column["missing"]), value, "–"])
        else:
            value = interval(column["mean"], column["low"], column["high"])
            unit = column["unit"] or "1"
            rows.append([name, unit, number(column["count"]), number(column["missing"]), value, number(column["sd"])])
    caption = f"{place}: n = {number(found['n'])} patients. Mean or share with 95 % interval. "
    caption += "A dash: withheld, or not a number that it has."
    return table(caption, ["column", "unit", "known", "missing", "mean or share", "SD"], rows, words=(1,))
