"""Which category a record goes to, and when it was true.

Sensitivity labels on the record decide first, then codes, then the resource's type
where the type alone makes it clear. Everything else is restricted until somebody
maps it: never readable by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.ingest.entry import Unmapped
from services.ingest.invariants import objects
from services.ingest.times import NEVER, Moment, moment
from twinward.codes import condition_category, known, meaning, security_category
from twinward.record import SENSITIVE, Category

Resource = Mapping[str, object]
WORDLESS = "-_.:/%{}[]()*^|#+?=&"  # what codes, URIs and units are written with besides letters and digits
CATEGORY_SYSTEM = "urn:twinward:category"
_NAMES = {category.name.lower().replace("_", "-"): category for category in Category}

BY_TYPE = {
    "Patient": Category.IDENTITY,
    "RelatedPerson": Category.IDENTITY,
    "Encounter": Category.ENCOUNTERS,
    "EpisodeOfCare": Category.ENCOUNTERS,
    "Appointment": Category.ENCOUNTERS,
    "AllergyIntolerance": Category.CONDITIONS,
    "MedicationRequest": Category.MEDS,
    "MedicationAdministration": Category.MEDS,
    "MedicationStatement": Category.MEDS,
    "MedicationDispense": Category.MEDS,
    "Immunization": Category.MEDS,
    "Procedure": Category.PROCEDURES,
    "ImagingStudy": Category.IMAGING,
    "Device": Category.DEVICES,
    "DeviceUseStatement": Category.DEVICES,
    "DeviceMetric": Category.DEVICES,
    "DocumentReference": Category.NOTES,
    "Composition": Category.NOTES,
    "ClinicalImpression": Category.NOTES,
    "MolecularSequence": Category.GENOMICS,
}
BY_CODE = frozenset({"Observation", "DiagnosticReport"})

# Where a resource says when it was true, most exact first.
TIMES = (
    "effectiveDateTime",
    "effectiveInstant",
    "effectivePeriod",
    "performedDateTime",
    "performedPeriod",
    "occurrenceDateTime",
    "occurrencePeriod",
    "period",
    "billablePeriod",
    "onsetDateTime",
    "onsetPeriod",
    "authoredOn",
    "recordedDate",
    "started",
    "issued",
    "created",
    "dateTime",
    "date",
    "recorded",
    "startDate",
)


def category_of(kind: str, resource: Resource) -> tuple[Category, list[Unmapped]]:
    """The category, and the codes that nobody has mapped yet."""
    labelled = _labelled(resource)
    codes = coded(resource.get("code"))
    if kind == "Condition":
        found = condition_category(codes)
        missing = [] if found is not None else unmapped(codes)
        return labelled or found or Category.RESTRICTED, missing
    if kind in BY_CODE:
        meant = [row.category for code in codes if (row := meaning(code)) is not None]
        return labelled or (meant[0] if meant else Category.RESTRICTED), [] if meant else unmapped(codes)
    return labelled or BY_TYPE.get(kind, Category.RESTRICTED), []


def _labelled(resource: Resource) -> Category | None:
    """The category that `meta.security` names; two different ones: restricted, which both denials reach."""
    meta = resource.get("meta")
    found: set[Category] = set()
    for label in objects(meta.get("security")) if isinstance(meta, dict) else ():
        system, code = str(label.get("system")), str(label.get("code"))
        category = _NAMES.get(code) if system == CATEGORY_SYSTEM else security_category(system, code)
        if category in SENSITIVE:
            found.add(category)
    if len(found) > 1:
        found.discard(Category.RESTRICTED)
    return None if not found else found.pop() if len(found) == 1 else Category.RESTRICTED


def coded(concept: object) -> list[str]:
    """The codings of a CodeableConcept as "alias|code"."""
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return [
        known(str(coding.get("system", "")), str(coding["code"])) for coding in objects(codings) if "code" in coding
    ]


def unmapped(codes: Iterable[str], unit: str = "") -> list[Unmapped]:
    """One line for the list: the first code of a concept, LOINC before local ones."""
    first = min(codes, key=lambda code: not code.startswith("loinc|"), default="|(text only)")
    system, _, code = first.partition("|")
    return [Unmapped(plain(system), plain(code), plain(unit))]


def plain(word: str) -> str:
    """`word` as far as it looks like a code: the list is in clear and must hold no patient's words."""
    looks = len(word) <= 80 and all(letter.isascii() and (letter.isalnum() or letter in WORDLESS) for letter in word)
    return word if looks else "(unreadable)"


def when(resource: Resource) -> tuple[Moment, int]:
    """When it was true, and for how many seconds (0: a moment, or an open period)."""
    for name in TIMES:
        field = resource.get(name)
        if isinstance(field, str):
            return moment(field), 0
        if isinstance(field, dict) and isinstance(field.get("start"), str):
            start = moment(str(field["start"]))
            end = field.get("end")
            return start, max(0, (moment(end).ms - start.ms) // 1000) if isinstance(end, str) else 0
        if isinstance(field, dict) and isinstance(field.get("end"), str):
            return moment(str(field["end"])), 0
    return NEVER, 0
