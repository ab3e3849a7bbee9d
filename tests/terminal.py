"""A program in a real pseudo-terminal: what it shows, and keys that are pressed. Standard library only."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

WAIT_S = 60.0
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][AB0]|\x1b[=>]")


class Terminal:
    """`close` ends the program and gives its exit code."""

    def __init__(self, command: Sequence[str], rows: int = 40, columns: int = 120) -> None:
        self._main, side = pty.openpty()
        self.resize(rows, columns, tell=False)
        self.text = ""  # everything shown, without its codes
        self._since = 0
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.program = subprocess.Popen(
            command, stdin=side, stdout=side, stderr=side, env=environment, start_new_session=True
        )
        os.close(side)

    def resize(self, rows: int, columns: int, tell: bool = True) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.program.send_signal(signal.SIGWINCH)

    def press(self, keys: str) -> None:
        """What is shown from now on is looked at by the next `until`."""
        self._since = len(self.text)
        os.write(self._main, keys.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """The first match in what has been shown since the last press."""
        deadline = time.monotonic() + WAIT_S
        while True:
            found = re.search(pattern, self.text[self._since :])
            if found is not None:
                return found
            shown = self.text[self._since :][-3000:]
            assert time.monotonic() < deadline, f"{pattern} was not shown; last: {shown}"
            assert self._read() or self.program.poll() is None, f"the program ended; last: {shown}"

    def close(self) -> int:
        """Waits for the program's own end."""
        deadline = time.monotonic() + WAIT_S
        while self.program.poll() is None:
            assert time.monotonic() < deadline, "the program goes on"
            self._read()
        while self._read():
            pass
        os.close(self._main)
        return int(self.program.returncode)

    def stop(self) -> None:
        """For the end of a test that failed."""
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait(10)

    def _read(self) -> bool:
        if not select.select([self._main], [], [], 0.1)[0]:
            return False
        try:
            got = os.read(self._main, 65536)
        except OSError:  # its other side is closed
            return False
        self.text += CODES.sub("", got.decode("utf-8", "replace"))
        return bool(got)
