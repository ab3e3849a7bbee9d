"""How studies, their rounds and results are shown, to people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from twinward.clock import utc
from twinward.wire.v1 import federation_pb2

SHORT = 12  # hex digits, enough to tell a coordinator's studies apart
STATES = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "stopping": "yellow"}
FIRST = ("loss", "auc", "accuracy")  # metrics that are shown first


def short(study: bytes) -> str:
    return study.hex()[:SHORT]


def summary_data(one: federation_pb2.StudySummary) -> dict[str, object]:
    return {
        "study": one.study.hex(),
        "title": one.title,
        "author": one.author,
        "state": one.state,
        "round": one.round,
        "rounds": one.rounds,
        "submitted": utc(one.submitted_ms).isoformat(),
        "privacy": one.privacy,
        "note": one.note,
        "answers": [
            {
                "site": answer.site,
                "decision": answer.decision,
                "reason": answer.reason,
                "decided": utc(answer.decided_ms).isoformat() if answer.decided_ms else None,
                "leaf": answer.leaf,
            }
            for answer in one.answers
        ],
    }


def state(word: str) -> str:
    colour = STATES.get(word)
    return f"[{colour}]{escape(word)}[/{colour}]" if colour else escape(word)


def summaries(found: Iterable[federation_pb2.StudySummary]) -> Table:
    table = Table(title="Studies, newest first", title_justify="left")
    for name in ("study", "title", "state", "round", "hospitals' answers", "privacy"):
        table.add_column(name, no_wrap=name in ("study", "round"))
    for one in found:
        answers = ", ".join(f"{answer.site} {answer.decision}" for answer in one.answers)
        table.add_row(short(one.study), escape(one.title), state(one.state), f"{one.round} of {one.rounds}",
                      escape(answers) or "-", one.privacy)  # fmt: skip
    return table


def shown(one: federation_pb2.StudySummary, rounds: Iterable[federation_pb2.RoundSummary]) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("study", one.study.hex()),
        ("title", one.title),
        ("author", f"{one.author} (pseudonym)"),
        ("submitted", f"{utc(one.submitted_ms):%F %R} UTC"),
        ("privacy", one.privacy),
        ("note", one.note),
    ):
        if value:
            facts.add_row(f"[dim]{name}[/dim]", Text(value))
    facts.add_row("[dim]state[/dim]", f"{state(one.state)}, round {one.round} of at most {one.rounds}")
    answers = Table(title="Hospitals' decisions", title_justify="left")
    for column in ("hospital", "decision", "reason", "when (UTC)", "entry of its ledger"):
        answers.add_column(column)
    for answer in one.answers:
        answers.add_row(
            answer.site, answer.decision, escape(answer.reason), f"{utc(answer.decided_ms):%F %R}" if answer.decided_ms
            else "-", str(answer.leaf) if answer.decided_ms else "-",
        )  # fmt: skip
    return Group(facts, answers, rounds_table(rounds))


def rounds_table(rounds: Iterable[federation_pb2.RoundSummary]) -> Table:
    table = Table(title="Rounds", title_justify="left")
    for name in ("round", "step", "hospitals", "not there", "seconds", "metrics"):
        table.add_column(name, justify="right" if name in ("round", "seconds") else "left")
    for one in rounds:
        table.add_row(str(one.round), escape(one.step), f"{len(one.answered)} of {len(one.asked)}",
                      escape(absent(one)) or "-", f"{one.seconds:.1f}", metrics(one.metrics))  # fmt: skip
    return table


def absent(one: federation_pb2.RoundSummary) -> str:
    """Hospitals of a round that gave no answer, with their word."""
    there = set(one.answered)
    return ", ".join(f"{site} {one.refused.get(site, 'did not answer')}" for site in one.asked if site not in there)


def metrics(found: Mapping[str, float], most: int = 4) -> str:
    names = [name for name in FIRST if name in found] + sorted(name for name in found if name not in FIRST)
    return "  ".join(f"{name} {found[name]:.4g}" for name in names[:most])


def round_line(one: federation_pb2.RoundSummary) -> str:
    """A round on one line, for live viewing."""
    missing = absent(one)
    return (
        f"round {one.round:>3}  {one.step:<9} {len(one.answered)} of {len(one.asked)} hospitals  {one.seconds:5.1f} s  "
        f"{metrics(one.metrics)}{f'  without {missing}' if missing else ''}"
    ).rstrip()


def round_data(one: federation_pb2.RoundSummary) -> dict[str, object]:
    return {
        "round": one.round,
        "step": one.step,
        "asked": list(one.asked),
        "answered": list(one.answered),
        "refused": dict(one.refused),
        "seconds": one.seconds,
        "metrics": dict(one.metrics),
    }


def results(model: Mapping[str, object], card: Mapping[str, object]) -> RenderableType:
    """A model's coefficients and scores as far as they are there; other recipes are in the report."""
    parts: list[RenderableType] = [_headline(card)]
    rows = model.get("coefficients")
    if isinstance(rows, list) and rows:
        parts.append(_coefficients(rows))
    scores = model.get("evaluation")
    if isinstance(scores, dict):
        parts.append(_scores(scores))
    parts.append(Text("Everything else: `twinward study report HASH --out report.html`"))
    return Group(*parts)


def _headline(card: Mapping[str, object]) -> Table:
    rounds, sites = card.get("rounds"), card.get("sites")
    facts = {
        "title": card.get("title"),
        "recipe": card.get("recipe"),
        "privacy": card.get("privacy"),
        "hospitals": "; ".join(map(_part, sites)) if isinstance(sites, list) else None,
        "rounds": len(rounds) if isinstance(rounds, list) else rounds,
    }
    lines = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value is not None:
            lines.add_row(f"[dim]{name}[/dim]", Text(str(value)))
    return lines


def _part(one: object) -> str:
    """A hospital's part in the result: "st-anne.demo: 116 patients, 8 rounds"."""
    if not isinstance(one, dict):
        return str(one)
    if one.get("decision") != "approve":
        return f"{one.get('site')}: {one.get('decision')}"
    counted = one.get("patients")
    patients = f"{counted:.0f} patients, " if isinstance(counted, (int, float)) else ""
    return f"{one.get('site')}: {patients}{one.get('rounds')} rounds"


def _coefficients(rows: list[object]) -> Table:
    table = Table(title="Model, in the study's units", title_justify="left")
    for name in ("column", "unit", "estimate", "95 % interval", "odds ratio"):
        table.add_column(name, justify="left" if name in ("column", "unit") else "right")
    for one in cast(list[Mapping[str, object]], rows):
        low, high = one.get("low"), one.get("high")
        between = f"{number(low)} to {number(high)}" if low is not None else "-"
        table.add_row(escape(str(one.get("name", ""))), escape(str(one.get("unit", ""))), number(one.get("estimate")),
                      between, number(one.get("odds_ratio")))  # fmt: skip
    return table


def _scores(found: Mapping[str, object]) -> Table:
    table = Table(title="On patients held out, with 95 % intervals", title_justify="left")
    for name in ("hospital", "model", "patients", "AUC", "accuracy", "Brier"):
        table.add_column(name, justify="left" if name in ("hospital", "model") else "right")
    places = {**cast(Mapping[str, object], found.get("sites") or {}), "all together": found.get("pooled")}
    for place, models in places.items():
        for who in ("federated", "local"):
            one = models.get(who) if isinstance(models, dict) else None
            if isinstance(one, dict):
                table.add_row(escape(place), who, number(one.get("n")),
                              *(between(one, name) for name in ("auc", "accuracy", "brier")))  # fmt: skip
    return table


def between(of: Mapping[str, object], name: str) -> str:
    """ "0.771 (0.665 to 0.876)"; a number without its interval where there is none."""
    low, high = of.get(f"{name}_low"), of.get(f"{name}_high")
    found = number(of.get(name), 3)
    return found if low is None or high is None else f"{found} ({number(low, 3)} to {number(high, 3)})"


def number(value: object, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"
