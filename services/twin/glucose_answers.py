"""What a glucose twin says: forecasts, their reasons, its parameters; and when it declines."""

from __future__ import annotations

from dataclasses import dataclass

from twinward.errors import Unready


class LateData(Unready):
    """Something older than the state arrived: replay from before `earliest_ms`, do not append."""

    reason = "LATE_DATA"

    def __init__(self, earliest_ms: int) -> None:
        super().__init__("data older than the twin's state arrived; the twin has to replay from a snapshot before them")
        self.earliest_ms = earliest_ms


@dataclass(frozen=True, slots=True)
class Reading:
    time_ms: int
    value: float  # mg/dL
    source: str


@dataclass(frozen=True, slots=True)
class Point:
    """Glucose `minutes` from now; mg/dL."""

    minutes: int
    time_ms: int
    median: float
    low: float
    high: float
    coverage: float  # of low..high, aimed at
    physiology_share: float  # 0..1 of the change since the last reading
    physiology_median: float  # what the ensemble alone says
    physiology_low: float  # its 5th and 95th percentile
    physiology_high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """`points` is empty where the twin declines; `notes` then say why."""

    points: tuple[Point, ...]
    notes: tuple[str, ...]
    last_reading: Reading | None
    age_ms: int  # of the last reading
    model_version: str
    coefficients: str  # "own" or "cohort"


@dataclass(frozen=True, slots=True)
class Contribution:
    name: str
    meaning: str
    value: float  # mg/dL of the difference between forecast and last reading


@dataclass(frozen=True, slots=True)
class ParameterEstimate:
    name: str
    meaning: str
    value: float  # middle of the ensemble
    low: float  # 5th and 95th percentile
    high: float
    unit: str  # UCUM
    prior_ratio: float  # posterior over prior standard deviation of the logarithm; near 1: nothing learned


@dataclass(frozen=True, slots=True)
class Explanation:
    point: Point | None
    contributions: tuple[Contribution, ...]
    physiology_share: float
    parameters: tuple[ParameterEstimate, ...]
    inputs: tuple[str, ...]
    notes: tuple[str, ...]
    model_version: str
