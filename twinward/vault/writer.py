"""Everything of one acknowledgement in one transaction.

Order inside it, and why:
1. lock the patients' states, in the order of their handles: two ingest processes
   serialise per patient and cannot wait for each other in a circle;
2. check the public keys against the version just read under the lock;
3. seal: `seq` is part of what a row is bound to, so it comes after the lock;
4. insert rows, receipts and the signed batch, move the states on, leave a note for
   the twin, keep the answer;
5. commit. Only now may anybody be told that the data were accepted. A rollback
   leaves no gap in `seq`.

COPY does not work with row-level security, so rows go in by `insert ... select
unnest(...)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg.rows import TupleRow

from twinward.clock import Chance, Clock, month_of, utc
from twinward.errors import BadInput, Tampered, Unavailable
from twinward.record import Category, Document, Handle, Measurement
from twinward.vault import batches, buckets, contents, corrections, hpke, tail
from twinward.vault.acceptance import (
    Batch,
    ConsentItem,
    Instance,
    IntakeItem,
    IntakeKeys,
    Receipt,
    SealedPart,
    Written,
    consent_info,
    intake_info,
)
from twinward.vault.associated import padded
from twinward.vault.batches import TailRow
from twinward.vault.keybook import KeyBook, MissingKeys, Wanted
from twinward.vault.rows import MOST_RECORDS
from twinward.vault.tags import by_tag, tag

__all__ = [
    "Batch", "ConsentItem", "Instance", "IntakeItem", "IntakeKeys", "MissingKeys", "Receipt", "SealedPart",
    "TailWriter", "Written", "consent_info", "intake_info",
]  # fmt: skip

Connection = psycopg.Connection[TupleRow]


@dataclass(slots=True)
class _State:
    next_seq: int
    chain: bytes
    version: int
    refused_tags: frozenset[bytes]
    erased: bool


class TailWriter:
    """Of one connection and one thread."""

    def __init__(
        self,
        connection: Connection,
        *,
        site: str,
        instance: Instance,
        tag_key: bytes,
        authority: Ed25519PublicKey,
        intake: IntakeKeys,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._connection = connection
        self._site = site
        self._instance = instance
        self._tag_key = tag_key
        self._intake = intake
        self._clock = clock
        self._chance = chance
        self._book = KeyBook(site, tag_key, authority)

    def write(self, batch: Batch) -> Written:
        """Writes and, unless a transaction is open already, commits.

        Raises:
            MissingKeys: a patient has no valid public keys; nothing was written.
            Tampered: stored public keys are not the authority's.
            Unavailable: the database does not take it; nothing was written.
            psycopg.errors.UniqueViolation, DeadlockDetected, SerializationFailure: somebody else
                wrote the same receipts at this moment; look them up again and retry.
        """
        try:
            with self._connection.transaction():
                return self._write(batch)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            raise
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as error:
            refusal = "the database has no space left: nothing was taken, free space first"
            raise Unavailable(refusal, detail=type(error).__name__) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            refusal = "the database does not answer: nothing was taken, send this again"
            raise Unavailable(refusal, detail=type(error).__name__) from None

    def _write(self, batch: Batch) -> Written:
        now_ms = self._clock.now_ms()
        receipts, parts = self._placed(batch)
        states = self._locked({part.handle for part in parts})
        parts, refused, dropped = self._admissible(parts, states)
        row = self._connection.execute("select nextval('ingest.receipt_batch_id')").fetchone()
        assert row is not None  # noqa: S101  nextval gives a row
        rows = self._sealed(parts, states, int(row[0]), now_ms)
        accepted = sum(part.items for part in parts)
        handles = frozenset(handle for handle, _ in refused)
        written = Written(int(row[0]), len(rows), accepted, batch.dropped + dropped, handles)
        self._insert_rows(rows)
        self._insert_receipts([one for one in receipts if _place(one) not in refused])
        self._insert_batch(batch, written, b"".join(one.hash() for one in rows), now_ms)
        self._move_on(states, {one.handle for one in rows})
        self._insert_waiting(batch, now_ms)
        self._keep_answer(batch, written, now_ms)
        return written

    # Corrections ---------------------------------------------------------------

    def _placed(self, batch: Batch) -> tuple[list[Receipt], list[SealedPart]]:
        """Receipts with the bucket their data lie in, and the parts with markers for what moved."""
        first: dict[bytes, tuple[int, Measurement | Document]] = {}
        for part in batch.parts:
            for measurement in part.measurements:
                first.setdefault(measurement.lineage, (part.category, measurement))
            for document in part.documents:
                first.setdefault(document.lineage, (part.category, document))
        receipts = []
        for receipt in batch.receipts:
            found = first.get(receipt.lineage)
            bucket = receipt.bucket
            if found is not None and receipt.category == found[0]:
                bucket = buckets.bucket_of(found[0], found[1].effective_ms, found[1].precision)
            receipts.append(
                Receipt(receipt.key, receipt.lineage, receipt.body_hash, receipt.handle, receipt.category, bucket)
            )
        received = {lineage: one.received_ms for lineage, (_, one) in first.items()}
        return receipts, [*batch.parts, *self._markers(receipts, received)]

    def _markers(self, receipts: Sequence[Receipt], received: Mapping[bytes, int]) -> list[SealedPart]:
        """A part with a marker for every place where an older version of something lies elsewhere."""
        of = {one.lineage: one for one in receipts if one.handle is not None and one.lineage in received}
        if not of:
            return []
        rows = self._connection.execute(
            "select distinct lineage, tag, bucket from ingest.receipt where lineage = any(%b) and tag is not null",
            ([UUID(bytes=lineage) for lineage in of],),
            binary=True,
        ).fetchall()
        markers = []
        for lineage, old_tag, old_bucket in rows:
            receipt = of[lineage.bytes]
            assert receipt.handle is not None  # noqa: S101  chosen above
            category = by_tag(self._tag_key, receipt.handle, Category).get(old_tag)
            if category is None:
                raise Tampered("a receipt names a category that this site does not know")
            if (category, old_bucket) != (receipt.category, receipt.bucket):
                place = (lineage.bytes, old_bucket, received[lineage.bytes])
                row, document = corrections.row_marker(*place), corrections.document_marker(*place)
                markers.append(SealedPart(receipt.handle, category, [row], [document]))
        return markers

    # Patients ------------------------------------------------------------------

    def _locked(self, handles: set[Handle]) -> dict[Handle, _State]:
        if not handles:
            return {}
        rows = self._connection.execute(
            """select handle, next_seq, chain, version, refused_tags, erased from vault.patient_state
               where handle = any(%b) order by handle for update""",
            (list(handles),),
            binary=True,
        ).fetchall()
        return {
            handle: _State(seq, chain, version, frozenset(tags), off) for handle, seq, chain, version, tags, off in rows
        }

    def _admissible(
        self, parts: Sequence[SealedPart], states: Mapping[Handle, _State]
    ) -> tuple[list[SealedPart], set[tuple[Handle, int]], int]:
        """Parts that may be kept, (patient, category) of those that may not, and how many items those are."""
        kept, dropped = [], 0
        refused: set[tuple[Handle, int]] = set()
        for part in parts:
            state = states.get(part.handle)
            if not part.items:
                continue
            if state is not None and (state.erased or self._refuses(state, part)):
                refused.add((part.handle, part.category))
                dropped += part.items
            else:
                kept.append(part)
        return kept, refused, dropped

    def _refuses(self, state: _State, part: SealedPart) -> bool:
        return bool(state.refused_tags) and tag(self._tag_key, part.handle, part.category) in state.refused_tags

    def _sealed(
        self, parts: Sequence[SealedPart], states: Mapping[Handle, _State], receipt: int, now_ms: int
    ) -> list[TailRow]:
        """The tail rows in order of place; `states` move on as rows are sealed."""
        month = month_of(now_ms)
        categories: dict[Handle, set[int]] = {}
        for part in parts:
            categories.setdefault(part.handle, set()).add(int(part.category))
        strangers = {handle: frozenset(found) for handle, found in categories.items() if handle not in states}
        if strangers:
            raise MissingKeys(strangers)
        wanted = [Wanted(handle, states[handle].version, frozenset(found)) for handle, found in categories.items()]
        keys = self._book.keys(self._connection, wanted, month, now_ms)
        rows: list[TailRow] = []
        for part in [piece for whole in parts for piece in _pieces(whole)]:
            state = states[part.handle]
            key = keys[part.handle, int(part.category)]
            row = self._seal(part, state, key, month, receipt, len(rows))
            state.chain = batches.next_chain(state.chain, row.seq, row.hash())
            state.next_seq += 1
            rows.append(row)
        return rows

    def _seal(
        self, part: SealedPart, state: _State, key: hpke.PublicKey, month: int, receipt: int, place: int
    ) -> TailRow:
        n = padded(part.items)
        own = tag(self._tag_key, part.handle, part.category)
        row = TailRow(part.handle, state.next_seq, own, state.version, month, n, receipt, place, b"")
        info = hpke.INFO_TAIL + tail.associated(self._site, row, int(part.category))
        return replace(row, blob=hpke.seal(key, contents.encode(part.measurements, part.documents), info))

    # Rows ----------------------------------------------------------------------

    def _insert_rows(self, rows: Sequence[TailRow]) -> None:
        if not rows:
            return
        self._connection.execute(
            """insert into vault.tail (handle, seq, tag, version, received_month, n, receipt, place, blob)
               select u.handle, u.seq, u.tag, u.version, %b, u.n, %b, u.place, u.blob
               from unnest(%b::uuid[], %b::bigint[], %b::bytea[], %b::int[], %b::int[], %b::int[], %b::bytea[])
                 as u (handle, seq, tag, version, n, place, blob)""",
            (
                rows[0].received_month,
                rows[0].receipt,
                [row.handle for row in rows],
                [row.seq for row in rows],
                [row.tag for row in rows],
                [row.version for row in rows],
                [row.n for row in rows],
                [row.place for row in rows],
                [row.blob for row in rows],
            ),
        )

    def _insert_receipts(self, receipts: Sequence[Receipt]) -> None:
        if not receipts:
            return
        ordered = sorted(receipts, key=lambda one: one.key)  # one order for all: no circle of waiting
        tags = [
            None if one.handle is None or one.category is None else tag(self._tag_key, one.handle, one.category)
            for one in ordered
        ]
        self._connection.execute(
            """insert into ingest.receipt (key, lineage, body_hash, tag, bucket)
               select * from unnest(%b::uuid[], %b::uuid[], %b::uuid[], %b::bytea[], %b::int[])""",
            (
                [UUID(bytes=one.key) for one in ordered],
                [UUID(bytes=one.lineage) for one in ordered],
                [UUID(bytes=one.body_hash) for one in ordered],
                tags,
                [None if own is None else one.bucket for own, one in zip(tags, ordered, strict=True)],
            ),
        )

    def _insert_batch(self, batch: Batch, written: Written, hashes: bytes, now_ms: int) -> None:
        kinds = {"intake": 0, "quarantine": 0}
        for item in batch.intake:
            if item.kind not in kinds:
                raise BadInput('what waits is of kind "intake" or "quarantine"')
            kinds[item.kind] += item.items
        signed = batches.Batch(
            site=self._site,
            id=written.receipt,
            feed=batch.feed,
            instance=self._instance.id,
            at_ms=now_ms,
            accepted=written.accepted,
            dropped=written.dropped,
            duplicates=batch.duplicates,
            intake=kinds["intake"],
            quarantined=kinds["quarantine"],
            rows=hashes,
        )
        root = signed.root()
        self._connection.execute(
            """insert into ingest.receipt_batch (id, feed, instance, at, accepted, dropped, duplicates, intake,
                 quarantined, rows, root, signature) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %b, %b, %b)""",
            (
                signed.id, signed.feed, signed.instance, utc(now_ms), signed.accepted, signed.dropped,
                signed.duplicates, signed.intake, signed.quarantined, hashes, root,
                batches.sign(self._instance.key, root),
            ),
        )  # fmt: skip

    def _move_on(self, states: Mapping[Handle, _State], touched: set[Handle]) -> None:
        if not touched:
            return
        handles = sorted(touched)
        self._connection.execute(
            """update vault.patient_state s set next_seq = u.next_seq, chain = u.chain
               from unnest(%b::uuid[], %b::bigint[], %b::bytea[]) as u (handle, next_seq, chain)
               where s.handle = u.handle""",
            (handles, [states[handle].next_seq for handle in handles], [states[handle].chain for handle in handles]),
        )
        self._connection.execute(
            """insert into twin.pending (handle, seq) select * from unnest(%b::uuid[], %b::bigint[])
               on conflict (handle) do update set seq = greatest(twin.pending.seq, excluded.seq)""",
            (handles, [states[handle].next_seq - 1 for handle in handles]),
        )
        self._connection.execute("select pg_notify('twin_pending', '')")

    def _insert_waiting(self, batch: Batch, now_ms: int) -> None:
        at = utc(now_ms)
        info = intake_info(self._site, self._intake.key_id)
        for item in batch.intake:
            blob = hpke.seal(self._intake.intake, item.plaintext, info)
            self._connection.execute(
                """insert into ingest.intake (feed_index, feed, received, reason, kind, key_id, items, blob)
                   values (%s, %s, %s, %s, %s, %s, %s, %b)""",
                (
                    _uuid(item.feed_index), batch.feed, at, item.reason, item.kind, self._intake.key_id, item.items,
                    blob,
                ),
            )  # fmt: skip
        for consent in batch.consents:
            blob = hpke.seal(self._intake.consent, consent.plaintext, consent_info(self._site))
            self._connection.execute(
                """insert into vault.intake_consent (handle, feed_index, feed, kind, received, blob)
                   values (%s, %s, %s, %s, %s, %b)""",
                (consent.handle, _uuid(consent.feed_index), batch.feed, consent.kind, at, blob),
            )

    def _keep_answer(self, batch: Batch, written: Written, now_ms: int) -> None:
        if batch.answer_key is None:
            return
        answer = batch.answer if isinstance(batch.answer, bytes) else batch.answer(written)
        self._connection.execute(
            "insert into ingest.answer (key, body_hash, answer, at) values (%s, %b, %b, %s)",
            (UUID(bytes=batch.answer_key), batch.answer_hash, answer, utc(now_ms)),
        )


def _pieces(part: SealedPart) -> list[SealedPart]:
    """The part, or several where it holds more rows than one record can."""
    if len(part.measurements) <= MOST_RECORDS:
        return [part]
    return [
        SealedPart(
            part.handle, part.category, part.measurements[at : at + MOST_RECORDS], part.documents if at == 0 else ()
        )
        for at in range(0, len(part.measurements), MOST_RECORDS)
    ]


def _uuid(index: bytes | None) -> UUID | None:
    return None if index is None else UUID(bytes=index)


def _place(receipt: Receipt) -> tuple[Handle | None, int | None]:
    return receipt.handle, receipt.category
