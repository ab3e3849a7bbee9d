"""Conditions in cases: what a body, a session or a learner's view must be like for something to happen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One test, or `all` or `any` of several. A test names one thing and how it must be."""

    numeric: str = ""  # of the monitor
    lab: str = ""  # of the laboratory, as it is in the body now (in expert steps: as last reported)
    total: str = ""  # what was given so far, in the unit of its doses; rates are added up
    done: str = ""  # an action or event that has happened
    not_done: str = ""
    below: float | None = None
    above: float | None = None
    for_s: int = 0  # it must have been so for this long; only at the top
    all: tuple[Condition, ...] = ()
    any: tuple[Condition, ...] = ()


class Facts(Protocol):
    """None where a thing is not known; then a test of it fails."""

    def numeric(self, name: str) -> float | None: ...
    def lab(self, name: str) -> float | None: ...
    def total(self, name: str) -> float | None: ...
    def happened(self, name: str) -> bool: ...


def holds(condition: Condition, facts: Facts) -> bool:
    """Whether it is so now, whatever `for_s` says."""
    if condition.all:
        return all(holds(one, facts) for one in condition.all)
    if condition.any:
        return any(holds(one, facts) for one in condition.any)
    if condition.done:
        return facts.happened(condition.done)
    if condition.not_done:
        return not facts.happened(condition.not_done)
    value = _value(condition, facts)
    if value is None:
        return False
    if condition.below is not None and not value < condition.below:
        return False
    return condition.above is None or value > condition.above


def _value(condition: Condition, facts: Facts) -> float | None:
    if condition.numeric:
        return facts.numeric(condition.numeric)
    if condition.lab:
        return facts.lab(condition.lab)
    return facts.total(condition.total)


def parts(condition: Condition | None) -> Iterator[Condition]:
    """The condition and all in it."""
    if condition is not None:
        yield condition
        for one in (*condition.all, *condition.any):
            yield from parts(one)


def words(condition: Condition) -> str:
    """As a person reads it."""
    if condition.all:
        return " and ".join(words(one) for one in condition.all)
    if condition.any:
        return "(" + " or ".join(words(one) for one in condition.any) + ")"
    if condition.done or condition.not_done:
        return f"{condition.done} done" if condition.done else f"no {condition.not_done}"
    name = condition.numeric or condition.lab or f"{condition.total} given"
    bounds = [f"< {condition.below:g}"] if condition.below is not None else []
    bounds += [f"> {condition.above:g}"] if condition.above is not None else []
    return f"{name} {' and '.join(bounds)}" + (f" for {condition.for_s} s" if condition.for_s else "")
