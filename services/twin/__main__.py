"""Starts the twin's door (`python -m services.twin`), its worker (`... worker`), its jobs (`... jobs`) or teaching
(`... sessions`).

    python -m services.twin [worker | jobs | sessions] --settings FILE

The compiled kernels' folder is set before anything imports numba, so what needs
numba is imported inside the functions.
"""

from __future__ import annotations

import sys
import threading

from services.twin.settings import JobsSettings, SessionSettings, TwinSettings, WorkerSettings
from twinward import program, settings
from twinward.clock import SystemChance, SystemClock
from twinward.errors import TwinwardError

GRACE_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    parts: dict[str, program.Run] = {
        "door": lambda file, stop: run_door(settings.load(TwinSettings, file), stop),
        "worker": lambda file, stop: run_worker(settings.load(WorkerSettings, file), stop),
        "sessions": lambda file, stop: run_sessions(settings.load(SessionSettings, file), stop),
        "jobs": lambda file, stop: run_jobs(settings.load(JobsSettings, file), stop),
    }
    return program.begin("twin", __doc__, parts, arguments)


def run_door(chosen: TwinSettings, stop: threading.Event) -> None:
    """People's questions, until `stop`."""
    from services.twin.compiled import use_cache, warm_in_turn

    cache = use_cache(chosen.numba_cache_dir)
    from services.twin.ages import Ages, Minors, StoredDocuments
    from services.twin.api import AuthCalls, TwinDoor, WorkerCalls, served_twin
    from services.twin.database import open_pool
    from services.twin.glucose import warm
    from services.twin.glucose_plan import Limits
    from services.twin.identification import Identification
    from services.twin.jobs import Jobs
    from services.twin.prior_api import PriorsDoor, served_priors
    from services.twin.questions import Questions, Used
    from services.twin.routes import Routes
    from services.twin.sealed import SnapshotSeals, authority_key
    from services.twin.store import SnapshotReader
    from services.twin.timeline import Timelines
    from services.twin.upkeep_api import UpkeepDoor, served_upkeep
    from twinward import telemetry
    from twinward.link.client import open_channel
    from twinward.link.server import serve
    from twinward.link.service import ServiceTokens
    from twinward.link.tokens import TokenVerifier
    from twinward.vault.reader import Reader

    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    tokens = ServiceTokens.of(chosen, clock, chance)
    authority = AuthCalls(open_channel(chosen.auth_address, "auth", chosen, tokens))
    seals = SnapshotSeals(chosen.site, chance)

    def calls(address: str) -> WorkerCalls:
        return WorkerCalls(open_channel(address, "twin-worker", chosen, tokens))

    with open_pool(chosen, most=8) as pool:
        used = Used(authority)
        worker = Routes(pool, calls, chosen.worker_address)
        public = authority_key(chosen.authority_public_file)
        documents = StoredDocuments(pool, lambda line: Reader(line, site=chosen.site, authority=public, clock=clock))
        ages = Ages(authority, documents, used, clock, Minors(pool))
        questions = Questions(
            authority, worker, SnapshotReader(pool), seals, clock, used, demo=chosen.profile == "demo", ages=ages,
            timelines=Timelines(pool, chosen.site),
        )  # fmt: skip
        limits = Limits(bolus_iu=chosen.plan_bolus_most, carbohydrate_g=chosen.plan_carbohydrate_most)
        jobs = Jobs(pool)
        upkeep = UpkeepDoor(Identification(questions, jobs, pool, chosen.site), jobs)
        priors = PriorsDoor(pool, authority.record)
        doors = [served_twin(TwinDoor(questions, limits)), served_upkeep(upkeep), served_priors(priors)]
        door = serve(doors, chosen, TokenVerifier.of(chosen, clock), chance=chance)
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
    from services.twin.compiled import use_cache, warm_in_turn

    cache = use_cache(chosen.numba_cache_dir)
    from services.twin.api import AuthCalls, WorkerDoor, served_worker
    from services.twin.claims import Claims
    from services.twin.database import listen, open_pool, worker_id
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
        me = worker_id(chosen.data_dir, chance)
        store = TwinStore(pool, me)
        claims = Claims(pool, me, chosen.announce or chosen.listen, clock)
        keeper = Keeper(
            store,
            StoredInputs(pool, chosen.site, authority_key(chosen.authority_public_file), clock),
            SnapshotSeals(chosen.site, chance),
            leases,
            clock,
            live_most=chosen.live_most,
            snapshot_readings=chosen.snapshot_readings,
        )
        worker = Worker(store, leases, keeper, clock, chosen.take_most, chosen.threads, claims)
        door = serve([served_worker(WorkerDoor(worker))], chosen, TokenVerifier.of(chosen, clock), chance=chance)
        door.start(serving=False)
        warm_in_turn(cache, warm)
        hearing = threading.Thread(
            target=listen,
            args=(chosen, stop),
            kwargs={
                "pending": worker.wake.set,
                "revoked": worker.revoked,
                "connected": worker.check_leases,
                "refitted": worker.refitted,
                "adopted": worker.adopted,
            },
            name="hearing",
            daemon=True,
        )
        hearing.start()
        holding = threading.Thread(target=claims.run, args=(stop, worker.wake), name="claims", daemon=True)
        holding.start()
        door.ready(True)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port)
        worker.run(stop, chosen.poll_seconds, before_end=lambda: door.stop(GRACE_S))
        telemetry.note(telemetry.STOPPED)


def run_sessions(chosen: SessionSettings, stop: threading.Event) -> None:
    """Learners' sessions, until `stop`; then how far each is has been written, and its log has the rest."""
    from services.twin.compiled import use_cache, warm_once

    cache = use_cache(chosen.numba_cache_dir)
    from services.twin.session_program import serve_sessions, warm
    from twinward import telemetry

    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    with serve_sessions(chosen, clock, chance) as door:
        # A hospital that nobody learns in pays neither time nor memory for bodies: the first learner loads them.
        warm_once(cache, "sessions", warm)
        door.ready(True)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port)
        stop.wait()
        telemetry.note(telemetry.STOPPED)


def run_jobs(chosen: JobsSettings, stop: threading.Event) -> None:
    """Long jobs, one at a time, until `stop`; the one at hand is finished, or waits for the next start."""
    from services.twin.database import open_pool
    from services.twin.jobs import Jobs
    from services.twin.jobs_broker import Consumer, broker
    from services.twin.jobs_plan import Night, Planner, Relay, watch
    from services.twin.jobs_work import Reading, Work
    from services.twin.upkeep_calls import UpkeepCalls
    from twinward import telemetry
    from twinward.link.client import open_channel
    from twinward.link.server import serve
    from twinward.link.service import ServiceTokens
    from twinward.link.tokens import TokenVerifier

    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    authority = UpkeepCalls(open_channel(chosen.auth_address, "auth", chosen, ServiceTokens.of(chosen, clock, chance)))
    with open_pool(chosen, most=4) as pool:
        jobs = Jobs(pool)
        stored = Reading(pool, chosen.site, chosen.authority_public_file, chosen.numba_cache_dir, clock)
        work = Work(jobs, authority, stored, chosen.site, clock, chance, stop)
        consumer = Consumer(broker(chosen, chosen.broker_file), work.run)
        door = serve([], chosen, TokenVerifier.of(chosen, clock), chance=chance)
        door.start(serving=False)
        consumer.start()
        door.ready(True)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port)
        night = Night(chosen.night_from_utc_h, chosen.night_until_utc_h)
        planner = Planner(jobs, clock, night, chosen.refit_days, chosen.refit_most)
        watch(stop, Relay(jobs, consumer), planner, chosen.relay_seconds, chosen.plan_seconds)
        door.ready(False)
        consumer.stop(GRACE_S)
        door.stop(GRACE_S)
        telemetry.note(telemetry.STOPPED)


if __name__ == "__main__":
    sys.exit(main())
