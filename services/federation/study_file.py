"""A table from a file becomes a dataclass, and everything that is wrong with it becomes a sentence.

Types say what is allowed: a key that is no field is refused, because a misspelt
limit that is silently ignored is worse than a file that is not taken.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST = 2**53  # above, not every JSON reader keeps a whole number whole
DEEPEST = 4  # lists and tables within the recipe's settings
WANTED: dict[object, str] = {str: "a text in quotes", bool: "true or false", int: "a whole number", float: "a number"}
_NOTHING = object()


def read(kind: type[T], found: Mapping[str, object], where: str, problems: list[str]) -> T | None:
    """`kind` from `found`; None where something is wrong, which stands in `problems` then.

    `where` is what the sentences call the table: "" for the file itself.
    """
    before = len(problems)
    hints = get_type_hints(kind)
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    for key in found:
        if key not in known:
            problems.append(f"{_place(where, key)} is not known here: known are {', '.join(known)}")
    made: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name in found:
            value = _value(hints[one.name], found[one.name], _place(where, one.name), problems)
            if value is not _NOTHING:
                made[one.name] = value
        elif one.default is MISSING and one.default_factory is MISSING:
            problems.append(f"{_place(where, one.name)} is missing: write it")
    return kind(**made) if len(problems) == before else None


def _place(where: str, key: str) -> str:
    """What a sentence calls a key; one that nobody can type is not repeated."""
    shown = key if re.fullmatch(r"[\w-]{1,60}", key) else "a key"
    return f"{where}.{shown}" if where else shown


def _value(hint: object, value: object, place: str, problems: list[str]) -> object:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(part for part in parts if part is not type(None)), value, place, problems)
    if origin is Literal:
        return _choice(parts, value, place, problems)
    if origin is tuple:
        return _row(parts[0], value, place, problems)
    if origin is dict:
        return _table(value, place, problems)
    if is_dataclass(hint):
        if isinstance(value, dict):
            made = read(hint, value, place, problems)  # type: ignore[arg-type]
            return _NOTHING if made is None else made
        problems.append(f"{place} must be a table of its own")
        return _NOTHING
    return _plain(hint, value, place, problems)


def _choice(parts: tuple[str, ...], value: object, place: str, problems: list[str]) -> object:
    if isinstance(value, str) and value in parts:
        return value
    problems.append(f"{place} must be one of {', '.join(parts)}")
    return _NOTHING


def _row(part: object, value: object, place: str, problems: list[str]) -> object:
    if not isinstance(value, list | tuple):
        problems.append(f"{place} must be a list")
        return _NOTHING
    if len(value) > 100:
        problems.append(f"{place} has {len(value)} entries: at most 100 are taken")
        return _NOTHING
    made = [_value(part, one, f"{place}[{number}]", problems) for number, one in enumerate(value, 1)]
    return _NOTHING if any(one is _NOTHING for one in made) else tuple(made)


def _plain(hint: object, value: object, place: str, problems: list[str]) -> object:
    if hint is str and isinstance(value, str):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int | float) and not isinstance(value, bool) and _whole(value):
        return int(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value) and abs(value) < LARGEST:
            return float(value) + 0.0  # -0.0 becomes 0.0
        problems.append(f"{place} must be a number that is finite and below 9e15")
        return _NOTHING
    problems.append(f"{place} must be {WANTED[hint]}")
    return _NOTHING


def _whole(value: float) -> bool:
    return abs(value) < LARGEST and value == int(value) if math.isfinite(value) else False


def _table(value: object, place: str, problems: list[str]) -> object:
    if not isinstance(value, dict):
        problems.append(f"{place} must be a table of its own")
        return _NOTHING
    try:
        return plain(value)
    except ValueError as error:
        problems.append(f"{place} {error}")
        return _NOTHING


def plain(value: object, depth: int = 0) -> object:
    """`value` with whole numbers as int, lists as list: what equal things must look like to have one hash.

    Raises:
        ValueError: something that JSON has no one form for.
    """
    if depth > DEEPEST:
        raise ValueError("is nested too deeply: write it flatter")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) >= LARGEST:
            raise ValueError("has a number that is not finite or not below 9e15")
        return int(value) if value == int(value) else value
    if isinstance(value, list | tuple):
        return [plain(one, depth + 1) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(one, depth + 1) for key, one in value.items()}
    raise ValueError("has a value that is no text, number, list or table: put it in quotes")
