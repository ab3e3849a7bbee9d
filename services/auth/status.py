"""Head, lags and key counts for `node status` and the auditors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from services.auth.desk import Desk
from services.auth.facts import connection_of
from services.auth.publish import Publisher
from twinward.clock import utc

_COUNTS = """
select (select count(*) from ingest.receipt_batch where folded is null),
  (select coalesce(extract(epoch from min(at)) * 1000, 0)::bigint from ingest.receipt_batch where folded is null),
  (select count(*) from vault.intake_consent where applied is null),
  (select count(*) from vault.lease where until > %s)"""


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    origin: str
    size: int
    root: bytes
    verifier_key: str
    directory: str
    published_size: int
    published_ms: int
    unfolded_receipts: int
    oldest_unfolded_ms: int
    unapplied_consents: int
    live_leases: int
    certificate_expiry: Mapping[str, str]  # name -> ISO date and time of its end


class Status:
    def __init__(self, desk: Desk, publisher: Publisher, pki: Path) -> None:
        self._desk, self._publisher, self._pki = desk, publisher, pki

    def read(self) -> LedgerStatus:
        """Raises Unavailable."""
        sequencer = self._desk.sequencer
        with connection_of(self._desk.pool) as connection:
            counts = connection.execute(_COUNTS, (utc(self._desk.clock.now_ms()),)).fetchone() or (0, 0, 0, 0)
        state, published = sequencer.state(), self._publisher.published
        return LedgerStatus(
            origin=sequencer.signer.verifier.name,
            size=state.size,
            root=state.root,
            verifier_key=sequencer.signer.verifier.encode(),
            directory=str(sequencer.directory),
            published_size=published.size,
            published_ms=published.at_ms,
            unfolded_receipts=counts[0],
            oldest_unfolded_ms=counts[1],
            unapplied_consents=counts[2],
            live_leases=counts[3],
            certificate_expiry=self._expiry(),
        )

    def _expiry(self) -> dict[str, str]:
        found = {}
        for path in sorted(self._pki.rglob("*.pem")):
            if path.name == "ca.pem":
                continue
            end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
            found[str(path.relative_to(self._pki).with_suffix(""))] = end.isoformat()
        return found
