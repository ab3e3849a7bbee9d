"""What a code means: name, category, canonical unit, believable range, dense or sparse.

Tables are the CSV files beside this one. LOINC codes and names are used under
the LOINC licence (https://loinc.org/license; this material contains content from
LOINC, copyright Regenstrief Institute, Inc.); names are shortened in our words.
SNOMED CT codes are opaque identifiers here: no hierarchy is shipped.

A code that no table knows is *unmapped*: its record goes to the restricted
category, is flagged and listed, and nothing is dropped.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files

from twinward.record import SENSITIVE, Category

SYSTEMS: dict[str, str] = {
    "http://loinc.org": "loinc",
    "urn:oid:2.16.840.1.113883.6.1": "loinc",
    "http://snomed.info/sct": "snomed",
    "urn:oid:2.16.840.1.113883.6.96": "snomed",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "rxnorm",
    "urn:oid:2.16.840.1.113883.6.88": "rxnorm",
    "http://hl7.org/fhir/sid/icd-10-cm": "icd10",
    "http://hl7.org/fhir/sid/icd-10": "icd10",
    "urn:oid:2.16.840.1.113883.6.90": "icd10",
    "http://unitsofmeasure.org": "ucum",
    "urn:oid:2.16.840.1.113883.6.8": "ucum",
    "http://www.whocc.no/atc": "atc",
    "http://hl7.org/fhir/sid/ndc": "ndc",
    "http://hl7.org/fhir/sid/cvx": "cvx",
    "urn:twinward:codes": "twinward",
}
LONGEST_CODE = 120  # characters of system alias, bar and code; the rest is cut


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table; `unit` is canonical UCUM and empty for panels."""

    code: str  # "loinc|2339-0"
    name: str
    quantity: str  # row group of units.csv; empty: no number
    category: Category
    unit: str
    low: float  # believable range in `unit`
    high: float
    dense: bool  # several a day are usual: day buckets


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files("twinward.codes").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _meanings() -> tuple[dict[str, Meaning], dict[str, str]]:
    table: dict[str, Meaning] = {}
    same: dict[str, str] = {}
    for file, system in (("loinc.csv", "loinc"), ("own.csv", "twinward")):
        for row in _rows(file):
            code = f"{system}|{row['code']}"
            table[code] = Meaning(
                code=code,
                name=row["name"],
                quantity=row["quantity"],
                category=Category[row["category"]],
                unit=row["unit"],
                low=float(row["low"] or "-inf"),
                high=float(row["high"] or "inf"),
                dense=row["dense"] == "yes",
            )
            if row["same_as"]:
                same[code] = f"{system}|{row['same_as']}"
    return table, same


MEANINGS, SAME_AS = _meanings()
_CONDITIONS = list(_rows("conditions.csv"))
_BY_CODE = {
    f"{row['system']}|{row['code']}": Category[row["category"]] for row in _CONDITIONS if row["system"] != "icd10"
}
_CONDITION_NAMES = {f"{row['system']}|{row['code']}": row["name"] for row in _CONDITIONS}
_ICD10 = [
    (first, last or first, Category[row["category"]])
    for row in _CONDITIONS
    if row["system"] == "icd10"
    for first, _, last in [row["code"].partition("-")]
]
_SECURITY = {(row["system"], row["code"]): Category[row["category"]] for row in _rows("security.csv")}


def known(system: str, code: str) -> str:
    """`system` (URI or OID) and `code` as "alias|code"; an unknown URI stays itself."""
    return f"{SYSTEMS.get(system, system)}|{code}"[:LONGEST_CODE]


def meaning(code: str) -> Meaning | None:
    """What "alias|code" means, or None where no table knows it."""
    return MEANINGS.get(code)


def canonical(code: str) -> str:
    """The mass code for a molar twin of it (105272-9 -> 99504-3): values are kept in one unit."""
    return SAME_AS.get(code, code)


def dense(code: str) -> bool:
    """Whether values of this code go to day buckets rather than month buckets."""
    found = MEANINGS.get(code)
    return found is not None and found.dense


def condition_category(codes: Iterable[str]) -> Category | None:
    """The most protective category that the codes of a diagnosis name; None: unmapped."""
    found = [category for code in codes if (category := _condition(code)) is not None]
    for category in found:
        if category in SENSITIVE:
            return category
    return found[0] if found else None


def condition_name(code: str) -> str:
    """What people call a diagnosis ("snomed|22298006"); empty where no row is its own."""
    return _CONDITION_NAMES.get(code, "")


def _condition(code: str) -> Category | None:
    listed = _BY_CODE.get(code)
    if listed is not None:
        return listed
    system, _, value = code.partition("|")
    if system != "icd10":
        return None
    chapter = value[:3].upper()
    return next((category for first, last, category in _ICD10 if first <= chapter <= last), None)


def security_category(system: str, code: str) -> Category | None:
    """Category that a `meta.security` label puts a record in; None: the label says nothing of it."""
    return _SECURITY.get((system.rsplit("/", 1)[-1], code))
