"""A study in plain words for who decides on it, and what it has to be granted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twinward.codes import MEANINGS, condition_category, condition_name
from twinward.record import Category

if TYPE_CHECKING:
    from services.federation.study import Cohort, Column, Study

IN_CLEAR = (
    "the coordinator sees this hospital's update in clear"  # said word for word wherever NON-PRIVATE is agreed to
)
RELEASES = {
    "statistics": "counts, means and distributions of each column, for this hospital and for all together",
    "logistic": "a logistic model of the outcome, and how well it does at this hospital and at all together",
}
TAKES = {
    "last": "latest value",
    "first": "first value",
    "mean": "mean of the values",
    "min": "lowest value",
    "max": "highest value",
    "count": "number of values",
    "present": "whether there is any",
}
ABSENT = {
    "refuse": "the hospital takes no part if it is missing for anybody",
    "drop": "patients without it are left out",
    "mean": "the mean over all hospitals stands in where it is missing",
    "count": "who does not have it is counted as missing",
}


def categories(study: Study) -> tuple[Category, ...]:
    """What must be granted to read the columns, in order of number.

    Age and sex stand in the sealed index that finds the cohort, so they need none.
    """
    found = {_category(code) for code in study.cohort.codes}
    found |= {_category(column.code) for column in _every(study) if not column.code.startswith("patient|")}
    return tuple(sorted(found))


def period(study: Study) -> tuple[int | None, int | None]:
    """First and last month that must be granted, year * 100 + month; None: no bound on that side."""
    return study.cohort.first_month, study.cohort.last_month


def unit_of(column: Column) -> str:
    """UCUM, "a" for years; empty for what is counted or 0 or 1."""
    if column.above is not None or column.take in ("count", "present") or column.code == "patient|female":
        return ""
    if column.code == "patient|age":
        return "a"
    return column.unit or (MEANINGS[column.code].unit if column.code in MEANINGS else "")


def approval_text(study: Study) -> str:
    """What approving means, a line each, for the data steward who decides."""
    lines = [
        f"{study.title}",
        "",
        f"Who asks: {study.author} (pseudonym of the researcher at the coordinator)",
        f"What for: {' '.join(study.question.split())}",  # on one line, or it could pass for a line of ours
        f"Purpose: {study.purpose}. Only patients whose consent permits it take part.",
        f"Which patients: {patients_in_words(study.cohort)}",
        f"Records of: {_months(*period(study))}",
        "",
        "What is read of each patient:",
        *(f"  - {line}" for line in columns_in_words(study)),
        f"Categories of the record: {', '.join(_words(one) for one in categories(study)) or 'none beyond age and sex'}",
        "",
        f"What is computed: {study.recipe}: {RELEASES.get(study.recipe, study.recipe)}",
        *(f"  {key}: {_setting(value)}" for key, value in sorted(study.settings.items())),
        *_evaluation(study),
        f"Rounds: at most {study.rounds}",
        f"Hospitals asked: {', '.join(study.sites) or 'every hospital that joined'}; in every round at least "
        f"{study.minimum_sites} take part",
        f"Smallest cohort: with fewer than {study.minimum_cohort} patients this hospital takes no part",
        "",
        f"Privacy: {study.privacy}. This means: {IN_CLEAR}. "
        "No record of a patient leaves the hospital, but sums over few patients, or over a group before and after one "
        "person left it, can tell about a person.",
    ]
    return "\n".join(lines)


def _every(study: Study) -> Iterator[Column]:
    yield from study.columns
    if study.outcome is not None:
        yield study.outcome


def _category(code: str) -> Category:
    if code.startswith("condition|"):
        return condition_category([code.removeprefix("condition|")]) or Category.RESTRICTED
    return MEANINGS[code].category if code in MEANINGS else Category.RESTRICTED


def _words(category: Category) -> str:
    return category.name.lower().replace("_", " ")


def patients_in_words(cohort: Cohort) -> str:
    said = []
    if cohort.conditions:
        said.append("with any of " + ", ".join(_condition(code) for code in cohort.conditions))
    if cohort.codes:
        said.append("with a record of " + " and of ".join(MEANINGS[code].name for code in cohort.codes))
    if cohort.age_from is not None:
        said.append(f"of at least {cohort.age_from} years")
    if cohort.age_until is not None:
        said.append(f"younger than {cohort.age_until} years")
    return ", ".join(said) or "all"


def _condition(code: str) -> str:
    name = condition_name(code)
    return f"{name} ({code})" if name else code


def _months(first: int | None, last: int | None) -> str:
    begin, end = (f"{month // 100}-{month % 100:02}" if month else "" for month in (first, last))
    if begin and end:
        return f"{begin} to {end}"
    if begin:
        return f"{begin} and later"
    return f"{end} and earlier" if end else "all times"


def columns_in_words(study: Study) -> Iterator[str]:
    for column in study.columns:
        yield _column(column)
    if study.outcome is not None:
        yield f"{_column(study.outcome)} (the outcome)"


def _column(column: Column) -> str:
    if column.code == "patient|age":
        what = "age in years"
    elif column.code == "patient|female":
        what = "sex"
    elif column.code.startswith("condition|"):
        what = f"whether there is a diagnosis of {_condition(column.code.removeprefix('condition|'))}"
    else:
        meaning = MEANINGS[column.code]
        unit = unit_of(column)
        what = f"{meaning.name} ({column.code}){f' in {unit}' if unit else ''}, {TAKES[column.take]}"
    if column.above is not None:
        what += f", only whether it is above {column.above:g}"
    always = column.take in ("count", "present") or column.code == "patient|female"
    return f"{column.name}: {what}" if always else f"{column.name}: {what}; {ABSENT[column.missing]}"


def _evaluation(study: Study) -> Iterator[str]:
    if study.test_fraction:
        yield f"Held out to judge the result: {study.test_fraction:.0%} of the hospital's patients"


def _setting(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_setting(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(f"({_setting(one)})" if isinstance(one, list | dict) else _setting(one) for one in value)
    return str(value)
