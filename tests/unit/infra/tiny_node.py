"""Supervises a node with tiny programs in the places of some real ones: `tiny_node.py DIR [--ends]`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from infra.embedded.node import Node
from infra.embedded.programs import SITE_IDP, Program
from infra.embedded.supervisor import Supervisor
from twinward.clock import SystemChance, SystemClock
from twinward.errors import TwinwardError


class Tiny(Program):
    """Without the look for a `__main__` file."""

    @property
    def installed(self) -> bool:
        return True


def main() -> int:
    node = Node.open(Path(sys.argv[1]))
    arguments = ("--ends",) if "--ends" in sys.argv else ()
    programs = (
        SITE_IDP,
        Tiny("auth", "tests.unit.infra.tiny", role="auth", doors=("enrol",)),
        Tiny("ingest", "tests.unit.infra.tiny", arguments, role="ingest"),
    )
    supervisor = Supervisor(node, SystemClock(), SystemChance(), programs)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stop.set())
    with node.alone() as free:
        assert free
        try:
            supervisor.run()
        except TwinwardError as error:
            sys.stderr.write(f"{error.public}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
