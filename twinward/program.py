"""How every program begins: settings from a file, an end on a signal, a sentence where it cannot start."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twinward.errors import TwinwardError

# Serves with the settings of a file until the event is set. Raises TwinwardError: why it does not start.
Run = Callable[[Path, threading.Event], None]


def begin(name: str, about: str | None, parts: Mapping[str, Run], arguments: Sequence[str] | None = None) -> int:
    """Runs `python -m services.NAME [PART] --settings FILE`; the first of `parts` where none is named.

    Returns the process's exit code: 1 with the reason on stderr where it does not start.
    """
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}", description=about)
    if len(parts) > 1:
        parser.add_argument("part", nargs="?", choices=list(parts), default=next(iter(parts)))
    parser.add_argument("--settings", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    run = parts[chosen.part] if len(parts) > 1 else next(iter(parts.values()))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(chosen.settings, stop)
    except TwinwardError as error:
        sys.stderr.write("".join(f"{line}\n" for line in (error.public, error.detail) if line))
        return 1
    return 0
