"""Starts one of the federation's programs.

    python -m services.federation PART --settings FILE

PART: at a coordinator `coordinator`, `superlink`, `rounds`; at a hospital `site`, and its children `supernode`, `exec`.
What a part needs is imported when it starts: a forking executor must not have threads, and most parts need no Flower.
"""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

from twinward import program

PARTS = {
    "coordinator": "services.federation.coordinator",
    "superlink": "services.federation.flower.superlink",
    "rounds": "services.federation.flower.rounds_executor",
    "site": "services.federation.site",
    "supernode": "services.federation.flower.supernode",
    "exec": "services.federation.flower.site_executor",
}


def _part(module: str) -> program.Run:
    def run(file: Path, stop: threading.Event) -> None:
        importlib.import_module(module).run(file, stop)

    return run


def main(arguments: list[str] | None = None) -> int:
    return program.begin("federation", __doc__, {name: _part(module) for name, module in PARTS.items()}, arguments)


if __name__ == "__main__":
    sys.exit(main())
