"""What a job does, under a lease of its own that is given back at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from services.twin.jobs import NOBODY, REBUILD, Job, Jobs
from services.twin.leases import UpkeepAnswer
from services.twin.store import Pool
from twinward import telemetry
from twinward.clock import Chance, Clock, month_of
from twinward.errors import Cancelled, Denied, TwinwardError, Unavailable, Underage, Unready
from twinward.record import Handle
from twinward.vault.lease import Lease

if TYPE_CHECKING:
    from services.twin.living import View

ENDED = telemetry.event("job-ended", "error", "progress")
BROKE = telemetry.event("job-broke", "id", "error", "places")
AGAIN_S = 30.0  # after something was down
AT_ONCE, LOOK_S, STILL_MOST = 50, 0.2, 50  # twins handed over, seconds between looks, looks without a change


class Authority(Protocol):
    """What a job asks of auth."""

    def grant_upkeep(self, handles: Sequence[Handle], replay: tuple[int, int] | None = None) -> UpkeepAnswer: ...
    def report_use(self, uses: Sequence[tuple[bytes, int]]) -> None: ...
    def return_leases(self, lease_ids: Sequence[bytes]) -> None: ...


class Stored(Protocol):
    def view(self, lease: Lease, first_month: int) -> View: ...


@dataclass
class Reading:
    """The twin's inputs. The models behind them are loaded with the first job: a program that waits is small."""

    pool: Pool
    site: str
    authority_file: Path
    numba_cache_dir: Path
    clock: Clock
    _inputs: Stored | None = None

    def view(self, lease: Lease, first_month: int) -> View:
        if self._inputs is None:
            from services.twin.compiled import use_cache

            use_cache(self.numba_cache_dir)  # before what compiles is loaded
            from services.twin.sealed import StoredInputs, authority_key

            self._inputs = StoredInputs(self.pool, self.site, authority_key(self.authority_file), self.clock)
        return self._inputs.view(lease, first_month)


@dataclass
class Work:
    """Runs one job at a time; never raises, whatever the job meets: the table says how it ended."""

    jobs: Jobs
    authority: Authority
    stored: Stored
    site: str
    clock: Clock
    chance: Chance
    waiting: threading.Event = field(default_factory=threading.Event)  # set where the program ends
    before_end: Callable[[Job], None] = lambda _: None  # tests hold it here

    def run(self, job_id: UUID) -> None:
        """Raises Unavailable where even the table cannot be reached; the outbox sends it again."""
        with self.jobs.begun(job_id) as job:
            if job is None:
                return
            try:
                if job.kind == REBUILD:
                    self._rebuild(job)
                else:
                    self._refit(job)
            except Cancelled:
                return
            except (Unavailable, TimeoutError) as error:
                reason = error.reason if isinstance(error, TwinwardError) else "TIMEOUT"
                self.jobs.later(job.id, reason, AGAIN_S)
            except (Unready, Denied) as error:  # decided, or too little data: nobody's fault
                self._end(job, "refused", error.reason)
            except TwinwardError as error:
                telemetry.warn(ENDED, error=error, progress=job.progress)
                self._end(job, "failed", error.reason)
            except Exception as error:
                telemetry.LOG.unexpected(error, 0, BROKE)
                self._end(job, "failed", "INTERNAL")

    def _end(self, job: Job, state: str, reason: str) -> None:
        try:
            self.jobs.end(job.id, state, reason)
        except Cancelled:
            return

    def _rebuild(self, job: Job) -> None:
        """Twins that another model or prior made, again from the record: the worker's work, at the job's pace.

        Raises:
            Cancelled: what is left is made again when its next row comes, or when somebody asks.
        """
        from services.twin.glucose import GlucoseTwin

        made = f"{GlucoseTwin.MODEL_VERSION} {self.jobs.prior().sha256.hex()}"
        total, part = self.jobs.left(made), [NOBODY]
        while part := self.jobs.hand_over(made, part[-1], AT_ONCE):  # each once: a refusal is not asked for again
            still, left = 0, len(part)
            while left and still < STILL_MOST:
                self.jobs.at(job.id, 100 - 100 * self.jobs.left(made) // max(total, 1))
                self.waiting.wait(LOOK_S)
                before, left = left, self.jobs.left(made, part)
                still = still + 1 if left == before else 0
        left = self.jobs.left(made)
        if left:
            raise Unready(f"{left} twins were not made again: no consent, or what is stored does not open")
        self.jobs.end(job.id, "done")

    def _refit(self, job: Job) -> None:
        if self.jobs.is_minor(job.handle):
            raise Underage("no refit of somebody under 18")
        answer = self.authority.grant_upkeep([job.handle])
        if not answer.leases:
            raise Denied("no consent for a twin: nothing is read")
        lease = answer.leases[0]
        rows = 0
        try:
            self.jobs.at(job.id, 10)
            view = self.stored.view(lease, 0)
            rows = view.rows
            self.jobs.at(job.id, 30)
            self._fit_and_keep(job, lease, view)
        finally:
            if rows:
                self.authority.report_use([(lease.lease_id, rows)])
            self.authority.return_leases([lease.lease_id])

    def _fit_and_keep(self, job: Job, lease: Lease, view: View) -> None:
        # The kernels are compiled when the first job needs them: a program that waits stays small.
        from services.twin import refit, refit_store
        from services.twin.glucose import GlucoseTwin
        from services.twin.model_inputs import rows_for_model

        found = refit.refit(rows_for_model(view.inputs), view.weight_kg, GlucoseTwin.MODEL_VERSION)
        self.jobs.at(job.id, 90)
        self.before_end(job)
        month = month_of(self.clock.now_ms())
        self.jobs.end(
            job.id,
            "done",
            write=lambda connection: refit_store.write(
                connection, self.site, lease, found, view.seq, month, job.id, self.chance
            ),
        )
