"""What the codes in a Consent mean here.

A code that we do not know may mean anything: in a permit it permits nothing, in
a deny it denies everything. A code that is narrower than one of our categories
(alcohol within substance use) denies the whole category and permits none of it,
because keys are released by category. So every table gives two readings.
"""

from __future__ import annotations

from collections.abc import Iterable

from twinward.record import SENSITIVE, Category, Purpose

EVERY_PURPOSE = frozenset(Purpose)
EVERY_CATEGORY = frozenset(Category)
ORDINARY = EVERY_CATEGORY - SENSITIVE

# Our own code systems, for what has no standard code.
PURPOSE_SYSTEM = "urn:twinward:purpose"
CATEGORY_SYSTEM = "urn:twinward:category"
PERSON_SYSTEM = "urn:twinward:person"  # value: the `sub` of the person's tokens

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
RESOURCE_TYPES = frozenset({"http://hl7.org/fhir/resource-types", "http://hl7.org/fhir/fhir-types"})

# v3-ActReason: (permits, denies). Break-glass (BTG, ETREAT) permits nothing: the
# act does not exist here yet, and a dissent that excepts it stays a dissent.
_PURPOSES: dict[str, tuple[frozenset[Purpose], frozenset[Purpose]]] = {
    "TREAT": (frozenset({Purpose.TREATMENT}), frozenset({Purpose.TREATMENT})),
    "HPAYMT": (frozenset(), frozenset()),  # payment: no program of ours asks for it
    "HOPERAT": (frozenset({Purpose.OPERATIONS}), frozenset({Purpose.OPERATIONS, Purpose.TEACHING})),
    "TRAIN": (frozenset({Purpose.TEACHING}), frozenset({Purpose.TEACHING})),
    "HRESCH": (frozenset({Purpose.RESEARCH}), frozenset({Purpose.RESEARCH})),
    "BIORCH": (frozenset(), frozenset({Purpose.RESEARCH})),
    "CLINTRCH": (frozenset(), frozenset({Purpose.RESEARCH})),
    "DSRCH": (frozenset(), frozenset({Purpose.RESEARCH})),
    "PATRQT": (frozenset({Purpose.PATIENT_ACCESS}), frozenset({Purpose.PATIENT_ACCESS})),
    "BTG": (frozenset(), frozenset()),
    "ETREAT": (frozenset(), frozenset({Purpose.TREATMENT})),
}

_NAMES = {category.name.lower().replace("_", "-"): category for category in Category}

# Sensitivity (v3-ActCode): codes that name a whole category, and narrower ones,
# which deny the category and permit nothing of it. What carries several labels
# may lie in `restricted`, so a deny by label always reaches there too.
_WHOLE = {
    "PSY": Category.PSYCHIATRY,
    "MH": Category.PSYCHIATRY,
    "SDV": Category.VIOLENCE,
    "VIO": Category.VIOLENCE,
    "HIV": Category.HIV,
    "ETH": Category.SUBSTANCE_USE,
    "SUD": Category.SUBSTANCE_USE,
    "SEX": Category.SEXUAL_HEALTH,
    "REPRODUCT": Category.REPRODUCTIVE,
}
_NARROW = {
    Category.PSYCHIATRY: ("PSYTHPN", "BH", "COGN", "DVD", "EMOTDIS"),
    Category.SUBSTANCE_USE: ("ETHUD", "OPIOIDUD", "ALC"),
    Category.SEXUAL_HEALTH: ("STD", "SEXF"),
    Category.VIOLENCE: ("SPI", "DV", "ABUSE"),
    Category.REPRODUCTIVE: ("PREGNANT",),
    Category.RESTRICTED: ("SICKLE", "TBOO", "CEL", "VIP", "EMP", "PDS", "PHY", "PRS"),
}
_SENSITIVITY: dict[str, tuple[frozenset[Category], frozenset[Category]]] = {
    **{code: (frozenset({one}), frozenset({one, Category.RESTRICTED})) for code, one in _WHOLE.items()},
    **{code: (frozenset(), frozenset({one, Category.RESTRICTED})) for one, codes in _NARROW.items() for code in codes},
    "GDIS": (frozenset(), frozenset({Category.GENOMICS, Category.RESTRICTED})),
}

# Which resources a category may hold (services/ingest decides which it does).
# A permit by type covers a category whose every type it names; a deny by type
# covers every category that may hold one of the types.
_HOLDS: dict[Category, frozenset[str]] = {
    Category.IDENTITY: frozenset({"Patient", "RelatedPerson", "CareTeam", "Practitioner", "PractitionerRole"}),
    Category.ENCOUNTERS: frozenset({"Encounter", "EpisodeOfCare"}),
    Category.CONDITIONS: frozenset({"Condition", "AllergyIntolerance"}),
    Category.VITALS: frozenset({"Observation"}),
    Category.LABS: frozenset({"Observation", "DiagnosticReport"}),
    Category.MEDS: frozenset({"MedicationRequest", "MedicationAdministration", "MedicationStatement"}),
    Category.PROCEDURES: frozenset({"Procedure"}),
    Category.NOTES: frozenset({"DocumentReference", "Composition", "ClinicalImpression"}),
    Category.IMAGING: frozenset({"ImagingStudy", "DiagnosticReport"}),
    Category.DEVICES: frozenset({"Observation", "Device", "DeviceUseStatement"}),
    Category.GENOMICS: frozenset({"MolecularSequence", "Observation", "DiagnosticReport"}),
}
_TYPES = frozenset().union(*_HOLDS.values())

Code = tuple[str, str]  # system, code


def purposes_of(codes: Iterable[Code], permit: bool) -> frozenset[Purpose]:
    """The purposes that a provision naming `codes` speaks of."""
    found: set[Purpose] = set()
    for system, code in codes:
        if system == PURPOSE_SYSTEM and code in EVERY_PURPOSE:
            found.add(Purpose(code))
        elif system == ACT_REASON and code in _PURPOSES:
            found |= _PURPOSES[code][0 if permit else 1]
        elif not permit:
            return EVERY_PURPOSE
    return frozenset(found)


def categories_of_labels(codes: Iterable[Code], permit: bool) -> frozenset[Category]:
    """The categories that security labels or our own category codes speak of."""
    found: set[Category] = set()
    for system, code in codes:
        if system == CATEGORY_SYSTEM and code in _NAMES:
            found.add(_NAMES[code])
        elif system == ACT_CODE and code in _SENSITIVITY:
            found |= _SENSITIVITY[code][0 if permit else 1]
        elif system == CONFIDENTIALITY and code == "N":
            found |= ORDINARY
        elif system == CONFIDENTIALITY and code == "R":
            found |= SENSITIVE
        elif not permit:
            return EVERY_CATEGORY
    return frozenset(found)


def categories_of_classes(codes: Iterable[Code], permit: bool) -> frozenset[Category]:
    """The categories that `provision.class` speaks of: resource types, or our own codes."""
    codes = list(codes)
    types = {code for system, code in codes if system in RESOURCE_TYPES}
    found = set(categories_of_labels([code for code in codes if code[0] not in RESOURCE_TYPES], permit))
    if permit:
        return frozenset(found | {category for category, held in _HOLDS.items() if held <= types})
    if types - _TYPES:
        return EVERY_CATEGORY
    touched = {category for category, held in _HOLDS.items() if held & types}
    return frozenset(found | touched | (SENSITIVE if types else frozenset()))
