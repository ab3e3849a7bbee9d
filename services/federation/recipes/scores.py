"""How well said probabilities meet what happened: at one hospital exactly, over all from a merged histogram.

A hospital computes its own numbers from its patients and sends, for the pooled ones,
what is in each of 256 bins of probability. Shares of fewer than 10 patients, and
numbers that rest on fewer than 10 of a class, are withheld: `None`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from services.federation.recipes.newton import fit
from services.federation.study_rules import MINIMUM_CELL
from twinward.errors import BadInput

Floats = npt.NDArray[np.float64]
Shown = dict[str, float | None]
BINS = 256
SIZE = 4 * BINS + 4  # n without and with the outcome, sums of p of both, and four sums over all patients
Z = 1.959963984540054  # normal, 97.5 %
NAMES = ("n", "positives", "accuracy", "accuracy_low", "accuracy_high", "auc", "auc_low", "auc_high", "brier",
         "brier_low", "brier_high", "slope", "slope_low", "slope_high", "intercept")  # fmt: skip


def auc(p: Floats, y: Floats) -> float:
    """Chance that a patient with the outcome got the greater number; a tie counts half (Mann and Whitney 1947)."""
    values, place = np.unique(p, return_inverse=True)
    ones = np.bincount(place, y, len(values))
    zeros = np.bincount(place, 1 - y, len(values))
    below = np.cumsum(zeros) - zeros
    return float(np.sum(ones * (below + zeros / 2)) / (ones.sum() * zeros.sum()))


def auc_error(value: float, ones: float, zeros: float) -> float:
    """Standard error (Hanley and McNeil 1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (ones - 1) * (q1 - value**2) + (zeros - 1) * (q2 - value**2)
    return math.sqrt(max(variance, 0.0) / (ones * zeros))


def wilson(share: float, n: float) -> tuple[float, float]:
    """95 % interval of a share of n (Wilson 1927)."""
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def logit(p: Floats) -> Floats:
    kept = np.clip(p, 1e-12, 1 - 1e-12)
    answer: Floats = np.log(kept / (1 - kept))
    return answer


def score(p: Floats, y: Floats) -> Shown:
    """A hospital's own numbers; empty for fewer than 10 patients."""
    if len(y) < MINIMUM_CELL:
        return {}
    squares = (p - y) ** 2
    hits = float(np.sum((p >= 0.5) == (y == 1)))
    shown = _common(len(y), float(y.sum()), hits, float(squares.sum()), float((squares**2).sum()))
    if _both(len(y), float(y.sum())):
        _put_auc(shown, auc(p, y), float(y.sum()), float(len(y) - y.sum()))
        _put_calibration(shown, logit(p), y, np.ones(len(y)))
    return shown


def histogram(p: Floats, y: Floats) -> Floats:
    """What goes into the pooled numbers, SIZE long; zeros for fewer than 10 patients."""
    if len(y) < MINIMUM_CELL:
        return np.zeros(SIZE)
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    squares = (p - y) ** 2
    parts = [np.bincount(place, weights, BINS) for weights in (1 - y, y, (1 - y) * p, y * p)]
    hits = float(np.sum((p >= 0.5) == (y == 1)))
    return np.concatenate([*parts, [len(y), hits, squares.sum(), (squares**2).sum()]])


def check(found: Floats) -> None:
    """Raises BadInput: a histogram that no patients have."""
    counts, totals = found[: 2 * BINS], found[4 * BINS :]
    whole = np.all(counts >= 0) and np.all(counts == np.round(counts)) and counts.sum() == totals[0]
    n = totals[0]
    if not whole or not 0 <= totals[1] <= n or not 0 <= totals[2] <= n or 0 < n < MINIMUM_CELL:
        raise BadInput("a hospital's evaluation cannot come from patients")


def pooled(found: Floats) -> Shown:
    """Numbers over all patients of a merged histogram.

    Accuracy and Brier score are exact; `auc_bins` says how far the AUC may lie from the exact one, because patients
    within one bin are not told apart.
    """
    zeros, ones, p_zeros, p_ones = (found[k * BINS : (k + 1) * BINS] for k in range(4))
    n, hits, squares, fourth = found[4 * BINS :]
    if n < MINIMUM_CELL:
        return {}
    shown = _common(n, float(ones.sum()), hits, squares, fourth)
    if _both(n, float(ones.sum())):
        below = np.cumsum(zeros) - zeros
        pairs = ones.sum() * zeros.sum()
        _put_auc(shown, float(np.sum(ones * (below + zeros / 2)) / pairs), float(ones.sum()), float(zeros.sum()))
        shown["auc_bins"] = float(np.sum(ones * zeros) / 2 / pairs)
        full = zeros + ones > 0
        p = (p_zeros + p_ones)[full] / (zeros + ones)[full]
        x = np.concatenate([logit(p), logit(p)])
        _put_calibration(shown, x, np.repeat([0.0, 1.0], len(p)), np.concatenate([zeros[full], ones[full]]))
    return shown


def groups(found: Floats) -> list[Shown]:
    """Patients in order of probability, in groups with at least 10 of each class: for calibration and ROC."""
    zeros, ones, p_zeros, p_ones = (found[k * BINS : (k + 1) * BINS] for k in range(4))
    made: list[list[float]] = []
    running = [0.0, 0.0, 0.0]
    for k in range(BINS):
        running = [running[0] + zeros[k], running[1] + ones[k], running[2] + p_zeros[k] + p_ones[k]]
        if min(running[:2]) >= MINIMUM_CELL:
            made.append(running)
            running = [0.0, 0.0, 0.0]
    if sum(running[:2]) and made:  # the rest belongs to the last group
        made[-1] = [a + b for a, b in zip(made[-1], running, strict=True)]
    rows: list[Shown] = []
    for none, some, total in made:
        n = none + some
        low, high = wilson(some / n, n)
        rows.append({"n": n, "positives": some, "said": total / n, "seen": some / n, "low": low, "high": high})
    return rows


def numbers(prefix: str, shown: Shown) -> dict[str, float]:
    """For an answer: what is withheld is left out."""
    return {f"{prefix}_{name}": value for name, value in shown.items() if value is not None}


def from_numbers(prefix: str, found: Mapping[str, float]) -> Shown:
    """Undoes `numbers`; names that are no score are left out. Raises BadInput: a score that cannot be."""
    shown: Shown = {name: found.get(f"{prefix}_{name}") for name in NAMES}
    if shown["n"] is None:
        return {}
    n, positives, right = shown["n"], shown["positives"], shown["accuracy"]
    shares = [shown[name] for name in ("accuracy", "auc", "brier")]
    if not n >= MINIMUM_CELL or right is None or any(value is not None and not 0 <= value <= 1 for value in shares):
        raise BadInput("a hospital's evaluation cannot come from patients")
    if positives is not None and not MINIMUM_CELL <= positives <= n - MINIMUM_CELL:
        raise BadInput("a hospital's evaluation shows a count that must be withheld")
    return shown


def _both(n: float, positives: float) -> bool:
    return min(positives, n - positives) >= MINIMUM_CELL


def _common(n: float, positives: float, hits: float, squares: float, fourth: float) -> Shown:
    shown: Shown = dict.fromkeys(NAMES)
    shown["n"] = float(n)
    shown["positives"] = positives if _both(n, positives) else None
    shown["accuracy"] = float(hits / n)
    shown["accuracy_low"], shown["accuracy_high"] = wilson(float(hits / n), n)
    brier = float(squares / n)
    half = Z * math.sqrt(max(float(fourth / n) - brier**2, 0.0) / n)
    shown["brier"], shown["brier_low"], shown["brier_high"] = brier, max(brier - half, 0.0), min(brier + half, 1.0)
    return shown


def _put_auc(shown: Shown, value: float, ones: float, zeros: float) -> None:
    half = Z * auc_error(value, ones, zeros)
    shown["auc"], shown["auc_low"], shown["auc_high"] = value, max(value - half, 0.0), min(value + half, 1.0)


def _put_calibration(shown: Shown, x: Floats, y: Floats, weight: Floats) -> None:
    """Slope and intercept of the outcome on the logit of what was said (Cox 1958); left out where it has no fit."""
    if np.ptp(x) < 1e-9:
        return
    try:
        search = fit(x[:, None], y, weight=weight)
    except BadInput:
        return
    if search.beta is None or search.at is None or not search.converged:
        return
    slope, error = float(search.beta[1]), float(np.sqrt(search.covariance()[1, 1]))
    shown["slope"], shown["slope_low"], shown["slope_high"] = slope, slope - Z * error, slope + Z * error
    shown["intercept"] = float(search.beta[0])
