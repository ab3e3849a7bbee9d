"""Tiles (C2SP tlog-tiles v0.1.0): how a tree lies on disk or behind a web server.

A tile holds up to 256 hashes of one height: `tile/<L>/<N>`, of which level 0 are
leaf hashes and each hash of level L + 1 is the root of a full tile of level L.
Entries lie in `tile/entries/<N>`, each preceded by its length as u16be. A tile
that is not full carries its width: `<N>.p/<W>`, and is never empty.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from twinward.errors import Malformed, TooLarge
from twinward.ledger.tree import HASH_BYTES, node_hash

WIDTH = 256
MOST_ENTRY_BYTES = 65_535
ENTRIES = "entries"


def path(level: int | str, number: int, width: int = WIDTH) -> str:
    """`tile/<level>/<number>` with three digits a folder; `.p/<width>` where not full."""
    if not 0 < width <= WIDTH:
        raise Malformed(f"a tile has 1 to {WIDTH} hashes")
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    name = "/".join(reversed(parts))
    return f"tile/{level}/{name}" + ("" if width == WIDTH else f".p/{width}")


def encode_hashes(hashes: Sequence[bytes]) -> bytes:
    return b"".join(hashes)


def decode_hashes(data: bytes, width: int) -> list[bytes]:
    """The `width` hashes of a tile. Raises Malformed where it holds another number."""
    if len(data) != HASH_BYTES * width:
        raise Malformed("a tile does not hold as many hashes as its name says")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Raises TooLarge where an entry has more than 65,535 bytes."""
    if any(len(entry) > MOST_ENTRY_BYTES for entry in entries):
        raise TooLarge("a ledger entry has at most 65,535 bytes")
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def decode_entries(data: bytes, width: int) -> list[bytes]:
    """The `width` entries of an entry bundle. Raises Malformed."""
    found = list(_entries(data))
    if len(found) != width:
        raise Malformed("an entry bundle does not hold as many entries as its name says")
    return found


def _entries(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise Malformed("an entry bundle is cut short")
        (length,) = struct.unpack_from(">H", data, at)
        if at + 2 + length > len(data):
            raise Malformed("an entry bundle is cut short")
        yield data[at + 2 : at + 2 + length]
        at += 2 + length


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Root of a full tile: its 256 hashes taken together eight levels up."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, number, width) of each hash tile of a tree of `size` leaves, level 0 first."""
    level, count = 0, size
    while count:
        for number in range((count + WIDTH - 1) // WIDTH):
            yield level, number, min(WIDTH, count - number * WIDTH)
        level, count = level + 1, count // WIDTH
