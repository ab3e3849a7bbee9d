"""Checkpoints (C2SP tlog-checkpoint v1.0.0): what a log says of itself, signed.

    <origin>\\n<size, decimal>\\n<base64 of the root>\\n

No leading zeros, no extension lines. The log's key is named like its origin.
The same text, signed with the same key, stands at the end of each commit in the
bundle files, in the head guard and in the published `checkpoint`: one kind of
statement, so no signature can be taken for another.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from twinward.errors import Malformed, Tampered
from twinward.ledger import note as notes
from twinward.ledger.note import Note, Signer, Verifier, strict_base64
from twinward.ledger.tree import HASH_BYTES, MOST


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes  # 32 bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse(text: str) -> Checkpoint:
    """Raises Malformed where `text` is no checkpoint."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise Malformed("a checkpoint has three lines: origin, size, root")
    size = lines[1]
    if not size.isascii() or not size.isdigit() or len(size) > 19 or size != str(int(size)) or int(size) > MOST:
        raise Malformed("a checkpoint's size is a decimal number without leading zeros")
    root = strict_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise Malformed("a checkpoint's root has 32 bytes")
    return Checkpoint(lines[0], int(size), root)


def sign(checkpoint: Checkpoint, signer: Signer) -> Note:
    return signer.sign(checkpoint.text())


def open_note(data: bytes | str, verifier: Verifier) -> Checkpoint:
    """The checkpoint in a signed note of the log whose key `verifier` is.

    Raises:
        Malformed, TooLarge: no signed checkpoint.
        Tampered: not signed by this key, or of another log.
    """
    note = notes.parse(data)
    notes.verify(note, [verifier])
    checkpoint = parse(note.text)
    if checkpoint.origin != verifier.name:
        raise Tampered("the checkpoint is of another log than the key")
    return checkpoint
