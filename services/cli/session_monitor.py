"""A bedside monitor in a terminal: waves, numerics, alarms, what happened, and what can be typed."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from twinward.errors import BadInput
from twinward.wire.v1 import session_pb2 as pb

BARS = "▁▂▃▄▅▆▇█"
WIDTH, WIDTH_LEAST = 72, 16  # characters of a wave
MARGIN = 12  # of the frame and a wave's name
SHOWN_S = 6.0  # seconds of it
COLOURS: Mapping[str, str] = {"ecg": "green", "abp": "red", "pleth": "cyan", "co2": "yellow", "resp": "white"}
LINES = 10
KEYS = "space pause · a actions · + - speed · r rewind a minute · f fork · w why · s silence · : line · q leave"
HELP = (
    "type: ACTION [dose=500 over_s=600 route=iv] · pause · resume · speed N · rewind S · why · "
    "silence NAME · say TEXT · think NAME=0.8,NAME=0.1 · end · quit"
)


@dataclass
class Monitor:
    """What the frames so far show."""

    case: pb.ShowCaseResponse
    assessed: bool = False
    numerics: dict[str, pb.Reading] = field(default_factory=dict)
    alarms: list[pb.Alarm] = field(default_factory=list)
    waves: dict[str, deque[float]] = field(default_factory=dict)
    told: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    happened: list[pb.LogEntry] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    newest: pb.SessionFrame = field(default_factory=pb.SessionFrame)
    prompt: str = ""  # what is being typed
    menu: list[str] = field(default_factory=list)  # of actions

    def take(self, frame: pb.SessionFrame) -> None:
        self.newest = frame
        if frame.numerics:
            self.numerics = {one.name: one for one in frame.numerics}
            self.alarms, self.waiting = list(frame.alarms), list(frame.waiting)
        for wave in frame.waves:
            kept = self.waves.setdefault(wave.channel, deque(maxlen=int(SHOWN_S * wave.hz)))
            kept.extend(struct.unpack(f"<{len(wave.samples) // 4}f", wave.samples))
        for entry in frame.happened:
            self.happened.append(entry)
            self.told.append(f"{clock(entry.at_s)}  {entry.text or entry.what}{_values(entry)}")
        self.told.extend(f"{clock(frame.at_s)}  why: {text}" for text in frame.why)
        if frame.ack.id and not frame.ack.done:
            self.refused.append(frame.ack.message)
            self.told.append(f"{clock(frame.at_s)}  refused: {frame.ack.message}")

    def view(self, width: int = WIDTH + MARGIN, height: int = 0) -> RenderableType:
        """For a terminal of that size; `height` 0: as long as it gets. The banner and the numbers come first."""
        frame = self.newest
        columns = max(1, min(4, (width - 4) // 24))
        wide = max(WIDTH_LEAST, min(width - MARGIN, 2 * WIDTH))
        numbers = Table.grid(padding=(0, 3))
        alarming = {one.name for one in self.alarms if not one.silenced}
        cells = [
            Text.assemble(
                (f"{name} ", "dim"), (f"{one.quantity.value:.4g}", "bold red" if name in alarming else "bold"),
                (f" {one.quantity.unit} {one.quantity.age_ms // 1000} s", "dim"),
            )
            for name, one in self.numerics.items()
        ]  # fmt: skip
        for begin in range(0, len(cells), columns):
            numbers.add_row(*cells[begin : begin + columns])
        waves = [
            Text.assemble((f"{name:6}", "dim"), (sparkline(list(kept), wide), COLOURS.get(name, "white")))
            for name, kept in self.waves.items()
        ]
        alarms = [Text(f"ALARM {a.name} {a.quantity.value:.4g} ({'>' if a.high else '<'} {a.limit:g})", style="red")
                  for a in self.alarms if not a.silenced]  # fmt: skip
        waits = [Text(f"waiting for hands: {', '.join(self.waiting)}", style="yellow")] if self.waiting else []
        source = next(iter(self.numerics.values())).quantity.source.rpartition(", ")[2] if self.numerics else ""
        banner = Text(f"{frame.banner} · {source}", style="dim")
        foot = [Text(self.prompt, style="bold")] if self.prompt else []
        foot += [Text(line) for line in self.menu] if self.menu else [Text(KEYS, style="dim")]
        left = height - 4 - len(waves) - -(-len(cells) // columns) - len(alarms) - len(waits) - len(foot)
        told = [Text(line, no_wrap=bool(height), overflow="ellipsis") for line in list(self.told)]
        told = told[-max(left, 1) :] if height else told
        state = f"{self.case.case.title} · {clock(frame.at_s)} · {frame.state} · {frame.speed:g}x"
        late = f" · {frame.left_out} pieces of waves left out" if frame.left_out else ""
        body = Group(banner, *waves, numbers, *alarms, *waits, *told, *foot)
        return Panel(body, title=state + late, title_align="left")


def sparkline(values: list[float], width: int) -> str:
    """The newest of each of `width` columns, between the least and the most of what is shown."""
    if not values:
        return ""
    step = max(1, len(values) // width)
    points = [max(values[i : i + step]) for i in range(0, len(values) - step + 1, step)][-width:]
    low, high = min(points), max(points)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((one - low) * scale)] for one in points)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def typed(line: str) -> dict[str, object]:
    """What a line asks of the session, as the fields of a SessionCommand. Raises BadInput: it cannot be read."""
    word, _, rest = line.strip().partition(" ")
    try:
        match word:
            case "pause":
                return {"pause": pb.Pause()}
            case "resume":
                return {"resume": pb.Resume()}
            case "why":
                return {"why": pb.Why()}
            case "end":
                return {"finish": pb.Finish()}
            case "speed":
                return {"speed": pb.SetSpeed(factor=float(rest))}
            case "rewind":
                return {"rewind": pb.Rewind(to_s=int(rest))}
            case "silence":
                return {"silence": pb.Silence(alarm=rest)}
            case "say":
                return {"message": pb.Message(text=rest)}
            case "think":
                said = (one.partition("=") for one in rest.split(","))
                return {"diagnose": pb.Diagnose(
                    differential=[pb.Diagnosis(name=name.strip(), confidence=float(share)) for name, _, share in said]
                )}  # fmt: skip
            case _:
                fields = dict(one.split("=", 1) for one in rest.split())
                route = fields.pop("route", "")
                amounts = {name: float(value) for name, value in fields.items()}
                return {"act": pb.Act(action=word, amounts=amounts, route=route)}
    except ValueError:
        raise BadInput(f"this cannot be read: {HELP}") from None


def _values(entry: pb.LogEntry) -> str:
    found = ", ".join(f"{one.name} {one.quantity.value:.4g} {one.quantity.unit}".rstrip() for one in entry.values)
    return f": {found}" if found else ""
