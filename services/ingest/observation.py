"""Observations as measurements: one for the value, one for each component.

Blood pressure comes as 85354-9 and, in older files, as 55284-4; its numbers are in
the components either way. A value in an unknown unit is kept as it came, flagged
and listed; a coded or textual answer is kept as text with NaN as its number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from services.ingest.entry import Unmapped
from services.ingest.invariants import objects
from services.ingest.placement import coded, unmapped
from services.ingest.refusal import Unfit
from twinward.codes import canonical, known, meaning
from twinward.record import Flag, Status
from twinward.units import believable, conversion, ucum

Resource = Mapping[str, object]
LONGEST_TEXT = 500
UCUM = "http://unitsofmeasure.org"
LIMIT = 1e12  # nothing measured in a patient is larger in any unit we know

STATUS = {
    "final": Status.FINAL,
    "preliminary": Status.PRELIMINARY,
    "registered": Status.PRELIMINARY,
    "amended": Status.CORRECTED,
    "corrected": Status.CORRECTED,
    "cancelled": Status.CANCELLED,
    "entered-in-error": Status.ENTERED_IN_ERROR,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A number or answer in canonical unit, before it is tied to time and patient."""

    code: str
    number: float
    unit: str
    text: str = ""
    flags: int = 0
    unmapped: tuple[Unmapped, ...] = ()


def values(resource: Resource) -> list[Value]:
    """Everything an Observation measures.

    Raises:
        Unfit: a number that no unit makes sense of.
    """
    found = [value for part in (resource, *objects(resource.get("component"))) if (value := _value(part)) is not None]
    return found


def status(resource: Resource) -> Status:
    return STATUS.get(str(resource.get("status")), Status.UNKNOWN)


def _value(part: Resource) -> Value | None:
    quantity = part.get("valueQuantity")
    if isinstance(quantity, dict):
        return from_quantity(_code(part), coded(part.get("code")), quantity)
    text = _answer(part)
    if text is None:
        return None
    number = part.get("valueInteger")
    value = float(number) if isinstance(number, int) else math.nan
    code = _code(part)
    flags = 0 if meaning(code) else int(Flag.UNMAPPED)
    return Value(code, value, "", text[:LONGEST_TEXT].replace("\x00", ""), flags)


def _code(part: Resource) -> str:
    """The code we know best: one of our table, else LOINC, else the first, else "|"."""
    codes = coded(part.get("code"))
    best = [code for code in codes if meaning(code)] or [code for code in codes if code.startswith("loinc|")] or codes
    return canonical(best[0]) if best else "|"


def _answer(part: Resource) -> str | None:
    concept = part.get("valueCodeableConcept")
    if isinstance(concept, dict):
        codings = [coding for coding in objects(concept.get("coding")) if "code" in coding]
        if codings:
            return known(str(codings[0].get("system", "")), str(codings[0]["code"]))
        return str(concept.get("text", ""))
    for name in ("valueString", "valueBoolean", "valueInteger", "valueDateTime", "valueTime"):
        if name in part:
            answer = part[name]
            return str(answer).lower() if isinstance(answer, bool) else str(answer)
    return None


def from_quantity(code: str, codes: list[str], quantity: Mapping[str, object]) -> Value | None:
    """A quantity of `code` in canonical unit; None where it has no number."""
    number = quantity.get("value")
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    if not abs(number) < LIMIT:
        raise Unfit("impossible-number", "a value is too large for anything measured in a patient")
    written = str(quantity.get("code") or quantity.get("unit") or "")
    comparator = str(quantity.get("comparator", ""))
    found = meaning(code)
    change = conversion(code, written) or conversion(code, str(quantity.get("unit") or ""))
    if found is None or change is None:
        flags = int(Flag.UNMAPPED) if found is None else int(Flag.UNIT_UNKNOWN)
        return Value(code, float(number), ucum(written)[:40], f"{comparator}{number}" if comparator else "", flags,
                     tuple(unmapped(codes or [code], written)))  # fmt: skip
    value = change(float(number))
    same = change.factor == 1 and change.offset == 0 and not comparator and ucum(written) == change.canonical
    text = "" if same else f"{comparator}{number} {written}"[:LONGEST_TEXT].replace("\x00", "")
    return Value(code, value, change.canonical, text, 0 if believable(found, value) else int(Flag.OUT_OF_RANGE))
