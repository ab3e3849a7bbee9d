"""Keys of the bedside monitor: what each press means, without a terminal; and the thread that reads them from one.

space pause or resume · + - speed · r rewind a minute · f fork here · a actions · w why · s silence · : a line · q leave
"""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.cli.session_monitor import HELP, Monitor, typed
from twinward.errors import BadInput, TwinwardError
from twinward.wire.v1 import session_pb2 as pb

SPEEDS = (1, 2, 5, 10, 30, 60)
BACK_S = 60
LISTED = 12  # actions shown at once
ENTER, ESCAPE, DELETE, UP, DOWN = "enter", "escape", "delete", "up", "down"
_SPECIAL = {
    "\r": ENTER, "\n": ENTER, "\x7f": DELETE, "\x08": DELETE, "\x1b": ESCAPE, "\x1b[A": UP, "\x1b[B": DOWN,
    "\x1bOA": UP, "\x1bOB": DOWN,
}  # fmt: skip
LONE_S = 0.05  # so long after an escape nothing comes: it was the key itself


@dataclass
class Keyboard:
    """`press` tells the session what a key means; the monitor shows what is being typed or chosen."""

    monitor: Monitor
    do: Callable[..., bytes]  # Bedside.do
    fork: Callable[[int], str]  # at a second; the new session's id
    leaving: bytes = b""  # id of the command whose answer ends the view
    line: str | None = None  # being typed
    search: str | None = None  # among actions
    place: int = 0  # of the chosen one
    _asked: tuple[float, int] = (0.0, 0)  # speed, and how many refusals there were before

    def press(self, key: str) -> None:
        """Never raises: what is refused is told on the monitor."""
        try:
            if self.line is not None:
                self._type(self.line, key)
            elif self.search is not None:
                self._choose(self.search, key)
            else:
                self._act(key)
        except TwinwardError as error:
            self.monitor.told.append(error.public)
        self._show()

    def _act(self, key: str) -> None:
        now = self.monitor.newest
        match key:
            case " ":
                self.do(**({"resume": pb.Resume()} if now.state == "paused" else {"pause": pb.Pause()}))
            case "+" | "=":
                self._speed(min([one for one in SPEEDS if one > self._wanted()] or [SPEEDS[-1]]))
            case "-":
                self._speed(max([one for one in SPEEDS if one < self._wanted()] or [SPEEDS[0]]))
            case "r":
                self.do(rewind=pb.Rewind(to_s=_even(max(now.at_s - BACK_S, 0.0))))
            case "f":
                at_s = _even(now.at_s)
                found = self.fork(at_s)
                self.monitor.told.append(f"forked at {at_s} s: twinward session run --session {found}")
            case "w":
                self.do(why=pb.Why())
            case "s":
                for alarm in self.monitor.alarms:
                    self.do(silence=pb.Silence(alarm=alarm.name))
            case "a":
                self.search, self.place = "", 0
            case ":" | "/":
                self.line = ""
            case "q":
                self.leave()
            case "?":
                self.monitor.told.append(HELP)
            case _:
                pass

    def _wanted(self) -> float:
        """The speed that was last asked for, while its answer is on its way: quick presses add up."""
        speed, refused = self._asked
        answered = self.monitor.newest.speed == speed or len(self.monitor.refused) > refused
        return self.monitor.newest.speed if answered or not speed else speed

    def _speed(self, factor: float) -> None:
        self._asked = (factor, len(self.monitor.refused))
        self.do(speed=pb.SetSpeed(factor=factor))

    def leave(self) -> None:
        """The patient waits, but in an assessment: there a pause would be charged."""
        self.leaving = self.do(**({"why": pb.Why()} if self.monitor.assessed else {"pause": pb.Pause()}))

    def _type(self, line: str, key: str) -> None:
        if key == ESCAPE:
            self.line = None
        elif key == DELETE:
            self.line = line[:-1]
        elif key == ENTER:
            self.line = None
            if line.strip() == "quit":
                self.leave()
            elif line.strip():
                self.do(**dict(typed(line)))
        elif len(key) == 1 and key.isprintable():
            self.line = line + key

    def _choose(self, search: str, key: str) -> None:
        found = self.found()
        if key == ESCAPE:
            self.search = None
        elif key in (UP, DOWN):
            self.place = max(0, min(self.place + (1 if key == DOWN else -1), len(found) - 1))
        elif key == ENTER:
            if not found:
                raise BadInput("no action is called so")
            one, self.search = found[min(self.place, len(found) - 1)], None
            if one.choices:  # the usual dose stands there, to be changed or sent
                self.line = " ".join([one.name, *(f"{c.name}={c.usual:g}" for c in one.choices)])
            else:
                self.do(act=pb.Act(action=one.name))
        elif key == DELETE:
            self.search, self.place = search[:-1], 0
        elif len(key) == 1 and key.isprintable():
            self.search, self.place = search + key, 0

    def found(self) -> list[pb.CaseAction]:
        wanted = (self.search or "").lower()
        every = list(self.monitor.case.actions)
        first = [one for one in every if one.name.startswith(wanted)]
        return first + [
            one for one in every if one not in first and wanted in f"{one.name} {one.label} {one.category}".lower()
        ]

    def _show(self) -> None:
        monitor = self.monitor
        monitor.prompt = f"> {self.line}▏" if self.line is not None else ""
        monitor.menu = []
        if self.search is None:
            return
        monitor.prompt = f"action: {self.search}▏  (arrows, enter; escape leaves)"
        begin = max(0, self.place - LISTED + 1)
        for k, one in enumerate(self.found()[begin : begin + LISTED], begin):
            monitor.menu.append(f"{'▶' if k == self.place else ' '} {one.name:20} {one.category}: {one.label}")


def _even(seconds: float) -> int:
    return int(seconds) // 2 * 2


def keys(text: str) -> Iterator[str]:
    """Single presses in what a terminal sent."""
    at = 0
    while at < len(text):
        size = 3 if text[at : at + 2] in ("\x1b[", "\x1bO") and len(text) >= at + 3 else 1
        one = text[at : at + size]
        at += size
        yield _SPECIAL.get(one, one if size == 1 else "")


@contextmanager
def reading(press: Callable[[str], None]) -> Iterator[None]:
    """Keys as they are pressed, without echo, until the block ends; the terminal is then as it was."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if not select.select([fd], [], [], 0.1)[0]:
                continue
            text = os.read(fd, 1024)
            if not text:
                return
            if text == b"\x1b" and select.select([fd], [], [], LONE_S)[0]:
                text += os.read(fd, 1024)
            for key in keys(text.decode("utf-8", "replace")):
                press(key)

    tty.setcbreak(fd)
    thread = threading.Thread(target=read, daemon=True, name="keys")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
