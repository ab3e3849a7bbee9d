"""Children: one that ends with its parent, and forks that work off tasks."""

from __future__ import annotations

import ctypes
import os
import random  # noqa: TID251 - to be seeded anew after a fork, not drawn from
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from twinward import telemetry
from twinward.clock import Chance
from twinward.errors import Unavailable

PR_SET_PDEATHSIG = 1  # linux/prctl.h
IDLE_S = 0.5  # between two looks for a task, when there was none for LATELY looks
LATELY = 400
END_S = 5.0

AWAY = telemetry.event("executor_waits")
STRANGE = telemetry.event("executor_child_ended", "code")


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Asks the kernel for a signal at the parent's death, and ends at once if that was a moment ago.

    The kernel means the parent's *thread* that started this process: a parent starts its children from a thread
    that lives as long as it does.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent or parent == 1:
        sys.exit(0)


def reseed(chance: Chance) -> None:
    """A fork inherits the state of every generator: two children would draw the same numbers."""
    random.seed(chance.bytes(32))
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(int.from_bytes(chance.bytes(4), "big"))


class Forks:
    """Works off tasks, each in a fork of this process, which therefore has one thread and no open channel."""

    def __init__(
        self, take: Callable[[], str], work: Callable[[str], None], chance: Chance, most: int, busy_s: float
    ) -> None:
        """`take`: a task's token or "" (raises Unavailable while nobody answers); `work` runs in the child.

        `most`: children at once. `busy_s`: between two looks while there were tasks lately.
        """
        self._take = take
        self._work = work
        self._chance = chance
        self._most = most
        self._busy_s = busy_s
        self._children: set[int] = set()
        self._idle = 0

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; then children have END_S seconds to end."""
        while not stop.is_set():
            self.reap()
            if len(self._children) < self._most and self._one():
                continue
            stop.wait(self._busy_s if self._idle < LATELY else IDLE_S)
        self.end()

    def _one(self) -> bool:
        try:
            token = self._take()
        except Unavailable:
            if self._idle < LATELY:
                telemetry.note(AWAY)
            self._idle = LATELY
            return False
        self._idle = 0 if token else min(self._idle + 1, LATELY)
        if token:
            self._children.add(self._fork(token))
        return bool(token)

    def _fork(self, token: str) -> int:
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            end_with_parent(signal.SIGKILL)
            reseed(self._chance)
            _silence()
            self._work(token)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException as error:
            telemetry.LOG.unexpected(error, 0)
        finally:
            os._exit(code)

    def reap(self) -> None:
        for child in list(self._children):
            with suppress(ChildProcessError):
                found, status = os.waitpid(child, os.WNOHANG)
                if not found:
                    continue
                if os.waitstatus_to_exitcode(status) < 0:  # killed: its own exit codes were logged by itself
                    telemetry.warn(STRANGE, code=os.waitstatus_to_exitcode(status))
            self._children.discard(child)

    def end(self) -> None:
        pause = threading.Event()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in self._children:
                with suppress(ProcessLookupError):
                    os.kill(child, number)
            for _ in range(int(END_S / 0.05)):
                self.reap()
                if not self._children:
                    return
                pause.wait(0.05)


def _silence() -> None:
    """Flower prints; what it prints may hold anything. Our log goes to its own copy of stderr."""
    telemetry.LOG.stream = os.fdopen(os.dup(2), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
