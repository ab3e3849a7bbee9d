"""Small parts of the stored formats: bounded compression and a reader that cannot run past its end."""

from __future__ import annotations

import struct
import zlib

from twinward.errors import Malformed, TooLarge

MOST_BYTES = 64 << 20  # of one opened record; nothing we write comes near
PLAIN, ZLIB = 0, 1


def pack(data: bytes, level: int) -> bytes:
    """u8 method || u32 length || data, compressed where that is shorter; level 0 never compresses."""
    if len(data) > MOST_BYTES:
        raise TooLarge("one record holds at most 64 MiB; send it in parts")
    squeezed = zlib.compress(data, level) if level else data
    if len(squeezed) < len(data):
        return struct.pack("<BI", ZLIB, len(data)) + squeezed
    return struct.pack("<BI", PLAIN, len(data)) + data


def unpack(packed: bytes | memoryview) -> bytes | memoryview:
    """Undoes `pack`.

    Raises:
        Malformed: not a record of ours, or one that says another length than it has.
        TooLarge: over 64 MiB.
    """
    view = memoryview(packed)
    if len(view) < 5:
        raise Malformed("an opened record is too short")
    method, length = struct.unpack_from("<BI", view)
    if length > MOST_BYTES:
        raise TooLarge("an opened record is over 64 MiB")
    body = view[5:]
    if method == PLAIN:
        if len(body) != length:
            raise Malformed("an opened record has another length than it says")
        return body
    if method != ZLIB:
        raise Malformed("an opened record is packed in a way we do not know")
    return _inflate(body, length)


def _inflate(body: memoryview, length: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        # One byte more than promised, so that a bomb ends here and not in memory.
        data = inflater.decompress(body, length + 1)
    except zlib.error:
        raise Malformed("an opened record does not unpack") from None
    if len(data) != length or not inflater.eof or inflater.unused_data:
        raise Malformed("an opened record has another length than it says")
    return data


class Scan:
    """Reads fields off the front of `data`; raises Malformed at its end."""

    __slots__ = ("at", "view")

    def __init__(self, data: bytes | memoryview) -> None:
        self.view = memoryview(data)
        self.at = 0

    def take(self, n: int) -> memoryview:
        end = self.at + n
        if n < 0 or end > len(self.view):
            raise Malformed("an opened record ends too early")
        part = self.view[self.at : end]
        self.at = end
        return part

    def read(self, form: struct.Struct) -> tuple[int, ...]:
        at = self.at
        if at + form.size > len(self.view):
            raise Malformed("an opened record ends too early")
        self.at = at + form.size
        return form.unpack_from(self.view, at)

    def end(self) -> None:
        if self.at != len(self.view):
            raise Malformed("an opened record has bytes left over")
