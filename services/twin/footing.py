"""What a living state stands on, so that plain growth needs no look at what it has eaten.

Kept in memory only, made by a full reading, good for the lease of that reading: how far the
chain of accepted rows was checked, keys to open further rows, and which rows were looked at.
Growth is plain when every new row is later than what was eaten and is no other version of a
row that was looked at. All else (late, corrected, withdrawn, a weight) takes the full way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.twin.eaten import Inputs
from services.twin.model_inputs import WEIGHT, inputs_of
from twinward.clock import month_of
from twinward.vault import corrections, rows
from twinward.vault.growth import Grown, Verified
from twinward.vault.lease import Lease
from twinward.vault.rows import Rows
from twinward.vault.tail import TailOpener

ROOM = 512  # further rows before a full reading makes the set anew: at most two days of five minutes
BITS = 16  # per row: with 4 probes about 2 of 1,000 new rows are taken for known, and cost a full reading
_PROBES = np.arange(4, dtype=np.uint64)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


class Seen:
    """Lineages in a Bloom filter: it may know a stranger, it never forgets an acquaintance."""

    def __init__(self, lineages: bytes) -> None:
        count = len(lineages) // 16
        self._size = np.uint64(max(1024, (count + ROOM) * BITS))
        self._bits = np.zeros(int(self._size) // 8 + 1, dtype=np.uint8)
        self.room = ROOM
        self._set(np.frombuffer(lineages, dtype=np.uint8).reshape(count, 16))

    def add(self, lineage: npt.NDArray[np.uint8]) -> None:
        """`lineage` has shape (n, 16)."""
        self.room -= len(lineage)
        self._set(lineage)

    def knows_any(self, lineage: npt.NDArray[np.uint8]) -> bool:
        places = self._places(lineage)
        there = (self._bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1
        return bool(np.any(np.all(there, axis=1)))

    def _set(self, lineage: npt.NDArray[np.uint8]) -> None:
        places = self._places(lineage).ravel()
        np.bitwise_or.at(self._bits, places >> 3, np.uint8(1) << (places & 7).astype(np.uint8))

    def _places(self, lineage: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        halves = np.ascontiguousarray(lineage).view("<u8")
        first = (halves[:, 0] + halves[:, 1]) * _ODD
        first ^= first >> _SHIFT
        second = (halves[:, 1] ^ first) * _ODD
        second ^= second >> _SHIFT
        probes = first[:, None] + _PROBES * (second | np.uint64(1))[:, None]
        return np.asarray(probes % self._size, dtype=np.int64)

    @property
    def bytes(self) -> int:
        return self._bits.nbytes


@dataclass
class Footing:
    """Owned with the living state it belongs to."""

    verified: Verified
    opener: TailOpener
    seen: Seen

    @classmethod
    def of(cls, site: str, lease: Lease, verified: Verified, lineages: bytes) -> Footing:
        return cls(verified, TailOpener(site, lease), Seen(lineages))

    def plain(self, grown: Grown, through_ms: int) -> Inputs | None:
        """What the model may simply take; None where the new rows need a full reading."""
        more: Rows = grown.rows
        if len(more) == 0:
            return inputs_of(more)[0]
        if rows.SUPERSEDED in more.codes or WEIGHT in more.codes or len(more) > self.seen.room:
            return None
        if int(more.effective_ms.min()) <= through_ms or self.seen.knows_any(more.lineage):
            return None
        # The lease opens no month after that of its decision: a full reading would not see the row.
        if month_of(int(more.effective_ms.max())) > month_of(self.opener.lease.issued_ms):
            return None
        return inputs_of(corrections.current(more))[0]

    def take(self, grown: Grown) -> None:
        self.seen.add(grown.rows.lineage)
        self.verified = grown.now
