"""Documents: entries as they came, many in one compressed record."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from twinward.errors import BadInput, Malformed
from twinward.record import Document, Precision
from twinward.vault import packing
from twinward.vault.packing import Scan

FORMAT = 1
MOST_DOCUMENTS = 1 << 20
SUPERSEDED = "superseded"  # a marker's `resource`: documents of this lineage received earlier are history

_HEAD = struct.Struct("<BI")
_DOCUMENT = struct.Struct("<qqB16sHHI")


def encode_plain(documents: Sequence[Document]) -> bytes:
    """u8 1 || u32 n || n times (i64 effective || i64 received || u8 precision || 16 lineage || u16 length of
    resource || u16 length of source || u32 length of body || resource || source || body), little-endian.

    Raises:
        BadInput: a lineage that is not 16 bytes, a name over 65,535 bytes, or too many documents.
    """
    if len(documents) > MOST_DOCUMENTS:
        raise BadInput("one record holds at most 2^20 documents")
    parts = [_HEAD.pack(FORMAT, len(documents))]
    for one in documents:
        if len(one.lineage) != 16:
            raise BadInput("a lineage has 16 bytes")
        try:
            resource, source = one.resource.encode(), one.source.encode()
            parts.append(
                _DOCUMENT.pack(
                    one.effective_ms,
                    one.received_ms,
                    one.precision,
                    one.lineage,
                    len(resource),
                    len(source),
                    len(one.body),
                )
            )
        except (struct.error, UnicodeEncodeError):
            raise BadInput("a document has a number out of range or a name over 65,535 bytes") from None
        parts += (resource, source, one.body)
    return b"".join(parts)


def decode_plain(data: bytes | memoryview) -> list[Document]:
    """Undoes `encode_plain`. Raises Malformed."""
    scan = Scan(data)
    form, n = scan.read(_HEAD)
    if form != FORMAT or n > MOST_DOCUMENTS:
        raise Malformed("documents are written in a form we do not know")
    found = [_one(scan) for _ in range(n)]
    scan.end()
    return found


def _one(scan: Scan) -> Document:
    effective, received, precision, lineage, resource, source, body = _DOCUMENT.unpack(scan.take(_DOCUMENT.size))
    try:
        return Document(
            resource=str(scan.take(resource), "utf-8"),
            effective_ms=effective,
            received_ms=received,
            lineage=lineage,
            precision=Precision(precision),
            source=str(scan.take(source), "utf-8"),
            body=bytes(scan.take(body)),
        )
    except ValueError:  # also UnicodeDecodeError
        raise Malformed("a document has a precision or a name we cannot read") from None


def encode_block(documents: Sequence[Document], level: int = 6) -> bytes:
    """`encode_plain`, packed."""
    if not documents:
        raise BadInput("a block holds at least one document")
    return packing.pack(encode_plain(documents), level)


def decode_block(data: bytes | memoryview) -> list[Document]:
    """Undoes `encode_block`. Raises Malformed or TooLarge."""
    return decode_plain(packing.unpack(data))
