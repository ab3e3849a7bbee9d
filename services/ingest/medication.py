"""MedicationAdministration as insulin doses; any other drug is kept as its document.

A dose given is a fact, an order is not: MedicationRequest makes no rows. Which
insulin it is comes from the ingredient that the coded drug's name states, or from
the ATC class; nothing is guessed from a brand nobody listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.ingest.entry import Unmapped
from services.ingest.invariants import objects
from services.ingest.observation import LIMIT, Value
from services.ingest.placement import coded, plain
from services.ingest.refusal import Unfit
from twinward.codes import MEANINGS
from twinward.record import INSULIN_BASAL_DOSE, INSULIN_BASAL_RATE, INSULIN_BOLUS, Flag, Status
from twinward.units import believable, conversion

Resource = Mapping[str, object]
LONG = re.compile(r"glargine|detemir|degludec|isophane|\bnph\b|lantus|levemir|tresiba|toujeo|basaglar", re.IGNORECASE)
INSULIN = re.compile(r"insulin|lispro|aspart|glulisine|humalog|novolog|novorapid|apidra|fiasp", re.IGNORECASE)
ATC_LONG = ("atc|A10AE", "atc|A10AC")
# RxNorm ingredients, for systems that send no name.
RXNORM = {
    "rxnorm|274783": True,  # insulin glargine
    "rxnorm|139825": True,  # insulin detemir
    "rxnorm|1670007": True,  # insulin degludec
    "rxnorm|86009": False,  # insulin lispro
    "rxnorm|51428": False,  # insulin aspart
    "rxnorm|400008": False,  # insulin glulisine
    "rxnorm|253182": False,  # insulin, regular, human
    "rxnorm|5856": False,  # insulin
}
STATUS = {
    "completed": Status.FINAL,
    "in-progress": Status.PRELIMINARY,
    "stopped": Status.FINAL,
    "on-hold": Status.PRELIMINARY,
    "entered-in-error": Status.ENTERED_IN_ERROR,
}


def status(resource: Resource) -> Status:
    return STATUS.get(str(resource.get("status")), Status.UNKNOWN)


def insulin(resource: Resource) -> bool | None:
    """True: long-acting insulin, False: short-acting, None: another drug."""
    concept = resource.get("medicationCodeableConcept")
    if not isinstance(concept, dict):
        return None
    codes = coded(concept)
    for code in codes:
        if code in RXNORM:
            return RXNORM[code]
        if code.startswith("atc|A10A"):
            return code.startswith(ATC_LONG)
    names = [str(coding.get("display", "")) for coding in objects(concept.get("coding"))]
    names.append(str(concept.get("text", "")))
    if any(LONG.search(name) for name in names):
        return True
    return False if any(INSULIN.search(name) for name in names) else None


def doses(resource: Resource) -> list[Value]:
    """Insulin given, in [IU] or [IU]/h; empty where none was given or the drug is another.

    Raises:
        Unfit: a dose that is no number of units.
    """
    kind = insulin(resource)
    dosage = resource.get("dosage")
    if kind is None or not isinstance(dosage, dict) or resource.get("status") == "not-done":
        return []
    rate = _rate(dosage)
    if rate is not None:
        return [_value(INSULIN_BASAL_RATE, *rate)]
    dose = _amount(dosage.get("dose"))
    return [] if dose is None else [_value(INSULIN_BASAL_DOSE if kind else INSULIN_BOLUS, *dose)]


def _amount(quantity: object) -> tuple[float, str] | None:
    if not isinstance(quantity, dict):
        return None
    number = quantity.get("value")
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    if not abs(number) < LIMIT:
        raise Unfit("impossible-number", "a dose is too large for anything given to a patient")
    return float(number), str(quantity.get("code") or quantity.get("unit") or "")


def _rate(dosage: Mapping[str, object]) -> tuple[float, str] | None:
    plainly = _amount(dosage.get("rateQuantity"))
    if plainly is not None:
        return plainly
    ratio = dosage.get("rateRatio")
    if not isinstance(ratio, dict):
        return None
    above, below = _amount(ratio.get("numerator")), _amount(ratio.get("denominator"))
    if above is None or below is None or not below[0] > 0:
        return None
    return above[0] / below[0], f"{above[1]}/{below[1]}"


def _value(code: str, number: float, written: str) -> Value:
    change = conversion(code, written)
    if change is None:
        system, _, name = code.partition("|")
        missing = (Unmapped(system, name, plain(written)),)
        return Value(code, number, written[:40].replace("\x00", ""), "", int(Flag.UNIT_UNKNOWN), missing)
    value = change(number)
    same = change.factor == 1 and written == change.canonical
    return Value(
        code,
        value,
        change.canonical,
        "" if same else f"{number:g} {written}"[:80].replace("\x00", ""),
        0 if believable(MEANINGS[code], value) else int(Flag.OUT_OF_RANGE),
    )
