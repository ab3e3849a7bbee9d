"""Whether a receipt batch was signed by a sealing program that the authority vouches for."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.auth.facts import Connection
from services.auth.fold import COUNTS, ReceiptBatch
from twinward.errors import Tampered
from twinward.vault import batches
from twinward.vault.publickeys import verify_instance


class Instances:
    """The rows of vault.instance, each checked; read again when an unknown one signs."""

    def __init__(self, connect: Callable[[], Connection], site: str, authority: Ed25519PublicKey) -> None:
        self._connect, self._site, self._authority = connect, site, authority
        self._known: dict[UUID, Ed25519PublicKey] = {}

    def genuine(self, batch: ReceiptBatch) -> bool:
        """Raises psycopg.Error where the instances cannot be read."""
        if batch.instance not in self._known:
            self._known = self._read()
        counts = dict(zip(COUNTS, batch.counts, strict=True))
        signed = batches.Batch(
            site=self._site,
            id=batch.id,
            feed=batch.feed,
            instance=batch.instance,
            at_ms=batch.at_ms,
            rows=batch.rows,
            **counts,
        )
        try:
            batches.verify(signed, batch.root, batch.signature, self._known)
        except Tampered:
            return False
        return True

    def _read(self) -> dict[UUID, Ed25519PublicKey]:
        with self._connect() as connection:
            rows = connection.execute("select id, program, public_key, signature from vault.instance").fetchall()
        found = {}
        for identity, program, public, signature in rows:
            try:
                found[identity] = verify_instance(
                    self._authority, self._site, identity, program, bytes(public), bytes(signature)
                )
            except Tampered:
                continue  # a row that somebody put in: what it signs is not genuine
        return found
