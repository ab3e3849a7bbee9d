"""The page and the card: everything stands in them, nothing is fetched, nothing of a study can break out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from services.federation import report
from services.federation.course import Ask
from services.federation.recipes import recipe_of
from services.federation.report_page import interval, number
from services.federation.report_plots import log_ticks, ticks
from services.federation.study import Study, sha256
from services.federation.table import Table
from tests.unit.federation.hospitals import study, table, tables
from tests.unit.federation.recipes.test_statistics import study as statistics_study
from tests.unit.federation.recipes.test_statistics import with_outcome
from twinward.errors import BadInput

EVIL = '</title><script>alert("1")</script><img src=x onerror=alert(1)> & "quoted"'
VOID = {"meta"}


def run(asked: Study, found: dict[str, Table]) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Card, model and rounds, as the coordinator hands them on: through JSON."""
    recipe = recipe_of(asked)
    course, rounds = recipe.course(asked, None), []
    for number_ in range(1, asked.rounds + 1):
        step = course.next()
        if step is None:
            break
        ask = Ask(sha256(asked), number_, step.name, step.vector)
        metrics = course.take({site: recipe.answer(asked, ask, one) for site, one in found.items()})
        refused = {"gone.demo": "LATE"} if number_ == 2 else {}
        rounds.append(
            {"round": number_, "step": step.name, "answered": sorted(found), "refused": refused, "seconds": 0.2,
             "metrics": dict(metrics)}
        )  # fmt: skip
    model = json.loads(json.dumps(course.result(), allow_nan=False))
    answers = [{"site": "refuser.demo", "decision": "refuse", "leaf": 4, "reason": "private words"}]
    answers += [{"site": site, "decision": "approve", "leaf": 7} for site in found]
    card = report.card(asked, model, rounds, answers, {"study": sha256(asked).hex(), "bundle": "ab" * 32})
    return json.loads(json.dumps(card, allow_nan=False)), model, rounds


class Elements(HTMLParser):
    """Checks nesting, and gathers elements and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def elements(page: bytes) -> Elements:
    found = Elements()
    found.feed(page.decode())
    assert found.open == []
    return found


@pytest.mark.parametrize("method", ["irls", "fedavg", "fedyogi", "ridge"])
def test_a_logistic_study_as_a_page(method: str) -> None:
    settings = {"ridge": 1} if method == "ridge" else {"method": method}
    card, model, rounds = run(study(settings=settings, rounds=10), tables())
    found = elements(report.html(card, model, rounds))
    said = found.text
    assert "Not a medical device" in said
    assert "the coordinator sees this hospital's update in clear" in said
    for word in ("north.demo", "refuser.demo", "gone.demo", "LATE", "mm[Hg]", card["hashes"]["study"], "95 %"):
        assert word in said
    assert "private words" not in said
    n = model["evaluation"]["pooled"]["federated"]["n"]
    assert str(int(n)) in said
    for column in ("age", "pressure", "female"):
        assert column in said
    figures = [attributes for tag, attributes in found.seen if tag == "svg"]
    assert len(figures) == 5
    assert all(one["role"] == "img" and one["aria-label"] for one in figures)
    assert sum(tag == "caption" for tag, _ in found.seen) == sum(tag == "table" for tag, _ in found.seen)


def test_a_statistics_study_as_a_page() -> None:
    card, model, rounds = run(statistics_study(), with_outcome(tables()))
    found = elements(report.html(card, model, rounds))
    assert "410 patients of 3 hospitals were counted" in found.text
    assert sum(tag == "svg" for tag, _ in found.seen) == 2
    assert "Withheld" in found.text
    assert "female \\ coronary" in found.text


def test_nothing_is_fetched_and_nothing_breaks_out() -> None:
    asked = replace(study(rounds=10), title=EVIL, question=EVIL, author=EVIL[:60])
    card, model, rounds = run(asked, tables())
    card["sites"][0]["decision"] = EVIL
    page = report.html(card, model, rounds)
    found = elements(page)
    assert {tag for tag, _ in found.seen} & {"script", "img", "link", "iframe", "a", "object", "base", "form"} == set()
    for _, attributes in found.seen:
        assert not {key for key in attributes if key.startswith("on") or key in ("href", "src", "style")}
    assert EVIL in found.text
    assert not re.search(rb"https?://|url\(|@import", page)
    policy = [one["content"] for tag, one in found.seen if tag == "meta" and one.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_the_card_says_who_took_part_and_what_together_is_worth() -> None:
    card, model, _ = run(study(), tables() | {"tiny.demo": table(9, n=24)})
    sites = {one["site"]: one for one in card["sites"]}
    assert sites["refuser.demo"] == {
        "site": "refuser.demo", "decision": "refuse", "leaf": 4, "rounds": 0, "patients": None,
    }  # fmt: skip
    assert sites["north.demo"]["rounds"] == card["rounds"]
    assert sites["north.demo"]["patients"] == model["sites"]["north.demo"]
    shown = [one for one in model["evaluation"]["sites"].values() if one["federated"]]
    accuracy = card["comparison"]["accuracy"]
    assert accuracy["sites"] == len(shown) == 3
    assert accuracy["gain"] == pytest.approx(
        sum(one["federated"]["accuracy"] - one["local"]["accuracy"] for one in shown) / len(shown)
    )
    assert card["use"] == "For education and research. Not a medical device."
    assert card["versions"]["twinward"]
    assert card["privacy"] == "NON-PRIVATE"
    assert "private words" not in json.dumps(card)


def test_a_study_that_stopped_early_still_has_a_page() -> None:
    card, model, rounds = run(study(rounds=3, settings={"local": False}), tables())
    elements(report.html(card, model, rounds))
    asked = study(test_fraction=0.0)
    elements(report.html(*run(asked, tables())))
    with pytest.raises(BadInput):
        report.html({**card, "recipe": "magic"}, model, rounds)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (True, "–"), (3.0, "3"), (0.0, "0"), (0.12345, "0.123"), (0.000456, "0.00046"), (123.456, "123.5"),
     (-0.5, "-0.5"), (1e12, "1000000000000")],
)  # fmt: skip
def test_numbers_have_as_many_digits_as_mean_something(value: object, said: str) -> None:
    assert number(value) == said


def test_intervals_and_ticks() -> None:
    assert interval(0.5, 0.25, 0.75) == "0.5 (0.25 to 0.75)"
    assert interval(0.5, None, None) == "0.5"
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-3.0, 7.0) == [-2.0, 0.0, 2.0, 4.0, 6.0]
    assert 0.0 in log_ticks(0.5)
