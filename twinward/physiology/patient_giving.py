"""What can be done to the body: names, units, limits, and what flows at a moment.

`givable.csv` has a row for each name and unit. A unit with a time in it ("ug/kg/min", "mL/h") is a rate: on until
changed, or for `over_s`; any other is an amount: at once, or spread over `over_s`. Limits stop slips of the hand,
not treatment: they are no dosing advice ([G] unless the table says otherwise).
Education and research; not a medical device.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from math import inf

from twinward.errors import BadInput

FASTEST_ML_S = 5.0  # a rapid infuser, 300 mL/min [G]
MINUTES = {"min": 1.0, "h": 60.0}
# Amounts of drugs in ug (units of hormones in mU), of fluids in mL.
AMOUNT = {"ug": 1.0, "mg": 1e3, "g": 1e6, "U": 1e3, "mL": 1.0}


@dataclass(frozen=True, slots=True)
class Given:
    """Something done to the body; it acts from the next exchange (2 s) on."""

    what: str
    amount: float = 0.0
    unit: str = ""
    over_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """One row of givable.csv."""

    name: str
    kind: str  # drug, fluid, setting, event, metabolic
    unit: str
    low: float
    high: float
    tag: str
    source: str
    text: str

    @property
    def rate(self) -> bool:
        return self.unit.rpartition("/")[2] in MINUTES

    def per_minute(self, amount: float, weight_kg: float) -> float:
        """A rate in ug/min, mU/min or mL/min."""
        first, *rest = self.unit.split("/")
        each = weight_kg if "kg" in rest else 1.0
        return amount * AMOUNT[first] * each / MINUTES[rest[-1]]


@cache
def ways() -> Mapping[tuple[str, str], Way]:
    text = files("twinward.physiology").joinpath("givable.csv").read_text(encoding="utf-8")
    return {
        (row["name"], row["unit"]): Way(
            row["name"], row["kind"], row["unit"], float(row["low"]), float(row["high"]), row["tag"], row["source"],
            row["text"],
        )
        for row in csv.DictReader(text.splitlines())
    }  # fmt: skip


def givable() -> Mapping[str, tuple[Way, ...]]:
    """Every name with its ways."""
    return {name: tuple(w for w in ways().values() if w.name == name) for name, _ in ways()}


GIVABLE = givable()


def way(one: Given) -> Way:
    """How `one` is given.

    Raises:
        BadInput: an unknown name, a unit the table does not allow, an amount or time out of range.
    """
    allowed = GIVABLE.get(one.what)
    if allowed is None:
        raise BadInput(f"nothing here is called {one.what[:40]}; known are {', '.join(sorted(GIVABLE))}")
    found = ways().get((one.what, one.unit))
    if found is None:
        units = " or ".join(w.unit or "no unit" for w in allowed)
        raise BadInput(f"{one.what} is given in {units}")
    if not found.low <= one.amount <= found.high:  # also false for NaN
        raise BadInput(f"{one.what} must lie in {found.low:g}..{found.high:g} {found.unit}".rstrip())
    if not 0.0 <= one.over_s <= 7 * 86_400.0:
        raise BadInput("it is given over 0 to 604800 s")
    return found


@dataclass(slots=True)
class Running:
    """What flows now: per name, what is on until changed, and what ends by itself (rate per minute, until s)."""

    steady: dict[str, float] = field(default_factory=dict)
    timed: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def on(self, name: str, per_minute: float, until_s: float = inf) -> None:
        if until_s == inf:
            self.steady[name] = per_minute
        else:
            self.timed.setdefault(name, []).append((per_minute, until_s))

    def off(self, name: str) -> None:
        self.steady.pop(name, None)
        self.timed.pop(name, None)

    def per_minute(self, name: str, now_s: float, seconds: float) -> float:
        """Mean rate over the next `seconds`."""
        total = self.steady.get(name, 0.0)
        for rate, until in self.timed.get(name, ()):
            total += rate * min(max(until - now_s, 0.0), seconds) / seconds
        return total

    def forget(self, now_s: float) -> None:
        """Drops what has ended."""
        for name in list(self.timed):
            left = [(rate, until) for rate, until in self.timed[name] if until > now_s]
            if left:
                self.timed[name] = left
            else:
                del self.timed[name]

    def kept(self) -> dict[str, object]:
        return {"steady": self.steady, "timed": {name: list(map(list, runs)) for name, runs in self.timed.items()}}

    @classmethod
    def restored(cls, kept: Mapping[str, Mapping[str, object]]) -> Running:
        timed = {name: [(float(a), float(b)) for a, b in runs] for name, runs in kept["timed"].items()}  # type: ignore[attr-defined]
        return cls({name: float(rate) for name, rate in kept["steady"].items()}, timed)  # type: ignore[arg-type]
