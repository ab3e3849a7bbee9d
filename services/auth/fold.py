"""Receipts into the ledger: acceptance never waits for it, and is in it soon after.

Ingest commits data with a signed `receipt_batch` row. Once a second, whatever
waits becomes one leaf a feed: the root over the batches' own roots, the counts,
the instances that signed. The leaf's index is written into the rows in the
leaf's own transaction, so a batch is in exactly one leaf. After an outage the
leaves are larger and later, and none is missing.

A batch whose signature does not hold goes into a leaf of kind `incident`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

import psycopg

from services.auth.ledger_rows import Connection, Statement
from services.auth.sequencer import Proposal, Sequencer
from twinward.errors import TwinwardError, Unavailable
from twinward.ledger.kinds import Kind
from twinward.ledger.tree import Edge, leaf_hash

COUNTS = ("accepted", "dropped", "duplicates", "intake", "quarantined")


@dataclass(frozen=True, slots=True)
class ReceiptBatch:
    """One row of ingest.receipt_batch."""

    id: int
    feed: str
    instance: UUID
    at_ms: int
    counts: tuple[int, ...]  # in the order of COUNTS
    rows: bytes  # 16-byte hashes of the tail rows
    root: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Lag:
    unfolded: int
    oldest_ms: int  # 0 where none waits


def root_over(batches: Iterable[ReceiptBatch]) -> bytes:
    """RFC 6962 root whose leaves are u64be id || root of each batch, in the order of ids."""
    return Edge().extended(leaf_hash(batch.id.to_bytes(8, "big") + batch.root) for batch in batches).root()


class ReceiptFolder:
    """Folds every `every_s` seconds in a thread of its own.

    `genuine(batch)` says whether the batch's signature is one of an instance that
    the vault authority vouches for.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        connect: Callable[[], Connection],
        genuine: Callable[[ReceiptBatch], bool],
        every_s: float = 1.0,
        most: int = 5_000,
    ) -> None:
        self._sequencer = sequencer
        self._connect = connect
        self._genuine = genuine
        self._every_s = every_s
        self._most = most
        self._connection: Connection | None = None
        self._one_at_a_time = threading.Lock()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="folder", daemon=True)
        self.trouble = ""
        self.refused = 0  # batches whose signature did not hold

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def fold(self) -> int:
        """Folds what waits, at most `most` batches; how many there were. Raises Unavailable."""
        with self._one_at_a_time:
            try:
                waiting = self._waiting()
                if waiting:
                    self._sequencer.commit(list(self._proposals(waiting)))
            except psycopg.Error as error:
                self.trouble = "the receipts cannot be read from the database"
                if self._connection is not None:
                    self._connection.close()
                raise Unavailable(self.trouble, detail=str(error)) from None
            except TwinwardError as error:
                self.trouble = error.public
                raise
            self.trouble = ""
            return len(waiting)

    def lag(self, connection: Connection) -> Lag:
        """What waits to be folded, for `node status`; reads on the caller's connection."""
        row = connection.execute(
            """select count(*), coalesce(extract(epoch from min(at)) * 1000, 0)::bigint
               from ingest.receipt_batch where folded is null"""
        ).fetchone()
        return Lag(0, 0) if row is None else Lag(row[0], row[1])

    def _run(self) -> None:
        while not self._wake.wait(self._every_s):
            with contextlib.suppress(TwinwardError):  # what went wrong stands in `trouble`
                while self.fold() == self._most and not self._wake.is_set():
                    pass

    def _waiting(self) -> list[ReceiptBatch]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        with self._connection.transaction():
            rows = (
                self._connection.cursor(binary=True)
                .execute(
                    """select id, feed, instance, (extract(epoch from at) * 1000)::bigint,
                              array[accepted, dropped, duplicates, intake, quarantined], rows, root, signature
                       from ingest.receipt_batch where folded is null order by id limit %s""",
                    [self._most],
                )
                .fetchall()
            )
        return [
            ReceiptBatch(id_, feed, instance, at_ms, tuple(counts), hashes, root, signature)
            for id_, feed, instance, at_ms, counts, hashes, root, signature in rows
        ]

    def _proposals(self, waiting: Sequence[ReceiptBatch]) -> Iterable[Proposal]:
        genuine: list[ReceiptBatch] = []
        false: list[ReceiptBatch] = []
        for batch in waiting:
            (genuine if self._genuine(batch) else false).append(batch)
        self.refused += len(false)
        for kind, batches in ((Kind.INGEST, genuine), (Kind.INCIDENT, false)):
            ordered = sorted(batches, key=lambda batch: (batch.feed, batch.id))
            for feed, group in groupby(ordered, key=lambda batch: batch.feed):
                yield _proposal(kind, feed, list(group))


def _proposal(kind: Kind, feed: str, batches: Sequence[ReceiptBatch]) -> Proposal:
    ids = [batch.id for batch in batches]
    body: dict[str, object] = {
        "feed": feed,
        "batches": len(batches),
        "first": ids[0],
        "last": ids[-1],
        "from_ms": min(batch.at_ms for batch in batches),
        "until_ms": max(batch.at_ms for batch in batches),
        "root": root_over(batches).hex(),
        "instances": sorted({str(batch.instance) for batch in batches})[:32],
        "outcome": "accepted" if kind is Kind.INGEST else "signature-refused",
    }
    body |= {name: sum(batch.counts[at] for batch in batches) for at, name in enumerate(COUNTS)}

    def writes(index: int) -> Sequence[Statement]:
        return [("update ingest.receipt_batch set folded = %s where id = any (%s) and folded is null", [index, ids])]

    return Proposal(kind, body, terms=(f"feed:{feed}",), writes=writes)
