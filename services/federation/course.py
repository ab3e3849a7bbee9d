"""The seam between what a study computes and the engine that carries it.

A recipe has two halves. At the coordinator its `Course` says what to ask next and
takes the answers; at the hospital `answer` computes one over the hospital's own
table. Rounds (`rounds.py`) join the two through `Sites`, and know nothing of
Flower; `flower/` carries asks and answers over a Flower grid, deployed or in
process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.federation.study import Study
from services.federation.table import Table

Floats = npt.NDArray[np.float64]
Json = Mapping[str, object]

# What a hospital may say instead of an answer; nothing else leaves it.
REFUSALS = {
    "NOT_APPROVED": "the hospital has not approved this study",
    "EXPIRED": "the hospital's approval has ended",
    "WRONG_STUDY": "the study's bytes are not those that were approved",
    "WRONG_BUNDLE": "the code is not what was approved",
    "POLICY": "the hospital's own policy does not allow this study",
    "COHORT": "the hospital takes no part: its cohort does not meet the study's or its own minimum",
    "COHORT_CHANGED": "patients left the cohort since the study began; it has to start again",
    "DATA": "the hospital's data cannot answer this question as it is asked",
    "UNAVAILABLE": "the hospital's store or keys did not answer",
    "BAD_ASK": "the hospital could not read what it was asked",
    "INTERNAL": "something failed at the hospital; its own log says what",
}


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """What a hospital is asked in one round."""

    study: bytes  # 32 bytes
    round: int
    step: str  # a word of the recipe
    vector: Floats  # one flat vector: the model, or whatever the step needs; may be empty
    config: Json = field(default_factory=dict)  # small: numbers, words, short lists


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What it says: numbers, or a word of REFUSALS."""

    vector: Floats
    numbers: Mapping[str, float] = field(default_factory=dict)
    refusal: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is asked of every hospital in the next round."""

    name: str
    vector: Floats
    config: Json = field(default_factory=dict)
    size: int = -1  # length an answer's vector must have; -1: any


class Course(Protocol):
    """The coordinator's half of a recipe, for one study."""

    def next(self) -> Step | None:
        """What to ask now; None: the study is done."""
        ...

    def take(self, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        """Takes the round's answers (site -> answer, no refusals, checked for size and finiteness).

        Returns metrics for people. Raises BadInput where they cannot be combined.
        """
        ...

    def state(self) -> bytes:
        """Everything needed to go on from here: JSON, deterministic."""
        ...

    def result(self) -> Json:
        """The model and its evaluation: what may be released."""
        ...


class Recipe(Protocol):
    name: str
    privacy: str  # class of what it releases, shown to whoever approves

    def check(self, study: Study) -> Sequence[str]:
        """What is wrong with the study for this recipe; sentences."""
        ...

    def course(self, study: Study, state: bytes | None) -> Course:
        """From the start, or from a checkpoint's `state`."""
        ...

    def answer(self, study: Study, ask: Ask, table: Table) -> Answer:
        """The hospital's half. Raises BadInput for a step or vector that cannot be."""
        ...


class Sites(Protocol):
    """The hospitals, through whatever engine."""

    def online(self) -> Sequence[str]:
        """Site ids that can be asked now."""
        ...

    def send(self, asks: Mapping[str, Ask]) -> None:
        """Asks each site; a site that is gone meanwhile never answers."""
        ...

    def receive(self) -> Mapping[str, Answer]:
        """Answers that came since the last call. A late answer of an earlier round is never given."""
        ...
