"""The ServerApp: one attempt at a study, over this run's grid.

It runs in a fork of the coordinator's executor, which says before what an attempt is and with which settings.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from services.federation.course import Sites
from services.federation.flower.grid import GridSites
from twinward import telemetry

Attempt = Callable[[bytes, int, Sites], None]  # study's hash, number of the attempt, hospitals


class Here:
    """What an attempt is in this process: set before the first task."""

    attempt: Attempt | None = None


app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    try:
        if Here.attempt is None:
            raise LookupError
        study = bytes.fromhex(str(context.run_config["study"]))
        Here.attempt(study, int(context.run_config["attempt"]), GridSites(grid))
    except Exception as error:  # its text would be kept by Flower
        telemetry.LOG.unexpected(error, 0)
        raise RuntimeError("the attempt failed: the log of the coordinator's program `rounds` says where") from None
