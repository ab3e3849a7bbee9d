"""A study: what is asked, of whom, over which patients, computed how.

The file a researcher writes is TOML; its canonical form is JSON with sorted keys
and no spaces, and the study *is* the SHA-256 of those bytes: what a hospital
approves is that hash and nothing else. Equal studies have equal bytes: every field
is written, whole numbers without a point, the others in their shortest form.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from services.federation import study_rules
from services.federation.study_file import plain, read
from services.federation.study_words import approval_text, categories, period
from twinward.errors import BadInput, TooLarge

__all__ = [
    "NON_PRIVATE",
    "Cohort",
    "Column",
    "Study",
    "approval_text",
    "canonical",
    "categories",
    "enough",
    "from_canonical",
    "parse",
    "period",
    "problems",
    "sha256",
]

NON_PRIVATE = "NON-PRIVATE"
LARGEST_FILE = 64 * 1024  # bytes

Missing = Literal["refuse", "drop", "mean", "count"]
Take = Literal["last", "first", "mean", "min", "max", "count", "present"]


@dataclass(frozen=True, slots=True)
class Column:
    """One number a patient: a feature or the outcome."""

    name: str
    code: str  # "loinc|8480-6", "condition|snomed|53741008", "patient|age" (years), "patient|female" (0 or 1)
    unit: str = ""  # UCUM; values in another unit are converted, or the study is refused at the site
    take: Take = "last"  # of several records in the period; conditions: "present" (0 or 1)
    missing: Missing = "drop"  # refuse the study, drop the patient, put the federated mean in, or count (statistics)
    low: float | None = None  # stated range: values outside count as missing; also the histogram's edges
    high: float | None = None
    above: float | None = None  # the column is 1 where the value is greater, else 0


@dataclass(frozen=True, slots=True)
class Cohort:
    """Who takes part: all conditions that are stated must hold."""

    conditions: tuple[str, ...] = ()  # any of these, "snomed|53741008"
    codes: tuple[str, ...] = ()  # records of each of these exist in the period
    age_from: int | None = None  # years, at the end of the period
    age_until: int | None = None  # exclusive
    first_month: int | None = None  # year * 100 + month
    last_month: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Checked: every field makes sense together (`parse` raises otherwise)."""

    title: str
    question: str  # what is hoped to be learnt, for the steward who decides
    author: str  # pseudonym of who submitted it: set by the coordinator, part of the hash
    purpose: str  # research
    recipe: str  # statistics | logistic
    settings: dict[str, object] = field(default_factory=dict)  # the recipe's own
    rounds: int = 20  # at most
    deadline_s: float = 60.0  # of a round
    sites: tuple[str, ...] = ()  # who is asked; empty: every joined hospital
    minimum_sites: int = 2
    minimum_cohort: int = 10  # patients at a hospital, checked there on the exact count
    cohort: Cohort = field(default_factory=Cohort)
    columns: tuple[Column, ...] = ()
    outcome: Column | None = None
    test_fraction: float = 0.0  # of each hospital's patients, held out for evaluation
    seed: int = 0
    privacy: str = NON_PRIVATE


def parse(file: bytes, author: str) -> Study:
    """The study of a researcher's file.

    Raises:
        BadInput: with everything that is wrong, a sentence each.
    """
    study, wrong = _checked(file, author)
    if study is None or wrong:
        raise BadInput("; ".join(wrong))
    return study


def problems(file: bytes, author: str) -> list[str]:
    """What is wrong with the file, each a sentence that says what to do; empty: `parse` takes it."""
    return _checked(file, author)[1]


def _checked(file: bytes, author: str) -> tuple[Study | None, list[str]]:
    if len(file) > LARGEST_FILE:
        return None, ["the file is larger than 64 KiB: a study is a page or two"]
    try:
        found: dict[str, Any] = tomllib.loads(file.decode())
    except UnicodeDecodeError:
        return None, ["the file is not UTF-8 text: save it as such"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        said = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a value in it cannot be read"
        return None, [f"the file is not TOML: {said}"]
    if "author" in found:
        return None, ["author is set by the coordinator from who submits: leave it out"]
    for column in [*_tables(found.get("columns")), *_tables([found.get("outcome")])]:
        if str(column.get("code", "")).startswith("condition|"):
            column.setdefault("take", "present")
        if found.get("recipe") == "statistics":
            column.setdefault("missing", "count")
    wrong: list[str] = []
    study = read(Study, {**found, "author": author}, "", wrong)
    return study, wrong if study is None else _wrong(study)


def _tables(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _wrong(study: Study) -> list[str]:
    from services.federation.recipes import RECIPES  # here: recipes are written in terms of studies

    wrong = list(study_rules.broken(study))
    if study.recipe in RECIPES:
        wrong += RECIPES[study.recipe].check(study)
    else:
        wrong.append(f"recipe must be one of {', '.join(RECIPES)}")
    return wrong


def canonical(study: Study) -> bytes:
    """The bytes whose hash the study is."""
    return json.dumps(
        plain(asdict(study)), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def from_canonical(text: bytes) -> Study:
    """The study that these bytes are, checked as a file is: whoever gets them trusts nobody.

    Raises:
        BadInput: no study, one that breaks a rule, or not its canonical bytes.
    """
    if len(text) > 2 * LARGEST_FILE:
        raise TooLarge("the study is larger than any that can be written")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadInput("the study's bytes are not JSON") from None
    if not isinstance(found, Mapping):
        raise BadInput("the study's bytes are not a study")
    wrong: list[str] = []
    study = read(Study, found, "", wrong)
    if study is not None:
        wrong = _wrong(study)
    if study is None or wrong:
        raise BadInput("; ".join(wrong))
    if canonical(study) != text:
        raise BadInput("the study's bytes are not in canonical form: write them with `canonical`")
    return study


def sha256(study: Study) -> bytes:
    """What is approved: 32 bytes."""
    return hashlib.sha256(canonical(study)).digest()


def enough(study: Study, n: int) -> bool:
    """Whether a hospital's cohort of `n` patients is large enough to take part. The exact count never leaves it."""
    return n >= max(study.minimum_cohort, study_rules.MINIMUM_CELL)
