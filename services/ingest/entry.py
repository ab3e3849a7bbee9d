"""What reading an entry gives, before anybody knows whose handle it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinward.record import Category, Document, Measurement

RECORD, CONSENT, CARE_TEAM = "record", "consent", "care_team"
NamePair = tuple[str, str]  # (system, value) of an identifier


@dataclass(frozen=True, slots=True)
class Who:
    """A patient as a message names them: identifiers, the medical record number first.

    `stated` is true where identity was given (a Patient resource, a business
    identifier): only then may somebody unknown become a patient. A bare
    `Patient/123` waits until the patient it means is known.
    """

    names: tuple[NamePair, ...]
    stated: bool


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A code or unit that no table knows."""

    system: str
    code: str
    unit: str


@dataclass(frozen=True, slots=True)
class Taken:
    """One entry that can be stored."""

    index: int
    resource: str
    kind: str  # record | consent | care_team
    who: Who
    approval: str  # what the feed must be approved for; empty: nothing
    category: Category | None  # None for consent and care team: auth's own
    key: bytes
    lineage: bytes
    body_hash: bytes
    versioned: bool  # the feed supplied the version
    body: bytes
    said: bytes  # what auth is told of a Consent or CareTeam; empty: `body`
    document: Document | None
    measurements: Sequence[Measurement]
    unmapped: Sequence[Unmapped]
    weight: int = 1  # entries this stands for: rows of a series' group

    @property
    def items(self) -> int:
        """True count: one Measurement or one Document is one item."""
        return len(self.measurements) + (self.document is not None)


@dataclass(frozen=True, slots=True)
class Aside:
    """One entry that is not stored: quarantined (sealed, to be mended) or only counted."""

    index: int
    resource: str
    word: str  # machine word of the reason
    advice: str  # what to do
    body: bytes
    who: Who | None
    keep: bool  # quarantine; False: belongs to no patient, counted
    weight: int = 1  # rows it stands for
    said: bytes = b""


Read = Taken | Aside
