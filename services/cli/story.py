"""How the demo tells its story: sentences a newcomer follows, and checks that fail loudly.

Every step says what happens and why, shows the command a person would type,
runs it, and checks its result. A step that does not come out stops the story
with what to do.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

from infra.embedded import control
from infra.embedded.node import Node
from services.cli.session import Session
from twinward.clock import Clock
from twinward.errors import Unready
from twinward.wire.v1 import record_pb2

LOOK = "look at `twinward --node {} node logs`, and run the demo again"


class StoryStopped(Unready):
    """A step of the story did not come out as it must."""

    reason = "STORY_STOPPED"


@dataclass
class Teller:
    """Prints; keeps the time of every act. Works without a terminal."""

    console: Console
    clock: Clock
    acts: int
    times: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def act(self, title: str) -> Iterator[None]:
        """One act: its heading, its sentences, and how long it took."""
        self.console.print()
        self.console.print(Rule(f"[bold]{len(self.times) + 1}/{self.acts}  {escape(title)}", align="left"))
        began = self.clock.monotonic()
        yield
        self.times.append((title, self.clock.monotonic() - began))

    def say(self, text: str) -> None:
        self.console.print(escape(" ".join(text.split())), highlight=False)

    def line(self, text: str) -> None:
        """As it stands: for columns."""
        self.console.print(escape(text), highlight=False)

    def fact(self, text: str) -> None:
        """A result that was checked."""
        self.console.print(f"  [green]✓[/green] {escape(text)}", highlight=False)

    def typed(self, command: str) -> None:
        """What a person would type for what follows."""
        self.console.print(f"[cyan]$ {escape(command)}[/cyan]", soft_wrap=True, highlight=False)

    def check(self, holds: bool, promise: str, otherwise: str) -> None:
        """States `promise` where it holds; else stops the story with what to do."""
        if not holds:
            raise StoryStopped(f"this must hold and does not: {promise}. What to do: {otherwise}")
        self.fact(promise)

    def until(self, ready: Callable[[], bool], promise: str, otherwise: str, timeout_s: float = 60.0) -> None:
        """Waits for `ready`, asking five times a second."""
        end = self.clock.monotonic() + timeout_s
        with self.console.status("waiting"):
            while not ready():
                if self.clock.monotonic() > end:
                    raise StoryStopped(
                        f"waited {timeout_s:.0f} s and this did not come: {promise}. What to do: {otherwise}"
                    )
                time.sleep(0.2)
        self.fact(promise)


@dataclass
class Stage:
    """What the acts share."""

    teller: Teller
    directory: Path
    clock: Clock
    patients: int
    days: int
    seed: int
    mrns: list[str] = field(default_factory=list)
    handle: bytes = b""  # of the patient whose day is followed
    leaves: list[int] = field(default_factory=list)  # of forecasts that were answered
    also: list[Path] = field(default_factory=list)  # further nodes of the story: stopped with it
    _sessions: dict[tuple[Path, str], Session] = field(default_factory=dict)

    @property
    def node(self) -> Path:
        return self.directory / "node"

    @property
    def files(self) -> Path:
        return self.directory / "files"

    @property
    def look(self) -> str:
        return LOOK.format(shlex.quote(str(self.node)))

    def session(self, role: str, node: Path | None = None) -> Session:
        """Of somebody at the hospital, or at another node of the story."""
        at = (node or self.node, role)
        if at not in self._sessions:
            self._sessions[at] = Session.open(*at, None)
        return self._sessions[at]

    def identifier(self, number: int) -> record_pb2.Identifier:
        """Of patient `number`, counted from 1."""
        from services.cli.virtual_fhir import MRN_SYSTEM

        return record_pb2.Identifier(system=MRN_SYSTEM, value=self.mrns[number - 1])

    def mrn(self, number: int) -> str:
        one = self.identifier(number)
        return f"{one.system}|{one.value}"

    def ref(self, number: int) -> record_pb2.PatientRef:
        return record_pb2.PatientRef(identifier=self.identifier(number))

    def run(self, *arguments: str, shown: bool = True, node: Path | None = None) -> None:
        """Shows and runs a command on the hospital's node, or on another of the story.

        Raises:
            TwinwardError: what the command refuses with.
        """
        from services.cli.__main__ import twinward

        every = ["--node", str(node or self.node), *arguments]
        if shown:
            self.teller.typed("twinward " + shlex.join(every))
        twinward.main(every, prog_name="twinward", standalone_mode=False)

    def stop(self) -> None:
        """Ends every process of the story's nodes, as far as there are any."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        nodes = [one for one in (*self.also, self.node) if (one / "node.toml").exists()]
        with ThreadPoolExecutor(max(1, len(nodes))) as pool:
            list(pool.map(lambda one: control.stop(Node.open(one), self.clock), nodes))
        if nodes:
            self.teller.line("Everything is stopped.")


def times(stage: Stage, total_s: float) -> None:
    """How long each act took."""
    teller = stage.teller
    teller.line("")
    for title, seconds in teller.times:
        teller.line(f"  {seconds:6.1f} s  {title}")
    teller.line(f"  {total_s:6.1f} s  in all")


def next_commands(stage: Stage) -> None:
    """What a person may try now; the node goes on running."""
    node, teller = shlex.quote(str(stage.node)), stage.teller
    teller.line("\nThe hospital goes on running. What you can try next:")
    for command, why in (
        ("node status", "every program, its memory and its lags"),
        ("twin list", "the twins of your care team"),
        (f"twin forecast --watch --mrn {shlex.quote(stage.mrn(2))}", "one of them, asked again and again"),
        ("ingest FILE|DIR", "your own synthetic or de-identified FHIR and sensor files"),
        ("--as auditor audit list", "who was given what"),
        ("node down", "stop everything"),
    ):
        teller.line(f"  # {why}")
        teller.typed(f"twinward --node {node} {command}")
