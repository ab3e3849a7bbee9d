"""Settings of the programs `ingest` and `ingest-filer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from twinward.errors import BadInput
from twinward.settings import ProgramSettings

KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings(ProgramSettings):
    """Secrets are files; both programs have the same keys and their own instance."""

    tag_key_file: Path  # 32 bytes: clear tags of categories
    feed_index_key_file: Path  # 32 bytes: blind index, receipts, lineages
    instance_key_file: Path  # 32 bytes: Ed25519, signs every commit
    instance_id: str  # row of vault.instance
    authority_public_file: Path  # 32 bytes: who signs patients' public keys
    admit_public_file: Path  # 1,216 bytes: identifiers are sealed to it
    intake_public_file: Path  # 1,216 bytes: what cannot be resolved is sealed to it
    intake_key_id: int
    in_flight_bytes: int = 96 * 1024 * 1024  # beyond it senders are told to wait
    door_workers: int = 32  # messages read at the same time
    poll_s: float = 1.0  # filer: how often it looks for work

    @property
    def instance(self) -> UUID:
        try:
            return UUID(self.instance_id)
        except ValueError:
            raise BadInput("setting 'instance_id' must be a UUID") from None


def key(path: Path, size: int = KEY_BYTES) -> bytes:
    """Raw key bytes of a file; raises BadInput on another length or an unreadable file."""
    try:
        found = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read key file {path.name}", detail=str(error)) from None
    if len(found) != size:
        raise BadInput(f"key file {path.name} must have {size} bytes")
    return found
