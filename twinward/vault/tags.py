"""Clear stand-ins of categories.

Clear columns hold an eight-byte tag, never the category: who reads the database
sees that two rows of one patient belong together, not what they are about, and
cannot compare patients.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from twinward.errors import BadInput
from twinward.record import Handle

TAG_BYTES = 8
KEY_BYTES = 32


def tag(tag_key: bytes, handle: Handle, category: int) -> bytes:
    """HMAC-SHA-256(tag_key, handle || u16 category), first 8 bytes.

    Raises:
        BadInput: a tag key that is not 32 bytes, or a category outside 1 to 65,535.
    """
    if len(tag_key) != KEY_BYTES:
        raise BadInput(f"the tag key must be {KEY_BYTES} bytes; see DIR/secrets/tag.key")
    if not 0 < category < 1 << 16:
        raise BadInput("a category is a number from 1 to 65,535")
    return hmac.digest(tag_key, handle.bytes + category.to_bytes(2, "big"), "sha256")[:TAG_BYTES]


def by_tag(tag_key: bytes, handle: Handle, categories: Iterable[int]) -> dict[bytes, int]:
    """Tag -> category of one patient, for whoever holds the tag key."""
    return {tag(tag_key, handle, category): int(category) for category in categories}
