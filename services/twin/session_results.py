"""What is kept of assessments that have ended, and what an instructor is told of them together.

An attempt is scored once, from its log, by the books of the register; it goes when its session is erased. Training is
never in here. A rating is an instructor's, told at any time after; of several by one instructor the last counts, of
several instructors the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast
from uuid import UUID

import msgspec
import numpy as np
import psycopg

from services.twin.session_case import Case, Critical
from services.twin.session_cohort import PassMark, Summary, done_by, pass_mark, summary
from services.twin.session_command import Logged, Rate
from services.twin.store import Pool, connected
from twinward.clock import utc
from twinward.errors import TwinwardError

Row: TypeAlias = tuple[Any, ...]
Times: TypeAlias = Mapping[str, float | None]
BOOTSTRAP_SEED = 1  # the same attempts give the same error
LATEST = 5_000  # attempts looked at


def transaction(pool: Pool) -> AbstractContextManager[psycopg.Connection[Row]]:
    """As store.connected; rows of this schema are of known types."""
    return cast("AbstractContextManager[psycopg.Connection[Row]]", connected(pool))


@dataclass(frozen=True, slots=True)
class Attempt:
    score: float
    times: Times
    rating: float | None  # 1 to 5


@dataclass(frozen=True, slots=True)
class Together:
    """Of one version of a case."""

    attempts: tuple[Attempt, ...]
    waiting: int
    elsewhere: int  # ended attempts on other versions


@dataclass(frozen=True, slots=True)
class CriticalSeen:
    """Of one critical action; seconds from its clock."""

    critical: Critical
    done: int
    in_time: float  # share of all attempts
    quartiles: tuple[float, float, float] | None  # of those who did it


@dataclass(frozen=True, slots=True)
class Seen:
    """What an instructor is told; `mark` or why there is none."""

    scores: Summary | None
    critical: tuple[CriticalSeen, ...]
    rated: int
    mark: PassMark | None
    why_no_mark: str


class Results:
    """Every method is one transaction and raises Unavailable on database trouble."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def due(self, most: int = 1) -> list[UUID]:
        """Assessments that have ended and are not scored yet."""
        with transaction(self._pool) as line:
            rows = line.execute(
                "select s.id from teaching.session s left join teaching.result r on r.session = s.id"
                " where s.mode = 'assessment' and s.state = 'ended' and r.session is null order by s.touched limit %s",
                [most],
            ).fetchall()
        return [row[0] for row in rows]

    def keep(self, session: UUID, score: float | None, times: Times, now_ms: int) -> None:
        """Once; `score` None: it cannot be had. A session that has been erased meanwhile keeps nothing."""
        with transaction(self._pool) as line:
            line.execute(
                "insert into teaching.result (session, score, times, made) select id, %s, %s, %s"
                " from teaching.session where id = %s on conflict (session) do nothing",
                [score, msgspec.json.encode(dict(times)), utc(now_ms), session],
            )

    def together(self, case: Case) -> Together:
        """The attempts on this version of the case, the newest 5,000."""
        mine = bytes.fromhex(case.sha256())
        with transaction(self._pool) as line:
            rows = line.execute(
                "select r.session, r.score, r.times from teaching.result r join teaching.session s on s.id = r.session"
                " where s.case_id = %s and s.case_sha256 = %s and r.score is not null order by r.made desc limit %s",
                [case.id, mine, LATEST],
            ).fetchall()
            said = line.execute(
                "select e.session, e.body from teaching.entry e join teaching.session s on s.id = e.session"
                " where s.case_id = %s and s.mode = 'assessment' and e.by_role = 'instructor' order by e.session, e.n",
                [case.id],
            ).fetchall()
            counts = line.execute(
                "select count(*) filter (where s.case_sha256 = %(mine)s and r.session is null),"
                " count(*) filter (where s.case_sha256 <> %(mine)s) from teaching.session s"
                " left join teaching.result r on r.session = s.id"
                " where s.case_id = %(case)s and s.mode = 'assessment' and s.state = 'ended'",
                {"mine": mine, "case": case.id},
            ).fetchone()
        ratings = _ratings(said)
        times = msgspec.json.Decoder(dict[str, float | None])
        attempts = tuple(Attempt(score, times.decode(bytes(body)), ratings.get(id)) for id, score, body in rows)
        waiting, elsewhere = counts or (0, 0)
        return Together(attempts, waiting, elsewhere)


def _ratings(said: list[Row]) -> dict[UUID, float]:
    found: dict[UUID, dict[str, int]] = {}
    for session, body in said:
        command = msgspec.json.decode(bytes(body), type=Logged).command
        if isinstance(command, Rate):
            found.setdefault(session, {})[command.rater] = command.rating
    return {session: float(np.mean(list(of.values()))) for session, of in found.items()}


def seen(case: Case, together: Together) -> Seen:
    """Pure: what may be said of these attempts."""
    attempts = together.attempts
    critical = []
    for one in case.critical:
        times = [attempt.times.get(one.id) for attempt in attempts]
        did = [at_s for at_s in times if at_s is not None]
        low, middle, high = np.percentile(did, [25, 50, 75]).tolist() if did else (0.0, 0.0, 0.0)
        critical.append(CriticalSeen(one, len(did), done_by(times, one.within_s), (low, middle, high) if did else None))
    rated = [(attempt.score, attempt.rating) for attempt in attempts if attempt.rating is not None]
    mark, why = None, ""
    try:
        mark = pass_mark([score for score, _ in rated], [rating for _, rating in rated], BOOTSTRAP_SEED)
    except TwinwardError as error:
        why = error.public
    scores = summary([attempt.score for attempt in attempts]) if attempts else None
    return Seen(scores, tuple(critical), len(rated), mark, why)
