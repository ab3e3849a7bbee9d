"""FHIR R4 entries as what can be stored: the untouched document and the numbers in it.

No object model on the way: bytes -> slice -> dict -> schema and rules -> rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import jsonschema_rs
import orjson

from services.ingest import medication, observation
from services.ingest.bundle import Entry, read
from services.ingest.entry import CARE_TEAM, CONSENT, RECORD, Aside, Read, Taken, Unmapped, Who
from services.ingest.invariants import check, objects
from services.ingest.limits import NAME_BYTES
from services.ingest.placement import category_of, when
from services.ingest.receipts import Names, body_hash
from services.ingest.references import NO_PATIENT, Links, record_numbers
from services.ingest.refusal import Patientless, Unfit
from services.ingest.schemas.generate import RESOURCES
from services.ingest.times import Moment, ahead
from twinward.record import Document, Flag, Measurement, Precision

Resource = Mapping[str, object]
# Consent needs none here: auth lets an unapproved feed narrow at once and never widen.
APPROVALS = {"Patient": "identity", "CareTeam": CARE_TEAM}
# Types that never name a patient.
PATIENTLESS = frozenset(
    {"Organization", "Practitioner", "PractitionerRole", "Location", "Medication", "HealthcareService", "Endpoint"}
    | {"Substance", "ValueSet", "CodeSystem", "CapabilityStatement", "StructureDefinition", "OperationOutcome"}
    | {"Bundle", "Parameters", "Binary", "Questionnaire", "PlanDefinition", "NutritionProduct", "DeviceDefinition"}
    | {"Subscription", "ResearchStudy", "Group", "AuditEvent", "Provenance", "MessageHeader"}
)


@cache
def validators() -> dict[str, jsonschema_rs.Draft202012Validator]:
    """One validator a resource type, from schemas/fhir-r4.json."""
    schema = orjson.loads(files("services.ingest.schemas").joinpath("fhir-r4.json").read_bytes())
    return {kind: jsonschema_rs.Draft202012Validator({**schema, "$ref": f"#/$defs/{kind}"}) for kind in RESOURCES}


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads messages of one feed; `received_ms` is when we took them."""

    feed: str
    names: Names
    received_ms: int

    def message(self, payload: bytes) -> list[Read]:
        """Every entry of `payload`, in its order.

        Raises:
            Malformed, TooLarge: nothing of the message can be taken.
        """
        entries = read(payload)
        links = Links.of(self.feed, entries)
        return _in_turn([self.entry(entry, links) for entry in entries])

    def entry(self, entry: Entry, links: Links, who: Who | None = None) -> Read:
        """One entry; `who` is given where it was resolved before (from intake)."""
        try:
            if entry.fault is not None:
                raise entry.fault
            _validate(entry)
            if entry.kind in PATIENTLESS or (entry.kind == "Device" and "patient" not in entry.resource):
                raise Patientless("no-patient", NO_PATIENT)
            who = who or links.who(entry)
            return self._taken(entry, links, who)
        except Unfit as refusal:
            return Aside(
                entry.index, entry.kind, refusal.word, refusal.public, entry.body, _try(links, entry, who), True
            )
        except Patientless as refusal:
            return Aside(entry.index, entry.kind, refusal.word, refusal.public, b"", None, False)

    def _taken(self, entry: Entry, links: Links, who: Who) -> Taken:
        resource, kind = entry.resource, entry.kind
        number = _text(resource.get("id")) or entry.full_url
        digest = hashlib.sha256(entry.body).digest()
        version = _version(resource)
        lineage = self.names.lineage(self.feed, kind, number or digest.hex())
        moment, duration = when(resource) if kind != "Patient" else (_NEVER, 0)
        category, missing = category_of(kind, resource)
        rows = self._rows(kind, resource, lineage, moment, duration, missing)
        own = kind in ("Consent", "CareTeam")
        document = Document(
            kind, moment.ms, self.received_ms, lineage, entry.body, moment.precision, self._source(resource)
        )
        return Taken(
            index=entry.index,
            resource=kind,
            kind={"Consent": CONSENT, "CareTeam": CARE_TEAM}.get(kind, RECORD),
            who=who,
            approval=APPROVALS.get(kind, ""),
            category=None if own else category,
            key=self.names.receipt(self.feed, kind, number, version or digest),
            lineage=lineage,
            body_hash=body_hash(entry.body),
            versioned=bool(version),
            body=entry.body,
            said=entry.said or (_with_members(resource, entry.body, links) if kind == "CareTeam" else b""),
            document=None if own else document,
            measurements=rows,
            unmapped=missing,
        )

    def _rows(
        self, kind: str, resource: Resource, lineage: bytes, moment: Moment, duration: int, missing: list[Unmapped]
    ) -> list[Measurement]:
        if kind == "Observation":
            found, status = observation.values(resource), observation.status(resource)
        elif kind == "MedicationAdministration":
            found, status = medication.doses(resource), medication.status(resource)
        else:
            return []
        late = int(Flag.UNMAPPED) if missing else 0
        for line in dict.fromkeys(line for value in found for line in value.unmapped):
            bare = Unmapped(line.system, line.code, "")
            if bare in missing:
                missing.remove(bare)
            missing.append(line)
        flags = moment.flags | ahead(moment.ms, self.received_ms) | late
        return [
            Measurement(
                code=value.code,
                effective_ms=moment.ms,
                received_ms=self.received_ms,
                value=value.number,
                unit=value.unit,
                lineage=lineage,
                text=value.text,
                duration_s=min(duration, LONGEST_S),
                status=status,
                precision=moment.precision,
                flags=flags | value.flags,
                source=self._source(resource),
            )
            for value in found
        ]

    def _source(self, resource: Resource) -> str:
        device = resource.get("device")
        reference = device.get("reference") if isinstance(device, dict) else None
        return f"{self.feed} {reference}"[:NAME_BYTES] if isinstance(reference, str) else self.feed


LONGEST_S = 2**32 - 1  # what a record holds
_NEVER = Moment(0, Precision.NONE)


def _in_turn(read: list[Read]) -> list[Read]:
    """Versions of one resource in one message get times of receipt in their order: the last one counts."""
    seen: dict[bytes, int] = {}
    for place, one in enumerate(read):
        if not isinstance(one, Taken):
            continue
        later = seen.get(one.lineage, 0)
        seen[one.lineage] = later + 1
        if later and one.document is not None:
            received = one.document.received_ms + later
            rows = [replace(row, received_ms=received) for row in one.measurements]
            read[place] = replace(one, document=replace(one.document, received_ms=received), measurements=rows)
    return read


def _validate(entry: Entry) -> None:
    validator = validators().get(entry.kind)
    if validator is not None and not validator.is_valid(entry.resource):
        error = next(iter(validator.iter_errors(entry.resource)))
        raise Unfit("invalid-" + entry.kind, f"{entry.kind} is not valid FHIR R4 at {_place(error.instance_path)}")
    check(entry.kind, entry.resource)


def _place(path: list[str | int]) -> str:
    """Where in the resource, by element names only: an unknown key may hold anything."""
    return ".".join(str(step) for step in path if isinstance(step, int) or step.isalnum())[:80] or "its top level"


def _try(links: Links, entry: Entry, who: Who | None) -> Who | None:
    try:
        return who or (links.who(entry) if entry.fault is None else None)
    except (Unfit, Patientless):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _version(resource: Resource) -> bytes:
    meta = resource.get("meta")
    number = _text(meta.get("versionId")) if isinstance(meta, dict) else ""
    return number.encode("utf-8", "replace")


def _with_members(resource: Resource, body: bytes, links: Links) -> bytes:
    """A CareTeam whose members carry their identifiers, which only their message can tell."""
    changed = False
    participants: list[object] = []
    for participant in objects(resource.get("participant")):
        member = participant.get("member")
        target = links.found.get(str(member.get("reference"))) if isinstance(member, dict) else None
        if isinstance(member, dict) and target is not None and "identifier" not in member:
            numbers = record_numbers(target)
            if numbers:
                system, value = numbers[0]
                member = {**member, "identifier": {"system": system, "value": value}}
                changed = True
        participants.append({**participant, "member": member} if member is not None else participant)
    return orjson.dumps({**resource, "participant": participants}) if changed else body
