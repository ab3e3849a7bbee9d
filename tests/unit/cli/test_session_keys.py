"""What keys mean at the bedside monitor, without a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from services.cli.session_keys import DOWN, ENTER, ESCAPE, Keyboard, keys
from services.cli.session_monitor import Monitor
from twinward.wire.v1 import record_pb2
from twinward.wire.v1 import session_pb2 as pb

CASE = pb.ShowCaseResponse(
    case=pb.CaseSummary(title="A small bleed"),
    actions=[
        pb.CaseAction(name="look", label="Look", category="examination"),
        pb.CaseAction(name="fluid", label="Balanced crystalloid", category="drug",
                      choices=[pb.Choice(name="dose", unit="mL", low=100, high=2000, usual=500)]),
        pb.CaseAction(name="press", label="Press on the wound", category="procedure"),
    ],
)  # fmt: skip


class Desk:
    def __init__(self, state: str = "running", at_s: float = 125.0, assessed: bool = False) -> None:
        self.said: list[dict[str, Any]] = []
        self.monitor = Monitor(CASE, assessed)
        self.monitor.take(pb.SessionFrame(state=state, at_s=at_s, speed=1.0, banner="not a medical device"))
        self.keyboard = Keyboard(self.monitor, self.do, lambda at_s: f"fork-at-{at_s}")

    def do(self, **command: Any) -> bytes:
        self.said.append(command)
        return b"%d" % len(self.said)

    def type(self, text: str, *more: str) -> None:
        for key in [*keys(text), *more]:
            self.keyboard.press(key)


@pytest.mark.parametrize(
    ("text", "state", "command"),
    [
        (" ", "running", {"pause": pb.Pause()}),
        (" ", "paused", {"resume": pb.Resume()}),
        ("+", "running", {"speed": pb.SetSpeed(factor=2)}),
        ("-", "running", {"speed": pb.SetSpeed(factor=1)}),
        ("r", "running", {"rewind": pb.Rewind(to_s=64)}),
        ("w", "running", {"why": pb.Why()}),
        (":fluid dose=250\r", "running", {"act": pb.Act(action="fluid", amounts={"dose": 250.0})}),
        ("apress\r", "running", {"act": pb.Act(action="press")}),
        ("acrystal\r\r", "running", {"act": pb.Act(action="fluid", amounts={"dose": 500.0})}),
        ("a\x1b[B\x1b[B\r", "running", {"act": pb.Act(action="press")}),
    ],
)
def test_a_key_is_a_command(text: str, state: str, command: dict[str, Any]) -> None:
    desk = Desk(state)
    desk.type(text)
    assert desk.said == [command]


def test_quick_presses_add_up_though_no_answer_came() -> None:
    desk = Desk()
    desk.type("++++++-")
    assert [one["speed"].factor for one in desk.said] == [2, 5, 10, 30, 60, 60, 30]
    desk.monitor.take(pb.SessionFrame(state="running", speed=30.0))
    desk.type("+")
    assert desk.said[-1]["speed"].factor == 60


def test_leaving_pauses_the_patient_but_not_in_an_assessment() -> None:
    desk, assessed = Desk(), Desk(assessed=True)
    for one in (desk, assessed):
        one.type("q")
    assert desk.said == [{"pause": pb.Pause()}]
    assert assessed.said == [{"why": pb.Why()}]
    assert desk.keyboard.leaving == b"1"


def test_what_is_wrong_is_told_and_escape_leaves() -> None:
    desk = Desk()
    desk.type(":speed fast\r")
    desk.type("anothing\r")
    desk.type("", ESCAPE)
    desk.type("f")
    told = " ".join(desk.monitor.told)
    assert "cannot be read" in told
    assert "no action is called so" in told
    assert "fork-at-124" in told
    assert desk.said == []
    desk.type(":abc\x7f")
    assert desk.monitor.prompt.startswith("> ab")
    desk.type("", ESCAPE, DOWN, ENTER)
    assert desk.monitor.prompt == ""


@pytest.mark.parametrize(("width", "height"), [(20, 6), (80, 24), (200, 60)])
def test_the_view_fits_its_terminal_and_shows_the_banner(width: int, height: int) -> None:
    desk = Desk()
    quantity = record_pb2.Quantity(value=52.0, unit="mmHg", source="cuff, small-1")
    desk.monitor.take(pb.SessionFrame(numerics=[pb.Reading(name="MAP", quantity=quantity)], state="running",
                                      banner="education and research; not a medical device"))  # fmt: skip
    for k in range(40):
        desk.monitor.told.append(f"line {k} " + "x" * 300)
    console = Console(width=width, height=height)
    with console.capture() as shown:
        console.print(desk.monitor.view(width, height))
    lines = shown.get().splitlines()
    assert max(len(line) for line in lines) <= width
    assert "education" in shown.get()
    if width >= 80:
        assert len(lines) <= height
        assert "line 39" in shown.get()
