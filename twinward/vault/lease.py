"""A live grant: the sub-keys that auth released and the row that row-level security reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinward.errors import Denied, LeaseEnded
from twinward.record import Handle
from twinward.vault import keytree
from twinward.vault.keytree import Node


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A node of the key tree and its 32-byte key."""

    category: int
    version: int
    year: int  # 0: the pseudo-period
    month: int  # 0: a whole year, or the pseudo-period
    whole_year: bool
    key: bytes = field(repr=False)

    @property
    def node(self) -> Node:
        return Node(self.year, self.month, self.whole_year)


@dataclass(frozen=True, slots=True)
class TailKey:
    """The key pair of tail rows of one category, received in one month."""

    category: int
    version: int
    year: int
    month: int
    seed: bytes = field(repr=False)  # 96 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What one decision released for one patient, until when."""

    lease_id: bytes  # 16 bytes
    handle: Handle
    until_ms: int
    purpose: str
    tags: Mapping[int, bytes]  # category -> tag
    nodes: tuple[NodeKey, ...]
    tails: tuple[TailKey, ...]
    manifest_root: bytes  # empty before the first compaction
    manifest_previous: bytes
    leaf: int
    version: int  # the patient's present key version
    issued_ms: int = 0  # when auth decided; a signed manifest head newer than this is accepted too; 0: none is

    def check(self, now_ms: int) -> None:
        """Raises LeaseEnded when the lease is over."""
        if now_ms >= self.until_ms:
            raise LeaseEnded("the lease is over; ask for a new grant")

    def key_of_month(self, category: int, version: int, month: int) -> bytes:
        """The month key (year * 100 + month, 0: undated), from its own node or its year's.

        Raises:
            Denied: no node of this lease covers it.
        """
        for node in self.nodes:
            if node.category == category and node.version == version and node.node.covers(month):
                return keytree.month_key(node.key, month % 100) if node.whole_year else node.key
        raise Denied("this lease does not cover that category and month; ask for a grant that does")

    def seed_of_tail(self, category: int, version: int, month: int) -> bytes:
        """The 96-byte seed that opens tail rows received in `month`.

        Raises:
            Denied: this lease has no such key.
        """
        for tail in self.tails:
            if (tail.category, tail.version, tail.year * 100 + tail.month) == (category, version, month):
                return tail.seed
        raise Denied("this lease opens no unfiled rows of that category and month")

    def category_of(self, tag: bytes) -> int | None:
        """The category that `tag` stands for under this lease."""
        return next((category for category, own in self.tags.items() if own == tag), None)
