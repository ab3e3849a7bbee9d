"""What is sealed to the intake key: entries whole, with what only their message could tell.

MessagePack, version first. The patient's names are kept because `urn:uuid:`
references mean nothing once the bundle is gone; nothing else that was derived is
kept, so a mended table or rule applies when the filer reads the bytes again.
"""

from __future__ import annotations

import msgspec

from services.ingest.entry import NamePair, Who
from services.ingest.mapping import Column, Mapping
from twinward.errors import Malformed

VERSION = 1


class KeptEntry(msgspec.Struct, frozen=True):
    """One entry, byte for byte. For a series: header and rows of one group."""

    index: int
    full_url: str  # of a series: the code of the group's column
    body: bytes
    said: bytes = b""


class KeptMapping(msgspec.Struct, frozen=True):
    time_column: str
    columns: tuple[tuple[str, str, str, str], ...]
    time_format: str
    time_zone: str
    patient_column: str
    patient_system: str
    device: str

    @classmethod
    def of(cls, mapping: Mapping) -> KeptMapping:
        return cls(
            mapping.time_column,
            tuple((column.column, column.kind, column.unit, column.duration_column) for column in mapping.columns),
            mapping.time_format,
            mapping.time_zone,
            mapping.patient_column,
            mapping.patient_system,
            mapping.device,
        )

    def mapping(self) -> Mapping:
        return Mapping(
            self.time_column,
            tuple(Column(*column) for column in self.columns),
            self.time_format,
            self.time_zone,
            self.patient_column,
            self.patient_system,
            self.device,
        )


class Kept(msgspec.Struct, frozen=True):
    """One intake item: entries of one message and one patient (or one bad entry)."""

    version: int
    feed: str
    received_ms: int
    names: tuple[NamePair, ...]  # empty: no patient could be read
    stated: bool
    entries: tuple[KeptEntry, ...]
    mapping: KeptMapping | None = None  # of a series

    @property
    def who(self) -> Who | None:
        return Who(self.names, self.stated) if self.names else None


_DECODER = msgspec.msgpack.Decoder(Kept)
_ENCODER = msgspec.msgpack.Encoder()


def encode(kept: Kept) -> bytes:
    return _ENCODER.encode(kept)


def decode(data: bytes) -> Kept:
    """Raises Malformed on what `encode` did not make, and on a version from the future."""
    try:
        kept = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("a kept item cannot be read") from None
    if kept.version != VERSION:
        raise Malformed("a kept item was written by a newer version: update this program")
    return kept
