"""Opened bodies beside a copied ledger: `bodies.jsonl`, one line an entry.

    {"index":7,"opened":"<base64 of salt || canonical JSON>"}

An auditor who was given bodies puts them there; verification shows of each that
it belongs to its entry. A body that is absent is `destroyed` where an entry of
kind retention, itself valid, names its index in `ranges`, else `missing`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from twinward.errors import Malformed, Tampered
from twinward.ledger.entry import Entry, check_body
from twinward.ledger.kinds import Kind
from twinward.ledger.note import strict_base64

NAME = "bodies.jsonl"


@dataclass(slots=True)
class Bodies:
    """How the bodies of a log stand."""

    valid: int = 0
    destroyed: int = 0
    missing: int = 0
    false: list[int] = field(default_factory=list)  # indexes whose body is another's


def encode(opened: Mapping[int, bytes]) -> str:
    """Lines of `bodies.jsonl` for index -> salt || body."""
    return "".join(
        f'{{"index":{index},"opened":"{base64.b64encode(data).decode()}"}}\n' for index, data in sorted(opened.items())
    )


def decode(text: str) -> Iterator[tuple[int, bytes]]:
    """(index, salt || body) of each line. Raises Malformed."""
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            raise Malformed(f"a line of {NAME} is not JSON") from None
        if not isinstance(found, dict) or set(found) != {"index", "opened"}:
            raise Malformed(f"a line of {NAME} has other fields than index and opened")
        index, opened = found["index"], found["opened"]
        if not isinstance(index, int) or isinstance(index, bool) or index < 0 or not isinstance(opened, str):
            raise Malformed(f"a line of {NAME} holds values of the wrong type")
        yield index, strict_base64(opened)


def check(entries: Sequence[bytes], opened: Mapping[int, bytes]) -> Bodies:
    """Each entry's body as `opened` shows it; bodies of no entry count as false."""
    state = Bodies()
    ended: list[tuple[int, int]] = []
    absent: list[int] = []
    for index, data in enumerate(entries):
        if index not in opened:
            absent.append(index)
            continue
        try:
            entry = Entry.decode(data)
            found = check_body(entry, opened[index])
        except (Malformed, Tampered):
            state.false.append(index)
            continue
        state.valid += 1
        if entry.kind == Kind.RETENTION:
            ended.extend(_ranges(found.get("ranges")))
    state.false.extend(sorted(index for index in opened if index >= len(entries)))
    for index in absent:
        if any(first <= index < end for first, end in ended):
            state.destroyed += 1
        else:
            state.missing += 1
    return state


def _ranges(value: object) -> Iterator[tuple[int, int]]:
    """[first, end) pairs of a retention body; anything else ends nothing."""
    for pair in value if isinstance(value, list) else []:
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair):
            yield pair[0], pair[1]
