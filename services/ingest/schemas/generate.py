"""Makes fhir-r4.json from the official StructureDefinitions (HL7 FHIR R4 4.0.1, CC0).

    python -m services.ingest.schemas.generate FOLDER > services/ingest/schemas/fhir-r4.json

The package of definitions gives elements, cardinality and types; what it does not
hold (regular expressions of primitives, codes of required bindings) follows
https://hl7.org/fhir/R4/datatypes.html and the resource pages. A data type whose
definition is not in the folder is only checked to be an object. Dates are checked
where they are read (times.py), because a missing zone is flagged, not refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

RESOURCES = (
    "Patient",
    "Observation",
    "Condition",
    "Encounter",
    "MedicationRequest",
    "MedicationAdministration",
    "Consent",
    "DiagnosticReport",
    "Device",
    "ImagingStudy",
)
TEXT: dict[str, object] = {"type": "string", "pattern": r"\S"}
PRIMITIVES: dict[str, dict[str, object]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "unsignedInt": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "positiveInt": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
    "decimal": {"type": "number"},
    "code": {"type": "string", "pattern": r"^[^\s]+(\s[^\s]+)*$"},
    "id": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"},
    "uri": {"type": "string", "pattern": r"^\S*$"},
    "url": {"type": "string", "pattern": r"^\S*$"},
    "canonical": {"type": "string", "pattern": r"^\S*$"},
    "oid": {"type": "string", "pattern": r"^urn:oid:[0-2](\.(0|[1-9][0-9]*))+$"},
    "uuid": {"type": "string", "pattern": r"^urn:uuid:"},
    "base64Binary": {"type": "string"},
    "xhtml": {"type": "string"},
}
for _name in ("string", "markdown", "date", "dateTime", "instant", "time"):
    PRIMITIVES[_name] = TEXT
SYSTEM = "http://hl7.org/fhirpath/System."

# Codes of required bindings whose wrong value changes what a record is worth.
CODES: dict[str, str] = {
    "Observation.status": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "Encounter.status": "planned arrived triaged in-progress onleave finished cancelled entered-in-error unknown",
    "MedicationRequest.status": "active on-hold cancelled completed entered-in-error stopped draft unknown",
    "MedicationRequest.intent": "proposal plan order original-order reflex-order filler-order instance-order option",
    "MedicationAdministration.status": "in-progress not-done on-hold completed entered-in-error stopped unknown",
    "Consent.status": "draft proposed active rejected inactive entered-in-error",
    "Consent.provision.type": "deny permit",
    "DiagnosticReport.status": "registered partial preliminary final amended corrected appended cancelled "
    "entered-in-error unknown",
    "Patient.gender": "male female other unknown",
    "Quantity.comparator": "< <= >= >",
}


def definitions(folder: Path) -> dict[str, object]:
    """The whole schema: `$defs` by type; a resource's validator refers to its own entry."""
    found = {}
    for path in sorted(folder.glob("StructureDefinition-*.json")):
        definition = orjson.loads(path.read_bytes())
        if definition.get("derivation") == "specialization":
            found[definition["type"]] = definition
    made: dict[str, object] = {}
    waiting = list(RESOURCES)
    while waiting:
        name = waiting.pop()
        if name in made:
            continue
        if name not in found:
            made[name] = {"type": "object"}
            continue
        made.update(_structures(found[name], waiting))
    return made


def _structures(definition: dict[str, object], waiting: list[str]) -> dict[str, object]:
    """One schema for the type and one for each of its backbone elements."""
    elements: list[dict[str, object]] = definition["snapshot"]["element"]  # type: ignore[index]
    name = str(definition["type"])
    made: dict[str, dict[str, object]] = {name: _object(definition["kind"] == "resource")}
    for element in elements[1:]:
        path = str(element["path"])
        parent, _, field = path.rpartition(".")
        if parent not in made:
            raise SystemExit(f"{path} has no parent")
        _add(made, parent, field, element, waiting)
    return dict(made)


def _object(resource: bool) -> dict[str, object]:
    properties: dict[str, object] = {"resourceType": {"type": "string"}} if resource else {}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _add(
    made: dict[str, dict[str, object]], parent: str, field: str, element: dict[str, object], waiting: list[str]
) -> None:
    owner = made[parent]
    properties: dict[str, object] = owner["properties"]  # type: ignore[assignment]
    path = str(element["path"])
    many = element["max"] == "*"
    kinds = [str(kind["code"]) for kind in element.get("type", [])]  # type: ignore[attr-defined]
    for kind in kinds or [""]:
        named = field.replace("[x]", kind[:1].upper() + kind[1:]) if field.endswith("[x]") else field
        primitive = kind in PRIMITIVES or kind.startswith(SYSTEM)
        schema = _type(made, path, kind, element, waiting)
        properties[named] = {"type": "array", "items": schema, "minItems": 1} if many else schema
        if primitive:
            properties["_" + named] = {"type": "array"} if many else {"type": "object"}
            if many:  # null stands where a repeated primitive has only an extension
                properties[named] = {"type": "array", "items": {"anyOf": [schema, {"type": "null"}]}, "minItems": 1}
    if element["min"] and not field.endswith("[x]"):
        primitive = kinds[0] in PRIMITIVES if kinds else False
        required = [{"required": [field]}, {"required": ["_" + field]}] if primitive else [{"required": [field]}]
        conditions: list[object] = owner.setdefault("allOf", [])  # type: ignore[assignment]
        conditions.append({"anyOf": required} if primitive else required[0])


def _type(
    made: dict[str, dict[str, object]], path: str, kind: str, element: dict[str, object], waiting: list[str]
) -> dict[str, object]:
    if "contentReference" in element:
        return {"$ref": "#/$defs/" + str(element["contentReference"]).rpartition("#")[2]}
    if path in CODES:
        return {"enum": CODES[path].split()}
    if kind.startswith(SYSTEM):
        return {"type": "string"}
    if kind in PRIMITIVES:
        return PRIMITIVES[kind]
    if kind in ("BackboneElement", "Element"):
        made[path] = _object(resource=False)
        return {"$ref": "#/$defs/" + path}
    if kind == "Resource":  # contained: any resource
        return {"type": "object", "properties": {"resourceType": {"type": "string"}}, "required": ["resourceType"]}
    waiting.append(kind)
    return {"$ref": "#/$defs/" + kind}


def main() -> None:
    folder = Path(sys.argv[1])
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated by services/ingest/schemas/generate.py from HL7 FHIR R4 4.0.1 "
        "StructureDefinitions (hl7.fhir.r4.core, CC0).",
        "$defs": definitions(folder),
    }
    sys.stdout.buffer.write(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS) + b"\n")


if __name__ == "__main__":
    main()
