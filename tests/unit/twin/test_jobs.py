"""Jobs on the real queue in a real database, by a worker process that is killed."""

from __future__ import annotations

import copy
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from services.twin import glucose_layout as at
from services.twin import refit_store
from services.twin.ages import Minors
from services.twin.database import listen
from services.twin.jobs import REFIT, Jobs
from services.twin.jobs_broker import Consumer, broker
from services.twin.jobs_plan import Night, Planner, Relay
from services.twin.jobs_work import Work
from services.twin.leases import Refused, UpkeepAnswer
from services.twin.sealed import StoredInputs
from services.twin.store import Pool
from services.twin.worker import Worker
from tests.conftest import Database
from tests.unit.twin.days import known_days
from tests.unit.twin.house import STEP, house, rows_from
from tests.unit.vault.store import NOW_MS, Store, batch
from twinward.clock import SystemChance, month_of
from twinward.errors import Cancelled, NotFound, Unavailable, Unready
from twinward.record import Category, Handle
from twinward.vault.acceptance import SealedPart
from twinward.vault.keytree import Period

CATEGORIES = (Category.DEVICES, Category.VITALS, Category.LABS, Category.MEDS, Category.MODEL_STATE)
DAY_MS = 86_400_000
FIRST_MS = NOW_MS - 7 * DAY_MS
HOURS_TWO, HOURS_FIVE = 2 * 3_600_000, 5 * 3_600_000


@dataclass
class Desk:
    """Grants like auth does, by the issuer that made the keys."""

    issuer: Any
    refuse: bool = False

    def grant_upkeep(self, handles: Sequence[Handle], replay: tuple[int, int] | None = None) -> UpkeepAnswer:
        now = month_of(NOW_MS)
        if self.refuse:
            return UpkeepAnswer([], [Refused(one, "no-consent") for one in handles])
        wide = Period(now - 1, now, False)
        leases = [
            self.issuer.lease(one, "twin_jobs", CATEGORIES, wide, tails=True, seconds=900, purpose="upkeep")
            for one in handles
        ]
        return UpkeepAnswer(leases, [])

    def report_use(self, uses: Sequence[tuple[bytes, int]]) -> None:
        pass

    def return_leases(self, lease_ids: Sequence[bytes]) -> None:
        pass


@pytest.fixture
def pool(postgres: Database) -> Iterator[Pool]:
    with opened_pool(postgres) as found:
        yield found


def opened_pool(database: Database) -> Pool:
    return ConnectionPool(database.dsn("twin_jobs"), min_size=1, max_size=4, open=True)


def worker_pool(store: Store) -> Pool:
    return ConnectionPool(store.database.dsn("twin_worker"), min_size=1, max_size=2, open=True)


def sent_days(store: Store, number: int = 1) -> Handle:
    handle = store.patient(CATEGORIES).handle
    rows, _ = known_days(FIRST_MS, number=number)
    store.writer().write(batch([SealedPart(handle, Category.DEVICES, list(rows), ())]))
    return handle


def work(store: Store, pool: Pool, issuer: Any = None) -> Work:
    issuer = issuer or store.issuer
    stored = StoredInputs(pool, issuer.site, issuer.authority_public, store.clock)
    return Work(Jobs(pool), Desk(issuer), stored, issuer.site, store.clock, SystemChance())


def settings(database: Database, role: str = "twin_jobs") -> Any:
    dsn, file = database.for_settings(role)
    return SimpleNamespace(database=dsn, database_password_file=file)


def worker_process(store: Store, hold: Callable[[Work], None] | None = None) -> int:
    """A process with Celery's worker on the queue; its id."""
    child = os.fork()
    if child:
        return child
    try:
        issuer = copy.copy(store.issuer)
        issuer.connection = psycopg.connect(store.database.dsn("auth"), autocommit=True)
        with opened_pool(store.database) as pool:
            doing = work(store, pool, issuer)
            if hold is not None:
                hold(doing)
            consumer = Consumer(broker(settings(store.database), None, visibility_s=2), doing.run)
            consumer.start()
            doing.jobs.orphans()
            relay = Relay(doing.jobs, consumer)
            while True:
                with suppress(Unavailable):  # both ends declare the queue, one may lose; as jobs_plan.watch
                    relay.relay()
                time.sleep(0.05)
    finally:
        os._exit(7)


def until(what: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def lived(store: Store, handle: Handle, *times: int) -> None:
    """A twin with a snapshot at each of these times."""
    snapshot = """
        insert into twin.snapshot (handle, tag, month, version, seq, state_ms, kind, blob)
        values (%s, ''::bytea, 202611, 1, %s, %s, 'latest', ''::bytea)"""
    position = """
        insert into twin.position (handle, seq, month, snapshot_hash, at)
        values (%s, %s, 202611, ''::bytea, now()) on conflict (handle) do update set seq = excluded.seq"""
    with store.owner.cursor() as cursor:
        cursor.executemany(snapshot, [(handle, at_ms, at_ms) for at_ms in times])
        cursor.execute(position, (handle, times[-1]))


def refits(store: Store, *jobs: UUID) -> int:
    row = store.owner.execute("select count(*) from twin.refit where job = any (%s)", (list(jobs),)).fetchone()
    assert row is not None
    return int(row[0])


def test_a_worker_killed_with_jobs_in_flight_loses_none_and_doubles_none(store: Store, pool: Pool) -> None:
    jobs = Jobs(pool)
    store.owner.execute("update twin.job set state = 'cancelled' where state in ('waiting', 'running')")  # other tests'
    asked = [jobs.ask(REFIT, f"test:{k}", sent_days(store, 1)) for k in range(3)]
    assert jobs.ask(REFIT, "test:0", jobs.show(asked[0]).handle) == asked[0]  # asked twice is one job
    reading, writing = os.pipe()

    def hold(doing: Work) -> None:
        """Dies with the second job just before its end: the first is done, the third waits."""
        begun: list[UUID] = []

        def before_end(job: Any) -> None:
            begun.append(job.id)
            if len(begun) == 2:
                os.write(writing, b"x")
                time.sleep(60)

        doing.before_end = before_end

    first = worker_process(store, hold)
    try:
        assert select.select([reading], [], [], 60.0)[0], "the worker did not come to its second job"
        states = sorted(jobs.show(job).state for job in asked)
        assert states.count("done") == 1
        assert "running" in states
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
    second = worker_process(store)
    try:
        until(lambda: all(jobs.show(job).state == "done" for job in asked))
        time.sleep(2.5)  # past the visibility of what the killed one had read: it comes again and finds nothing to do
        assert refits(store, *asked) == len(asked)
        assert sorted(jobs.show(job).runs for job in asked) == [1, 1, 2]
    finally:
        os.kill(second, signal.SIGKILL)
        os.waitpid(second, 0)
        os.close(reading)
        os.close(writing)
    left = store.owner.execute("select message::text from pgmq.q_twin_jobs").fetchall()
    handles = {str(jobs.show(job).handle) for job in asked}
    assert not any(handle in text for (text,) in left for handle in handles)


def test_messages_hold_no_patient_and_a_second_run_does_no_harm(store: Store, pool: Pool) -> None:
    jobs = Jobs(pool)
    handle = sent_days(store)
    job = jobs.ask(REFIT, "test:twice", handle)
    sender = os.fork()  # this process never opens Celery: what is forked off it later could not use it
    if not sender:
        try:
            Consumer(broker(settings(store.database), None), lambda _: None).send(job)
        finally:
            os._exit(0)
    os.waitpid(sender, 0)
    (text,) = store.owner.execute(
        "select message::text from pgmq.q_twin_jobs order by msg_id desc limit 1"
    ).fetchone() or ("",)
    assert str(handle) not in text
    store.owner.execute("delete from pgmq.q_twin_jobs")
    doing = work(store, pool)
    doing.run(job)
    doing.run(job)
    assert (jobs.show(job).state, jobs.show(job).runs, refits(store, job)) == ("done", 1, 1)
    lease = Desk(store.issuer).grant_upkeep([handle]).leases[0]
    with pool.connection() as connection:
        (one,) = refit_store.refits_of(connection, store.issuer.site, lease)
        assert one.personal == ("SI",)
        assert set(one.refused) == {"Gb", "meal", "skin"}


def test_cancelled_while_it_runs_writes_nothing_and_can_be_resumed(store: Store, pool: Pool) -> None:
    jobs, doing = Jobs(pool), work(store, pool)
    job = jobs.ask(REFIT, "test:cancel", sent_days(store))
    doing.before_end = lambda one: jobs.cancel(one.id)
    doing.run(job)
    assert (jobs.show(job).state, refits(store, job)) == ("cancelled", 0)
    with pytest.raises(Unready):
        jobs.cancel(job)
    with pytest.raises(Cancelled):
        jobs.at(job, 50)
    doing.before_end = lambda _: None
    jobs.resume(job)
    doing.run(job)
    assert (jobs.show(job).state, jobs.show(job).progress, refits(store, job)) == ("done", 100, 1)
    with pytest.raises(NotFound):
        jobs.show(UUID(int=1))


def test_too_little_data_or_no_consent_ends_as_a_refusal_with_its_word(store: Store, pool: Pool) -> None:
    jobs, doing = Jobs(pool), work(store, pool)
    short = store.patient(CATEGORIES).handle
    rows, _ = known_days(FIRST_MS)
    store.writer().write(batch([SealedPart(short, Category.DEVICES, list(rows[:400]), ())]))
    job = jobs.ask(REFIT, "test:short", short)
    doing.run(job)
    assert (jobs.show(job).state, jobs.show(job).reason) == ("refused", "UNREADY")
    doing.authority = Desk(store.issuer, refuse=True)
    jobs.resume(job)
    doing.run(job)
    assert (jobs.show(job).state, jobs.show(job).reason) == ("refused", "DENIED")


def test_the_living_twin_takes_the_refit_at_its_place_and_replays_it_there(store: Store, pool: Pool) -> None:
    """With the refit, in pieces, with late data before and after its place: one and the same state."""
    jobs, doing = Jobs(pool), work(store, pool)
    handle = sent_days(store)
    of = house(store, worker_pool(store))
    of.bring_up(handle, save=True)
    store.owner.execute("delete from twin.pending")  # the other tests' patients
    last_ms = known_days(FIRST_MS)[0][-1].effective_ms
    stop, heard = threading.Event(), threading.Event()
    worker = Worker(of.twins, of.leases, of.keeper, store.clock, 10, 1)
    hearing = threading.Thread(
        target=listen,
        args=(settings(store.database, "twin_worker"), stop),
        kwargs={
            "pending": heard.set, "revoked": worker.revoked, "connected": worker.check_leases,
            "refitted": worker.refitted, "adopted": worker.adopted,
        },
    )  # fmt: skip
    hearing.start()
    with ThreadPoolExecutor(1) as threads:

        def taken() -> bool:
            worker.step(threads)  # no row comes, nobody asks: without the notice it has nothing to do
            living = of.keeper._slots[handle].living
            return living is not None and living.twin.personal.at_ms == last_ms + 1

        try:
            assert heard.wait(10)
            assert not taken()
            doing.run(jobs.ask(REFIT, "test:living", handle))
            until(taken)
            taken_by = of.keeper._slots[handle].living
            assert taken_by is not None
            theta, (mean, sd) = taken_by.twin._parts.members[:, at.THETA], taken_by.twin._parts.personal[0, :2]
            assert abs(theta.mean() - mean) < 0.1 * sd  # it starts from there; the body's bounds move it a little
        finally:
            stop.set()
            hearing.join()
    of.send(handle, rows_from(last_ms + STEP, 5, seed=9))
    living = of.bring_up(handle, save=True)
    assert living.twin.personal.names == ("SI",)
    assert living.twin.personal.at_ms == last_ms + 1
    assert living.twin.personal.refits == 1
    of.send(handle, rows_from(last_ms + 20 * STEP, 3, seed=10))
    of.bring_up(handle)
    of.send(handle, rows_from(last_ms - 30 * STEP + 90_000, 1, seed=11))  # late, before the refit's place
    of.send(handle, rows_from(last_ms + 10 * STEP, 1, seed=12))  # late, after it
    late = of.bring_up(handle)
    fresh = house(store, worker_pool(store))
    store.owner.execute("delete from twin.snapshot where handle = %s", (handle,))
    store.owner.execute("delete from twin.position where handle = %s", (handle,))
    whole = fresh.bring_up(handle)
    assert late.twin.dump() == whole.twin.dump()
    assert late.twin.personal.refits == 1


def test_two_at_one_job_only_one_works(store: Store, pool: Pool) -> None:
    jobs, doing, other = Jobs(pool), work(store, pool), work(store, pool)
    job = jobs.ask(REFIT, "test:two", sent_days(store))
    inside = threading.Event()
    go = threading.Event()

    def hold(_: Any) -> None:
        inside.set()
        go.wait(30)

    doing.before_end = hold
    first = threading.Thread(target=doing.run, args=(job,))
    first.start()
    assert inside.wait(30)
    other.run(job)  # the lock is held: nothing to do
    assert jobs.show(job).state == "running"
    go.set()
    first.join()
    assert (jobs.show(job).runs, refits(store, job)) == (1, 1)


def test_nobody_under_18_is_refitted_at_night(store: Store, pool: Pool) -> None:
    """What a question learned of an age holds for the night and for a job that waits already."""
    handle = store.patient(CATEGORIES).handle
    lived(store, handle, FIRST_MS, FIRST_MS + 6 * DAY_MS)
    jobs = Jobs(pool)
    job = jobs.ask(REFIT, "test:minor", handle)
    assert handle in [one for one, _ in jobs.due(5.0, 1000)]
    with ConnectionPool(store.database.dsn("twin"), min_size=1, max_size=1, open=True) as door:
        minors = Minors(door)
        minors.note(handle, date(2999, 1, 1))
        assert handle not in [one for one, _ in jobs.due(5.0, 1000)]
        work(store, pool).run(job)
        assert (jobs.show(job).state, jobs.show(job).reason) == ("refused", "UNDER_18")
        minors.note(handle, date(2000, 1, 1))
        assert handle in [one for one, _ in jobs.due(5.0, 1000)]
        minors.forget(handle)


def test_the_night_plans_each_due_twin_once(store: Store, pool: Pool) -> None:
    night = Night(1, 4)
    day = NOW_MS - NOW_MS % DAY_MS
    assert not night.holds(day + HOURS_FIVE)
    assert night.holds(day + HOURS_TWO)
    assert Night(22, 3).holds(day + HOURS_TWO)
    assert Night(22, 3).name(day + HOURS_TWO) == Night(22, 3).name(day - HOURS_TWO)
    handle = store.patient(CATEGORIES).handle
    lived(store, handle, FIRST_MS, FIRST_MS + 4 * DAY_MS)
    clock = copy.copy(store.clock)
    clock.ms = day + HOURS_TWO
    planned = "select count(*) from twin.job where handle = %s"

    def of_a_new_program() -> Planner:
        return Planner(Jobs(pool), clock, night, 5.0, 100)

    of_a_new_program().plan()
    assert store.owner.execute(planned, (handle,)).fetchone() == (0,)
    lived(store, handle, FIRST_MS + 5 * DAY_MS)
    planner = of_a_new_program()
    assert planner.plan() >= 1
    assert planner.plan() == 0  # this night is planned; nobody is looked at again
    of_a_new_program().plan()
    assert store.owner.execute(planned, (handle,)).fetchone() == (1,)
    clock.ms = day + HOURS_FIVE
    assert of_a_new_program().plan() == 0
    clock.ms = day + HOURS_TWO + DAY_MS
    assert planner.plan() >= 1
    assert store.owner.execute(planned, (handle,)).fetchone() == (2,)


def test_who_lives_comes_before_who_stands_still(store: Store, pool: Pool) -> None:
    """However many are due and cannot be refitted."""
    still, living = (store.patient(CATEGORIES).handle for _ in range(2))
    lived(store, still, FIRST_MS - 90 * DAY_MS, FIRST_MS - 80 * DAY_MS)
    lived(store, living, FIRST_MS, FIRST_MS + 40 * DAY_MS)
    assert [one for one, _ in Jobs(pool).due(5.0, 1)] == [living]
    assert still in [one for one, _ in Jobs(pool).due(5.0, 1000)]


def test_who_is_due_is_found_without_reading_what_a_twin_has_lived(store: Store) -> None:
    """However many snapshots: the newest and the oldest of each twin, and no other."""
    handle = store.patient(CATEGORIES).handle
    lived(store, handle, *range(FIRST_MS, FIRST_MS + 300_000, 1_000))
    found = store.owner.execute("select prosrc from pg_proc where proname = 'refit_due'").fetchone()
    assert found is not None
    query = str(found[0]).replace("days *", "5.0 *").replace("limit most", "limit 100")
    with store.owner.transaction():
        for way in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):  # small tables tempt the planner
            store.owner.execute(f"set local {way} = off")
        row = store.owner.execute(f"explain (analyze, format json) {query}".encode()).fetchone()
        twins = store.owner.execute("select count(*) from twin.position").fetchone()
    assert row is not None
    assert twins is not None
    read = list(read_of("snapshot", row[0][0]["Plan"]))
    assert read
    assert 2 <= sum(read) <= 2 * twins[0]


def read_of(table: str, node: dict[str, Any]) -> Iterator[float]:
    """Rows that the plan's scans of a table gave or threw away."""
    if node.get("Relation Name") == table:
        yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for below in node.get("Plans", ()):
        yield from read_of(table, below)
