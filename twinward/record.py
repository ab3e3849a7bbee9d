"""The nouns every program shares: who, what, when, why.

Inside the house a value is a `Measurement` (a glucose reading, a dose, grams
eaten: one number at one time) or a `Document` (the untouched bytes of one
entry as it came in). Both belong to one patient, known by a random handle, and
to one category.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from uuid import UUID

Handle = UUID


class Category(IntEnum):
    """What a record is about. Numbers are frozen (docs/formats.md), never reused;
    1000 and above belong to a site."""

    IDENTITY = 1
    ENCOUNTERS = 2
    CONDITIONS = 3
    VITALS = 4
    LABS = 5
    MEDS = 6
    PROCEDURES = 7
    NOTES = 8
    IMAGING = 9
    DEVICES = 10
    GENOMICS = 11
    TEACHING = 12
    MODEL_STATE = 13
    COHORT_INDEX = 14
    RAW = 15
    INTAKE = 16
    RESTRICTED = 17
    PSYCHIATRY = 32
    SEXUAL_HEALTH = 33
    HIV = 34
    SUBSTANCE_USE = 35
    VIOLENCE = 36
    REPRODUCTIVE = 37


SENSITIVE = frozenset(
    {
        Category.RESTRICTED,
        Category.PSYCHIATRY,
        Category.SEXUAL_HEALTH,
        Category.HIV,
        Category.SUBSTANCE_USE,
        Category.VIOLENCE,
        Category.REPRODUCTIVE,
    }
)

# What the glucose twin reads; nothing else is ever released for upkeep.
TWIN_INPUTS = (Category.VITALS, Category.LABS, Category.MEDS, Category.DEVICES)


class Purpose(StrEnum):
    """Why somebody asks. Always a required argument."""

    TREATMENT = "treatment"
    UPKEEP = "upkeep"
    TEACHING = "teaching"
    RESEARCH = "research"
    AUDIT = "audit"
    OPERATIONS = "operations"
    PATIENT_ACCESS = "patient-access"


class Role(StrEnum):
    CLINICIAN = "clinician"
    LEARNER = "learner"
    INSTRUCTOR = "instructor"
    RESEARCHER = "researcher"
    DATA_STEWARD = "data-steward"
    PRIVACY_OFFICER = "privacy-officer"
    SECURITY_OFFICER = "security-officer"
    KEY_CUSTODIAN = "key-custodian"
    AUDITOR = "auditor"
    SITE_ADMIN = "site-admin"


class Status(IntEnum):
    """FHIR observation status as far as it changes what a value is worth."""

    FINAL = 0
    PRELIMINARY = 1
    CORRECTED = 2
    ENTERED_IN_ERROR = 3
    CANCELLED = 4
    UNKNOWN = 5


class Precision(IntEnum):
    INSTANT = 0
    DAY = 1
    MONTH = 2
    YEAR = 3
    NONE = 4  # no clinical time: pseudo-period 0000-00


class Flag(IntEnum):
    """Quality marks, a bit each; a mark never deletes."""

    ZONE_ASSUMED = 1
    UNMAPPED = 2
    UNIT_UNKNOWN = 4
    OUT_OF_RANGE = 8
    AT_SENSOR_LIMIT = 16
    FUTURE = 32
    SUSPECT_RATE = 64
    RECEIVED_LATE = 128


# Codes of our own for what has no LOINC code with a number attached.
INSULIN_BOLUS = "twinward|insulin-bolus"  # [IU], at once or over `duration_s`
INSULIN_BASAL_RATE = "twinward|insulin-basal-rate"  # [IU]/h over `duration_s`
INSULIN_BASAL_DOSE = "twinward|insulin-basal-dose"  # [IU], long-acting injection
CARBOHYDRATES = "loinc|9059-7"  # g eaten
CGM_GLUCOSE = "loinc|99504-3"  # mg/dL, interstitial, sensor


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number (or coded answer) at one time, in canonical unit."""

    code: str  # "loinc|2339-0"; system alias, bar, code
    effective_ms: int  # UTC, when it was true
    received_ms: int  # UTC, when we took it
    value: float  # canonical unit; NaN where the answer is `text`
    unit: str  # canonical UCUM, "" where dimensionless or unknown
    lineage: bytes  # 16 bytes: the same resource in all its versions
    text: str = ""  # coded or textual answer, or value and unit as received where they differ
    duration_s: int = 0
    status: Status = Status.FINAL
    precision: Precision = Precision.INSTANT
    flags: int = 0
    source: str = ""  # feed and device


@dataclass(frozen=True, slots=True)
class Document:
    """One entry as it came in, byte for byte."""

    resource: str  # FHIR type, or "series"
    effective_ms: int
    received_ms: int
    lineage: bytes  # 16 bytes
    body: bytes
    precision: Precision = Precision.INSTANT
    source: str = ""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A UTC day (dense signals), a month (sparse ones), or no time at all."""

    number: int  # yyyymmdd; dd = 00 for a month; 0 for the pseudo-period

    @property
    def year(self) -> int:
        return self.number // 10000

    @property
    def month(self) -> int:
        return self.number // 100 % 100


NO_TIME = Bucket(0)
