"""What is shown of studies: names, rounds, results; and nothing that somebody wrote is taken for markup."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from services.cli import study_view
from services.cli.study_draft import RECIPES, draft
from services.cli.study_run import _write
from services.federation.study import parse
from twinward.client import Results, study_hash
from twinward.errors import BadInput, Conflict, NotFound
from twinward.wire.v1 import federation_pb2

ROUND = federation_pb2.RoundSummary(
    round=3, step="train", asked=["a.demo", "b.demo", "c.demo"], answered=["a.demo"],
    refused={"b.demo": "COHORT_CHANGED"}, seconds=1.25, metrics={"patients": 300.0, "loss": 0.5, "zeta": 1.0},
)  # fmt: skip
MODEL: dict[str, object] = {
    "coefficients": [
        {"name": "intercept", "unit": "", "estimate": -1.5, "low": -2.0, "high": -1.0},
        {"name": "age", "unit": "a", "estimate": 0.05, "low": None, "high": None, "odds_ratio": 1.05},
    ],
    "evaluation": {
        "sites": {"a.demo": {"federated": {"n": 40.0, "auc": 0.8, "accuracy": 0.7, "brier": 0.2}, "local": None}},
        "pooled": {"federated": {"n": 80.0, "auc": None}},
    },
}


def drawn(what: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=160, color_system=None).print(what)
    return file.getvalue()


@pytest.mark.parametrize("text", ["0" * 8, "ab" * 32, "AB" * 6])
def test_a_study_is_named_by_its_hash_or_its_beginning(text: str) -> None:
    assert study_hash(text) == bytes.fromhex(text)


@pytest.mark.parametrize("text", ["", "abc", "abcdef", "zz" * 8, "ab" * 33, " " + "ab" * 6, "abcdefabc"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="8 to 64 hex"):
        study_hash(text)


def test_a_round_on_one_line_says_who_was_not_there_and_why() -> None:
    line = study_view.round_line(ROUND)
    assert "1 of 3 hospitals" in line
    assert "loss 0.5  patients 300" in line
    assert "without b.demo COHORT_CHANGED, c.demo did not answer" in line


def test_results_show_what_is_there_and_a_dash_for_what_is_withheld() -> None:
    text = drawn(study_view.results(MODEL, {"title": "[red]x[/red]", "sites": ["a.demo"], "rounds": [1, 2]}))
    assert "[red]x[/red]" in text
    for part in ("-2 to -1", "1.05", "all together", "0.8"):
        assert part in text
    assert "report.html" in drawn(study_view.results({}, {}))


def test_titles_and_notes_are_no_markup() -> None:
    one = federation_pb2.StudySummary(study=b"\x01" * 32, title="[bold]t", note="[link=x]n", state="[blink]s")
    text = drawn(study_view.shown(one, [ROUND])) + drawn(study_view.summaries([one]))
    for said in ("[bold]t", "[link=x]n", "[blink]s"):
        assert said in text


@pytest.mark.parametrize("recipe", RECIPES)
def test_drafts_are_studies(recipe: str) -> None:
    assert parse(draft(recipe).encode(), "somebody").recipe == recipe


def test_files_are_written_once_and_never_over_other_content(tmp_path: Path) -> None:
    file = tmp_path / "new" / "model.json"
    _write(file, b"{}")
    _write(file, b"{}")
    with pytest.raises(Conflict):
        _write(file, b"[]")
    assert file.read_bytes() == b"{}"
    assert [one.name for one in file.parent.iterdir()] == ["model.json"]
    with pytest.raises(BadInput):
        _write(file / "below", b"")


def test_the_clients_results_are_arrays() -> None:
    names, estimates = Results(MODEL, {}, "").coefficients()
    assert names == ("intercept", "age")
    assert estimates.tolist() == [-1.5, 0.05]
    with pytest.raises(NotFound):
        Results({}, {}, "").coefficients()
