"""Files as messages: what `twinward ingest` sends, in order, within bounded memory.

    bundle or resource   .json, .json.gz          one message, or several where it is large
    resources by line    .ndjson, .jsonl, Synthea's Observation.000   1,000 lines a message
    a series             .csv, with a declared mapping                 4 MiB a message

A message is cut always at the same place, so sending a file again changes nothing.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import msgspec
import orjson

from services.cli.mapping_file import Declared
from services.cli.virtual_fhir import PERSON_SYSTEM
from twinward.errors import BadInput, Malformed, TooLarge

MESSAGE_BYTES = 12 * 1024 * 1024  # the door takes 16 MiB with everything around it
SERIES_BYTES = 4 * 1024 * 1024
BUNDLE_BYTES = 50 * 1024 * 1024
LINE_BYTES = 8 * 1024 * 1024
MOST_ENTRIES = 4_000
LINES = 1_000
FHIR, LINES_OF_FHIR, SERIES = "fhir", "ndjson", "series"
ENDINGS = {".json": FHIR, ".ndjson": LINES_OF_FHIR, ".jsonl": LINES_OF_FHIR, ".csv": SERIES, ".txt": SERIES}

# Resources that are added for every patient of a file, as JSON, and the key under which each names the patient.
Added = tuple[bytes, ...]
NAMES_PATIENT = {"Consent": "patient", "CareTeam": "subject"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a file; `entries` counts what is in it, by type where that can be told."""

    payload: bytes
    read_bytes: int  # of the file up to here, for the progress bar


class _Entry(msgspec.Struct):
    fullUrl: str = ""  # noqa: N815
    resource: msgspec.Raw = msgspec.Raw()


class _Bundle(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    type: str = ""
    entry: list[msgspec.Raw] = []


class _Named(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    id: str = ""
    identifier: list[dict[str, object]] = []


_BUNDLE = msgspec.json.Decoder(_Bundle)
_ENTRY = msgspec.json.Decoder(_Entry)
_NAMED = msgspec.json.Decoder(_Named)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def kind_of(path: Path) -> str:
    """What a file is by its name; "" for what is no data (README, LICENSE, mapping)."""
    endings = [ending for ending in path.suffixes if ending != ".gz"]
    last = endings[-1].lower() if endings else ""
    if last[1:].isdigit():  # Observation.000
        return LINES_OF_FHIR
    return ENDINGS.get(last, "")


def files(paths: list[Path]) -> list[Path]:
    """Every data file of the paths; patients first, so that what refers to them finds them.

    Raises:
        BadInput: a path that is not there, or nothing to send.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path.name} is not there: check the path")
        if path.is_file():
            if not kind_of(path):
                raise BadInput(f"{path.name} is of no kind that can be read: .json, .ndjson or .csv, or these as .gz")
            found.append(path)
            continue
        inside = sorted(one for one in path.rglob("*") if one.is_file() and kind_of(one) in (FHIR, LINES_OF_FHIR))
        found += [one for one in inside if not one.name.startswith(".") and one.name != "INDEX.json"]
        found += sorted(one for one in path.rglob("*") if one.is_file() and kind_of(one) == SERIES and has_mapping(one))
    if not found:
        raise BadInput("there is nothing to send: no .json, .ndjson or .csv (with its .mapping.toml) in these folders")
    return sorted(dict.fromkeys(found), key=lambda one: not one.name.startswith("Patient"))


def has_mapping(path: Path) -> bool:
    return mapping_file(path).exists()


def mapping_file(path: Path) -> Path:
    """glucose.csv.gz -> glucose.mapping.toml beside it."""
    name = path.name.removesuffix(".gz")
    return path.with_name(name.rpartition(".")[0] + ".mapping.toml")


def messages(path: Path, added: Added = ()) -> Iterator[Message]:
    """The messages of a FHIR file, with the resources of `added` for each of its patients.

    Raises:
        BadInput: says what is wrong with the file and what to do.
    """
    with _opened(path) as (stream, raw):
        if kind_of(path) == FHIR:
            yield from _bundle(path, stream, added)
        else:
            yield from _lines(path, stream, raw, added)


class _opened:  # noqa: N801
    """The file's bytes, unpacked; broken gzip is told as such."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> tuple[IO[bytes], IO[bytes]]:
        try:
            self._raw = self._path.open("rb")
        except OSError:
            raise BadInput(f"{self._path.name} cannot be read: check its owner and mode") from None
        packed = self._raw.peek(2)[:2] == b"\x1f\x8b"
        if packed:
            return cast(IO[bytes], gzip.GzipFile(fileobj=self._raw)), self._raw
        return self._raw, self._raw

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._raw.close()
        if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
            raise Malformed(f"{self._path.name} is cut off or damaged: fetch the .gz file again") from None
        if isinstance(error, OSError):
            raise BadInput(f"{self._path.name} cannot be read: check the disk") from None


def opened(path: Path) -> _opened:
    return _opened(path)


def _bundle(path: Path, stream: IO[bytes], added: Added) -> Iterator[Message]:
    payload = stream.read(BUNDLE_BYTES + 1)
    if len(payload) > BUNDLE_BYTES:
        raise TooLarge(f"{path.name} has more than 50 MB: send it as NDJSON")
    if not payload.strip():
        raise Malformed(f"{path.name} is empty")
    size = path.stat().st_size
    try:
        bundle = _BUNDLE.decode(payload.removeprefix(b"\xef\xbb\xbf"))
    except UNREADABLE:
        bundle = _Bundle()
    if bundle.resourceType != "Bundle":
        if said := added_for(added, _resource(payload), ""):
            yield Message(bundled([_wrapped(payload.strip()), *map(_wrapped, said)], "collection"), size)
        else:
            yield Message(payload, size)
        return
    entries = [bytes(one) for one in bundle.entry]
    extra = _additions(entries, added)
    if not extra and len(payload) <= MESSAGE_BYTES and len(entries) <= MOST_ENTRIES:
        yield Message(payload, size)
        return
    yield from (Message(part, size) for part in _parts(entries + extra, bundle.type))


def _parts(entries: list[bytes], kind: str) -> Iterator[bytes]:
    """A large bundle in parts; whom the others refer to stands in every part."""
    pillars = [one for one in entries if _type_of(one) in ("Patient", "Practitioner")]
    if len(entries) <= MOST_ENTRIES and sum(map(len, entries)) <= MESSAGE_BYTES:
        yield bundled(entries, kind)
        return
    base = sum(map(len, pillars))
    part: list[bytes] = []
    size = base
    for one in (one for one in entries if one not in pillars):
        if part and (size + len(one) > MESSAGE_BYTES or len(part) + len(pillars) >= MOST_ENTRIES):
            yield bundled([*pillars, *part], kind)
            part, size = [], base
        part.append(one)
        size += len(one) + 1
    yield bundled([*pillars, *part], kind)


def _lines(path: Path, stream: IO[bytes], raw: IO[bytes], added: Added) -> Iterator[Message]:
    part: list[bytes] = []
    size = 0
    any_line = False
    while line := stream.readline(LINE_BYTES + 1):
        if len(line) > LINE_BYTES:
            raise TooLarge(f"{path.name} has a line of more than 8 MiB: is it NDJSON, one resource a line?")
        line = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not line:
            continue
        if not any_line and not line.startswith(b"{"):
            raise Malformed(f"{path.name} is no NDJSON: each line must be one FHIR resource")
        any_line = True
        if part and (len(part) >= LINES or size + len(line) > MESSAGE_BYTES):
            yield Message(bundled(part, "collection"), raw.tell())
            part, size = [], 0
        part.append(_wrapped(line))
        size += len(line) + 20
        part.extend(map(_wrapped, added_for(added, _resource(line), "")))
    if not any_line:
        raise Malformed(f"{path.name} is empty")
    yield Message(bundled(part, "collection"), raw.tell())


def series(path: Path, columns: set[str]) -> Iterator[Message]:
    """A CSV file in parts, each with the header row (the first row that holds `columns`).

    Raises:
        BadInput: no such header among the first rows, no text, damaged.
    """
    with _opened(path) as (stream, raw):
        header = _header(path, stream, columns)
        part = io.BytesIO()
        quotes = 0
        for line in stream:
            part.write(line)
            quotes += line.count(b'"')
            if part.tell() >= SERIES_BYTES and quotes % 2 == 0:  # never inside a quoted cell
                yield Message(header + part.getvalue(), raw.tell())
                part, quotes = io.BytesIO(), 0
        if part.tell():
            yield Message(header + part.getvalue(), raw.tell())


def _header(path: Path, stream: IO[bytes], columns: set[str]) -> bytes:
    for _ in range(40):
        line = stream.readline(LINE_BYTES)
        if b"\x00" in line:
            raise Malformed(f"{path.name} is no text: send a CSV file")
        text = line.decode("utf-8-sig", "replace")
        for delimiter in ",;\t":
            if columns <= {cell.strip().strip('"') for cell in text.split(delimiter)}:
                return line.removeprefix(b"\xef\xbb\xbf")
    names = ", ".join(sorted(columns))
    raise BadInput(f"{path.name} has no header row with the columns {names}: check the mapping")


def series_additions(added: Added, payload: bytes, said: Declared) -> bytes:
    """A message with the resources of `added` for every patient of a CSV part."""
    if said.patient is not None:
        numbers = [(said.patient.system, said.patient.value)]
    else:
        reader = csv.DictReader(io.StringIO(payload.decode("utf-8", "replace")))
        found = {(row.get(said.mapping.patient_column) or "").strip() for row in reader} - {""}
        numbers = [(said.mapping.patient_system, number) for number in sorted(found)]
    references = [{"identifier": {"system": system, "value": value}} for system, value in numbers]
    made = [_wrapped(about(template, reference)) for reference in references for template in added]
    return bundled(made, "collection")


def _type_of(entry: bytes) -> str:
    try:
        return _NAMED.decode(_ENTRY.decode(entry).resource).resourceType
    except UNREADABLE:
        return ""


def _additions(entries: list[bytes], added: Added) -> list[bytes]:
    made: list[bytes] = []
    for one in entries if added else ():
        try:
            wrapper = _ENTRY.decode(one)
        except UNREADABLE:
            continue
        made.extend(map(_wrapped, added_for(added, _resource(bytes(wrapper.resource)), wrapper.fullUrl)))
    return made


def _resource(body: bytes) -> _Named:
    try:
        return _NAMED.decode(body)
    except UNREADABLE:
        return _Named()


def added_for(added: Added, patient: _Named, full_url: str) -> list[bytes]:
    """The resources of `added` for one Patient resource; none where it is none."""
    if patient.resourceType != "Patient" or not (patient.id or full_url):
        return []
    return [about(template, {"reference": full_url or f"Patient/{patient.id}"}) for template in added]


def about(template: bytes, reference: Mapping[str, object]) -> bytes:
    """The resource of `template` about whom `reference` names; its id follows from both."""
    said = orjson.loads(template)
    number = hashlib.sha256(template + orjson.dumps(reference)).hexdigest()[:32]
    return orjson.dumps({**said, "id": f"added-{number}", NAMES_PATIENT[said["resourceType"]]: reference})


def care_team_template(persons: Sequence[str]) -> bytes:
    """A FHIR CareTeam of these people (their `sub`), to be added for every patient."""
    members = [{"identifier": {"system": PERSON_SYSTEM, "value": person}, "type": "Practitioner"} for person in persons]
    participants = [{"member": member} for member in members]
    return orjson.dumps({"resourceType": "CareTeam", "status": "active", "participant": participants})


def consent_template(path: Path) -> bytes:
    """A FHIR Consent to be added for every patient. Raises BadInput."""
    try:
        body = path.read_bytes()
        found = orjson.loads(body)
    except OSError:
        raise BadInput(f"{path.name} cannot be read: check the path") from None
    except orjson.JSONDecodeError:
        raise Malformed(f"{path.name} is not JSON: --consent wants a FHIR R4 Consent") from None
    if not isinstance(found, dict) or found.get("resourceType") != "Consent":
        raise Malformed(f"{path.name} is no FHIR Consent")
    return body


def _wrapped(body: bytes) -> bytes:
    return b'{"resource":' + body + b"}"


def bundled(entries: list[bytes], kind: str) -> bytes:
    return b'{"resourceType":"Bundle","type":' + orjson.dumps(kind) + b',"entry":[' + b",".join(entries) + b"]}"
