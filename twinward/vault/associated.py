"""What a ciphertext is bound to: where it lies and what it is.

Recomputed by whoever opens and never stored, so a row that was moved to another
patient, category, bucket or place does not open. No field has a default: a
forgotten one must not compile into a weaker binding.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinward.errors import BadInput
from twinward.record import Handle

FORMAT = 1

SCHEMA_TAIL = "tail/1"
SCHEMA_ROWS = "rows/1"
SCHEMA_DOCUMENTS = "documents/1"
SCHEMA_SNAPSHOT = "snapshot/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociatedData:
    site: str
    handle: Handle
    category: int
    version: int  # of the patient's keys
    month: int  # year * 100 + month of the key; 0: pseudo-period
    bucket: int  # of blocks and snapshots; 0 for tail rows
    seq: int
    padded: int  # count in clear, a power of two
    schema: str

    def encode(self) -> bytes:
        """u16 length || bytes for each of: format, site, handle, category, version, month, bucket,
        seq, padded count, schema; numbers big-endian.

        Raises:
            BadInput: a number out of its range or a text over 65,535 bytes.
        """
        try:
            parts = (
                FORMAT.to_bytes(1, "big"),
                self.site.encode(),
                self.handle.bytes,
                self.category.to_bytes(2, "big"),
                self.version.to_bytes(4, "big"),
                self.month.to_bytes(4, "big"),
                self.bucket.to_bytes(4, "big"),
                self.seq.to_bytes(8, "big"),
                self.padded.to_bytes(4, "big"),
                self.schema.encode("ascii"),
            )
            return b"".join([len(part).to_bytes(2, "big") + part for part in parts])
        except (OverflowError, UnicodeEncodeError):
            raise BadInput("a number or name is out of range for sealing") from None


def padded(n: int) -> int:
    """The least power of two that is not below `n`: the count that stands in clear.

    Raises:
        BadInput: nothing to count, or more than 2^30.
    """
    if not 0 < n <= 1 << 30:
        raise BadInput("a sealed row holds at least one item and at most 2^30")
    return 1 << (n - 1).bit_length()
