"""A twin's state, sealed under the model-state key of the month it was written in.

What is kept how long is the twin's affair (services/twin/retention.py); here is only
how a state is sealed and to what it is bound. Its own time lies inside, too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from twinward.clock import Chance
from twinward.errors import Malformed, Tampered
from twinward.record import Category, Handle
from twinward.vault import packing, sealing
from twinward.vault.associated import SCHEMA_SNAPSHOT, AssociatedData
from twinward.vault.lease import Lease

FORMAT = 1
_HEAD = struct.Struct("<Bq")


@dataclass(frozen=True, slots=True)
class Place:
    """Clear columns of twin.snapshot that a state is bound to."""

    handle: Handle
    month: int  # of the key, year * 100 + month
    version: int
    seq: int
    state_ms: int


def seal(lease: Lease, site: str, place: Place, state: bytes, chance: Chance) -> bytes:
    """Raises Denied where the lease has no model-state key of that month."""
    key = lease.key_of_month(Category.MODEL_STATE, place.version, place.month)
    plain = _HEAD.pack(FORMAT, place.state_ms) + packing.pack(state, 6)
    return sealing.seal(key, _associated(site, place), plain, chance)


def open_sealed(lease: Lease, site: str, place: Place, sealed: bytes) -> bytes:
    """The state.

    Raises:
        Denied: the lease has no model-state key of that month and version.
        Tampered: changed, moved, or of another time than its row says.
        Malformed, TooLarge: it opens to something we did not write.
    """
    key = lease.key_of_month(Category.MODEL_STATE, place.version, place.month)
    plain = sealing.open_sealed(key, _associated(site, place), sealed)
    if len(plain) < _HEAD.size or plain[0] != FORMAT:
        raise Malformed("a snapshot is written in a form we do not know")
    if _HEAD.unpack_from(plain)[1] != place.state_ms:
        raise Tampered("a snapshot is of another time than its row says")
    return bytes(packing.unpack(memoryview(plain)[_HEAD.size :]))


def _associated(site: str, place: Place) -> bytes:
    return AssociatedData(
        site=site,
        handle=place.handle,
        category=Category.MODEL_STATE,
        version=place.version,
        month=place.month,
        bucket=place.month * 100,
        seq=place.seq,
        padded=1,
        schema=SCHEMA_SNAPSHOT,
    ).encode()
