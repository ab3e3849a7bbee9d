"""`python -m infra.embedded.site_idp --settings FILE`"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from infra.embedded.site_idp.door import Door
from infra.embedded.site_idp.issuer import SiteIdp
from infra.embedded.site_idp.settings import IdpSettings
from twinward import telemetry
from twinward.clock import SystemChance, SystemClock
from twinward.errors import TwinwardError
from twinward.settings import load


def main() -> int:
    parser = argparse.ArgumentParser(prog="site-idp")
    parser.add_argument("--settings", type=Path, required=True)
    given = parser.parse_args()
    clock = SystemClock()
    try:
        settings = load(IdpSettings, given.settings)
        telemetry.start(settings, clock)
        door = Door(settings, SiteIdp(settings, clock, SystemChance()))
    except TwinwardError as error:
        sys.stderr.write(f"site-idp: {error.public}\n")
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # `shutdown` waits for the loop that this very signal interrupted: so from another thread.
        signal.signal(number, lambda *_: threading.Thread(target=door.shutdown).start())
    telemetry.note(telemetry.STARTED, profile=settings.profile, port=door.server_address[1])
    door.serve_forever(poll_interval=0.2)
    door.server_close()
    telemetry.note(telemetry.STOPPED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
