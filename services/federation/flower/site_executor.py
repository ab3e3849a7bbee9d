"""The hospital's executor, a child of its program: a ClientApp is a fork of it.

A ClientApp needs Flower and the private socket, nothing of the hospital's store. This program ends with its parent.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from services.federation.flower import adapter, adapter_node
from services.federation.flower.processes import Forks, end_with_parent
from services.federation.flower.rounds_executor import secret_of
from services.federation.settings import ExecSettings
from twinward import telemetry
from twinward.clock import SystemChance, SystemClock
from twinward.settings import load

MOST_AT_ONCE = 2  # SuperNode sends one ask at a time; one more may be left of a SuperNode that was killed
LOOK_S = 0.1  # for an ask, at a SuperNode whose state is in memory


@dataclass(frozen=True, slots=True)
class _Told:
    program: str = "federation-exec"
    profile: str = ""
    log_level: str = "info"
    metrics_listen: str = ""


def run(file: Path, stop: threading.Event) -> None:
    """Works off asks until `stop`."""
    end_with_parent()
    chosen = load(ExecSettings, file)
    adapter.prepare(chosen.data_dir / "flower-exec")
    from services.federation.flower import bundle, client_app, relay

    adapter_node.warm(server=False)
    secret, work = secret_of(chosen.runtime_secret_file), secret_of(chosen.work_secret_file)
    ours = bundle.bundle_sha256()
    client_app.Here.hospital = lambda frame: relay.ask_hospital(chosen.work_socket, work, ours, frame)
    telemetry.start(_Told(), SystemClock())
    adapter.quiet()
    tasks = adapter_node.Tasks(chosen.runtime_address, secret, server=False)
    telemetry.note(telemetry.STARTED, profile="", port=0)
    forks = Forks(
        tasks.next,
        lambda token: adapter_node.run_task(chosen.runtime_address, token, server=False),
        SystemChance(),
        MOST_AT_ONCE,
        LOOK_S,
    )
    forks.run(stop)
    tasks.close()
    telemetry.note(telemetry.STOPPED)
