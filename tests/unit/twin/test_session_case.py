"""A case that is wrong is refused with its place; every kind of mistake is found; the shipped ones have none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.twin.session_case import Case, preview, read_case, shipped, shipped_case
from services.twin.session_lint import lint
from services.twin.session_patient import Patients
from tests.unit.twin.small_body import SmallBodies
from twinward.errors import BadInput, Malformed, TooLarge

TEXT = (Path(__file__).parent / "small_case.yaml").read_text()
RAW: dict[str, Any] = yaml.safe_load(TEXT)


def changed(change: Callable[[dict[str, Any]], object]) -> Case:
    raw = copy.deepcopy(RAW)
    change(raw)
    return read_case(yaml.safe_dump(raw))


def put(*path: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    def change(raw: Any) -> None:
        for key in path[:-1]:
            raw = raw[key]
        raw[path[-1]] = value

    return change


def test_the_small_case_is_clean_and_previews() -> None:
    case = read_case(TEXT)
    assert lint(case, SmallBodies()) == []
    text = preview(case)
    for word in ("A small bleed", "Press on the wound", "MAP < 75 for 10 s", "insulin at low potassium"):
        assert word in text


MISTAKES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("an action that is not there", put("critical", 0, "actions", value=["stare"]), "critical[0].actions"),
    ("a prerequisite that is not there", put("critical", 1, "before", value=["stare"]), "critical[1].before"),
    ("a clock that is not there", put("critical", 0, "after", value="flood"), "critical[0].after"),
    ("two clocks", put("critical", 0, "when", value={"numeric": "MAP", "below": 60}), "critical[0]"),
    ("nothing to do", put("critical", 0, "actions", value=[]), "critical[0]"),
    ("no weight", put("critical", 0, "weight", value=0), "critical[0]"),
    ("a window backwards", put("critical", 0, "none_s", value=60), "critical[0]"),
    ("no such objective", put("critical", 0, "objective", value="fame"), "critical[0].objective"),
    ("no source", put("critical", 0, "source", value="a friend"), "critical[0]"),
    ("a harm that is none", put("harms", 0, "penalty", value=-5), "harms[0]"),
    ("a harm of nothing", put("harms", 1, "when", value=None), "harms[1]"),
    ("a harm of an unknown action", put("harms", 0, "actions", value=["stare"]), "harms[0].actions"),
    ("an unknown numeric", put("events", 1, "when", "numeric", value="ICP"), "events[1].when"),
    ("an unknown laboratory value", put("harms", 0, "when", "lab", value="gold"), "harms[0].when"),
    ("an unknown total", put("harms", 1, "when", "total", value="wine"), "harms[1].when"),
    ("a condition on two things", put("events", 1, "when", "lab", value="K"), "events[1].when"),
    ("a condition without a limit", put("events", 1, "when", value={"numeric": "MAP"}), "events[1].when"),
    ("a wait within a condition", put("actions", 3, "useful_when", "for_s", value=9), "actions[3].useful_when"),
    ("an event in an odd second", put("events", 0, "at_s", value=21), "events[0]"),
    ("an event after the end", put("events", 0, "at_s", value=9000), "events[0]"),
    ("an event by time and condition", put("events", 1, "at_s", value=20), "events[1]"),
    ("an unknown thing given", put("events", 0, "gives", 0, "what", value="wine"), "events[0].gives[0]"),
    ("another unit", put("events", 0, "gives", 0, "unit", value="gallon"), "events[0].gives[0]"),
    ("a dose the body refuses", put("actions", 2, "gives", 0, "high", value=1e6), "actions[2].gives[0]"),
    ("a usual dose outside", put("actions", 2, "gives", 0, "usual", value=5), "actions[2].gives[0]"),
    ("a duration too long", put("actions", 2, "gives", 0, "over_s", value=9000), "actions[2].gives[0]"),
    ("a dose called route", put("actions", 2, "gives", 0, "field", value="route"), "actions[2].gives[0]"),
    ("hands nobody has", put("actions", 0, "staff", value={"doctor": 3}), "actions[0].staff"),
    ("an odd duration", put("actions", 0, "takes_s", value=15), "actions[0].takes_s"),
    ("a gain for waste", put("actions", 0, "cost", value=-1), "actions[0].cost"),
    ("a result nobody has", put("actions", 5, "shows", value=["gold"]), "actions[5].shows"),
    ("an action that needs itself", put("actions", 0, "requires", value=["look"]), "actions[0].requires"),
    ("two of one name", put("actions", 1, "id", value="look"), "actions and events"),
    ("an event called like an action", put("events", 0, "id", value="press"), "actions and events"),
    ("a target of nothing", put("targets", 0, "name", value="luck"), "targets[0]"),
    ("a target without limit", put("targets", 0, "low", value=None), "targets[0]"),
    ("a target after the end", put("targets", 0, "from_s", value=7200), "targets[0]"),
    ("a target upside down", put("targets", 0, "high", value=10), "targets[0]"),
    ("an alarm upside down", put("alarms", "HR", value={"low": 90, "high": 50}), "alarms.HR"),
    ("a monitor of nothing", put("setting", "monitor", value={"ICP": {"source": "bolt"}}), "setting.monitor"),
    ("no right diagnosis", put("differential", 0, "right", value=False), "differential"),
    ("a patient of no kind", put("patient", "kind", value="cat"), "patient"),
    ("a change of no value", put("patient", "vary", value={"size": 0.1}), "patient.vary.size"),
    ("a script of no action", put("expert", 0, "do", value="stare"), "expert[0].do"),
    ("a script at no dose", put("wrong", 0, "fields", value={"dose": 99}), "wrong[0].fields"),
    ("a script that says plague", put("expert", 4, "diagnose", value={"plague": 1}), "expert[4].diagnose"),
    ("a script that repeats at once", put("expert", 0, "most", value=3), "expert[0]"),
    ("more than 100 points", put("weights", value={"critical": 95}), "weights"),
    ("no debrief", put("debrief", value=[]), "debrief"),
    ("a number without source", put("expected", 0, "source", value="somebody"), "expected[0]"),
    ("a number upside down", put("expected", 0, "low", value=99), "expected[0]"),
    ("no time", put("minutes", value=0), "minutes"),
]


@pytest.mark.parametrize(("change", "place"), [one[1:] for one in MISTAKES], ids=[one[0] for one in MISTAKES])
def test_lint_finds(change: Callable[[dict[str, Any]], object], place: str) -> None:
    assert place in {one.place for one in lint(changed(change), SmallBodies())}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: [",
        "a: &a [*a]",
        "id: 3",
        TEXT.replace("minutes: 30", "minutes: long"),
        TEXT.replace("minutes: 30", "minutes: 30\ncolour: red"),
        TEXT.replace("category: call", "category: gossip"),
        "!!python/object/apply:os.system ['true']",
        "x: 2026-13-45",
    ],
)
def test_what_is_no_case_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        read_case(text)


def test_a_case_is_not_endless() -> None:
    with pytest.raises(TooLarge):
        read_case("# " + "x" * 600_000)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_a_case_or_a_typed_error(data: st.DataObject) -> None:
    lines = TEXT.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.one_of(st.text(max_size=30), st.just(lines[at][: len(lines[at]) // 2])))
    try:
        case = read_case("\n".join(lines))
    except BadInput:
        return
    assert all(problem.place and problem.text for problem in lint(case, SmallBodies()))


def test_comments_and_order_do_not_change_what_a_case_is() -> None:
    assert read_case(yaml.safe_dump(RAW, sort_keys=True)).sha256() == read_case(TEXT).sha256()
    assert changed(put("minutes", value=31)).sha256() != read_case(TEXT).sha256()


@pytest.mark.parametrize("id", list(shipped()))
def test_shipped_cases_are_clean(id: str) -> None:
    case = shipped_case(id)
    assert case.id == id
    assert [str(one) for one in lint(case, Patients())] == []


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(Malformed):
        shipped_case("../small")
