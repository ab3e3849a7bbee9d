"""The coordinator's half of `logistic`: which step comes next, and what the answers make of the model.

Everything it knows is in `Known`, which is JSON with numbers in their shortest exact
form: a course that is restored goes on to the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from services.federation.course import Answer, Json, Step
from services.federation.recipes import newton, scores
from services.federation.recipes.logistic_result import coefficients, evaluation
from services.federation.recipes.newton import Newton
from services.federation.recipes.options import LogisticOptions, options
from services.federation.recipes.rows import Moments
from services.federation.study import Study
from services.federation.study_rules import MINIMUM_CELL
from twinward.errors import BadInput, Malformed

MOMENTS, TRAIN, EVALUATE, DONE = "moments", "train", "evaluate", "done"


@dataclass(slots=True)
class Known:
    """All that a checkpoint holds."""

    step: str = MOMENTS
    rounds: int = 0  # taken
    mean: list[float] = field(default_factory=list)  # of each column, over all hospitals of the first round
    sd: list[float] = field(default_factory=list)
    beta: list[float] = field(default_factory=list)  # intercept first, columns normalised
    search: dict[str, Any] | None = None  # irls
    sites: list[str] = field(default_factory=list)  # of the last round of training
    first: list[float] = field(default_factory=list)  # fedyogi: momentum
    second: list[float] = field(default_factory=list)  # and squares
    trained: dict[str, float] = field(default_factory=dict)  # hospital -> patients
    loss: list[float] = field(default_factory=list)  # mean, at the model that was asked, a number a training round
    evaluated: dict[str, dict[str, float]] = field(default_factory=dict)  # hospital -> its own numbers
    histograms: dict[str, list[float]] = field(default_factory=dict)  # hospital -> what goes into pooled numbers


class LogisticCourse:
    def __init__(self, study: Study, known: Known) -> None:
        self._study = study
        self._how = options(LogisticOptions, study)
        self._known = known

    @classmethod
    def begin(cls, study: Study) -> LogisticCourse:
        return cls(study, Known())

    @classmethod
    def restore(cls, study: Study, state: bytes) -> LogisticCourse:
        """Raises Malformed: not a state that `state` wrote."""
        try:
            return cls(study, Known(**json.loads(state)))
        except (ValueError, TypeError):
            raise Malformed("the checkpoint cannot be read: start the study again") from None

    def state(self) -> bytes:
        return json.dumps(asdict(self._known), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def next(self) -> Step | None:
        known, p = self._known, len(self._study.columns)
        if known.step == DONE:
            return None
        if known.step == MOMENTS:
            return Step(MOMENTS, np.zeros(0), size=3 * p)
        search = known.search
        beta = search["candidate"] if known.step == TRAIN and search is not None else known.beta
        vector = np.array([*known.mean, *known.sd, *beta], float)
        if known.step == EVALUATE:
            return Step(EVALUATE, vector, size=scores.SIZE * (2 if self._how.local else 1))
        return Step(TRAIN, vector, size=newton.size(p) if self._how.method == "irls" else p + 1)

    def take(self, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        take = {MOMENTS: self._moments, TRAIN: self._train, EVALUATE: self._evaluate}.get(self._known.step)
        if take is None or not answers:
            raise BadInput("nothing was asked, so nothing can be taken")
        in_order = {site: answers[site] for site in sorted(answers)}  # sums do not depend on who came first
        metrics = take(in_order)
        self._known.rounds += 1
        self._go_on()
        return metrics

    def _go_on(self) -> None:
        """To the evaluation once the model is as good as the rounds allow."""
        known = self._known
        if known.step == TRAIN:
            last = self._study.rounds - (1 if self._study.test_fraction else 0)
            if known.rounds >= last or (known.search is not None and known.search["converged"]):
                known.step = EVALUATE if self._study.test_fraction else DONE
        elif known.step == EVALUATE:
            known.step = DONE

    def _moments(self, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        p = len(self._study.columns)
        total = Moments(np.zeros(p), np.zeros(p), np.zeros(p))
        for answer in answers.values():
            part = Moments(*np.split(answer.vector, 3))
            n = patients(answer)
            if np.any(part.n < 0) or np.any(part.n > n) or np.any(part.n != np.round(part.n)) or np.any(part.m2 < 0):
                raise BadInput("a hospital's moments cannot come from patients")
            total += part
        sd = total.sd
        for column, n, spread in zip(self._study.columns, total.n, sd, strict=True):
            if n < MINIMUM_CELL:
                raise BadInput(f"{column.name} is known for fewer than {MINIMUM_CELL} patients: leave it out")
            if spread <= 1e-12 * max(1.0, float(np.max(np.abs(total.mean)))):
                raise BadInput(f"{column.name} is the same for every patient: leave it out")
        known = self._known
        known.mean, known.sd, known.beta = total.mean.tolist(), sd.tolist(), [0.0] * (p + 1)
        known.step = TRAIN
        if self._how.method == "irls":
            known.search = Newton(np.zeros(p + 1), self._how.ridge).state()
        elif self._how.method == "fedyogi":
            known.first, known.second = [0.0] * (p + 1), [self._how.tau**2] * (p + 1)
        return {"patients": sum(patients(answer) for answer in answers.values())}

    def _train(self, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        known = self._known
        n = {site: patients(answer) for site, answer in answers.items()}
        total = sum(n.values())
        loss = self._irls(answers) / total if known.search is not None else self._average(answers, n, total)
        known.trained, known.sites = n, list(answers)
        known.loss.append(loss)
        return {"loss": loss, "patients": total}

    def _irls(self, answers: Mapping[str, Answer]) -> float:
        """Takes the sums; the loss at the asked model."""
        known = self._known
        found = np.sum([answer.vector for answer in answers.values()], axis=0)
        search = Newton.of(known.search or {})
        search.take(found, fresh=known.sites != list(answers))
        known.search = search.state()
        if search.beta is not None:
            known.beta = search.beta.tolist()
        return -float(found[0])

    def _average(self, answers: Mapping[str, Answer], n: Mapping[str, float], total: float) -> float:
        """Takes the hospitals' models, weighed by patients; the loss at the model that they began from."""
        known, how = self._known, self._how
        losses = {site: answer.numbers.get("loss", -1.0) for site, answer in answers.items()}
        if not all(0 <= loss < np.inf for loss in losses.values()):
            raise BadInput("a hospital's loss cannot come from patients")
        beta = np.array(known.beta)
        change = np.sum([n[site] / total * (answer.vector - beta) for site, answer in answers.items()], axis=0)
        if how.method == "fedyogi":
            first = how.beta_1 * np.array(known.first) + (1 - how.beta_1) * change
            second = np.array(known.second)
            second = second - (1 - how.beta_2) * change**2 * np.sign(second - change**2)
            known.first, known.second = first.tolist(), second.tolist()
            change = how.server_rate * first / (np.sqrt(second) + how.tau)
        known.beta = (beta + change).tolist()
        return sum(n[site] / total * loss for site, loss in losses.items())

    def _evaluate(self, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        known = self._known
        for answer in answers.values():
            for part in np.split(answer.vector, 2) if self._how.local else [answer.vector]:
                scores.check(part)
            for who in ("federated", "local"):
                scores.from_numbers(who, answer.numbers)
        known.evaluated = {site: {k: float(v) for k, v in answer.numbers.items()} for site, answer in answers.items()}
        known.histograms = {site: answer.vector.tolist() for site, answer in answers.items()}
        shown = scores.pooled(np.sum([answer.vector[: scores.SIZE] for answer in answers.values()], axis=0))
        return {name: value for name in ("accuracy", "auc", "brier") if (value := shown.get(name)) is not None}

    def result(self) -> Json:
        known, study = self._known, self._study
        search = None if known.search is None else Newton.of(known.search)
        return {
            "recipe": "logistic",
            "method": self._how.method,
            "ridge": self._how.ridge,
            "privacy": study.privacy,
            "outcome": study.outcome.name if study.outcome else "",
            "rounds": known.rounds,
            "finished": known.step == DONE,
            "converged": None if search is None else search.converged,
            "patients": sum(known.trained.values()),
            "sites": dict(known.trained),  # at least 10 each, or the hospital would have refused
            "loss": list(known.loss),
            "coefficients": coefficients(study, known.mean, known.sd, known.beta, search),
            "evaluation": evaluation(known.evaluated, known.histograms, local=self._how.local),
        }


def patients(answer: Answer) -> float:
    """How many patients stand behind an answer. Raises BadInput: no number of patients that may answer."""
    n = answer.numbers.get("n", 0.0)
    if not n >= MINIMUM_CELL or n != np.round(n) or not np.isfinite(n):
        raise BadInput(f"a hospital answered without at least {MINIMUM_CELL} patients")
    return float(n)
