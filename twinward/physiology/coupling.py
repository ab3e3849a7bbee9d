"""From damage to circulation: what severe inflammation does to vessels, as named multipliers.

    S = min(D / 17.4, 1)          17.4: damage of the aseptic state of inflammation.py

Full severity: systemic resistance falls to .55 of baseline, heart rate rises by 20/min, 6.7 % of the blood volume leaks
per hour, 6 % of it pools in veins, pressors do half of what they did; in between in proportion to S. Sizes as
AnaSim, a teaching simulator, not a study: [M]; the proportion is ours [G].

TEACHING ONLY: no state of the inflammation model is measured in a patient, so no severity from here may enter a
personal twin, a forecast or a recommendation. The circulation takes the mapping by name and needs
nothing else from this file.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import inflammation
from twinward.physiology.meaning import Meaning

TEACHING_ONLY = True
ANASIM = "AnaSim (teaching simulator), physiology.md 2c [M]"

RESISTANCE = "systemic_resistance_factor"
HEART_RATE = "heart_rate_added"
LEAK = "leak_share_per_hour"
POOLING = "pooled_share"
PRESSOR = "pressor_response_factor"

MULTIPLIERS: dict[str, Meaning] = {
    row[0]: Meaning(*row, ANASIM)
    for row in (
        (RESISTANCE, "systemic resistance over baseline", "dimensionless", 0.55, 1.0),
        (HEART_RATE, "heart rate above baseline", "1/min", 0.0, 20.0),
        (LEAK, "blood volume lost into tissue", "1/hour", 0.0, 0.067),
        (POOLING, "blood volume pooled in veins", "dimensionless", 0.0, 0.06),
        (PRESSOR, "effect of pressors over baseline", "dimensionless", 0.5, 1.0),
    )
}
# (at no severity, at full severity)
ENDS: dict[str, tuple[float, float]] = {
    RESISTANCE: (1.0, 0.55),
    HEART_RATE: (0.0, 20.0),
    LEAK: (0.0, 0.067),
    POOLING: (0.0, 0.06),
    PRESSOR: (1.0, 0.5),
}


def severity(damage: float) -> float:
    """S (0..1) of damage D.

    Raises:
        BadInput: damage is negative or not a number.
    """
    if not 0 <= damage < float("inf"):
        raise BadInput("damage must be a number that is not negative")
    return min(damage / inflammation.SEVERE_DAMAGE, 1.0)


def multipliers(S: float) -> Mapping[str, float]:
    """What severity S does to the circulation, by the names in MULTIPLIERS; all neutral at 0.

    Raises:
        BadInput: S outside 0..1.
    """
    if not 0 <= S <= 1:
        raise BadInput("severity must lie in 0..1")
    return {name: none + S * (full - none) for name, (none, full) in ENDS.items()}


def course(
    x: NDArray[np.float64], p: NDArray[np.float64], hours: int, kill: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Severity after 0, 1 .. `hours` hours (hours + 1,) and the state then (5,): one clock for
    infection and circulation, the hour.

    Raises:
        BadInput: a number outside the inflammation model.
    """
    found = np.empty(hours + 1)
    for hour in range(hours + 1):
        found[hour] = severity(float(x[inflammation.D]))
        if hour < hours:
            x = inflammation.run(x, p, 1.0, kill)
    return found, x
