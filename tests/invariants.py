"""What must hold of a node after every act of every story.

    .venv/bin/python -m tests.invariants DIR

Opens the store of a test or demo node as its owner, with the node's own keys, and
counts what is really there; nothing of it goes through the programs that wrote it.

1. counts: items in blocks + items in the tail = accepted (dropped items are counted
   apart and stored nowhere; cohort indexes, which the compactor makes, are no items);
   each padded count is that of what was opened
2. manifests: every bucket's blocks are those its manifest names, and no others
3. receipts: every receipt of a stored resource has its data, every document its receipt
4. nothing twice: no row of one lineage, code and time twice in the resolved view, and
   no identical row twice in the store
5. leases: every lease has a ledger entry of the kind that may make one
6. ledger: verifies offline, from its files alone, and holds every leaf a lease names
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from infra.embedded.node import Node
from infra.embedded.postgres import OWNER
from services.auth.kek import FileProvider
from twinward.clock import SystemChance
from twinward.ledger.kinds import Kind
from twinward.ledger.note import Verifier
from twinward.ledger.verify import verify
from twinward.record import Category, Document, Handle, Measurement
from twinward.vault import blocks, corrections, hpke, keytree, snapshots, tail
from twinward.vault import documents as documents_codec
from twinward.vault.associated import padded
from twinward.vault.batches import TailRow
from twinward.vault.blocks import Block, Shelf
from twinward.vault.lease import Lease, NodeKey
from twinward.vault.rows import SUPERSEDED, Rows, concat, no_rows
from twinward.vault.tags import by_tag

# Which decision may have made a lease of a database role.
LEAF_OF_ROLE = {
    "twin": {Kind.GRANT, Kind.BREAK_GLASS, Kind.RENEW},
    "twin_worker": {Kind.UPKEEP},
    "twin_jobs": {Kind.UPKEEP},
    "compactor": {Kind.COMPACT},
    "filer": {Kind.INTAKE_FILE},
    "federation": {Kind.SCREEN, Kind.GRANT},
}


@dataclass
class Kept:
    """Everything of one patient, opened."""

    rows: list[Rows] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    index: list[Document] = field(default_factory=list)  # the compactor's own: nobody sent it, so it is no item
    in_tail: int = 0
    in_blocks: int = 0

    def every(self) -> Rows:
        return concat(self.rows) if self.rows else no_rows()

    def current(self) -> list[Measurement]:
        """What is true now, by time."""
        return corrections.current(self.every()).sorted().measurements()


@dataclass
class Store:
    """The opened store of a node."""

    patients: dict[Handle, Kept]
    wrong: list[str]
    batches: dict[str, int]  # accepted, dropped, duplicates, intake, quarantined
    waiting: int  # items in intake and quarantine

    def of(self, handle: Handle) -> Kept:
        return self.patients.get(handle, Kept())


@dataclass
class Report:
    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def say(self, holds: bool, promise: str) -> None:
        (self.lines if holds else self.wrong).append(promise)


def open_store(directory: Path) -> Store:
    """Opens every tail row and block of the node in `directory`, which must be up."""
    node = Node.open(directory)
    with node.postgres(SystemChance()).connect(OWNER) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        return _Opener(node, connection).open()


@dataclass
class _Opener:
    node: Node
    connection: psycopg.Connection

    def open(self) -> Store:
        self.provider = FileProvider(self.node.directory / "secrets" / "kek", self.node.site)
        self.tag_key = (self.node.directory / "secrets" / "tag.key").read_bytes()
        self.keys = {
            handle: self.provider.unwrap(handle.bytes, epoch, wrapped)
            for handle, epoch, wrapped in self._all("select handle, epoch, wrapped from vault.patient_key")
        }
        self.categories = {handle: by_tag(self.tag_key, handle, Category) for handle in self.keys}
        store = Store({handle: Kept() for handle in self.keys}, [], self._batches(), self._waiting())
        self._tail(store)
        self._blocks(store)
        return store

    def _all(self, sql: str) -> Iterator[tuple[Any, ...]]:
        yield from self.connection.execute(sql, binary=True).fetchall()

    def _batches(self) -> dict[str, int]:
        names = ("accepted", "dropped", "duplicates", "intake", "quarantined")
        batches = self._all("select accepted, dropped, duplicates, intake, quarantined from ingest.receipt_batch")
        sums = [sum(column) for column in zip(*batches, strict=True)] or [0] * len(names)
        return dict(zip(names, sums, strict=True))

    def _waiting(self) -> int:
        ((items,),) = self._all("select coalesce(sum(items), 0)::bigint from ingest.intake where state = 'waiting'")
        return int(items)

    def _tail(self, store: Store) -> None:
        pairs: dict[tuple[Handle, int, int, int], hpke.PrivateKey] = {}
        sql = "select handle, seq, tag, version, received_month, n, receipt, place, blob from vault.tail"
        for row in (TailRow(*found) for found in self._all(sql)):
            category = self.categories[row.handle][row.tag]
            place = (row.handle, category, row.version, row.received_month)
            if place not in pairs:
                pairs[place] = hpke.private_key(keytree.tail_seed(self.keys[row.handle], *place[1:]))
            held = tail.open_row(self.node.site, row, category, pairs[place])
            kept = store.patients[row.handle]
            kept.rows.append(held.rows)
            kept.documents += held.documents
            kept.in_tail += held.items

    def _blocks(self, store: Store) -> None:
        shelves: dict[Shelf, list[Block]] = {}
        sql = "select handle, tag, version, bucket, seq, n, blob from vault.block"
        for handle, tag, version, bucket, seq, n, blob in self._all(sql):
            shelf = Shelf(self.node.site, handle, self.categories[handle][tag], tag, version, bucket)
            shelves.setdefault(shelf, []).append(Block(seq, n, blob))
        sql = "select handle, tag, version, bucket, blocks, n, commitments from vault.manifest"
        named = {tuple(row[:4]): row[4:] for row in self._all(sql)}
        for shelf, stored in shelves.items():
            items = sum(self._open(store.patients[shelf.handle], shelf, block) for block in stored)
            made = shelf.manifest(stored, items)
            place = (shelf.handle, shelf.tag, shelf.version, shelf.bucket)
            if named.pop(place, None) != (made.blocks, made.n, made.commitments):
                store.wrong.append("a bucket's blocks are not those its manifest names")
        if named:
            store.wrong.append(f"{len(named)} buckets have a manifest and no block")

    def _open(self, kept: Kept, shelf: Shelf, block: Block) -> int:
        node = keytree.Node(shelf.month // 100, shelf.month % 100, False)
        key = keytree.node_key(self.keys[shelf.handle], shelf.category, shelf.version, node)
        if block.seq >= blocks.DOCUMENT_SEQ:
            found = blocks.open_documents(shelf, key, block)
            if shelf.category == Category.COHORT_INDEX:
                kept.index += found
                return len(found)
            kept.documents += found
        else:
            rows = blocks.open_rows(shelf, key, block)
            kept.rows.append(rows)
            found = list(range(len(rows)))  # type: ignore[arg-type]  # only its length counts
        assert padded(len(found)) == block.n
        kept.in_blocks += len(found)
        return len(found)


def check(directory: Path) -> Report:
    """Looks at everything; `wrong` is empty where every promise holds."""
    report = Report()
    store = open_store(directory)
    report.wrong += store.wrong
    _counts(store, report)
    _twice(store, report)
    node = Node.open(directory)
    with node.postgres(SystemChance()).connect(OWNER) as connection:
        _receipts(connection, store, report)
        _leases(connection, directory, report)
    return report


def holds(directory: Path) -> None:
    """Raises AssertionError with every broken promise."""
    report = check(directory)
    assert not report.wrong, "\n".join(report.wrong)


def _counts(store: Store, report: Report) -> None:
    in_tail = sum(kept.in_tail for kept in store.patients.values())
    in_blocks = sum(kept.in_blocks for kept in store.patients.values())
    accepted, dropped = store.batches["accepted"], store.batches["dropped"]
    report.say(
        in_tail + in_blocks == accepted,
        f"{in_blocks} items in blocks + {in_tail} in the tail = {accepted} accepted ({dropped} more were refused)",
    )


def _twice(store: Store, report: Report) -> None:
    doubled = resolved = rows = 0
    for kept in store.patients.values():
        every = [one for one in kept.every().measurements() if one.code != SUPERSEDED]
        rows += len(every)
        doubled += _repeats((one.lineage, one.code, one.effective_ms, one.received_ms) for one in every)
        resolved += _repeats((one.lineage, one.code, one.effective_ms) for one in kept.current())
        texts = [one for one in kept.documents if one.resource != documents_codec.SUPERSEDED]
        doubled += _repeats((one.lineage, one.received_ms, one.body) for one in texts)
    report.say(not doubled, f"none of {rows} stored values is there twice" if not doubled else f"{doubled} items twice")
    report.say(not resolved, "each value has one present version" if not resolved else f"{resolved} present twice")


def _repeats(keys: Iterable[object]) -> int:
    return sum(count - 1 for count in Counter(keys).values())


def _receipts(connection: psycopg.Connection, store: Store, report: Report) -> None:
    found = connection.execute("select lineage from ingest.receipt where tag is not null", binary=True).fetchall()
    receipts = {lineage.bytes for (lineage,) in found}
    stored = {
        one.lineage
        for kept in store.patients.values()
        for one in kept.documents
        if one.resource != documents_codec.SUPERSEDED
    }
    report.say(not receipts - stored, f"{len(receipts - stored)} of {len(receipts)} receipts are without data")
    report.say(not stored - receipts, f"{len(stored - receipts)} of {len(stored)} stored records are without a receipt")


def _leases(connection: psycopg.Connection, directory: Path, report: Report) -> None:
    sql = "select l.role, l.leaf, e.kind from vault.lease l left join ledger.entry e on e.idx = l.leaf"
    leases = connection.execute(sql).fetchall()
    wrong = [role for role, _, kind in leases if kind is None or Kind(kind) not in LEAF_OF_ROLE.get(role, set())]
    report.say(not wrong, f"{len(leases) - len(wrong)} of {len(leases)} leases have their ledger entry")
    ledger = directory / "ledger"
    verified = verify(ledger, Verifier.decode((directory / "pki" / "ledger.vkey").read_text().strip()))
    sentences = "; ".join(finding.sentence for finding in verified.findings)
    report.say(
        verified.ok, f"the ledger's {verified.entries_checked} entries verify offline{sentences and ': '}{sentences}"
    )
    last = max((leaf for _, leaf, _ in leases), default=-1)
    report.say(last < verified.entries_checked, "every entry that a lease names is in the ledger's files")


def handle_of(directory: Path, system: str, value: str) -> UUID | None:
    """The handle behind a medical record number, by the node's blind index."""
    from twinward.vault.identifiers import blind

    node = Node.open(directory)
    key = (directory / "secrets" / "idx.key").read_bytes()
    with node.postgres(SystemChance()).connect(OWNER) as connection:
        idx = UUID(bytes=blind(key, (system, value)))
        row = connection.execute("select handle from vault.blind_index where idx = %s", (idx,)).fetchone()
    return row[0] if row else None


def twin_state(directory: Path, handle: Handle) -> bytes | None:
    """The plain bytes of the snapshot that the twin's place names; None before the first."""
    node = Node.open(directory)
    secrets = directory / "secrets"
    with node.postgres(SystemChance()).connect(OWNER) as connection:
        row = connection.execute(
            """select k.epoch, k.wrapped, s.month, s.version, s.seq, s.state_ms, s.blob
               from twin.position p join twin.snapshot s using (handle, seq) join vault.patient_key k using (handle)
               where handle = %s order by s.state_ms desc limit 1""",
            (handle,), binary=True,
        ).fetchone()  # fmt: skip
    if row is None:
        return None
    epoch, wrapped, month, version, seq, state_ms, blob = row
    dek = FileProvider(secrets / "kek", node.site).unwrap(handle.bytes, epoch, wrapped)
    place = keytree.Node(month // 100, month % 100, False)
    key = keytree.node_key(dek, Category.MODEL_STATE, version, place)
    node_key = NodeKey(Category.MODEL_STATE, version, month // 100, month % 100, False, key)
    lease = Lease(
        lease_id=bytes(16), handle=handle, until_ms=0, purpose="", tags={}, nodes=(node_key,), tails=(),
        manifest_root=b"", manifest_previous=b"", leaf=0, version=version, issued_ms=0,
    )  # fmt: skip
    return snapshots.open_sealed(lease, node.site, snapshots.Place(handle, month, version, seq, state_ms), blob)


def main() -> int:
    report = check(Path(sys.argv[1]))
    for line in report.lines:
        sys.stdout.write(f"holds: {line}\n")
    for line in report.wrong:
        sys.stdout.write(f"BROKEN: {line}\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
