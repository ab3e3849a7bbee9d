"""Settings of the program `auth`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinward.settings import ProgramSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings(ProgramSettings):
    """Secrets are files below `secrets_dir`; see docs/keys.md for each."""

    enrol_listen: str  # host:port where no client certificate is asked for
    secrets_dir: Path  # kek/, *.key, *.seed
    pki_dir: Path  # certificates, their ends are in the status; enrolment.pem
    ledger_dir: Path  # bundles, tiles, checkpoint, guard
    group_commit_most: int = 256  # leaves in one group commit
    workers: int = 24  # decisions side by side
    connections: int = 12  # to PostgreSQL, beside the sequencer's
    publish_s: float = 60.0  # between published checkpoints
    fold_s: float = 1.0  # between two looks at ingest's receipts
    # Compaction of patients with sensitive tail, unasked: from this hour of the day until that one, UTC (night.py).
    sensitive_from_utc_h: int = 1
    sensitive_until_utc_h: int = 4
