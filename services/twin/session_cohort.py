"""Many sessions of many learners: what an instructor may say of them, and when not yet.

    pass mark     borderline regression: score on global rating (1 to 5), read at 3, with a bootstrap error and R2;
                  hidden below 50 rated attempts
    reliability   generalisability of learners over cases, crossed, one score a cell: components by mean squares
                  (Brennan 2001 [M]), G = p / (p + residual / cases); "not estimable" below 30 learners x 4 cases

Pure functions. Summative use needs a reliability of at least .7 and 8 cases (console.md 3); this module says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.twin.session_engine import Session
from services.twin.session_score import began, came
from twinward.errors import BadInput, Unready

Array = NDArray[np.float64]
RATED_LEAST, LEARNERS_LEAST, CASES_LEAST = 50, 30, 4
SUMMATIVE_G, SUMMATIVE_CASES = 0.7, 8
BORDERLINE = 3.0


@dataclass(frozen=True, slots=True)
class Summary:
    count: int
    mean: float
    sd: float  # 0 for one
    low: float  # quartiles
    median: float
    high: float


def summary(totals: Sequence[float]) -> Summary:
    """Raises Unready: nobody has a score yet."""
    if not totals:
        raise Unready("nobody has a score yet")
    x = np.asarray(totals, float)
    low, median, high = np.percentile(x, [25, 50, 75])
    return Summary(len(x), float(x.mean()), float(x.std(ddof=1)) if len(x) > 1 else 0.0, float(low), float(median),
                   float(high))  # fmt: skip


def times_to_critical(session: Session) -> dict[str, float | None]:
    """Seconds from each critical action's clock to the action; None where it was not done or not needed."""
    found: dict[str, float | None] = {}
    for one in session.case.critical:
        begin = began(session, one)
        at_s = None if begin is None else came(session, one, begin)
        found[one.id] = None if at_s is None or begin is None else float(at_s - begin)
    return found


def done_by(times: Sequence[float | None], at_s: float) -> float:
    """Share of learners who had done it by then; who never did counts as not yet. 0 without learners."""
    return sum(one is not None and one <= at_s for one in times) / len(times) if times else 0.0


@dataclass(frozen=True, slots=True)
class PassMark:
    mark: float  # score at a borderline rating
    error: float  # bootstrap standard error
    r2: float
    count: int


def pass_mark(scores: Sequence[float], ratings: Sequence[float], seed: int, draws: int = 500) -> PassMark:
    """By borderline regression.

    Raises:
        BadInput: as many scores as ratings, ratings 1 to 5, all finite.
        Unready: fewer than 50 rated attempts, or all rated alike.
    """
    y, x = np.asarray(scores, float), np.asarray(ratings, float)
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise BadInput("each rated attempt has one score and one rating")
    if ((x < 1) | (x > 5)).any():
        raise BadInput("a global rating is 1 to 5")
    if len(x) < RATED_LEAST:
        raise Unready(f"a pass mark needs {RATED_LEAST} rated attempts; there are {len(x)}")
    if np.ptp(x) == 0.0:
        raise Unready("all attempts are rated alike; a pass mark cannot be read")
    mark, r2 = _at_borderline(x, y)
    chance = np.random.Generator(np.random.Philox(key=seed))
    marks = []
    for _ in range(draws):
        drawn = chance.integers(len(x), size=len(x))
        if np.ptp(x[drawn]) > 0.0:
            marks.append(_at_borderline(x[drawn], y[drawn])[0])
    return PassMark(mark, float(np.std(marks, ddof=1)), r2, len(x))


def _at_borderline(x: Array, y: Array) -> tuple[float, float]:
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    mark = float(y.mean() + slope * (BORDERLINE - x.mean()))
    left = float(((y - y.mean() - slope * (x - x.mean())) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    return mark, 1.0 - left / total if total > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Reliability:
    coefficient: float  # relative, of a mean over the cases
    learner: float  # variance components, never below 0
    case: float
    residual: float
    learners: int
    cases: int
    summative: bool  # whether design rules would allow a judgement to rest on it


def reliability(table: Array) -> Reliability:
    """Of scores (learners, cases), every learner in every case.

    Raises:
        BadInput: not a full table of finite scores.
        Unready: not estimable: fewer than 30 learners or 4 cases.
    """
    x = np.asarray(table, float)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise BadInput("reliability needs a full table of scores, learners by cases")
    n, k = x.shape
    if n < LEARNERS_LEAST or k < CASES_LEAST:
        raise Unready(f"not estimable: needs {LEARNERS_LEAST} learners in {CASES_LEAST} cases, there are {n} in {k}")
    rows, columns, grand = x.mean(axis=1), x.mean(axis=0), x.mean()
    of_learners = k * ((rows - grand) ** 2).sum() / (n - 1)
    of_cases = n * ((columns - grand) ** 2).sum() / (k - 1)
    residual = ((x - rows[:, None] - columns[None, :] + grand) ** 2).sum() / ((n - 1) * (k - 1))
    learner, case = max((of_learners - residual) / k, 0.0), max((of_cases - residual) / n, 0.0)
    whole = learner + residual / k
    g = float(learner / whole) if whole > 0.0 else 0.0
    fit = g >= SUMMATIVE_G and k >= SUMMATIVE_CASES
    return Reliability(g, float(learner), float(case), float(residual), n, k, fit)
