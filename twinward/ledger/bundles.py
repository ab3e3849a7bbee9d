"""Bundle files: every commit of the ledger as it was made, outside the database.

A file `<first index, 20 digits>.bundle` is a run of frames, one for each group
commit, appended and never changed:

    magic    4      "TWL1"
    length   u32be  of all that follows
    first    u64be  index of the first entry
    count    u32be  at least 1
    entries         each u16be length || entry
    note            signed checkpoint over origin, first + count, root

The note ends the frame, so a frame that is there whole carries its own proof; a
frame that a crash cut short is recognised by its length and was never answered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinward.errors import Malformed, TooLarge
from twinward.ledger.tiles import decode_entries, encode_entries

MAGIC = b"TWL1"
SUFFIX = ".bundle"
_HEAD = struct.Struct(">4sI")
_BODY = struct.Struct(">QI")
_MOST_FRAME = 64 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    first: int
    entries: tuple[bytes, ...]
    note: bytes  # signed checkpoint, its signature not yet checked

    @property
    def size(self) -> int:
        """Entries of the log after this frame."""
        return self.first + len(self.entries)

    def encode(self) -> bytes:
        """Raises TooLarge for an entry above 65,535 bytes or a frame above 64 MiB."""
        entries = encode_entries(self.entries)
        body = _BODY.pack(self.first, len(self.entries)) + entries + self.note
        if len(body) > _MOST_FRAME:
            raise TooLarge("a group commit of the ledger has at most 64 MiB")
        return _HEAD.pack(MAGIC, len(body)) + body


@dataclass(frozen=True, slots=True)
class Torn:
    """Where whole frames end before the file does."""

    at: int  # offset of the first byte that belongs to no whole frame
    reason: str


def decode_frame(data: bytes, at: int) -> tuple[Frame, int]:
    """The frame at offset `at` and the offset behind it.

    Raises:
        Malformed: no whole frame begins there.
    """
    if at + _HEAD.size > len(data):
        raise Malformed("a bundle frame is cut short")
    magic, length = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if magic != MAGIC:
        raise Malformed("a bundle frame does not begin with its mark")
    if length > _MOST_FRAME or end > len(data) or length < _BODY.size:
        raise Malformed("a bundle frame is cut short")
    first, count = _BODY.unpack_from(data, at + _HEAD.size)
    entries_at = at + _HEAD.size + _BODY.size
    note_at = _skip(data, entries_at, end, count)
    entries = decode_entries(data[entries_at:note_at], count)
    return Frame(first, tuple(entries), data[note_at:end]), end


def _skip(data: bytes, at: int, end: int, count: int) -> int:
    if not 0 < count <= (end - at) // 2:
        raise Malformed("a bundle frame has a false number of entries")
    for _ in range(count):
        if at + 2 > end:
            raise Malformed("a bundle frame is cut short")
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    if at >= end:
        raise Malformed("a bundle frame has no note")
    return at


def frames(data: bytes) -> Iterator[tuple[int, Frame] | Torn]:
    """(offset, frame) of each whole frame; a `Torn` at the end where bytes are left over."""
    at = 0
    while at < len(data):
        try:
            frame, end = decode_frame(data, at)
        except Malformed as error:
            yield Torn(at, error.public)
            return
        yield at, frame
        at = end


def name_of(first: int) -> str:
    return f"{first:020d}{SUFFIX}"


def first_of(name: str) -> int:
    """Raises Malformed where `name` is no bundle file's."""
    stem = name.removesuffix(SUFFIX)
    if name != stem + SUFFIX or len(stem) != 20 or not (stem.isascii() and stem.isdigit()):
        raise Malformed("a file among the bundles is no bundle")
    return int(stem)


def files(directory: Path) -> Sequence[Path]:
    """Bundle files in the order of their entries."""
    return sorted(directory.glob(f"*{SUFFIX}"))
