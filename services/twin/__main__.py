"""Starts the twin's door (`python -m services.twin`) or its worker (`... worker`).

    python -m services.twin [worker] --settings FILE

The compiled kernels' folder is set before anything imports numba, so what needs
numba is imported inside the two functions.
"""

from __future__ import annotations

import sys
import threading

from services.twin.compiled import use_cache, warm_in_turn
from services.twin.settings import TwinSettings, WorkerSettings
from twinward import program, settings
from twinward.clock import SystemChance, SystemClock
from twinward.errors import TwinwardError

GRACE_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    parts: dict[str, program.Run] = {
        "door": lambda file, stop: run_door(settings.load(TwinSettings, file), stop),
        "worker": lambda file, stop: run_worker(settings.load(WorkerSettings, file), stop),
    }
    return program.begin("twin", __doc__, parts, arguments)


def run_door(chosen: TwinSettings, stop: threading.Event) -> None:
    """People's questions, until `stop`."""
    cache = use_cache(chosen.numba_cache_dir)
    from services.twin.api import AuthCalls, TwinDoor, WorkerCalls, served_twin
    from services.twin.database import open_pool
    from services.twin.glucose import warm
    from services.twin.glucose_plan import Limits
    from services.twin.questions import Questions, Used
    from services.twin.sealed import SnapshotSeals
    from services.twin.store import SnapshotReader
    from twinward import telemetry
    from twinward.link.client import open_channel
    from twinward.link.server import serve
    from twinward.link.service import ServiceTokens
    from twinward.link.tokens import TokenVerifier

    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    tokens = ServiceTokens.of(chosen, clock, chance)
    authority = AuthCalls(open_channel(chosen.auth_address, "auth", chosen, tokens))
    worker = WorkerCalls(open_channel(chosen.worker_address, "twin-worker", chosen, tokens))
    seals = SnapshotSeals(chosen.site, chance)
    with open_pool(chosen, most=8) as pool:
        used = Used(authority)
        questions = Questions(
            authority, worker, SnapshotReader(pool), seals, clock, used, demo=chosen.profile == "demo"
        )
        limits = Limits(bolus_iu=chosen.plan_bolus_most, carbohydrate_g=chosen.plan_carbohydrate_most)
        door = serve([served_twin(TwinDoor(questions, limits))], chosen, TokenVerifier.of(chosen, clock), chance=chance)
        door.start(serving=False)
        warm_in_turn(cache, warm)
        door.ready(True)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port)
        while not stop.wait(chosen.report_seconds):
            _settle(used)
        door.stop(GRACE_S)
        _settle(used)
        telemetry.note(telemetry.STOPPED)


def _settle(used: object) -> None:
    from services.twin.questions import UNSETTLED, Used
    from twinward import telemetry

    assert isinstance(used, Used)  # noqa: S101  imported late, because of the kernels' folder
    try:
        used.settle()
    except TwinwardError as error:  # kept for the next time
        telemetry.warn(UNSETTLED, error=error)


def run_worker(chosen: WorkerSettings, stop: threading.Event) -> None:
    """The living states, until `stop`; then they are written and the leases given back."""
    cache = use_cache(chosen.numba_cache_dir)
    from services.twin.api import AuthCalls, WorkerDoor, served_worker
    from services.twin.database import listen, open_pool
    from services.twin.glucose import warm
    from services.twin.keeper import Keeper
    from services.twin.leases import UpkeepLeases
    from services.twin.sealed import SnapshotSeals, StoredInputs, authority_key
    from services.twin.store import TwinStore
    from services.twin.worker import Worker
    from twinward import telemetry
    from twinward.link.client import open_channel
    from twinward.link.server import serve
    from twinward.link.service import ServiceTokens
    from twinward.link.tokens import TokenVerifier

    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    tokens = ServiceTokens.of(chosen, clock, chance)
    authority = AuthCalls(open_channel(chosen.auth_address, "auth", chosen, tokens))
    leases = UpkeepLeases(authority, clock, chosen.take_most, chosen.renew_before_minutes * 60_000)
    with open_pool(chosen, most=chosen.threads + 4) as pool:
        store = TwinStore(pool)
        keeper = Keeper(
            store,
            StoredInputs(pool, chosen.site, authority_key(chosen.authority_public_file), clock),
            SnapshotSeals(chosen.site, chance),
            leases,
            clock,
            live_most=chosen.live_most,
            snapshot_readings=chosen.snapshot_readings,
        )
        worker = Worker(store, leases, keeper, clock, chosen.take_most, chosen.threads)
        door = serve([served_worker(WorkerDoor(worker))], chosen, TokenVerifier.of(chosen, clock), chance=chance)
        door.start(serving=False)
        warm_in_turn(cache, warm)
        hearing = threading.Thread(
            target=listen,
            args=(chosen, stop),
            kwargs={"pending": worker.wake.set, "revoked": worker.revoked, "connected": worker.check_leases},
            name="hearing",
            daemon=True,
        )
        hearing.start()
        door.ready(True)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port)
        worker.run(stop, chosen.poll_seconds, before_end=lambda: door.stop(GRACE_S))
        telemetry.note(telemetry.STOPPED)


if __name__ == "__main__":
    sys.exit(main())
