"""Logistic regression over hospitals, NON-PRIVATE: each hospital's sums or model are seen in clear.

    moments    each hospital's n, mean and spread of every column: the normalisation of all
    train      fedavg, fedyogi: some epochs of gradient descent from the model of all (McMahan 2017; Reddi 2021)
               irls: loglik, gradient and information at the model of all (newton.py)
    evaluate   on patients held out: scores of the model of all, and of one that the hospital fits alone

This file is the hospital's half; `logistic_course.py` is the coordinator's. A hospital
keeps nothing between rounds: an ask carries the normalisation and the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.federation.course import Answer, Ask, Course, Floats
from services.federation.recipes import newton, scores
from services.federation.recipes.logistic_course import EVALUATE, MOMENTS, TRAIN, LogisticCourse
from services.federation.recipes.options import LogisticOptions, logistic_problems, options
from services.federation.recipes.rows import Moments, Rows, normalised, usable
from services.federation.study import NON_PRIVATE, Study
from services.federation.table import Table
from twinward.errors import BadInput

FALLBACK_RIDGE = 1.0  # of a hospital's own model where its data alone are separated


class Logistic:
    name = "logistic"
    privacy = NON_PRIVATE

    def check(self, study: Study) -> Sequence[str]:
        return logistic_problems(study)

    def course(self, study: Study, state: bytes | None) -> Course:
        return LogisticCourse.begin(study) if state is None else LogisticCourse.restore(study, state)

    def answer(self, study: Study, ask: Ask, table: Table) -> Answer:
        learn, judge = usable(study, table)
        if ask.step == MOMENTS:
            found = Moments.of(learn.x)
            return Answer(np.concatenate([found.n, found.mean, found.m2]), {"n": float(len(learn))})
        mean, sd, beta = _asked(study, ask)
        x = normalised(learn.x, mean, sd)
        how = options(LogisticOptions, study)
        if ask.step == TRAIN and how.method == "irls":
            return Answer(newton.sums(x, learn.y, beta), {"n": float(len(learn))})
        if ask.step == TRAIN:
            loss = -float(newton.sums(x, learn.y, beta)[0]) / len(learn)
            return Answer(descend(x, learn.y, beta, how, study.seed, ask.round), {"n": float(len(learn)), "loss": loss})
        if ask.step == EVALUATE:
            return _evaluate(how, learn, judge, normalised(judge.x, mean, sd), beta)
        raise BadInput("the recipe logistic knows no such step")


def _asked(study: Study, ask: Ask) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation and model of an ask. Raises BadInput: not their lengths, or numbers that cannot be."""
    p = len(study.columns)
    vector = np.asarray(ask.vector, float)
    if (
        ask.round < 0
        or vector.shape != (3 * p + 1,)
        or not np.isfinite(vector).all()
        or not (vector[p : 2 * p] > 0).all()
    ):
        raise BadInput("what is asked is not a normalisation and a model of this study")
    return vector[:p], vector[p : 2 * p], vector[2 * p :]


def descend(x: Floats, y: Floats, beta: Floats, how: LogisticOptions, seed: int, round: int) -> Floats:
    """`beta` after the hospital's epochs of gradient descent on its mean loss; seed and round order the patients."""
    order = np.random.Generator(np.random.Philox(key=[seed, round]))
    design = np.column_stack([np.ones(len(y)), x])
    size = how.batch or len(y)
    beta = beta.copy()
    for _ in range(how.local_epochs):
        patients = order.permutation(len(y)) if how.batch else np.arange(len(y))
        for first in range(0, len(y), size):
            rows = patients[first : first + size]
            wrong = newton.probability(design[rows] @ beta) - y[rows]
            beta -= how.learning_rate * (wrong @ design[rows]) / len(rows)
    return beta


def _evaluate(how: LogisticOptions, learn: Rows, judge: Rows, x: Floats, beta: Floats) -> Answer:
    """Histograms of the model of all and of the hospital's own, one after the other; its own scores as numbers."""
    p = newton.probability(beta[0] + x @ beta[1:])
    parts, numbers = [scores.histogram(p, judge.y)], scores.numbers("federated", scores.score(p, judge.y))
    if how.local:
        p, ridge = alone(learn, judge, how.ridge)
        parts.append(scores.histogram(p, judge.y))
        numbers |= scores.numbers("local", scores.score(p, judge.y)) | {"local_ridge": ridge}
    return Answer(np.concatenate(parts), numbers)


def alone(learn: Rows, judge: Rows, ridge: float) -> tuple[Floats, float]:
    """Probabilities for `judge` by a model of this hospital's own patients, normalised by themselves; and its ridge."""
    own = Moments.of(learn.x)
    sd = np.where(own.sd > 0, own.sd, 1.0)  # a column that is the same for everybody here says nothing
    x = normalised(learn.x, own.mean, sd)
    try:
        search = newton.fit(x, learn.y, ridge)
    except BadInput:  # separated, one class only, or columns that cannot be told apart here
        search, ridge = newton.fit(x, learn.y, FALLBACK_RIDGE, shrink_intercept=True), FALLBACK_RIDGE
    beta = search.candidate if search.beta is None else search.beta
    return newton.probability(beta[0] + normalised(judge.x, own.mean, sd) @ beta[1:]), ridge
