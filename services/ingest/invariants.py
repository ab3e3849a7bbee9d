"""Rules of FHIR R4 that a JSON schema cannot say, as far as they change what is stored.

Each is named as in the specification (https://hl7.org/fhir/R4) where it has a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.ingest.refusal import Unfit
from services.ingest.times import moment

Resource = Mapping[str, object]
ERROR = "entered-in-error"


def check(kind: str, resource: Resource) -> None:
    """Raises Unfit with the rule's name where `resource` breaks one."""
    for name, field in resource.items():
        if name.endswith(("Period", "period")) and isinstance(field, dict):
            _per_1(field)
    rule = RULES.get(kind)
    if rule is not None:
        rule(resource)


def _refuse(word: str, advice: str) -> None:
    raise Unfit(word, advice)


def objects(value: object) -> Iterator[Mapping[str, object]]:
    """The objects of a list that ought to hold objects."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def _per_1(period: Mapping[str, object]) -> None:
    start, end = period.get("start"), period.get("end")
    if isinstance(start, str) and isinstance(end, str):
        first, last = moment(start), moment(end)
        if last.ms < first.ms and not last.precision:
            _refuse("per-1", "a period ends before it starts")


def _one(resource: Resource, stem: str) -> None:
    named = [name for name in resource if name.startswith(stem) and name[len(stem) :][:1].isupper()]
    if len(named) > 1:
        _refuse("one-" + stem, f"an entry has more than one {stem}[x]: keep the one that is meant")


def _observation(resource: Resource) -> None:
    _one(resource, "value")
    _one(resource, "effective")
    has_value = any(name.startswith("value") for name in resource)
    if has_value and "dataAbsentReason" in resource:
        _refuse("obs-6", "an Observation has a value and says that it has none (dataAbsentReason)")
    own = _codes(resource.get("code"))
    for component in objects(resource.get("component")):
        _one(component, "value")
        if "dataAbsentReason" in component and any(name.startswith("value") for name in component):
            _refuse("obs-6", "a component has a value and says that it has none (dataAbsentReason)")
        if has_value and own & _codes(component.get("code")):
            _refuse("obs-7", "an Observation and its component give a value for the same code")
        _quantity(component.get("valueQuantity"))
    for reference in objects(resource.get("referenceRange")):
        if not reference.keys() & {"low", "high", "text"}:
            _refuse("obs-3", "a reference range has neither low nor high nor text")
    _quantity(resource.get("valueQuantity"))


def _codes(concept: object) -> set[tuple[str, str]]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return {(str(coding.get("system")), str(coding.get("code"))) for coding in objects(codings) if "code" in coding}


def _quantity(quantity: object) -> None:
    if isinstance(quantity, dict) and "code" in quantity and "system" not in quantity:
        _refuse("qty-3", "a quantity has a unit code without its system: add http://unitsofmeasure.org")


def _condition(resource: Resource) -> None:
    wrong = any(code == ERROR for _, code in _codes(resource.get("verificationStatus")))
    if wrong and "clinicalStatus" in resource:
        _refuse("con-5", "a Condition entered in error must have no clinicalStatus")
    ended = any(name.startswith("abatement") for name in resource)
    state = {code for _, code in _codes(resource.get("clinicalStatus"))}
    if ended and state and not state & {"inactive", "resolved", "remission"}:
        _refuse("con-4", "a Condition that ended must be inactive, resolved or in remission")
    _one(resource, "onset")
    _one(resource, "abatement")


def _administration(resource: Resource) -> None:
    _one(resource, "effective")
    _one(resource, "medication")
    dosage = resource.get("dosage")
    if isinstance(dosage, dict) and not dosage.keys() & {"dose", "rateRatio", "rateQuantity"}:
        _refuse("mad-1", "a dosage needs a dose or a rate")


def _request(resource: Resource) -> None:
    _one(resource, "medication")


def _patient(resource: Resource) -> None:
    _one(resource, "deceased")
    for contact in objects(resource.get("contact")):
        if not contact.keys() & {"name", "telecom", "address", "organization"}:
            _refuse("pat-1", "a contact needs a name, an address, a telecom or an organization")


def _consent(resource: Resource) -> None:
    if not resource.keys() & {"policy", "policyRule"}:
        _refuse("ppc-1", "a Consent needs a policy or a policyRule")
    _one(resource, "source")


def _care_team(resource: Resource) -> None:
    for participant in objects(resource.get("participant")):
        if "onBehalfOf" in participant and "Practitioner" not in str(participant.get("member")):
            _refuse("ctm-1", "a participant may act on behalf of an organization only as a Practitioner")


RULES = {
    "Observation": _observation,
    "Condition": _condition,
    "MedicationAdministration": _administration,
    "MedicationRequest": _request,
    "Patient": _patient,
    "Consent": _consent,
    "CareTeam": _care_team,
}
