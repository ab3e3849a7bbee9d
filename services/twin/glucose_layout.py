"""Everything a glucose twin knows, as one row of float64 numbers with names.

One flat array makes a snapshot exact by construction: what is written is what is
loaded. Kernels get views of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MEMBERS = 60
HORIZONS = (30, 60, 120)  # minutes: those that are fitted; others are interpolated

# Columns of a member.
MEMORY = 13  # 3: the stomach's memory, after the 13 states of glucose.py
NOISE = 16  # 2: sensor noise now and 5 min ago, mg/dL
GAIN = 18
OFFSET = 19  # mg/dL
UNLOGGED = 20  # mg/kg/min into plasma that nobody logged (negative: exercise, unlogged insulin)
THETA = 21  # 4: logarithms over the population: SI, basal glucose, meal absorption, insulin absorption
WIDE = 25
THETAS = 4

# Numbers of the twin as a whole.
(
    CURSOR,  # minute since 1970 up to which everything is integrated
    STATE_MS,
    FIRST_MS,
    WEIGHT,  # kg; 0 unknown
    STARTED,  # 0 until the first reading placed the ensemble
    READINGS,  # sensor readings seen
    THINNED,  # of them, too close to the last one to be used
    FINGERS,  # fingersticks used
    CARBS_WAITING,  # g on the plate
    BASAL_RATE,  # U/min, pump
    BASAL_UNTIL,  # minute
    BASAL_USUAL,  # U/min, running mean of what is known; 0 before any
    BASAL_MINUTES,  # of known basal
    NO_INSULIN,  # minutes without any, known from the log
    LAST_INSULIN,  # minute of the last logged insulin; -1 never
    LAST_CARBS,
    INSULIN_A,  # U, the two pools of the regression's insulin curve
    INSULIN_B,
    CARBS_A,  # g
    CARBS_B,
    LAST_T,  # minute (with fraction) and value of the last used reading
    LAST_G,
    RING_N,
    PENDING_N,
    DAY,  # day of the last refit
    OWN,  # 1: the regression is the person's own
    LEARNED,  # outcomes that went into it (at the shortest horizon)
    DOSES,  # logged insulin entries
    MEALS,
    SURPRISE,  # running mean square of the filter's standardised innovations
    REFIT_MS,  # place of the last refit; 0: none
    REFITS,  # taken so far
) = range(32)
SCALARS = 32

# What the log tells of how far a person's own response is known.
(
    INSULIN_DAY,  # day of the last logged insulin; 0 never
    CARBS_DAY,
    BOTH_DAY,
    DAYS_BOTH,  # days with insulin and carbohydrates logged
    LAST_BOLUS,  # minute; 0 never
    OPEN_SINCE,  # minute of the correction whose outcome is awaited; 0: none
    OPEN_EFFECT,  # mg/dL it should make
    OPEN_WITHOUT,  # mg/dL expected without it
    CORRECTIONS_N,
) = range(9)
LOGBOOK = 9
CORRECTIONS = 48  # kept: predicted and observed effect, mg/dL

# Columns of `personal`: mean and deviation of a logarithm, 0 where it stays the population's; the same of a refit
# that is just being taken.
WAITING = 2

# What the alarms remember: ring of standardised innovations, bytes of intervals that held (1) or not (2) by
# horizon, and a few numbers.
INNOVATIONS, INTERVALS = 72, 200
(
    INNOVATIONS_N,
    INTERVALS_N,  # 3: by horizon
    _,
    _,
    SAME_SINCE,  # minute since which the sensor says the same value
    JUMP_AT,  # minute of the last impossible change
    IMPOSSIBLE,  # readings no body has
    GAPS_N,
) = range(8)
GAPS, GAP_LEAST = 12, 60.0  # kept: from and to minute; shorter ones are no gaps
WATCHED = 8
HELD_AT = WATCHED + INNOVATIONS
GAPS_AT = HELD_AT + 3 * INTERVALS // 8
WATCH = GAPS_AT + 2 * GAPS

SLOTS = 24  # insulin still being delivered: U/min, from minute, to minute, 1 if long-acting
RING = 40  # used readings: minute, mg/dL
PENDING = 32  # issued forecasts that wait for their outcome
CLOCK, RHYTHMS = 17, 4  # sine and cosine of a day, half of it, a third, a quarter
BENDS = CLOCK + 2 * RHYTHMS  # 4: level times clock, above 200, below 90
FEATURES = BENDS + 4 + 2
OWN_FEATURES = 2  # of them, the last: those that differ by horizon
SHARED = FEATURES - OWN_FEATURES
SPREAD = 9  # what the size of an error depends on
ANSWER = OWN_FEATURES + 5  # own features; middle, low, high, sigma (mg/dL), 1 while waiting
ISSUE = 3 + SHARED + 3 * ANSWER  # minute, 1 if no lag was guessed, value; features; answers


@dataclass(slots=True)
class Parts:
    """Views of the flat array; the shapes are the format of a snapshot."""

    scalars: Array  # (SCALARS,)
    members: Array  # (MEMBERS, WIDE)
    slots: Array  # (SLOTS, 4)
    ring: Array  # (RING, 2)
    pending: Array  # (PENDING, ISSUE)
    sums: Array  # (3, FEATURES, FEATURES): lower triangles
    targets: Array  # (3, FEATURES)
    beta: Array  # (3, FEATURES)
    spread_sums: Array  # (3, SPREAD, SPREAD): lower triangles
    spread_targets: Array  # (3, SPREAD)
    gamma: Array  # (3, SPREAD): mg/dL
    factors: Array  # (3, 3): sigmas below, above; outcomes seen
    steering: Array  # (3, 4)
    logbook: Array  # (LOGBOOK,)
    corrections: Array  # (CORRECTIONS, 2)
    personal: Array  # (THETAS, 4)
    watch: Array  # (WATCH,): what the alarms remember (alarms.py)
    population: Array  # (THETAS, 2): mean and deviation of the logarithms among people, of the prior
    prior_beta: Array  # (3, FEATURES): the prior's regression
    prior_gamma: Array  # (3, SPREAD)

    @property
    def knowing(self) -> tuple[Array, Array, Array, Array]:
        """What a forecast is made with."""
        return self.beta, self.gamma, self.factors, self.steering

    @property
    def drift(self) -> Array:
        """(THETAS, 2) mean and deviation that each logarithm drifts back to: its person's where a refit found them,
        else the population's."""
        return np.where(self.personal[:, 1:2] > 0.0, self.personal[:, : self.population.shape[1]], self.population)


SHAPES: dict[str, tuple[int, ...]] = {
    "scalars": (SCALARS,),
    "members": (MEMBERS, WIDE),
    "slots": (SLOTS, 4),
    "ring": (RING, 2),
    "pending": (PENDING, ISSUE),
    "sums": (3, FEATURES, FEATURES),
    "targets": (3, FEATURES),
    "beta": (3, FEATURES),
    "spread_sums": (3, SPREAD, SPREAD),
    "spread_targets": (3, SPREAD),
    "gamma": (3, SPREAD),
    "factors": (3, 3),
    "steering": (3, 4),
    "logbook": (LOGBOOK,),
    "corrections": (CORRECTIONS, 2),
    "personal": (THETAS, 4),
    "watch": (WATCH,),
    "population": (THETAS, 2),
    "prior_beta": (3, FEATURES),
    "prior_gamma": (3, SPREAD),
}
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())


def views(flat: Array) -> Parts:
    """The named parts of `flat` (SIZE,), sharing its memory."""
    found: dict[str, Array] = {}
    at = 0
    for field in fields(Parts):
        shape = SHAPES[field.name]
        size = int(np.prod(shape))
        found[field.name] = flat[at : at + size].reshape(shape)
        at += size
    return Parts(**found)
