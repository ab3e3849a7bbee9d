"""Settings of each recipe, as a study's file states them under [settings]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from services.federation.study import Study
from services.federation.study_file import read
from twinward.errors import BadInput

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticOptions:
    """How a logistic model is fitted. Rates are for columns in standard deviations."""

    method: Literal["irls", "fedavg", "fedyogi"] = "irls"
    ridge: float = 0.0  # on coefficients of normalised columns, never on the intercept; 0: none
    learning_rate: float = 0.1  # at a hospital: of gradient descent on its mean loss
    local_epochs: int = 5  # passes over a hospital's patients in a round
    batch: int = 0  # patients a step; 0: all
    server_rate: float = 0.1  # fedyogi: of the coordinator's step
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3
    local: bool = True  # each hospital also fits a model of its own, for comparison

    def wrong(self) -> Iterator[str]:
        for name, low, high in (
            ("ridge", 0.0, 1e6),
            ("learning_rate", 1e-6, 10.0),
            ("local_epochs", 1, 1000),
            ("batch", 0, 1_000_000),
            ("server_rate", 1e-6, 10.0),
            ("beta_1", 0.0, 0.9999),
            ("beta_2", 0.0, 0.9999),
            ("tau", 1e-9, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                yield f"settings.{name} must be between {low:g} and {high:g}"
        if self.ridge and self.method != "irls":
            yield "settings.ridge is for the method irls: leave it out"


@dataclass(frozen=True, slots=True)
class Crosstab:
    """Two columns that are 0 or 1 counted against each other."""

    rows: str
    columns: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsOptions:
    """What is counted beside number, mean and spread of each column."""

    histograms: tuple[str, ...] = ()  # columns with low and high stated
    bins: int = 10
    quantiles: tuple[float, ...] = ()  # of the histograms' columns
    crosstabs: tuple[Crosstab, ...] = ()

    def wrong(self) -> Iterator[str]:
        if not 2 <= self.bins <= 50:
            yield "settings.bins must be between 2 and 50"
        if any(not 0 < one < 1 for one in self.quantiles) or len(set(self.quantiles)) < len(self.quantiles):
            yield "settings.quantiles must lie between 0 and 1, each once"
        if self.quantiles and not self.histograms:
            yield "settings.quantiles come from histograms: name columns in settings.histograms"
        if len(set(self.histograms)) < len(self.histograms):
            yield "settings.histograms names a column twice: once is enough"


def options(kind: type[T], study: Study) -> T:
    """The study's settings. Raises BadInput where they are not of this kind."""
    wrong: list[str] = []
    found = read(kind, study.settings, "settings", wrong)
    if found is None:
        raise BadInput("; ".join(wrong))
    return found


def logistic_problems(study: Study) -> Sequence[str]:
    wrong: list[str] = []
    found = read(LogisticOptions, study.settings, "settings", wrong)
    wrong += found.wrong() if found is not None else ()
    outcome = study.outcome
    if outcome is None:
        wrong.append("outcome is missing: a logistic model needs one that is 0 or 1")
    elif outcome.above is None and outcome.take != "present" and outcome.code != "patient|female":
        wrong.append("outcome must be 0 or 1: a condition, or a number with `above`")
    for column in (*study.columns, *((outcome,) if outcome is not None else ())):
        if column.missing == "count":
            wrong.append(f"{column.name}.missing: count is for statistics; say drop, mean or refuse")
    least = 3 if study.test_fraction else 2
    if study.rounds < least:
        wrong.append(f"rounds must be at least {least}: one to normalise, and the rest to fit and to judge")
    return wrong


def statistics_problems(study: Study) -> Sequence[str]:
    wrong: list[str] = []
    if study.outcome is not None:
        wrong.append("outcome: statistics has none; make it one of the columns")
    if study.test_fraction:
        wrong.append("test_fraction: statistics holds nobody out; leave it out")
    for column in study.columns:
        if column.missing == "mean":
            wrong.append(f"{column.name}.missing: statistics makes nothing up; say count, drop or refuse")
    found = read(StatisticsOptions, study.settings, "settings", wrong)
    if found is None:
        return wrong
    wrong += found.wrong()
    columns = {column.name: column for column in study.columns}
    for name in found.histograms:
        if name not in columns or columns[name].low is None or columns[name].high is None or columns[name].above:
            wrong.append("settings.histograms names columns of the study with low and high stated, and without above")
    for table in found.crosstabs:
        pair = [columns.get(name) for name in (table.rows, table.columns)]
        if table.rows == table.columns or not all(one is not None and binary(study, one.name) for one in pair):
            wrong.append("settings.crosstabs names two different columns of the study that are 0 or 1")
    return wrong


def binary(study: Study, name: str) -> bool:
    """Whether a column is 0 or 1."""
    for column in study.columns:
        if column.name == name:
            return column.above is not None or column.take == "present" or column.code == "patient|female"
    return False
