"""Signed notes (C2SP signed-note v1.0.0): a text, a blank line, signature lines.

    — <name> base64(key id, 4 bytes || signature)

The key id is SHA-256(name || 0x0A || type || public key)[:4]. Type 0x01 is plain
Ed25519 over the text. Lines of keys that are not ours are kept and ignored, as
the format asks: cosignatures of types to come do no harm.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from twinward.errors import Malformed, Tampered, TooLarge

ED25519 = 0x01
_DASH = "—"
_MOST_BYTES = 1_000_000
_MOST_SIGNATURES = 100


class Foreign(Tampered):
    """No key that we know signed the note: it is another's, or the key is."""

    reason = "FOREIGN"


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The 4 bytes that say which key of `name` signed."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes  # 4 bytes
    value: bytes

    def line(self) -> str:
        return f"{_DASH} {self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    text: str  # with its last newline
    signatures: tuple[Signature, ...]

    def encode(self) -> str:
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)


@dataclass(frozen=True, slots=True)
class Verifier:
    """One key whose signature we accept."""

    name: str
    public: bytes  # 32 bytes

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, ED25519, self.public)

    def accepts(self, text: str, value: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(value, text.encode())
        except InvalidSignature:
            return False
        return True

    def encode(self) -> str:
        """`name+hex(key id)+base64(type || public key)`, the form verifiers pass around."""
        key = base64.b64encode(bytes([ED25519]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @staticmethod
    def decode(text: str) -> Verifier:
        """Raises Malformed where `text` is no verifier key of a type we know."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _is_name(parts[0]):
            raise Malformed("this is no verifier key: it must read name+hash+key")
        name, stated, encoded = parts
        key = strict_base64(encoded)
        if len(key) != 33 or key[0] != ED25519:
            raise Malformed("the verifier key is of a type this version does not know; only Ed25519 (0x01) is")
        verifier = Verifier(name, key[1:])
        if verifier.key_id.hex() != stated:
            raise Malformed("the verifier key's hash does not fit the key: it was cut or changed")
        return verifier


class Signer:
    """Signs texts under a name; holds the private key."""

    def __init__(self, name: str, private: bytes) -> None:
        """`private`: 32 raw bytes of an Ed25519 key."""
        if not _is_name(name):
            raise Malformed("a key's name must not be empty and holds neither spaces nor plus signs")
        if len(private) != 32:
            raise Malformed("an Ed25519 private key has 32 bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())
        self._key_id = self.verifier.key_id

    def sign(self, text: str) -> Note:
        """`text` must end with a newline."""
        value = self._key.sign(text.encode())
        return Note(text, (Signature(self.verifier.name, self._key_id, value),))


def parse(data: bytes | str) -> Note:
    """A note as it was written, its signatures not yet checked.

    Raises:
        Malformed, TooLarge: `data` is no signed note.
    """
    text = _text(data)
    body, separator, lines = text.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise Malformed("the signed note has no signature lines")
    rows = lines[:-1].split("\n")
    if len(rows) > _MOST_SIGNATURES:
        raise TooLarge(f"the signed note has more than {_MOST_SIGNATURES} signatures")
    return Note(body + "\n", tuple(_signature(row) for row in rows))


def verify(note: Note, verifiers: Sequence[Verifier]) -> tuple[str, ...]:
    """The names among `verifiers` whose signature stands under `note`; never empty.

    Raises:
        Foreign: none of them signed.
        Tampered: a signature of a known key is false.
    """
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    good: list[str] = []
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        # A false line of a known key condemns the note even beside a good one:
        # else an attacker could choose which of two lines a reader looks at.
        if not verifier.accepts(note.text, signature.value):
            raise Tampered("a signature under the note is false")
        if verifier.name not in good:
            good.append(verifier.name)
    if not good:
        raise Foreign("none of the expected keys signed the note")
    return tuple(good)


def strict_base64(text: str) -> bytes:
    """Standard alphabet, padded, one form only. Raises Malformed."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("this is not base64") from None
    if base64.b64encode(value).decode() != text:
        raise Malformed("this base64 has a second form of the same bytes")
    return value


def _text(data: bytes | str) -> str:
    if len(data) > _MOST_BYTES:
        raise TooLarge("the signed note is larger than a megabyte")
    try:
        text = data.decode() if isinstance(data, bytes) else data
        text.encode()
    except UnicodeError:
        raise Malformed("the signed note is not UTF-8") from None
    if any(character < " " and character != "\n" for character in text):
        raise Malformed("the signed note holds control characters")
    return text


def _signature(row: str) -> Signature:
    parts = row.split(" ")
    if len(parts) != 3 or parts[0] != _DASH or not _is_name(parts[1]):
        raise Malformed("a line under the signed note is no signature line")
    value = strict_base64(parts[2])
    if len(value) < 5:
        raise Malformed("a signature under the note is cut short")
    return Signature(parts[1], value[:4], value[4:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name)
