"""What a learner types and sees in a terminal."""

from __future__ import annotations

import struct

import pytest
from rich.console import Console

from services.cli.session_monitor import Monitor, clock, sparkline, typed
from twinward.errors import BadInput
from twinward.wire.v1 import record_pb2
from twinward.wire.v1 import session_pb2 as pb


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("pause", pb.SessionCommand(pause=pb.Pause())),
        ("speed 10", pb.SessionCommand(speed=pb.SetSpeed(factor=10.0))),
        ("rewind 30", pb.SessionCommand(rewind=pb.Rewind(to_s=30))),
        ("fluid dose=500 over_s=600 route=iv",
         pb.SessionCommand(act=pb.Act(action="fluid", amounts={"dose": 500.0, "over_s": 600.0}, route="iv"))),
        ("think sepsis=0.8, stroke=0.1",
         pb.SessionCommand(diagnose=pb.Diagnose(differential=[
             pb.Diagnosis(name="sepsis", confidence=0.8), pb.Diagnosis(name="stroke", confidence=0.1)]))),
    ],
)  # fmt: skip
def test_a_typed_line_is_a_command(line: str, command: pb.SessionCommand) -> None:
    assert pb.SessionCommand(**typed(line)) == command


@pytest.mark.parametrize("line", ["speed fast", "fluid 500", "fluid dose=much", "rewind", "think sepsis"])
def test_what_cannot_be_read_says_how_to_type_it(line: str) -> None:
    with pytest.raises(BadInput, match="ACTION"):
        typed(line)


def test_a_sparkline_shows_the_newest_and_its_peaks() -> None:
    assert sparkline([], 8) == ""
    assert sparkline([1.0] * 8, 8) == "▁" * 8
    assert sparkline([0.0, 7.0, 0.0, 3.5], 4) == "▁█▁▅"
    assert len(sparkline([float(i % 9) for i in range(1500)], 72)) == 72


def test_the_monitor_shows_numbers_with_unit_and_age_alarms_and_refusals() -> None:
    monitor = Monitor(pb.ShowCaseResponse(case=pb.CaseSummary(title="A small bleed")))
    quantity = record_pb2.Quantity(value=52.0, unit="mmHg", age_ms=30_000, source="cuff, small-1")
    monitor.take(pb.SessionFrame(
        at_s=65.0, state="running", speed=2.0, banner="education and research; not a medical device", left_out=3,
        numerics=[pb.Reading(name="MAP", quantity=quantity)],
        alarms=[pb.Alarm(name="MAP", quantity=quantity, limit=65.0)],
        waves=[pb.Wave(channel="ecg", hz=125, samples=struct.pack("<4f", 0.0, 1.0, 0.0, 0.5))],
        happened=[pb.LogEntry(at_s=64, kind="event", text="The patient is pale.")],
        ack=pb.Ack(id=b"x" * 16, error="BAD_INPUT", message="no such action"),
    ))  # fmt: skip
    console = Console(width=120)
    with console.capture() as shown:
        console.print(monitor.view())
    text = shown.get()
    said = [
        "A small bleed", "01:05", "2x", "MAP 52 mmHg 30 s", "ALARM MAP 52 (< 65)", "The patient is pale.",
        "refused: no such action", "3 pieces of waves left out", "not a medical device", "small-1",
    ]  # fmt: skip
    assert [one for one in said if one not in text] == []
    assert monitor.refused == ["no such action"]
    assert clock(125.9) == "02:05"
