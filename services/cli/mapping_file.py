"""The declared column mapping of a CSV file: from a TOML file, a sidecar, or options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.cli.twin import identifier
from twinward.errors import BadInput
from twinward.wire.v1 import ingest_pb2, record_pb2

TEXTS = ("time_column", "time_format", "time_zone", "patient_column", "patient_system", "device")
COLUMN_TEXTS = ("column", "kind", "unit", "duration_column")


@dataclass(frozen=True, slots=True)
class Declared:
    """What somebody says about a file's columns, and whose rows they are."""

    mapping: ingest_pb2.SeriesMapping
    patient: record_pb2.Identifier | None  # None: a column says it

    @property
    def columns(self) -> set[str]:
        return {self.mapping.time_column, *(one.column for one in self.mapping.columns)}


def from_toml(path: Path, patient: str | None) -> Declared:
    """Raises BadInput: unreadable, unknown keys, or keys that are missing."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError:
        raise BadInput(f"{path.name} cannot be read: check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name} is not TOML: {error}") from None
    columns = found.pop("columns", [])
    own = found.pop("patient", None)
    unknown = set(found) - set(TEXTS)
    if unknown:
        raise BadInput(f"{path.name} has an unknown key {sorted(unknown)[0]!r}; known are {', '.join(TEXTS)}")
    if not isinstance(columns, list) or not all(isinstance(one, dict) for one in columns):
        raise BadInput(f"{path.name}: each value column is a [[columns]] table with column, kind and unit")
    made = [_column(path, one) for one in columns]
    texts = {name: _text(path, found, name) for name in TEXTS if name in found}
    return declared(ingest_pb2.SeriesMapping(columns=made, **texts), patient or own)


def _column(path: Path, found: Mapping[str, object]) -> ingest_pb2.SeriesColumn:
    unknown = set(found) - set(COLUMN_TEXTS)
    if unknown:
        known = ", ".join(COLUMN_TEXTS)
        raise BadInput(f"{path.name} has an unknown key {sorted(unknown)[0]!r} of a column; known are {known}")
    return ingest_pb2.SeriesColumn(**{name: _text(path, found, name) for name in COLUMN_TEXTS if name in found})


def _text(path: Path, found: Mapping[str, object], name: str) -> str:
    value = found[name]
    if not isinstance(value, str):
        raise BadInput(f"{path.name}: {name} must be a text in quotes")
    return value


def declared(mapping: ingest_pb2.SeriesMapping, patient: object) -> Declared:
    """Raises BadInput where nobody is named, or somebody twice."""
    if patient is not None and not isinstance(patient, str):
        raise BadInput("patient is 'SYSTEM|NUMBER'")
    if bool(patient) == bool(mapping.patient_column):
        raise BadInput("say whose rows these are: either --patient 'SYSTEM|NUMBER' or a patient column, not both")
    if not patient:
        return Declared(mapping, None)
    try:
        return Declared(mapping, identifier(patient))
    except BadInput:
        raise BadInput("--patient is SYSTEM|NUMBER, for example 'urn:hospital:mrn|12345'") from None
