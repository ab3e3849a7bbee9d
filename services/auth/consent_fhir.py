"""FHIR R4 Consent, JSON -> `consent.Document`.

Source: hl7.org/fhir/R4/consent.html and IHE Privacy Consent on FHIR (PCF). A
Consent that cannot be read is refused as a whole; one that can be read in part
is read narrowly: a permit with a condition that we cannot check permits nothing,
a deny with such a condition denies without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from services.auth import months
from services.auth.consent import FOREVER_MS, Document, Provision
from services.auth.consent_codes import (
    ACT_CODE,
    EVERY_CATEGORY,
    EVERY_PURPOSE,
    ORDINARY,
    PERSON_SYSTEM,
    Code,
    categories_of_classes,
    categories_of_labels,
    purposes_of,
)
from twinward.errors import Malformed, TooLarge
from twinward.record import Category, Purpose

MOST_BYTES = 256 * 1024
MOST_PROVISIONS = 200
MOST_DEPTH = 8

_SCOPES = "http://terminology.hl7.org/CodeSystem/consentscope"
_STATUS = frozenset({"draft", "proposed", "active", "rejected", "inactive", "entered-in-error"})
# Element groups that a child takes from its parent as long as it states none of them.
_INHERITED = (
    ("purpose",),
    ("period",),
    ("dataPeriod",),
    ("actor",),
    ("data",),
    ("action",),
    ("class", "code", "securityLabel"),
)
_KNOWN = frozenset({"id", "extension", "type", "provision"}.union(*_INHERITED))
_READING = frozenset({"access", "use"})

Json = Mapping[str, Any]


def parse(body: bytes) -> Document:
    """The compiled Consent.

    Raises:
        TooLarge: more than 256 KiB, 200 provisions or 8 levels.
        Malformed: not JSON, not a Consent about privacy or research, or broken.
    """
    if len(body) > MOST_BYTES:
        raise TooLarge(f"a Consent may have {MOST_BYTES // 1024} KiB at most")
    try:
        resource = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Malformed("the Consent is not JSON; give one FHIR R4 Consent resource") from None
    if not isinstance(resource, dict) or resource.get("resourceType") != "Consent":
        raise Malformed("this is no FHIR Consent; give one FHIR R4 Consent resource")
    try:
        return _document(resource)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError, OverflowError):
        raise Malformed("the Consent has an element of the wrong shape; check it against FHIR R4") from None


def _document(resource: Json) -> Document:
    status = resource.get("status")
    if status not in _STATUS:
        raise Malformed("the Consent has no FHIR R4 status; give draft, active, inactive or another of R4's")
    provision = resource.get("provision", {})
    if not isinstance(provision, dict):
        raise TypeError
    budget = [MOST_PROVISIONS]
    root = _provision(provision, {}, _base(resource, provision), _scope(resource), budget, 0)
    if "modifierExtension" in resource:
        root = _nothing_permitted(root)
    return Document(identity=identity_of(resource), status=status, root=root)


def _scope(resource: Json) -> frozenset[Purpose]:
    """The purposes that the document as a whole can speak of."""
    codes = [code for system, code in _codes([resource.get("scope") or {}]) if system == _SCOPES]
    if "research" in codes:
        return frozenset({Purpose.RESEARCH})
    if "patient-privacy" in codes or not ({"adr", "treatment"} & set(codes)):
        return EVERY_PURPOSE
    raise Malformed("this Consent is about treatment itself, not about the use of data; give one with scope privacy")


def _base(resource: Json, provision: Json) -> bool:
    """Whether the root permits: its own type, else the policy rule OPTIN; anything unknown denies."""
    if provision.get("type") in ("permit", "deny"):
        return bool(provision["type"] == "permit")
    if "type" in provision:
        return False
    rule = {code for system, code in _codes([resource.get("policyRule") or {}]) if system == ACT_CODE}
    return bool(rule) and rule <= {"OPTIN"}


def _provision(
    node: Json, parent: Json, permit: bool, within: frozenset[Purpose], budget: list[int], depth: int
) -> Provision:
    budget[0] -= 1
    if depth > MOST_DEPTH or budget[0] < 0:
        raise TooLarge(f"a Consent may have {MOST_PROVISIONS} provisions and {MOST_DEPTH} levels at most")
    stated = dict(node)
    for group in _INHERITED:
        if not any(name in node for name in group):
            stated.update({name: parent[name] for name in group if name in parent})
    if set(node) - _KNOWN:
        stated["?"] = True  # an element that R4 does not have, or that changes the meaning
    if parent.get("?"):
        stated["?"] = True
    first, last, undated = _data_months(stated.get("dataPeriod"), permit)
    from_ms, until_ms = interval(stated.get("period"))
    children = tuple(
        _provision(child, stated, child.get("type") == "permit", within, budget, depth + 1)
        for child in _list(node.get("provision", []))
    )
    return Provision(
        permit=permit,
        purposes=_purposes(stated, permit) & within,
        categories=_categories(stated, permit),
        first_month=first,
        last_month=last,
        undated=undated,
        from_ms=-FOREVER_MS if from_ms is None else from_ms,
        until_ms=FOREVER_MS if until_ms is None else until_ms,
        actors=_actors(stated, permit),
        children=children,
    )


def _nothing_permitted(node: Provision) -> Provision:
    """The same tree where a modifier that we do not know may have turned every meaning."""
    return Provision(
        permit=node.permit,
        purposes=node.purposes,
        categories=frozenset() if node.permit else node.categories,
        children=tuple(_nothing_permitted(child) for child in node.children),
    )


def _purposes(stated: Json, permit: bool) -> frozenset[Purpose]:
    if "purpose" not in stated:
        return EVERY_PURPOSE
    return purposes_of([_coding(coding) for coding in _list(stated["purpose"])], permit)


def _categories(stated: Json, permit: bool) -> frozenset[Category]:
    """Elements stand beside each other as `and`, the values of one element as `or`."""
    if permit and ("data" in stated or "?" in stated or not _reads(stated)):
        return frozenset()
    found = EVERY_CATEGORY
    named = False
    if "securityLabel" in stated:
        found &= categories_of_labels(map(_coding, _list(stated["securityLabel"])), permit)
        named = True
    if "class" in stated:
        found &= categories_of_classes(map(_coding, _list(stated["class"])), permit)
        named = True
    if "code" in stated:
        found &= categories_of_labels(_codes(_list(stated["code"])), permit)
        named = True
    # A permit that names no category leaves the sensitive ones where they are.
    return found if named or not permit else ORDINARY


def _reads(stated: Json) -> bool:
    if "action" not in stated:
        return True
    return bool(_READING & {code for _, code in _codes(_list(stated["action"]))})


def _actors(stated: Json, permit: bool) -> frozenset[str] | None:
    if "actor" not in stated:
        return None
    names = [actor_name(actor.get("reference") or {}) for actor in _list(stated["actor"])]
    known = frozenset(name for name in names if name)
    if not permit and len(known) < len(names):
        return None  # denied to somebody whom we cannot name: denied to everybody
    # Groups and organisations have no members here, so a deny of one is a deny for all.
    if not permit and any(not _is_person(actor) for actor in _list(stated["actor"])):
        return None
    return known


def _is_person(actor: Json) -> bool:
    reference = str((actor.get("reference") or {}).get("reference", ""))
    return reference.split("?")[0].split("/")[0] in ("Practitioner", "PractitionerRole") or not reference


def actor_name(reference: Json) -> str:
    """The name a person goes by in tokens, or one that no token has; "" for somebody without any.

    An identifier of our own person system counts first: it is a token's `sub`.
    Of `Practitioner/dr-1` the name is `dr-1`; every other identifier keeps its
    system, so that a number of one register is never taken for one of another.
    """
    identifier = reference.get("identifier") or {}
    value, system = identifier.get("value"), identifier.get("system", "")
    named = isinstance(value, str) and bool(value)
    if named and system == PERSON_SYSTEM:
        return str(value)
    text = reference.get("reference")
    if isinstance(text, str) and text and not (named and text.startswith(("urn:", "#"))):
        kind, _, pair = text.partition("?identifier=")
        if pair:
            return pair.removeprefix(f"{PERSON_SYSTEM}|") if kind == "Practitioner" else ""
        kind, _, name = text.rpartition("/")
        return name if kind.rpartition("/")[2] in ("Practitioner", "PractitionerRole") else text
    return f"{system}|{value}" if named else ""


def _data_months(period: object, permit: bool) -> tuple[int, int, bool]:
    if period is None:
        return months.FIRST, months.LAST, True
    start, end = interval(period)
    if permit:
        first, last = months.wholly_inside(start, end)
        return first, last, False
    # What has no time may lie in the period: a deny covers it.
    first, last = months.touched(start, end)
    return first, last, True


def interval(period: object) -> tuple[int | None, int | None]:
    """[start, end) in milliseconds; a bound that is not stated is None."""
    if period is None:
        return None, None
    if not isinstance(period, dict) or not ({"start", "end"} & set(period)):
        raise Malformed("a period of the Consent has neither start nor end; give FHIR dates")
    start, end = period.get("start"), period.get("end")
    from_ms = None if start is None else _moments(start)[0]
    until_ms = None if end is None else _moments(end)[1]
    if from_ms is not None and until_ms is not None and until_ms <= from_ms:
        raise Malformed("a period of the Consent ends before it starts; correct it")
    return from_ms, until_ms


def _moments(text: object) -> tuple[int, int]:
    """First millisecond of a FHIR dateTime and the first after it; UTC where no zone is given."""
    if not isinstance(text, str) or not 4 <= len(text) <= 40:
        raise Malformed("a date of the Consent cannot be read; give FHIR dates")
    if len(text) == 4:
        year = int(text)
        return _ms(date(year, 1, 1)), _ms(date(year + 1, 1, 1))
    if len(text) == 7:
        first = date.fromisoformat(text + "-01")
        return _ms(first), months.start_ms(months.following(first.year * 100 + first.month))
    if len(text) == 10:
        day = date.fromisoformat(text)
        return _ms(day), _ms(day + timedelta(days=1))
    at = datetime.fromisoformat(text)
    ms = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    return ms, ms + 1


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def identity_of(resource: Json) -> str:
    """What stays the same over the versions of one resource; "" where it names nothing."""
    for identifier in _list(resource.get("identifier") or []):
        if identifier.get("value"):
            return f"{identifier.get('system', '')}|{identifier['value']}"
    return f"id|{resource['id']}" if resource.get("id") else ""


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _coding(coding: Json) -> Code:
    return str(coding.get("system", "")), str(coding.get("code", ""))


def _codes(concepts: list[Any]) -> list[Code]:
    """The codings of CodeableConcepts; one of text alone counts as a code that we do not know."""
    found: list[Code] = []
    for concept in concepts:
        found.extend(_coding(coding) for coding in concept.get("coding") or [{}])
    return found
