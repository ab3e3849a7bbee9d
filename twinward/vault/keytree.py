"""From a patient's key to sub-keys, and which of them cover a decision.

    DEK ── category|version ── year ── month        HKDF-Expand-SHA-512, 32 bytes each
     └──── tail: category, version, month of receipt     96 bytes, the seed of an HPKE key pair

A grant releases year and month nodes, never a category node: next year's keys
are not in anybody's hands. The current year goes out by months for the same
reason. Records without clinical time live in the pseudo-period 0000-00.

Months are numbers, year * 100 + month; 0 is the pseudo-period.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from twinward.clock import month_of
from twinward.errors import BadInput

KEY_BYTES = 32
UNDATED = 0
FIRST_MONTH = 100 + 1  # year 1
LAST_MONTH = 999912


@dataclass(frozen=True, slots=True)
class Period:
    """Months of a decision, inclusive; `undated` adds records without clinical time."""

    first: int  # year * 100 + month
    last: int
    undated: bool

    def __post_init__(self) -> None:
        if not (is_month(self.first) and is_month(self.last)):
            raise BadInput("a period runs from a month to a month, as year * 100 + month")


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A year (`whole_year`, month 0), a month, or the pseudo-period (year 0, month 0)."""

    year: int
    month: int
    whole_year: bool

    def __post_init__(self) -> None:
        real = 1 <= self.year <= 9999 and (self.month == 0 if self.whole_year else 1 <= self.month <= 12)
        if not real and (self.year, self.month, self.whole_year) != (0, 0, False):
            raise BadInput("a node of the key tree is a year, a month or the pseudo-period 0000-00")

    def covers(self, month: int) -> bool:
        """Whether the node opens records of `month` (year * 100 + month, 0: undated)."""
        if self.whole_year:
            return month // 100 == self.year
        return month == self.year * 100 + self.month


def is_month(month: int) -> bool:
    return FIRST_MONTH <= month <= LAST_MONTH and 1 <= month % 100 <= 12


def covering_nodes(period: Period, now_ms: int) -> tuple[Node, ...]:
    """The fewest nodes that open exactly the months of `period`, in order.

    Whole years before the current one (UTC) are one node each; the current and
    later years always go by months. An empty period (first after last) has none.
    """
    current = month_of(now_ms) // 100
    nodes = [Node(0, 0, False)] if period.undated else []
    for year in range(period.first // 100, period.last // 100 + 1):
        low = period.first % 100 if year == period.first // 100 else 1
        high = period.last % 100 if year == period.last // 100 else 12
        if (low, high) == (1, 12) and year < current:
            nodes.append(Node(year, 0, True))
        else:
            nodes.extend(Node(year, month, False) for month in range(low, high + 1))
    return tuple(nodes)


def months_between(first: int, last: int) -> Iterator[int]:
    """Every month from `first` to `last`, inclusive."""
    for year in range(first // 100, last // 100 + 1):
        for month in range(1, 13):
            if first <= year * 100 + month <= last:
                yield year * 100 + month


def node_key(dek: bytes, category: int, version: int, node: Node) -> bytes:
    """The 32-byte key of a node, from the patient's key.

    Raises:
        BadInput: a key that is not 32 bytes, or a category or version out of range.
    """
    year = _expand(_category_key(dek, category, version), b"twinward/year/1\x00" + node.year.to_bytes(2, "big"))
    return year if node.whole_year else month_key(year, node.month)


def month_key(year_key: bytes, month: int) -> bytes:
    """The key of a month (0 in the pseudo-period) below the key of its year."""
    return _expand(year_key, b"twinward/month/1\x00" + month.to_bytes(1, "big"))


def tail_seed(dek: bytes, category: int, version: int, month: int) -> bytes:
    """96 bytes, the seed of the key pair of tail rows received in `month` (year * 100 + month)."""
    if not is_month(month):
        raise BadInput("tail keys follow the month of receipt, year * 100 + month")
    info = b"twinward/tail/1\x00" + _place(category, version) + (month // 100).to_bytes(2, "big")
    return _expand(_checked(dek), info + (month % 100).to_bytes(1, "big"), 96)


def _category_key(dek: bytes, category: int, version: int) -> bytes:
    return _expand(_checked(dek), b"twinward/category/1\x00" + _place(category, version))


def _place(category: int, version: int) -> bytes:
    if not 0 < category < 1 << 16 or not 0 < version < 1 << 32:
        raise BadInput("a category is 1 to 65,535 and a key version at least 1")
    return category.to_bytes(2, "big") + version.to_bytes(4, "big")


def _checked(dek: bytes) -> bytes:
    if len(dek) != KEY_BYTES:
        raise BadInput(f"a patient's key has {KEY_BYTES} bytes")
    return dek


def _expand(key: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    # Expand without extract: every key here is uniformly random already (RFC 5869, 3.3).
    return HKDFExpand(hashes.SHA512(), length, info).derive(key)
