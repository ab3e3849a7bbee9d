"""What one tail row holds: measurements and documents of one patient, category and batch."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from twinward.record import Document, Measurement
from twinward.vault import documents as documents_codec
from twinward.vault import packing, rows
from twinward.vault.packing import Scan
from twinward.vault.rows import Rows

_LENGTH = struct.Struct("<I")
_WORTH_PACKING = 256  # bytes; below, compression costs more time than it saves room


@dataclass(frozen=True, slots=True)
class Contents:
    rows: Rows
    documents: list[Document]

    @property
    def items(self) -> int:
        """True count: one measurement or one document is one item."""
        return len(self.rows) + len(self.documents)


def encode(measurements: Sequence[Measurement], documents: Sequence[Document]) -> bytes:
    """Packed: u32 length of records || records/1 || documents/1. Raises BadInput or TooLarge."""
    records = rows.encode_records(measurements)
    plain = _LENGTH.pack(len(records)) + records + documents_codec.encode_plain(documents)
    return packing.pack(plain, 1 if len(plain) > _WORTH_PACKING else 0)


def decode(data: bytes | memoryview) -> Contents:
    """Undoes `encode`. Raises Malformed or TooLarge."""
    scan = Scan(packing.unpack(data))
    (length,) = scan.read(_LENGTH)
    records = rows.decode_records(scan.take(length))
    return Contents(records, documents_codec.decode_plain(scan.view[scan.at :]))
