"""Tiles of a copied ledger against its entries: the first index where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twinward.errors import Malformed
from twinward.ledger import tiles
from twinward.ledger.tiles import ENTRIES, WIDTH


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; the sentence is for people and names no patient."""

    where: str
    sentence: str
    first: int | None = None  # entries [first, end) it is about
    end: int | None = None
    foreign: bool = False  # a note that the given key did not sign


def check(directory: Path, size: int, entries: Sequence[bytes], leaves: Sequence[bytes]) -> list[Finding]:
    """What the tiles of a tree of `size` leaves get wrong; at most one finding a level.

    `entries` and `leaves` are what the bundle files hold; where they are fewer than
    `size`, only what they cover is compared.
    """
    found: list[Finding] = []
    row = list(leaves[: min(size, len(leaves))])
    level, count = 0, size
    while count:
        finding = _level(directory, level, count, row)
        if finding is not None:
            found.append(finding)
        row = [tiles.root_of(row[at : at + WIDTH]) for at in range(0, len(row) - WIDTH + 1, WIDTH)]
        level, count = level + 1, count // WIDTH
    finding = _entries(directory, size, entries)
    if finding is not None:
        found.append(finding)
    return found


def _level(directory: Path, level: int, count: int, row: Sequence[bytes]) -> Finding | None:
    span = WIDTH**level  # leaves below one hash of this level
    for number in range((count + WIDTH - 1) // WIDTH):
        width = min(WIDTH, count - number * WIDTH)
        path = tiles.path(level, number, width)
        begin = number * WIDTH
        try:
            hashes = tiles.decode_hashes(_read(directory, level, number, width), width)
        except (OSError, Malformed):
            sentence = f"{path} is missing or has the wrong length"
            return Finding("tiles", sentence, begin * span, (begin + width) * span)
        for place, hash_ in enumerate(hashes[: max(0, len(row) - begin)]):
            if hash_ != row[begin + place]:
                at = begin + place
                sentence = (
                    f"entry {at} and {path} disagree"
                    if level == 0
                    else f"{path} disagrees with entries {at * span} to {(at + 1) * span - 1}"
                )
                return Finding("tiles", sentence, at * span, (at + 1) * span)
    return None


def _entries(directory: Path, size: int, entries: Sequence[bytes]) -> Finding | None:
    for number in range((size + WIDTH - 1) // WIDTH):
        width = min(WIDTH, size - number * WIDTH)
        path = tiles.path(ENTRIES, number, width)
        begin = number * WIDTH
        try:
            held = tiles.decode_entries(_read(directory, ENTRIES, number, width, cut=False), width)
        except (OSError, Malformed):
            return Finding("tiles", f"{path} is missing or does not hold {width} entries", begin, begin + width)
        for place, entry in enumerate(held[: max(0, len(entries) - begin)]):
            if entry != entries[begin + place]:
                at = begin + place
                return Finding("tiles", f"entry {at} reads differently in {path}", at, at + 1)
    return None


def _read(directory: Path, level: int | str, number: int, width: int, cut: bool = True) -> bytes:
    """The tile, or the beginning of a fuller one: a node that runs on replaces partial tiles."""
    try:
        return (directory / tiles.path(level, number, width)).read_bytes()
    except OSError:
        if width == tiles.WIDTH:
            raise
        data = (directory / tiles.path(level, number)).read_bytes()
        if cut:
            return data[: 32 * width]
        return tiles.encode_entries(tiles.decode_entries(data, tiles.WIDTH)[:width])
