"""Teaches what a twin believes before it knows its person: services/twin/glucose_prior.csv.

    python -m bench.prior

Half of the simulated people live by S2008, half by Hovorka 2004. Two passes: coefficients
from their pooled outcomes, then the widths those coefficients need (geometric mean over people).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from services.twin import glucose_layout as at
from services.twin import glucose_prior
from services.twin.glucose import GlucoseTwin, warm
from twinward.learning.regression import solve
from twinward.physiology import virtual
from twinward.physiology.diary import rows_of

PEOPLE, DAYS, SEED = 16, 12, 20251
FIRST_MS = 1_735_689_600_000


def lived(number: int, prior: glucose_prior.Prior) -> GlucoseTwin:
    life = virtual.live(DAYS, SEED, number, "s2008" if number % 2 else "hovorka")
    twin = GlucoseTwin.start(b"prior-%010d" % number, FIRST_MS, life.weight)
    twin._prior = prior
    twin._parts.beta[:] = prior.beta
    twin._parts.widths[:, :, :2] = prior.widths
    twin.advance(rows_of(life, FIRST_MS))
    return twin


def main() -> None:
    warm()
    prior = glucose_prior.blank()
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            twins = list(pool.map(lived, range(PEOPLE), [prior] * PEOPLE))
        beta = np.zeros_like(prior.beta)
        for h in range(3):
            sums = np.sum([twin._parts.sums[h] for twin in twins], 0)
            targets = np.sum([twin._parts.targets[h] for twin in twins], 0)
            solve(sums, targets, prior.penalty, np.zeros(at.FEATURES), beta[h])
        seen = np.array([twin._parts.widths[:, :, 2] for twin in twins])[..., None] + 1e-9
        logs = np.log(np.array([twin._parts.widths[:, :, :2] for twin in twins]))
        widths = np.exp((seen * logs).sum(0) / seen.sum(0))
        few = seen.sum(0)[:, :, 0] < 1500
        for h in range(3):
            widths[h][few[h]] = 1.2 * widths[h][~few[h]].max(0)
        prior = glucose_prior.Prior(beta, widths, prior.penalty)
    lines = []
    for h in range(3):
        for name, values in (("beta", beta[h]), ("below", widths[h, :, 0]), ("above", widths[h, :, 1])):
            lines.append(",".join([str(h), name, *(f"{value:.6g}" for value in values)]))
    glucose_prior.PATH.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
