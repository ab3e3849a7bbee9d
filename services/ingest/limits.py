"""What one message may weigh (ingest.md 2.13)."""

from __future__ import annotations

from twinward.errors import Malformed, TooLarge

BUNDLE_BYTES = 50 * 1024 * 1024
DOOR_BYTES = 16 * 1024 * 1024  # one gRPC message
ENTRIES = 5_000
DEPTH = 64  # FHIR's deepest official example has 14 levels
ENTRY_BYTES = 8 * 1024 * 1024
SERIES_ROWS = 200_000
NAME_BYTES = 200  # identifiers, references, feed names


def check_size(payload: bytes, most: int) -> None:
    """Raises TooLarge above `most` bytes, Malformed on nothing at all."""
    if len(payload) > most:
        raise TooLarge(f"a message may have {most // 1024 // 1024} MiB; send it in parts (or as NDJSON from files)")
    if not payload.strip():
        raise Malformed("the message is empty")


def depth_of(value: object) -> int:
    """Levels of nesting of a parsed JSON value, counted without recursion."""
    deepest = 0
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        here, level = waiting.pop()
        deepest = max(deepest, level)
        if isinstance(here, dict):
            waiting.extend((inner, level + 1) for inner in here.values() if isinstance(inner, (dict, list)))
        elif isinstance(here, list):
            waiting.extend((inner, level + 1) for inner in here if isinstance(inner, (dict, list)))
    return deepest
