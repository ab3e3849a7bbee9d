"""The table of jobs: what is asked for, who is at it, how far. The broker only says "look at this one".

A job is begun by whoever holds its lock (a PostgreSQL advisory lock: it goes when its holder dies) and ended in
the transaction that writes its result, where its state still says `running`. So a message that comes twice, late
or never, a worker that is killed, a job that is cancelled while it runs: no result is lost, none is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from services.twin.store import Connection, Pool, connected
from twinward.errors import Cancelled, NotFound, Unready
from twinward.record import Handle

if TYPE_CHECKING:
    from services.twin.glucose_prior import Prior

REFIT, REBUILD = "refit", "rebuild"
NOBODY = Handle(int=0)  # whose job is about no single patient
OPEN = ("waiting", "running")
RESUMABLE = ("failed", "refused", "cancelled")
_COLUMNS = "id, kind, handle, state, progress, runs, reason, (extract(epoch from asked) * 1000)::bigint"


@dataclass(frozen=True, slots=True)
class Job:
    id: UUID
    kind: str
    handle: Handle
    state: str  # waiting, running, done, refused, failed, cancelled
    progress: int  # %
    runs: int  # how often it was begun
    reason: str  # a word
    asked_ms: int


class Jobs:
    """Thread-safe. Every method is a transaction; raises Unavailable on database trouble."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def ask(self, kind: str, key: str, handle: Handle) -> UUID:
        """The job of this key, new or as it is."""
        # `do update` needs a right the door lacks; so: insert or look.
        sql = "insert into twin.job (kind, key, handle) values (%s, %s, %s) on conflict (key) do nothing"
        with connected(self._pool) as connection:
            connection.execute(sql, (kind, key, handle))
            row = connection.execute("select id from twin.job where key = %s", (key,)).fetchone()
        return UUID(str(row[0] if row else None))  # just written

    def show(self, job: UUID) -> Job:
        """Raises NotFound."""
        with connected(self._pool) as connection:
            row = connection.execute(f"select {_COLUMNS} from twin.job where id = %s", (job,)).fetchone()  # noqa: S608
        if row is None:
            raise NotFound("there is no such job")
        return Job(*row)  # type: ignore[arg-type]

    def newest(self, most: int) -> list[Job]:
        """Open ones first, then by age."""
        sql = f"select {_COLUMNS} from twin.job order by (ended is null) desc, asked desc limit %s"  # noqa: S608
        with connected(self._pool) as connection:
            return [Job(*row) for row in connection.execute(sql, (most,)).fetchall()]  # type: ignore[arg-type]

    def cancel(self, job: UUID) -> None:
        """Raises Unready: it has ended."""
        self._turn(job, OPEN, "state = 'cancelled', ended = clock_timestamp()", "it has ended already")

    def resume(self, job: UUID) -> None:
        """Raises Unready: it has not failed, been refused or cancelled."""
        sets = "state = 'waiting', reason = '', progress = 0, sent = null, ended = null, not_before = clock_timestamp()"
        self._turn(job, RESUMABLE, sets, "only a job that failed, was refused or cancelled is taken up again")

    def _turn(self, job: UUID, states: Sequence[str], sets: str, else_: str) -> None:
        with connected(self._pool) as connection:
            sql = f"update twin.job set {sets} where id = %s and state = any (%s)"  # noqa: S608 - own text
            turned = connection.execute(sql, (job, list(states))).rowcount
        if not turned:
            self.show(job)
            raise Unready(f"this job cannot be changed so: {else_}")

    # Of the program that works.

    def unsent(self, again_s: float, most: int = 100) -> list[UUID]:
        """Jobs to be given to the broker: new ones, and open ones whose message must have got lost; noted as sent."""
        sql = """
            update twin.job set sent = clock_timestamp() where id in (
              select id from twin.job where state in ('waiting', 'running') and not_before <= clock_timestamp()
              and (sent is null or sent < clock_timestamp() - make_interval(secs => %s))
              order by asked limit %s for update skip locked)
            returning id"""
        with connected(self._pool) as connection:
            return [row[0] for row in connection.execute(sql, (again_s, most)).fetchall()]  # type: ignore[misc]

    def unsend(self, jobs: Sequence[UUID]) -> None:
        """The broker did not take them."""
        with connected(self._pool) as connection:
            connection.execute("update twin.job set sent = null where id = any (%s)", (list(jobs),))

    def orphans(self) -> int:
        """Puts back what runs nowhere: its worker is gone. How many."""
        sql = """
            update twin.job set state = 'waiting', sent = null where state = 'running' and id in (
              select id from twin.job where state = 'running'
                and pg_try_advisory_xact_lock(hashtextextended(id::text, 0)))"""
        with connected(self._pool) as connection:
            return connection.execute(sql).rowcount

    @contextmanager
    def begun(self, job: UUID) -> Iterator[Job | None]:
        """The job, ours while the block lasts; None where another is at it or it needs nobody."""
        with connected(self._pool) as connection:
            connection.autocommit = True  # the lock is the session's, and nothing stays open while the job runs
            try:
                sql = "select pg_try_advisory_lock(hashtextextended(%s, 0))"
                if connection.execute(sql, (str(job),)).fetchone() != (True,):
                    yield None
                    return
                sql = f"""
                    update twin.job set state = 'running', runs = runs + 1, started = clock_timestamp(), progress = 0
                    where id = %s and state in ('waiting', 'running') returning {_COLUMNS}"""  # noqa: S608
                row = connection.execute(sql.encode(), (job,)).fetchone()
                yield Job(*row) if row else None  # type: ignore[arg-type]
            finally:
                if not connection.closed:
                    connection.execute("select pg_advisory_unlock_all()")
                    connection.autocommit = False

    def at(self, job: UUID, progress: int) -> None:
        """Notes how far it is.

        Raises:
            Cancelled.
        """
        sql = "update twin.job set progress = %s where id = %s and state = 'running'"
        with connected(self._pool) as connection:
            if not connection.execute(sql, (progress, job)).rowcount:
                raise Cancelled("the job was cancelled")

    def end(
        self,
        job: UUID,
        state: str,
        reason: str = "",
        write: Callable[[Connection], None] | None = None,
    ) -> None:
        """Ends it, together with what `write` does.

        Raises:
            Cancelled: it does not run any more; nothing was written.
        """
        sql = """
            update twin.job set state = %s, reason = %s, ended = clock_timestamp(),
              progress = case when %s = 'done' then 100 else progress end
            where id = %s and state = 'running'"""
        with connected(self._pool) as connection:
            if not connection.execute(sql, (state, reason, state, job)).rowcount:
                raise Cancelled("the job was cancelled")
            if write is not None:
                write(connection)

    def later(self, job: UUID, reason: str, seconds: float) -> None:
        """Something was down: it waits and is sent again."""
        sql = """
            update twin.job set state = 'waiting', reason = %s, sent = null,
              not_before = clock_timestamp() + make_interval(secs => %s)
            where id = %s and state = 'running'"""
        with connected(self._pool) as connection:
            connection.execute(sql, (reason, seconds, job))

    def due(self, days: float, most: int) -> list[tuple[Handle, int]]:
        """Twins that have lived `days` of their own time since their last refit: handle, their time."""
        with connected(self._pool) as connection:
            return connection.execute("select handle, state_ms from twin.refit_due(%s, %s)", (days, most)).fetchall()  # type: ignore[return-value]

    def is_minor(self, handle: Handle) -> bool:
        """Whether a question found this patient to be under 18 (ages.py)."""
        sql = "select exists (select from twin.minor where handle = %s and until > current_date)"
        with connected(self._pool) as connection:
            row = connection.execute(sql, (handle,)).fetchone()
        return bool(row and row[0])

    def left(self, made: str, of: Sequence[Handle] | None = None) -> int:
        """Twins (all, or those of `of`) whose newest state was made with anything but `made` (model and prior)."""
        sql = "select count(*) from twin.position where made <> %s and (%s::uuid[] is null or handle = any (%s))"
        handles = list(of) if of is not None else None
        with connected(self._pool) as connection:
            row = connection.execute(sql, (made, handles, handles)).fetchone()
        return int(row[0]) if row else 0  # type: ignore[call-overload]

    def hand_over(self, made: str, after: Handle, most: int) -> list[Handle]:
        """The next `most` of them after a handle, into the worker's queue, which then makes them again."""
        sql = """
            with next as (select handle from twin.position where made <> %s and handle > %s order by handle limit %s),
            handed as (
              insert into twin.pending (handle, seq) select handle, 0 from next on conflict (handle) do nothing)
            select handle from next order by handle"""
        with connected(self._pool) as connection:
            handles = [row[0] for row in connection.execute(sql, (made, after, most)).fetchall()]
            connection.execute("notify twin_pending")
        return handles  # type: ignore[return-value]

    def prior(self) -> Prior:
        """The population prior in force."""
        from services.twin import prior_store  # with the models behind it

        with connected(self._pool) as connection:
            return prior_store.in_force(connection)
