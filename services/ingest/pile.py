"""What one transaction writes for a feed, gathered from the messages that share it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from services.ingest.entry import Unmapped
from twinward.record import Document, Handle, Measurement
from twinward.vault.writer import Batch, ConsentItem, IntakeItem, Receipt, SealedPart


@dataclass(slots=True)
class Pile:
    """One `Batch` in the making. Counts are true counts of items, entries or rows."""

    parts: dict[tuple[Handle, int], tuple[list[Measurement], list[Document]]] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    intake: list[IntakeItem] = field(default_factory=list)
    consents: list[ConsentItem] = field(default_factory=list)
    dropped: int = 0
    duplicates: int = 0

    @property
    def empty(self) -> bool:
        return not (self.parts or self.receipts or self.intake or self.consents or self.dropped or self.duplicates)

    def batch(self, feed: str) -> Batch:
        return Batch(
            feed=feed,
            parts=[SealedPart(handle, category, *content) for (handle, category), content in self.parts.items()],
            receipts=self.receipts,
            intake=self.intake,
            consents=self.consents,
            dropped=self.dropped,
            duplicates=self.duplicates,
            answer_key=None,  # several messages, several answers: books.keep_answers
            answer_hash=b"",
            answer=b"",
        )


@dataclass(slots=True)
class Piles:
    """The piles of one transaction.

    Versions of one resource go into rounds of their own, written one after the
    other: the writer sets markers by what earlier rounds have written.
    """

    found: dict[tuple[int, str], Pile] = field(default_factory=dict)
    versions: Counter[bytes] = field(default_factory=Counter)  # lineage -> rounds so far
    unmapped: dict[str, Counter[Unmapped]] = field(default_factory=dict)

    def of(self, feed: str, round_: int = 0) -> Pile:
        return self.found.setdefault((round_, feed), Pile())

    def next_of(self, feed: str, lineage: bytes) -> Pile:
        """Where the next version of `lineage` goes."""
        round_ = self.versions[lineage]
        self.versions[lineage] += 1
        return self.of(feed, round_)

    def batches(self) -> list[Batch]:
        """In the order of rounds."""
        ordered = sorted(self.found.items(), key=lambda item: item[0])
        return [pile.batch(feed) for (_, feed), pile in ordered if not pile.empty]

    def list_unmapped(self, feed: str, lines: list[Unmapped]) -> None:
        if lines:
            self.unmapped.setdefault(feed, Counter()).update(lines)
