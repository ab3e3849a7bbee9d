"""The entry of the tree: 43 bytes that name nobody.

    format   u8      1
    kind     u16be   kinds.py
    time     u64be   seconds since 1970 UTC, rounded down to the minute
    commit   32      SHA-256(salt, 32 bytes || body)

Whoever holds salt and body can show that they belong to the entry; without the
salt the commitment says nothing, even of a body that could be guessed. When a
rule ends a body, salt and body go together and the tree stays as it was.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from twinward.errors import Malformed, Tampered
from twinward.ledger import body as bodies

FORMAT = 1
SALT_BYTES = 32
ENTRY_BYTES = 43
_HEAD = struct.Struct(">BHQ")


@dataclass(frozen=True, slots=True)
class Entry:
    kind: int  # u16
    time_s: int  # a whole minute
    commitment: bytes  # 32 bytes

    def encode(self) -> bytes:
        return _HEAD.pack(FORMAT, self.kind, self.time_s) + self.commitment

    @staticmethod
    def decode(data: bytes) -> Entry:
        """Raises Malformed where `data` is no entry of a format we know."""
        if len(data) != ENTRY_BYTES or data[0] != FORMAT:
            raise Malformed("a ledger entry is of a format this version does not know")
        _, kind, time_s = _HEAD.unpack_from(data)
        if time_s % 60 or time_s > 1 << 62:
            raise Malformed("a ledger entry's time is not a whole minute")
        return Entry(kind, time_s, data[_HEAD.size :])


def minute_of(at_ms: int) -> int:
    """The coarse time of an entry: seconds, rounded down to the minute."""
    return at_ms // 60_000 * 60


def commit(salt: bytes, body: bytes) -> bytes:
    return hashlib.sha256(salt + body).digest()


def join(salt: bytes, body: bytes) -> bytes:
    """What is sealed: salt || canonical JSON."""
    return salt + body


def check_body(entry: Entry, opened: bytes) -> dict[str, object]:
    """The body in `opened` (salt || canonical JSON), shown to be the one of `entry`.

    Raises:
        Tampered: it is the body of another entry, or none.
    """
    if len(opened) <= SALT_BYTES or commit(opened[:SALT_BYTES], opened[SALT_BYTES:]) != entry.commitment:
        raise Tampered("a ledger body does not belong to its entry")
    try:
        return bodies.decode(opened[SALT_BYTES:])
    except Malformed as error:
        raise Tampered("a ledger body was committed to but cannot be read", detail=error.public) from None
