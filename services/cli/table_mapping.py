"""What somebody declares of a table with a row a patient (or a visit): docs/ingest.md, "Tables of patients".

A mapping names columns and what their cells mean; nothing is guessed. It is checked as a whole
before the first row is read: unknown keys, codes that no table knows, units that do not fit.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from twinward.codes import SYSTEMS, condition_category, meaning
from twinward.errors import BadInput
from twinward.units import conversion

HEAD = frozenset({"name", "columns", "delimiter", "missing", "patient_system", "patient_column", "date", "date_column",
                  "date_format", "patient", "observation", "condition", "encounter"})  # fmt: skip
MOST_COLUMNS = 200
_RULE = re.compile(r"\s*(>=|<=|>|<|==|!=)\s*(-?\d+(?:\.\d+)?)\s*|\s*in\s*\[([^\]]+)\]\s*")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# Alias of docs/formats.md -> the first (FHIR) name of the code system.
URIS = {alias: uri for uri, alias in reversed(SYSTEMS.items())}


@dataclass(frozen=True, slots=True)
class Person:
    """Which columns say who somebody is, as far as a de-identified table does."""

    age: str = ""  # years at the row's date
    birth_year: str = ""
    sex: str = ""
    male: frozenset[str] = frozenset()
    female: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Measured:
    """A column of numbers, or of words that stand for numbers."""

    column: str
    code: str
    unit: str
    values: Mapping[str, float] = field(default_factory=dict)  # cell -> number; empty: the cell is the number
    missing: frozenset[str] = frozenset()  # beside the table's own


@dataclass(frozen=True, slots=True)
class Found:
    """A diagnosis where a column's cell fits a rule."""

    column: str
    code: str
    when: Callable[[float], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    name: str
    patient_system: str
    patient_column: str = ""  # empty: the row's number
    columns: tuple[str, ...] = ()  # of a table without a header row
    delimiter: str = ","
    missing: frozenset[str] = frozenset()
    date: str = ""  # ISO 8601, of every row
    date_column: str = ""
    date_format: str = ""  # strptime; empty: ISO 8601
    person: Person = field(default_factory=Person)
    measured: tuple[Measured, ...] = ()
    found: tuple[Found, ...] = ()
    encounter: str = ""  # class of an Encounter made of every row, for example AMB; empty: none

    @property
    def named(self) -> set[str]:
        """Columns that must be there."""
        person = self.person
        every = [self.patient_column, self.date_column, person.age, person.birth_year, person.sex]
        every += [one.column for one in self.measured] + [one.column for one in self.found]
        return set(every) - {""}


def plain(cell: str) -> str:
    """A cell as it is compared with declared ones: `1.0`, ` 1` and `1` are the same."""
    text = cell.strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number)


def read(path: Path, patient_system: str = "") -> TableMapping:
    """Raises BadInput: unreadable, or what has to be declared otherwise; names the key."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError:
        raise BadInput(f"{path.name} cannot be read: check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name} is not TOML: {error}") from None
    try:
        return _mapping(found, patient_system)
    except BadInput as error:
        raise BadInput(f"{path.name}: {error.public}") from None


def _mapping(found: Mapping[str, object], patient_system: str) -> TableMapping:
    _only(found, HEAD, "")
    columns = _texts(found, "columns")
    date_column, fixed = _text(found, "date_column"), _text(found, "date")
    if bool(date_column) == bool(fixed):
        raise BadInput("say when the rows were true: either date_column or one date for all, not both")
    if fixed and not _is_date(fixed):
        raise BadInput("date is a day, for example 1988-07-01")
    made = TableMapping(
        name=_text(found, "name") or "table",
        patient_system=patient_system or _text(found, "patient_system"),
        patient_column=_text(found, "patient_column"),
        columns=tuple(columns),
        delimiter=_text(found, "delimiter") or ",",
        missing=frozenset(map(plain, _texts(found, "missing"))),
        date=fixed,
        date_column=date_column,
        date_format=_text(found, "date_format"),
        person=_person(found.get("patient", {})),
        measured=tuple(map(_measured, _tables(found, "observation"))),
        found=tuple(map(_condition, _tables(found, "condition"))),
        encounter=_encounter(found.get("encounter")),
    )
    _check(made)
    return made


def _check(made: TableMapping) -> None:
    if not _NAME.fullmatch(made.name):
        raise BadInput("name is of small letters, digits and hyphens, at most 40")
    if len(made.delimiter) != 1:
        raise BadInput("delimiter is one character")
    if not made.patient_system:
        raise BadInput("whose numbers are these? declare patient_system, or give --patient-system")
    if not made.measured and not made.found:
        raise BadInput("nothing is declared to be brought in: add an [[observation]] or a [[condition]]")
    if len(set(made.columns)) < len(made.columns) or len(made.columns) > MOST_COLUMNS:
        raise BadInput(f"columns are at most {MOST_COLUMNS} and each is named once")
    if made.columns and (absent := made.named - set(made.columns)):
        raise BadInput(f"{sorted(absent)[0]!r} is used but not among columns")


def _person(found: object) -> Person:
    if not isinstance(found, dict):
        raise BadInput("[patient] is a table")
    _only(found, frozenset({"age", "birth_year", "sex", "male", "female"}), " of [patient]")
    male, female = (frozenset(map(plain, _texts(found, name))) for name in ("male", "female"))
    person = Person(_text(found, "age"), _text(found, "birth_year"), _text(found, "sex"), male, female)
    if person.sex and (not male or not female or male & female):
        raise BadInput("a sex column needs the cells that mean male and those that mean female")
    return person


def _measured(found: Mapping[str, object]) -> Measured:
    _only(found, frozenset({"column", "code", "unit", "values", "missing"}), " of [[observation]]")
    column, code, unit = (_needed(found, name, "observation") for name in ("column", "code", "unit"))
    if meaning(code) is None:
        raise BadInput(
            f"column {column!r}: no table knows the code {code!r}; twinward/codes lists those that are known"
        )
    if conversion(code, unit) is None:
        raise BadInput(f"column {column!r}: {unit!r} is no unit of {code}")
    values = found.get("values", {})
    if not isinstance(values, dict) or not all(_is_number(one) for one in values.values()):
        raise BadInput(f"column {column!r}: values is a table of cells and the numbers they stand for")
    return Measured(column, code, unit, {plain(cell): float(number) for cell, number in values.items()},
                    frozenset(map(plain, _texts(found, "missing"))))  # fmt: skip


def _condition(found: Mapping[str, object]) -> Found:
    _only(found, frozenset({"column", "code", "when"}), " of [[condition]]")
    column, code, when = (_needed(found, name, "condition") for name in ("column", "code", "when"))
    if condition_category([code]) is None or code.partition("|")[0] not in URIS:
        raise BadInput(f"column {column!r}: no table knows the condition {code!r}; twinward/codes/conditions.csv")
    return Found(column, code, rule(when))


def _encounter(found: object) -> str:
    if found is None:
        return ""
    if not isinstance(found, dict) or not re.fullmatch(r"[A-Z]{2,8}", str(found.get("class", ""))):
        raise BadInput('[encounter] needs a class, for example class = "AMB"')
    _only(found, frozenset({"class"}), " of [encounter]")
    return str(found["class"])


def rule(text: str) -> Callable[[float], bool]:
    """`> 0`, `== 1`, `in [1, 2]` as a question to a number. Raises BadInput."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise BadInput("when is a comparison with a number (`> 0`) or a list (`in [1, 2]`)")
    sign, number, listed = match.groups()
    if listed is not None:
        try:
            among = frozenset(map(float, listed.split(",")))
        except ValueError:
            raise BadInput("when: a list holds numbers with commas between them") from None
        return lambda value: value in among
    bound = float(number)
    return {
        ">": lambda value: value > bound,
        "<": lambda value: value < bound,
        ">=": lambda value: value >= bound,
        "<=": lambda value: value <= bound,
        "==": lambda value: value == bound,
        "!=": lambda value: value != bound,
    }[sign]


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _only(found: Mapping[str, object], known: frozenset[str], where: str) -> None:
    if unknown := sorted(found.keys() - known):
        raise BadInput(f"unknown key {unknown[0]!r}{where}; known are {', '.join(sorted(known))}")


def _needed(found: Mapping[str, object], name: str, kind: str) -> str:
    if not (text := _text(found, name)):
        raise BadInput(f"an [[{kind}]] needs {name}")
    return text


def _text(found: Mapping[str, object], name: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str):
        raise BadInput(f"{name} must be a text in quotes")
    return value


def _texts(found: Mapping[str, object], name: str) -> list[str]:
    value = found.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadInput(f"{name} must be a list of texts in quotes")
    return value


def _tables(found: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    value = found.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadInput(f"[[{name}]] is written with two brackets, once for each column")
    return value
