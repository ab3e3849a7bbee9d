"""Whom an entry is about: references resolved inside the message, never guessed.

`urn:uuid:` and `#contained` mean something only inside their message. A relative
`Patient/123` is the sending feed's own number; an absolute URL is the same for every
feed. A patient's number is (assigning system, medical record number).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from services.ingest.bundle import Entry
from services.ingest.entry import NamePair, Who
from services.ingest.limits import NAME_BYTES
from services.ingest.refusal import Patientless, Unfit
from twinward.errors import Malformed
from twinward.vault.identifiers import normal

Resource = Mapping[str, object]
SUBJECTS = ("subject", "patient", "beneficiary", "individual")
# Numbers of other registers are often shared, reused or placeholders: never a patient's number.
OTHER_REGISTERS = frozenset({"SS", "SB", "DL", "PPN", "TAX", "NI", "NPI", "EI", "EN", "PLAC", "FILL", "MB", "JHN"})
RECORD_NUMBERS = frozenset({"MR", "MRN", "PI", "PT", "U"})
MOST_NAMES = 20
NO_PATIENT = "belongs to no patient: counted, not kept"
NOT_A_PATIENT = "is about a group, a device or another thing that is no patient: counted, not kept"


@dataclass(frozen=True, slots=True)
class Links:
    """The resources of one message by everything they can be referred to as."""

    feed: str
    found: Mapping[str, Resource]
    whos: dict[int, Who]  # id of a Patient resource -> who it states; one a message, however often referred to

    @classmethod
    def of(cls, feed: str, entries: Sequence[Entry]) -> Links:
        found: dict[str, Resource] = {}
        for entry in entries:
            if entry.full_url:
                found.setdefault(entry.full_url, entry.resource)
            number = entry.resource.get("id")
            if isinstance(number, str):
                found.setdefault(f"{entry.kind}/{number}", entry.resource)
        links = cls(feed, found, {})
        for entry in entries:
            if entry.kind == "Patient" and (names := links.stated(entry.resource, entry.full_url)):
                links.whos[id(entry.resource)] = Who(names, stated=True)
        return links

    def who(self, entry: Entry) -> Who:
        """The patient of a clinical entry.

        Raises:
            Unfit: no subject, or one that leads nowhere.
            Patientless: about a group, a device, an organisation...
        """
        if entry.kind == "Patient":
            return self.patient(entry.resource)
        reference = next((entry.resource[name] for name in SUBJECTS if name in entry.resource), None)
        if isinstance(reference, list):
            reference = reference[0] if len(reference) == 1 else None
        if not isinstance(reference, dict):
            raise Unfit("no-subject", "an entry says not whom it is about: add a subject")
        return self._referred(entry.resource, reference)

    def patient(self, resource: Resource) -> Who:
        """Identity as a Patient resource of this message states it; raises Unfit where it has none."""
        who = self.whos.get(id(resource))
        if who is None:
            raise Unfit("no-identifier", "a Patient has neither identifier nor id: add a medical record number")
        return who

    def stated(self, resource: Resource, full_url: str) -> tuple[NamePair, ...]:
        """Everything a Patient can be called by, its record numbers first."""
        names = record_numbers(resource)
        number = resource.get("id")
        if isinstance(number, str) and number:
            names.append(self._own(number))
        if full_url.startswith(("http://", "https://")):
            names.append(_absolute(full_url))
        return tuple(dict.fromkeys(name for name in names if usable(name)))[:MOST_NAMES]

    def _own(self, number: str) -> NamePair:
        return f"urn:twinward:feed:{self.feed}:Patient", number

    def _referred(self, owner: Resource, reference: Mapping[str, object]) -> Who:
        target = reference.get("reference")
        identifier = reference.get("identifier")
        if isinstance(target, str) and target:
            return self._target(owner, target, reference)
        if isinstance(identifier, dict) and (name := _pair(identifier)) is not None and usable(name):
            return Who((name,), stated=True)
        raise Unfit("no-subject", "a subject has neither reference nor identifier")

    def _target(self, owner: Resource, target: str, reference: Mapping[str, object]) -> Who:
        if len(target) > 4 * NAME_BYTES:
            raise Unfit("bad-reference", "a reference is longer than any address")
        if target.startswith("#"):
            return self._contained(owner, target[1:])
        kind, _, rest = target.partition("?")
        if rest and kind.endswith("Patient"):  # conditional reference of a transaction
            return _conditional(rest)
        path = target.split("/_history/", 1)[0]
        inside = self.found.get(path)
        if inside is not None:
            if inside.get("resourceType") != "Patient":
                raise Patientless("not-a-patient", NOT_A_PATIENT)
            return self.patient(inside)
        if path.startswith(("urn:", "#")):
            raise Unfit("unresolved-reference", "a urn: reference means nothing outside its bundle: send them together")
        named = path.rsplit("/", 2)
        kind = named[-2] if len(named) > 1 else str(reference.get("type", "Patient"))
        if kind != "Patient":
            raise Patientless("not-a-patient", NOT_A_PATIENT)
        name = _absolute(path) if path.startswith(("http://", "https://")) else self._own(named[-1])
        if not usable(name):
            raise Unfit("bad-reference", "a reference names no patient")
        return Who((name,), stated=False)

    def _contained(self, owner: Resource, number: str) -> Who:
        inner = owner.get("contained")
        for resource in inner if isinstance(inner, list) else []:
            if (
                isinstance(resource, dict)
                and resource.get("id") == number
                and resource.get("resourceType") == "Patient"
            ):
                names = tuple(name for name in record_numbers(resource) if usable(name))
                if names:
                    return Who(names, stated=True)
        raise Unfit("unresolved-reference", "a contained patient has no identifier: give a medical record number")


def record_numbers(resource: Resource) -> list[NamePair]:
    """A patient's own numbers: those typed as record numbers, else those without a type."""
    identifiers = resource.get("identifier")
    typed: list[NamePair] = []
    plain: list[NamePair] = []
    for identifier in identifiers if isinstance(identifiers, list) else []:
        name = _pair(identifier) if isinstance(identifier, dict) and identifier.get("use") != "old" else None
        if name is None:
            continue
        types = _types(identifier)
        if types & RECORD_NUMBERS:
            typed.append(name)
        elif not types & OTHER_REGISTERS:
            plain.append(name)
    return typed or plain


def _types(identifier: Mapping[str, object]) -> set[str]:
    kind = identifier.get("type")
    codings = kind.get("coding") if isinstance(kind, dict) else None
    return {str(coding.get("code")) for coding in codings or [] if isinstance(coding, dict)}


def _pair(identifier: Mapping[str, object]) -> NamePair | None:
    system, value = identifier.get("system"), identifier.get("value")
    if isinstance(system, str) and isinstance(value, str) and system.strip() and value.strip():
        return system.strip(), value.strip()
    return None


def _absolute(url: str) -> NamePair:
    base, _, number = url.rstrip("/").rpartition("/")
    return base, number


def _conditional(query: str) -> Who:
    key, _, value = query.partition("=")
    system, bar, number = unquote(value).partition("|")
    if key == "identifier" and bar and usable((system, number)) and "&" not in query:
        return Who(((system.strip(), number.strip()),), stated=True)
    raise Unfit("bad-reference", "a conditional reference must be Patient?identifier=system|value")


def usable(name: NamePair) -> bool:
    """Whether both indexes can be made of it, and of a length that names something."""
    try:
        normal(name)
    except Malformed:
        return False
    return all(len(part) <= NAME_BYTES for part in name)
