"""A message's bytes as entries, each with its own untouched bytes.

`msgspec.Raw` gives the slice of every entry without reading it, so `7.10` stays
`7.10` in what is stored, and one bad entry does not spoil its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec
import orjson

from services.ingest.limits import BUNDLE_BYTES, DEPTH, ENTRIES, ENTRY_BYTES, check_size, depth_of
from services.ingest.refusal import Unfit
from twinward.errors import Malformed, TooLarge

# searchset and document are what people save from a FHIR server.
BUNDLES = ("transaction", "batch", "collection", "searchset", "document")
UTF8_MARK = b"\xef\xbb\xbf"


class _Kind(msgspec.Struct):
    resourceType: str = ""  # noqa: N815


class _Head(msgspec.Struct):
    type: str = ""
    entry: list[msgspec.Raw] = []


class _Entry(msgspec.Struct):
    fullUrl: str = ""  # noqa: N815
    resource: msgspec.Raw = msgspec.Raw()


_KIND = msgspec.json.Decoder(_Kind)
_HEAD = msgspec.json.Decoder(_Head)
_ENTRY = msgspec.json.Decoder(_Entry)
# Answers of a server and its version history (with deletions) are not records to file.
OTHER_BUNDLES = ("message", "history", "transaction-response", "batch-response")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: `body` is its resource, byte for byte; `fault` says why it cannot be read."""

    index: int
    full_url: str
    body: bytes
    resource: dict[str, object]
    fault: Unfit | None = None
    said: bytes = b""  # of an entry from intake: what only its message could tell

    @property
    def kind(self) -> str:
        """Resource type, or "?" where none can be read."""
        name = self.resource.get("resourceType")
        return name if isinstance(name, str) and name.isalnum() and len(name) < 50 else "?"


def read(payload: bytes) -> list[Entry]:
    """The entries of a bundle, or the one resource that the message is.

    Raises:
        Malformed: not JSON, or JSON that is no FHIR resource.
        TooLarge: more than 50 MB, 5,000 entries or 64 levels.
    """
    check_size(payload, BUNDLE_BYTES)
    payload = payload.removeprefix(UTF8_MARK)
    kind = _decoded(_KIND, payload).resourceType
    if not kind:
        raise Malformed("this JSON has no resourceType: send a FHIR R4 bundle or resource")
    if kind != "Bundle":
        return [entry(0, "", payload.strip())]
    head = _decoded(_HEAD, payload)
    if head.type not in BUNDLES and head.type not in OTHER_BUNDLES:
        raise Malformed("Bundle.type is missing or unknown: send a transaction, batch or collection")
    if head.type in OTHER_BUNDLES:
        raise Malformed(f"a bundle of type {head.type} cannot be filed: send a transaction, batch or collection")
    if len(head.entry) > ENTRIES:
        raise TooLarge(f"a bundle may have {ENTRIES} entries; send it in parts (or as NDJSON from files)")
    return [_wrapped(index, bytes(raw)) for index, raw in enumerate(head.entry)]


S = TypeVar("S", _Kind, _Head)


def _decoded(decoder: msgspec.json.Decoder[S], payload: bytes) -> S:
    try:
        return decoder.decode(payload)
    except RecursionError:
        raise TooLarge(f"JSON is nested deeper than {DEPTH} levels") from None
    except msgspec.ValidationError:
        raise Malformed("this is JSON but no FHIR resource: send a FHIR R4 bundle or resource") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("this is not JSON: send a FHIR R4 bundle or resource as UTF-8 JSON") from None


def _wrapped(index: int, raw: bytes) -> Entry:
    try:
        wrapper = _ENTRY.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Entry(index, "", raw, {}, Unfit("not-an-entry", "an entry is no object with a resource"))
    body = bytes(wrapper.resource)
    if not body:
        return Entry(index, wrapper.fullUrl, raw, {}, Unfit("no-resource", "an entry has no resource"))
    return entry(index, wrapper.fullUrl, body)


def entry(index: int, full_url: str, body: bytes, said: bytes = b"") -> Entry:
    """One resource's bytes as an entry; what cannot be read has a `fault`."""
    if len(body) > ENTRY_BYTES:
        return Entry(index, full_url, body, {}, Unfit("too-large", "an entry is larger than 8 MiB: send it in parts"))
    try:
        resource = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Entry(index, full_url, body, {}, Unfit("not-json", "an entry cannot be read as JSON in UTF-8"))
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        return Entry(index, full_url, body, {}, Unfit("no-type", "an entry's resource has no resourceType"))
    if depth_of(resource) > DEPTH:
        return Entry(index, full_url, body, {}, Unfit("too-deep", f"an entry is nested deeper than {DEPTH} levels"))
    return Entry(index, full_url, body, resource, None, said)
