"""Reading a twin's inputs under its upkeep lease, and sealing and opening its snapshots."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.twin.living import View
from services.twin.model_inputs import inputs_of
from services.twin.refit_store import joined
from services.twin.retention import Kept
from services.twin.store import Pool, SealedSnapshot, connected
from twinward.clock import Chance, Clock, month_of
from twinward.errors import Denied, Unavailable, Unready
from twinward.record import TWIN_INPUTS, Category, Handle
from twinward.vault import corrections, snapshots
from twinward.vault.batches import TailRow
from twinward.vault.growth import Asked, Grown, Verified, grown
from twinward.vault.lease import Lease
from twinward.vault.reader import Connection, Reader
from twinward.vault.tail import TailOpener, TailProof

_BLOCKS = """
select bucket / 100, sha256(string_agg(tag || int4send(version) || int4send(bucket) || commitments, ''::bytea
  order by tag, version, bucket)) from vault.manifest where handle = %s and tag = any(%s) group by 1"""
_INDEX = "select seq from vault.tail_index(%s::uuid[]) where seq > %s"
_STATE = "select next_seq from vault.patient_state where handle = %s"
_NEW = """
select handle, seq, tag, version, received_month, n, receipt, place, blob from vault.tail
where handle = %s and tag = any(%s) and seq > %s"""


def authority_key(file: Path) -> Ed25519PublicKey:
    """The vault authority's public key, 32 raw bytes. Raises Unready where it cannot be read."""
    try:
        return Ed25519PublicKey.from_public_bytes(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Unready(
            "the authority's public key cannot be read: check authority_public_file", detail=str(error)
        ) from None


class StoredInputs:
    """The model's inputs, through row-level security. Thread-safe."""

    def __init__(self, pool: Pool, site: str, authority: Ed25519PublicKey, clock: Clock) -> None:
        self._pool, self.site, self._authority, self._clock = pool, site, authority, clock
        self._proof = TailProof(site, authority)  # of `grown`
        self._turn = threading.Lock()
        # A reader remembers whose signatures it has checked; it belongs to its connection.
        self._readers: WeakKeyDictionary[Connection, Reader] = WeakKeyDictionary()

    def view(self, lease: Lease, first_month: int) -> View:
        """Rows of `first_month` (year * 100 + month) and later.

        Raises:
            LeaseEnded, Incomplete, Tampered; Unavailable also where rows wait for compaction.
        """
        with self._reader() as reader:
            found = reader.read(lease, categories=TWIN_INPUTS, first_month=first_month, history=True)
            if found.waiting:  # rows whose keys this lease lacks: nobody else may ask for them before the night
                reader.ask_for(lease.handle)
        if found.waiting:
            raise Unavailable("rows of this patient wait for compaction; try again in a moment")
        inputs, weights = inputs_of(corrections.current(found.rows))
        with self._connection() as connection:
            inputs = joined(connection, self.site, lease, inputs)
        seq = found.next_seq - 1
        return View(
            inputs,
            weights,
            seq,
            found.served,
            first_month,
            self._blocks(lease),
            Verified(seq, found.chain, lease.lease_id) if found.chain else None,
            found.rows.lineage.tobytes(),
        )

    def grown(self, asked: Asked) -> dict[Handle, Grown]:
        """New rows of those patients that have plain growth; the others need a `view`.

        Raises:
            Unavailable.
        """
        with self._turn, self._connection() as connection:
            return grown(connection, self._proof, self._clock, asked, TWIN_INPUTS)

    def first_new_month(self, lease: Lease, after_seq: int) -> int:
        """The earliest month that rows accepted after `after_seq` speak of; 0 where some of
        them are filed into blocks already, so that it cannot be told.

        Only chooses how much is read; what is read is proved by the reader.
        """
        tags = _tags(lease)
        with self._connection() as connection:
            state = connection.execute(_STATE, (lease.handle,)).fetchone()
            there = {seq for (seq,) in connection.execute(_INDEX, ([lease.handle], after_seq)).fetchall()}
            found = connection.execute(_NEW, (lease.handle, tags, after_seq), binary=True).fetchall()
        if state is None or there != set(range(after_seq + 1, int(state[0]))):
            return 0
        opener = TailOpener(self.site, lease)
        try:
            opened = [opener.open(TailRow(*row))[1].rows for row in found]
        except Denied:
            return 0
        times = [int(one.effective_ms.min()) for one in opened if len(one)]
        return month_of(min(times, default=self._clock.now_ms()))

    def _blocks(self, lease: Lease) -> dict[int, bytes]:
        with self._connection() as connection:
            found = connection.execute(_BLOCKS, (lease.handle, _tags(lease))).fetchall()
        return {int(month): bytes(digest)[:16] for month, digest in found}

    def _connection(self) -> AbstractContextManager[Connection]:
        return connected(self._pool)

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        with self._connection() as connection:
            found = self._readers.get(connection)
            if found is None:
                found = Reader(connection, site=self.site, authority=self._authority, clock=self._clock)
                self._readers[connection] = found
            yield found


class SnapshotSeals:
    """Of one site. Stateless: keys come with the lease."""

    def __init__(self, site: str, chance: Chance) -> None:
        self._site, self._chance = site, chance

    def seal(self, lease: Lease, kept: Kept, month: int, plain: bytes) -> SealedSnapshot:
        """`plain` under the model-state key of `month`."""
        place = snapshots.Place(lease.handle, month, lease.version, kept.seq, kept.state_ms)
        blob = snapshots.seal(lease, self._site, place, plain, self._chance)
        tag = lease.tags[Category.MODEL_STATE]
        return SealedSnapshot(lease.handle, tag, month, lease.version, kept.seq, kept.state_ms, kept.kind, blob)

    def open(self, lease: Lease, sealed: SealedSnapshot) -> bytes | None:
        """None where the lease has no key for it. Raises Tampered, Malformed."""
        place = snapshots.Place(sealed.handle, sealed.month, sealed.version, sealed.seq, sealed.state_ms)
        try:
            return snapshots.open_sealed(lease, self._site, place, sealed.blob)
        except Denied:
            return None


def _tags(lease: Lease) -> list[bytes]:
    return [tag for category, tag in lease.tags.items() if category in TWIN_INPUTS]
