"""Units: one table (code, unit) -> canonical unit, for each analyte its own.

Conversion depends on the analyte: 1 mmol/L is 18.016 mg/dL of glucose and 38.67
mg/dL of cholesterol, and HbA1c goes through an affine equation, so a general unit
library gives wrong answers (7 % HbA1c is 53 mmol/mol, not 70). Factors and their
sources stand in codes/units.csv; spellings seen in files in codes/spellings.csv.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from twinward.codes import MEANINGS, Meaning


@dataclass(frozen=True, slots=True)
class Conversion:
    """value in `canonical` = value in `unit` * factor + offset."""

    unit: str
    canonical: str
    factor: float
    offset: float
    source: str

    def __call__(self, value: float) -> float:
        return value * self.factor + self.offset


def _table() -> dict[tuple[str, str], Conversion]:
    text = files("twinward.codes").joinpath("units.csv").read_text(encoding="utf-8")
    return {
        (row["quantity"], row["unit"]): Conversion(
            row["unit"], row["canonical"], float(row["factor"]), float(row["offset"]), row["source"]
        )
        for row in csv.DictReader(text.splitlines())
    }


def _spellings() -> dict[str, str]:
    text = files("twinward.codes").joinpath("spellings.csv").read_text(encoding="utf-8")
    return {row["written"]: row["ucum"] for row in csv.DictReader(text.splitlines())}


TABLE = _table()
SPELLINGS = _spellings()
INVISIBLE = str.maketrans("", "", "\u200b\u200c\u200d\ufeff\u00a0")


def ucum(written: str) -> str:
    """The UCUM code that a unit as written in a file means; what nobody knows stays as it is."""
    clean = written.translate(INVISIBLE).strip()
    return SPELLINGS.get(clean, clean)


def conversion(code: str, written: str) -> Conversion | None:
    """How a value of `code` ("loinc|2339-0") in the unit as written becomes canonical.

    None where the code has no number or the unit is not one of its analyte: such a
    value is stored as it came, flagged and listed, never guessed.
    """
    found = MEANINGS.get(code)
    if found is None or not found.quantity:
        return None
    return TABLE.get((found.quantity, ucum(written)))


def believable(found: Meaning, value: float) -> bool:
    """Whether a canonical value lies in the range that a living person can have."""
    return found.low <= value <= found.high
