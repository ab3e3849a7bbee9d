"""What must hold in a study whatever its recipe: limits, known codes, units that can be converted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from twinward.codes import MEANINGS, condition_category
from twinward.units import conversion

if TYPE_CHECKING:
    from services.federation.study import Cohort, Column, Study

MINIMUM_CELL = 10  # a number of patients below it is never shown
MOST_COLUMNS = 100
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,62})+")


def broken(study: Study) -> Iterator[str]:
    """A sentence for each rule that does not hold."""
    for key, text, most in (("title", study.title, 200), ("question", study.question, 2000)):
        if not text.strip() or len(text) > most:
            yield f"{key} must say something in at most {most} characters"
        elif not all(letter.isprintable() for letter in text.replace("\n", "" if key == "question" else "\n")):
            yield f"{key} has characters that cannot be shown: write it on plain lines"
    if not 1 <= len(study.author) <= 64 or not study.author.isprintable():
        yield "the author's pseudonym must have 1 to 64 characters"
    if study.purpose != "research":
        yield 'purpose must be "research": patients\' consent is asked for that'
    if study.privacy != "NON-PRIVATE":
        yield 'privacy must be "NON-PRIVATE": nothing else can be computed yet'
    yield from _limits(study)
    yield from _cohort(study.cohort)
    yield from _columns(study)


def _limits(study: Study) -> Iterator[str]:
    for key, value, low, high in (
        ("rounds", study.rounds, 1, 1000),
        ("deadline_s", study.deadline_s, 1, 3600),
        ("minimum_sites", study.minimum_sites, 2, 100),
        ("minimum_cohort", study.minimum_cohort, MINIMUM_CELL, 1_000_000),
        ("test_fraction", study.test_fraction, 0, 0.5),
        ("seed", study.seed, 0, 2**31 - 1),
    ):
        if not low <= value <= high:
            yield f"{key} must be between {low} and {high}"
    for site in study.sites:
        if len(site) > 100 or not _SITE.fullmatch(site):
            yield 'sites must be site ids, for example "st-anne.demo"'
    if len(set(study.sites)) < len(study.sites):
        yield "sites names a hospital twice: once is enough"
    if study.sites and len(study.sites) < study.minimum_sites:
        yield f"minimum_sites asks for {study.minimum_sites}, but sites names {len(study.sites)}: name more"


def _cohort(cohort: Cohort) -> Iterator[str]:
    for code in cohort.conditions:
        if not _condition_known(code):
            yield f"cohort.conditions: {_shown(code)} is in no table: take one of twinward/codes/conditions.csv"
    for code in cohort.codes:
        if code not in MEANINGS:
            yield f"cohort.codes: {_shown(code)} is in no table: take one of twinward/codes"
    ages = [age for age in (cohort.age_from, cohort.age_until) if age is not None]
    if any(not 0 <= age <= 150 for age in ages):
        yield "cohort.age_from and age_until must lie between 0 and 150 years"
    if len(ages) == 2 and ages[0] >= ages[1]:
        yield "cohort.age_from must be below age_until"
    months = [month for month in (cohort.first_month, cohort.last_month) if month is not None]
    if any(not (1900 <= month // 100 <= 2200 and 1 <= month % 100 <= 12) for month in months):
        yield "cohort.first_month and last_month are year and month in six digits, for example 202401"
    if len(months) == 2 and months[0] > months[1]:
        yield "cohort.first_month must not be after last_month"


def _columns(study: Study) -> Iterator[str]:
    if not 1 <= len(study.columns) <= MOST_COLUMNS:
        yield f"columns: a study needs between 1 and {MOST_COLUMNS} of them"
    names = [column.name for column in study.columns]
    if study.outcome is not None:
        names.append(study.outcome.name)
    if len(set(names)) < len(names):
        yield "columns and outcome must each have a name of its own"
    for column in study.columns:
        yield from _column(column)
    if study.outcome is not None:
        yield from _column(study.outcome)
        if study.outcome.missing == "mean":
            yield "outcome.missing: a missing outcome cannot be made up: refuse or drop"


def _column(column: Column) -> Iterator[str]:
    if not _NAME.fullmatch(column.name) or column.name == "intercept":
        yield "columns: a name has 1 to 40 small letters, digits and _, begins with a letter and is not intercept"
        return
    if column.low is not None and column.high is not None and column.low >= column.high:
        yield f"{column.name}.low must be below high"
    yield from _code(column)


def _code(column: Column) -> Iterator[str]:
    name, code, unit = column.name, column.code, column.unit
    if code == "patient|female" or code.startswith("condition|"):
        if code != "patient|female" and not _condition_known(code.removeprefix("condition|")):
            yield f"{name}.code: {_shown(code)} is in no table: take one of twinward/codes/conditions.csv"
        wanted = "last" if code == "patient|female" else "present"
        if column.take != wanted:
            yield f'{name}.take must be "{wanted}", or be left out'
        if unit or column.low is not None or column.high is not None or column.above is not None:
            yield f"{name} is 0 or 1: leave unit, low, high and above out"
    elif code == "patient|age":
        if column.take != "last" or unit not in ("", "a"):
            yield f"{name} is an age in years: leave take and unit out"
    elif code not in MEANINGS or not MEANINGS[code].quantity:
        yield f"{name}.code: {_shown(code)} is no number that a table knows: take one of twinward/codes"
    elif column.take in ("count", "present"):
        if unit:
            yield f"{name}.take is {column.take}, which has no unit: leave unit out"
    elif unit and conversion(code, unit) is None:
        yield f"{name}.unit: {_shown(unit)} cannot be made from {MEANINGS[code].unit}: see twinward/codes/units.csv"


def _condition_known(code: str) -> bool:
    return len(code) <= 120 and condition_category([code]) is not None


def _shown(text: str) -> str:
    return repr(text[:60])
