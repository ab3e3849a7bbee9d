"""Two courses of one case side by side: a fork beside its parent, a learner beside the expert."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.twin.session_body import EXCHANGE_S
from services.twin.session_command import Entry
from services.twin.session_engine import Session
from services.twin.session_score import Score, score
from twinward.errors import BadInput

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    parted_s: int  # from then on they differ; the shorter's end if they never do
    at_s: Array  # (n,) session seconds both have lived
    names: tuple[str, ...]
    a: Array  # (n, k) numerics
    b: Array
    only_a: tuple[Entry, ...]
    only_b: tuple[Entry, ...]
    score_a: Score
    score_b: Score


def compare(a: Session, b: Session) -> Comparison:
    """Raises BadInput: not of one case and seed, so that their difference would not be the learners'."""
    if a.case.sha256() != b.case.sha256() or a.seed != b.seed:
        raise BadInput("courses are compared that have the same case and seed")
    count = min(len(a.rows), len(b.rows))
    rows_a, rows_b = np.array(a.rows[:count]), np.array(b.rows[:count])
    differ = np.flatnonzero((rows_a != rows_b).any(axis=1))
    common = 0  # entries, up to the first that differ
    for one, other in zip(a.entries, b.entries, strict=False):
        if one != other:
            break
        common += 1
    only_a, only_b = tuple(a.entries[common:]), tuple(b.entries[common:])
    parted = EXCHANGE_S * (int(differ[0]) if len(differ) else count - 1)
    parted = min([parted, *(one[0].at_s for one in (only_a, only_b) if one)])
    at_s = EXCHANGE_S * np.arange(count, dtype=float)
    return Comparison(parted, at_s, a.names, rows_a, rows_b, only_a, only_b, score(a), score(b))
