"""The body of an entry: who, whom, why, decided how. Sealed apart from the tree.

Canonical JSON, a subset of RFC 8785: keys sorted, no white space, UTF-8, nothing
escaped that need not be. There are no floats (a rate or a share is written as an
integer with its unit in the name), integers stay within 2**53 - 1, keys are
lower-case ASCII. One value has one form, so equal bodies have equal bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from twinward.errors import Malformed, TooLarge

MOST_BYTES = 4096
_MOST_INTEGER = 2**53 - 1
_MOST_DEPTH = 6
_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")


def encode(body: Mapping[str, object]) -> bytes:
    """Raises Malformed for a value that has no canonical form, TooLarge above 4 kB."""
    _check(body, 0)
    try:
        data = json.dumps(
            body, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), default=_no_form
        ).encode()
    except UnicodeEncodeError:
        raise Malformed("a ledger body holds half a character") from None
    if len(data) > MOST_BYTES:
        raise TooLarge(f"a ledger body has at most {MOST_BYTES} bytes")
    return data


def decode(data: bytes) -> dict[str, object]:
    """The body in `data`; refuses bytes that are not the canonical form.

    Raises:
        Malformed, TooLarge
    """
    if len(data) > MOST_BYTES:
        raise TooLarge(f"a ledger body has at most {MOST_BYTES} bytes")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("a ledger body is not JSON") from None
    if not isinstance(found, dict) or encode(found) != data:
        raise Malformed("a ledger body is not in canonical form")
    return found


def _check(value: object, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise Malformed(f"a ledger body is nested deeper than {_MOST_DEPTH}")
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if abs(value) > _MOST_INTEGER:
            raise Malformed("an integer in a ledger body is beyond 2**53 - 1")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise Malformed("a key in a ledger body must be lower-case ASCII, at most 32 characters")
            _check(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner, depth + 1)
    else:
        raise Malformed("a ledger body holds text, integers, booleans, lists and objects, and nothing else")


def _no_form(value: object) -> dict[str, object]:
    # json knows dict only; other mappings are spelled out.
    if isinstance(value, Mapping):
        return dict(value)
    raise Malformed("a ledger body holds a value that has no JSON form")
