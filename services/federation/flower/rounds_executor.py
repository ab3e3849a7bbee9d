"""The program `rounds`: a warm executor at the coordinator. A ServerApp is a fork of it.

It forks, so it has no second thread and no door: it is healthy while it lives. What a ServerApp needs is imported
here once, after Flower's environment stands and before the first fork.
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services.federation.flower import adapter, adapter_node
from services.federation.flower.processes import Forks
from services.federation.settings import RoundsSettings
from twinward import telemetry
from twinward.clock import SystemChance, SystemClock
from twinward.errors import Unready
from twinward.settings import load

if TYPE_CHECKING:
    from services.federation.flower.server_app import Attempt

MOST_RUNS = 8  # at once; each has a process of its own
LOOK_S = 0.3  # for a new run; every look is a write to the SuperLink's state


def run(file: Path, stop: threading.Event) -> None:
    """Works off runs until `stop`."""
    chosen = load(RoundsSettings, file)
    adapter.prepare(chosen.data_dir / "flower")
    rounds = importlib.import_module("services.federation.rounds")
    execute(chosen, lambda study, attempt, sites: rounds.run_attempt(study, attempt, sites, chosen), stop)


def execute(chosen: RoundsSettings, attempt: Attempt, stop: threading.Event) -> None:
    """Every run is one call of `attempt` in a fork. Call `adapter.prepare` before.

    Raises:
        Unready: the secret cannot be read, or is not the SuperLink's.
    """
    from services.federation.flower import server_app

    adapter_node.warm(server=True)
    server_app.Here.attempt = attempt
    telemetry.start(_Doorless(chosen), SystemClock())
    adapter.quiet()
    tasks = adapter_node.Tasks(chosen.runtime_address, secret_of(chosen.runtime_secret_file), server=True)
    telemetry.note(telemetry.STARTED, profile=chosen.profile, port=0)
    forks = Forks(
        tasks.next,
        lambda token: adapter_node.run_task(chosen.runtime_address, token, server=True),
        SystemChance(),
        MOST_RUNS,
        LOOK_S,
    )
    forks.run(stop)
    tasks.close()
    telemetry.note(telemetry.STOPPED)


def secret_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unready(f"{file.name} cannot be read: check its owner and mode", detail=str(error)) from None


class _Doorless:
    """What the log is told of the settings: a forking program opens no door for metrics."""

    def __init__(self, chosen: RoundsSettings) -> None:
        self.program, self.profile, self.log_level = chosen.program, chosen.profile, chosen.log_level
        self.metrics_listen = ""
