"""A program of a node that does nothing but serve health: `python -m tests.unit.infra.tiny --settings FILE`.

With `--ends` it ends at once with code 3.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from twinward import telemetry
from twinward.clock import SystemClock
from twinward.link.server import serve
from twinward.link.tokens import TokenVerifier
from twinward.settings import ProgramSettings, build


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--ends", action="store_true")
    given = parser.parse_args()
    if given.ends:
        return 3
    import tomllib

    known = ProgramSettings.__dataclass_fields__
    found = {name: value for name, value in tomllib.loads(given.settings.read_text()).items() if name in known}
    settings = build(ProgramSettings, found, {}, given.settings.parent)
    clock = SystemClock()
    telemetry.start(settings, clock)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    door = serve([], settings, TokenVerifier.of(settings, clock))
    door.start()
    telemetry.note(telemetry.STARTED, profile=settings.profile, port=door.port)
    stop.wait()
    door.stop()
    telemetry.note(telemetry.STOPPED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
