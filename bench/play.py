"""A whole study in one process, without an engine: asks every table, takes the answers, until the course is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from services.federation.course import Answer, Ask, Course
from services.federation.recipes import recipe_of
from services.federation.study import Study, sha256
from services.federation.table import Table

Present = Callable[[int, Sequence[str]], Sequence[str]]


def play(
    study: Study,
    tables: Mapping[str, Table],
    *,
    course: Course | None = None,
    present: Present = lambda _, sites: sites,
    after: Callable[[int, Course], Course] = lambda _, course: course,
) -> Course:
    """The course at its end.

    `present`: who answers in a round; `after`: what a round leaves, for instance the course restored from its state.
    """
    recipe = recipe_of(study)
    course = course or recipe.course(study, None)
    for number in range(1, study.rounds + 1):
        step = course.next()
        if step is None:
            break
        ask = Ask(sha256(study), number, step.name, step.vector, step.config)
        answers: dict[str, Answer] = {}
        for site in present(number, list(tables)):
            answers[site] = recipe.answer(study, ask, tables[site])
            assert step.size in (-1, len(answers[site].vector))
        course.take(answers)
        course = after(number, course)
    return course
