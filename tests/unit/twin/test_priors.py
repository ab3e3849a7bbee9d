"""Priors: a file, a hash, one in force; twins made again with it, and the way back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.twin import glucose_layout as at
from services.twin import living as states
from services.twin import migration, prior_file, prior_store
from services.twin.database import listen
from services.twin.glucose import GlucoseTwin
from services.twin.glucose_prior import file_of, prior
from services.twin.jobs import REBUILD, Jobs
from services.twin.jobs_work import Work
from services.twin.migration import CORRECTION, MIGRATION
from services.twin.store import Pool
from services.twin.timeline import Timelines
from services.twin.worker import Worker
from tests.conftest import Database
from tests.unit.twin.house import CATEGORIES, STEP, House, house, rows_from
from tests.unit.twin.test_jobs import Desk, settings
from tests.unit.vault.store import NOW_MS, Store, reading
from twinward.clock import SystemChance
from twinward.errors import BadInput, Malformed, NotFound, Unavailable, Unready
from twinward.record import Handle
from twinward.vault.keytree import Period

FIRST_MS = NOW_MS - 8 * 3_600_000


def changed(**by: Any) -> bytes:
    body = json.loads(file_of(prior()))
    body["version"] = "test-2"
    body["logarithms"]["SI"] = {"mean": 0.4, "sd": 0.3}
    return json.dumps(body | by).encode()


OTHER = changed()


@pytest.fixture(scope="module")
def pools(postgres: Database) -> Iterator[dict[str, Pool]]:
    found = {
        role: Pool(postgres.dsn(role), min_size=1, max_size=4, open=True)
        for role in ("twin", "twin_worker", "twin_jobs")
    }
    yield found
    for pool in found.values():
        pool.close()


@pytest.fixture
def of(store: Store, pools: dict[str, Pool]) -> House:
    return house(store, pools["twin_worker"])


class Ledger:
    """Takes entries, or does not."""

    def __init__(self, *, down: bool = False) -> None:
        self.entries: list[tuple[str, Mapping[str, object]]] = []
        self.down = down

    def __call__(self, kind: str, body: Mapping[str, object]) -> int:
        if self.down:
            raise Unavailable("no ledger")
        self.entries.append((kind, body))
        return len(self.entries)


def adopt(pool: Pool, name: str, *, back: bool = False, ledger: Ledger | None = None) -> Ledger:
    ledger = ledger or Ledger()
    with pool.connection() as connection:
        prior_store.adopt(connection, name, back=back, by="somebody", record=ledger)
    return ledger


def imported(pool: Pool, body: bytes = OTHER) -> str:
    with pool.connection() as connection:
        return prior_store.keep(connection, body).sha256.hex()


def go_back(pool: Pool) -> None:
    with pool.connection() as connection:
        now = prior_store.in_force(connection)
    if now.sha256 != prior().sha256:
        adopt(pool, prior().sha256.hex(), back=True)


def test_the_shipped_prior_is_a_file_like_any_other() -> None:
    read = prior_file.load(file_of(prior()))
    assert read.sha256 == prior().sha256
    rows = rows_from(FIRST_MS, 40)
    one, other = GlucoseTwin.start(b"a", FIRST_MS), GlucoseTwin.start(b"a", FIRST_MS, None, read)
    one.advance(rows)
    other.advance(rows)
    assert one.dump() == other.dump()
    prior_file.tried(read)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"\xff", OTHER[:-40], changed(format="twinward-prior-0"), changed(version="Not A Version"),
        changed(more=1), changed(provenance=""), changed(interval={"sigmas": 9.0}), changed(logarithms={}),
        changed(logarithms=json.loads(OTHER)["logarithms"] | {"Gb": {"mean": 0.6, "sd": 0.1}}),
        changed(logarithms=json.loads(OTHER)["logarithms"] | {"SI": {"mean": 0.0, "sd": 0.0}}),
        changed(regression=json.loads(OTHER)["regression"] | {"30": {"beta": [0.0], "gamma": [0.0]}}),
        changed(regression=json.loads(OTHER)["regression"] | {"60": {"beta": [1e9] * at.FEATURES, "gamma": [1.0] * 9}}),
    ],
)  # fmt: skip
def test_what_is_no_prior_is_refused(body: bytes) -> None:
    with pytest.raises((Malformed, BadInput)):
        prior_file.load(body)


def test_what_a_twin_could_not_say_is_refused() -> None:
    silly = replace(prior(), gamma=np.full((3, at.SPREAD), 90.0))
    with pytest.raises(BadInput, match="possible"):
        prior_file.tried(silly)


def test_a_prior_shifts_where_members_start_and_what_they_drift_back_to() -> None:
    twin = GlucoseTwin.start(b"a", FIRST_MS, None, prior_file.load(OTHER))
    plain = GlucoseTwin.start(b"a", FIRST_MS)
    for one in (twin, plain):
        one.advance(rows_from(FIRST_MS, 1))
    theta = twin._parts.members[:, at.THETA], plain._parts.members[:, at.THETA]
    assert 0.2 < theta[0].mean() - theta[1].mean() < 0.6
    assert theta[0].std() < theta[1].std()
    assert twin._drift[0].tolist() == [0.4, 0.3]
    back = GlucoseTwin.load(twin.dump())
    for one in (twin, back):
        one.advance(rows_from(FIRST_MS + STEP, 30, seed=1))
    assert back.dump() == twin.dump()
    assert back.prior_name == twin.prior_name == f"test-2 ({prior_file.load(OTHER).sha256.hex()[:8]})"


def test_without_an_entry_nothing_is_adopted(pools: dict[str, Pool]) -> None:
    go_back(pools["twin"])
    pool, name = pools["twin"], imported(pools["twin"], changed(version="never-1"))
    state = "select (select count(*) from twin.adoption), (select count(*) from twin.job where kind = 'rebuild')"
    with pool.connection() as connection:
        before = connection.execute(state).fetchone()
    with pytest.raises(Unavailable):
        adopt(pool, name, ledger=Ledger(down=True))
    with pool.connection() as connection:
        assert prior_store.in_force(connection).sha256 == prior().sha256
        assert connection.execute(state).fetchone() == before
    with pytest.raises(NotFound):
        adopt(pool, "nothing-1")
    with pytest.raises(Unready, match="never"):
        adopt(pool, name, back=True)
    with pytest.raises(Unready, match="already"):
        adopt(pool, prior().sha256.hex())


def test_adopted_and_reverted_every_state_is_what_the_record_gives(of: House, pools: dict[str, Pool]) -> None:
    handle, pool = of.store.patient(CATEGORIES).handle, pools["twin"]
    go_back(pool)
    of.store.owner.execute("delete from twin.migration")
    of.send(handle, rows_from(FIRST_MS, 60))
    before = of.bring_up(handle, save=True).twin.dump()
    name = imported(pool)
    ledger = adopt(pool, name)
    ((kind, body),) = ledger.entries
    assert (kind, body["act"], body["prior"], body["before"]) == (
        "config_change", "prior.adopt", name, prior().sha256.hex(),
    )  # fmt: skip
    of.keeper.believe(of.twins.prior())
    assert handle in of.twins.behind(made=of.keeper.made)
    after = of.bring_up(handle)
    assert after.twin.prior_sha256.hex() == name
    fresh = states.start(handle, of.keeper._stored.view(of.leases.lease(handle), 0), of.twins.prior())
    assert fresh is not None
    list(fresh.eat(of.keeper._stored.view(of.leases.lease(handle), 0).inputs))
    assert after.twin.dump() == fresh.twin.dump()
    assert of.stored(handle).made.name == of.keeper.made
    assert handle not in of.twins.behind(made=of.keeper.made)
    with pool.connection() as connection:
        (run,) = [one for one in migration.runs(connection, 10) if one.now == of.keeper.made]
        assert (run.twins, run.readings, run.compared) == (1, 60, 1)
        assert run.greatest > 0
    adopt(pool, prior().sha256.hex(), back=True)
    of.keeper.believe(of.twins.prior())
    assert of.bring_up(handle, save=True).twin.dump() == before
    restarted = house(of.store, pools["twin_worker"])
    assert restarted.bring_up(handle).twin.dump() == before


def test_a_snapshot_of_another_model_is_replayed_and_reported(of: House, pools: dict[str, Pool]) -> None:
    go_back(pools["twin"])
    handle = of.store.patient(CATEGORIES).handle
    of.send(handle, rows_from(FIRST_MS, 30, seed=3))
    was = GlucoseTwin.MODEL_VERSION
    GlucoseTwin.MODEL_VERSION = "glucose-of-old-1"
    try:
        of.bring_up(handle, save=True)
    finally:
        GlucoseTwin.MODEL_VERSION = was
    again = house(of.store, pools["twin_worker"])
    assert handle in again.twins.behind(made=again.keeper.made)
    again.bring_up(handle)
    with pools["twin"].connection() as connection:
        (run,) = [one for one in migration.runs(connection, 10) if one.was.startswith("glucose-of-old-1")]
    assert (run.twins, run.readings, run.compared, run.greatest, run.left) == (1, 30, 1, 0.0, 0)


def test_a_listening_worker_and_the_job_make_every_twin_again(of: House, pools: dict[str, Pool]) -> None:
    """The real pieces: adoption, its notification, the job that hands over, the worker that makes again."""
    go_back(pools["twin"])
    jobs, handles = Jobs(pools["twin_jobs"]), [of.store.patient(CATEGORIES).handle for _ in range(3)]
    of.store.owner.execute("delete from twin.position")
    for seed, handle in enumerate(handles):
        of.send(handle, rows_from(FIRST_MS, 20, seed=20 + seed))
        of.bring_up(handle, save=True)
    stop, heard = threading.Event(), threading.Event()
    worker = Worker(of.twins, of.leases, of.keeper, of.store.clock, 10, 1)
    listener = threading.Thread(
        target=listen,
        args=(settings(of.store.database, "twin_worker"), stop),
        kwargs={
            "pending": heard.set, "revoked": worker.revoked,
            "connected": worker.check_leases,
            "refitted": worker.refitted, "adopted": worker.adopted,
        },
    )  # fmt: skip
    working = threading.Thread(target=worker.run, args=(stop, 0.2))
    listener.start()
    working.start()
    try:
        assert heard.wait(10)
        of.desk.refuse = {handles[2]}
        of.leases.forget(handles[2])
        adopt(pools["twin"], imported(pools["twin"]))
        (job,) = [one.id for one in jobs.newest(50) if one.kind == REBUILD and one.state == "waiting"][:1]
        doing = Work(jobs, Desk(of.store.issuer), None, of.store.issuer.site, of.store.clock, SystemChance())  # type: ignore[arg-type]
        doing.run(job)
    finally:
        stop.set()
        worker.wake.set()
        working.join()
        listener.join()
    ended = jobs.show(job)
    assert (ended.state, ended.reason) == ("refused", "UNREADY")  # one has no consent any more
    made: dict[Any, Any] = dict(of.store.owner.execute("select handle, made from twin.position").fetchall())
    assert [made[handle] == of.keeper.made for handle in handles] == [True, True, False]
    jobs.resume(job)
    jobs.cancel(job)
    doing.run(job)
    assert jobs.show(job).state == "cancelled"
    go_back(pools["twin"])


def test_the_timeline_has_adoptions_migrations_and_corrections_with_their_sources(
    of: House, pools: dict[str, Pool]
) -> None:
    go_back(pools["twin"])
    handle = of.store.patient(CATEGORIES).handle
    rows = rows_from(FIRST_MS, 40, seed=5)
    of.send(handle, rows)
    of.bring_up(handle, save=True)
    of.send(handle, [reading(rows[5].effective_ms, 250.0, rows[5].lineage, received_ms=NOW_MS + 1)])
    of.bring_up(handle, save=True)
    adopt(pools["twin"], imported(pools["twin"]))
    of.keeper.believe(of.twins.prior())
    living = of.bring_up(handle, save=True)
    lease = asked(of.store, handle)
    line = Timelines(pools["twin"], of.store.issuer.site).line(lease, living, of.store.clock.now_ms())
    kinds = [one.what for one in line.moments]
    assert kinds[0] == "first_record"
    assert {CORRECTION, MIGRATION} <= set(kinds)
    assert all(one.source and one.at_ms for one in line.moments)
    short = Timelines(pools["twin"], of.store.issuer.site).line(lease, living, of.store.clock.now_ms(), most=2)
    assert (len(short.moments), short.more) == (2, True)
    assert short.moments[0].what == "first_record"
    for _ in range(2):
        with pools["twin_worker"].connection() as connection, connection.cursor() as cursor:
            migration.write(cursor, handle, [migration.Replayed(FIRST_MS, "x")] * (migration.KEPT))
    with pools["twin"].connection() as connection:
        assert len(migration.happened(connection, handle)) <= migration.KEPT + 1
        stranger = of.store.patient(CATEGORIES).handle
        assert migration.happened(connection, stranger) == []


def asked(store: Store, handle: Handle) -> Any:
    """A lease of the door's."""
    month = Period(202601, 202612, False)
    return store.issuer.lease(handle, "twin", CATEGORIES, month, tails=False, seconds=600, purpose="treatment")
