"""A patient's numbers: one normal form, blind indexes, and what Admit carries.

auth and ingest must compute the same index of the same number, so the form lives
here. The plaintext of `AdmitPatient.sealed_identifiers` (HPKE to auth's admit
key, info = hpke.INFO_ADMIT || site) is JSON:

    {"identifiers": [["system", "value"], ...], "categories": [5, 10]}

Identifiers are those of one patient, the most telling first.
"""

from __future__ import annotations

import hmac
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twinward.errors import Malformed

INDEX_BYTES = 16
MOST_IDENTIFIERS = 20
MOST_CHARACTERS = 512
_MOST_BYTES = 64 * 1024

Identifier = tuple[str, str]  # system, value


def normal(identifier: Identifier) -> str:
    """`system|VALUE`: Unicode NFKC, no white space at either end nor inside the value, capitals.

    Raises:
        Malformed: empty, over 512 characters, or with control characters.
    """
    system = unicodedata.normalize("NFKC", identifier[0]).strip()
    value = "".join(unicodedata.normalize("NFKC", identifier[1]).split()).upper()
    if not system or not value or len(system) + len(value) > MOST_CHARACTERS:
        raise Malformed(f"a patient's number needs a system and a value, {MOST_CHARACTERS} characters together at most")
    if any(unicodedata.category(one) in ("Cc", "Cs") for one in system + value):
        raise Malformed("a patient's number holds control characters")
    return f"{system}|{value}"


def blind(key: bytes, identifier: Identifier) -> bytes:
    """HMAC-SHA-256(key, normal form)[:16]: what a number is found by."""
    return hmac.digest(key, normal(identifier).encode(), "sha256")[:INDEX_BYTES]


@dataclass(frozen=True, slots=True)
class Admission:
    """What ingest says of one patient whom it cannot find."""

    identifiers: tuple[Identifier, ...]
    categories: tuple[int, ...]  # that are to be written

    def encode(self) -> bytes:
        body = {"identifiers": [list(one) for one in self.identifiers], "categories": list(self.categories)}
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def decode_admission(data: bytes) -> Admission:
    """Raises Malformed."""
    if len(data) > _MOST_BYTES:
        raise Malformed("an admission is too long")
    try:
        found = json.loads(data)
        identifiers = tuple((_text(system), _text(value)) for system, value in _list(found["identifiers"]))
        categories = tuple(int(one) for one in _list(found["categories"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Malformed("an admission cannot be read") from None
    if not 0 < len(identifiers) <= MOST_IDENTIFIERS:
        raise Malformed(f"an admission names 1 to {MOST_IDENTIFIERS} numbers of one patient")
    return Admission(identifiers, categories)


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
