"""Teaches what a twin believes before it knows its person: services/twin/glucose_prior.csv.

    python -m bench.prior

Half of the simulated people live by S2008, half by Hovorka 2004. Two passes: coefficients
from their pooled outcomes, then the size of the errors that those coefficients make. Hours
are left out: when these people eat says nothing about when a patient does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from services.twin import glucose_layout as at
from services.twin import glucose_prior
from services.twin.glucose import OWN_AFTER_DAYS, GlucoseTwin, warm
from twinward.learning.regression import solve
from twinward.physiology import virtual
from twinward.physiology.diary import rows_of

PEOPLE, DAYS, SEED = 16, 12, 20251
FIRST_MS = 1_735_689_600_000
HOURS_OF_SPREAD = slice(5, 9)
CLOCK = slice(at.CLOCK, at.BENDS + 2)


def lived(number: int, prior: glucose_prior.Prior, days: int) -> GlucoseTwin:
    life = virtual.live(days, SEED, number, "s2008" if number % 2 else "hovorka")
    twin = GlucoseTwin.start(b"prior-%010d" % number, FIRST_MS, life.weight)
    twin.believe(prior)
    twin.advance(rows_of(life, FIRST_MS))
    return twin


def pooled(sums: list[at.Array], targets: list[at.Array], penalty: at.Array, without: slice) -> at.Array:
    """(F,) ridge of all people's outcomes; columns `without` stay 0."""
    strict = penalty.copy()
    strict[without] = 1e12
    answer = np.zeros(len(penalty))
    solve(np.sum(sums, 0), np.sum(targets, 0), strict, np.zeros(len(penalty)), answer)
    answer[without] = 0.0
    return answer


def everyone(prior: glucose_prior.Prior, days: int) -> list[GlucoseTwin]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lived, range(PEOPLE), [prior] * PEOPLE, [days] * PEOPLE))


def main() -> None:
    warm()
    prior = glucose_prior.blank()
    twins = everyone(prior, DAYS)
    for h in range(3):
        sums, targets = [t._parts.sums[h] for t in twins], [t._parts.targets[h] for t in twins]
        prior.beta[h] = pooled(sums, targets, prior.penalty, CLOCK)
    twins = everyone(prior, OWN_AFTER_DAYS)  # errors as a beginner makes them
    lines = []
    for h in range(3):
        sums, targets = [t._parts.spread_sums[h] for t in twins], [t._parts.spread_targets[h] for t in twins]
        gamma = pooled(sums, targets, prior.spread_penalty / 100, HOURS_OF_SPREAD)
        for name, values in (("beta", prior.beta[h]), ("gamma", gamma)):
            lines.append(",".join([str(h), name, *(f"{value:.6g}" for value in values)]))
    glucose_prior.PATH.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
