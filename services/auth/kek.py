"""Key-encryption keys: who wraps and unwraps the keys of patients.

One interface, so that a file, an HSM or a key server can stand behind it. What
is wrapped is bound to its owner, the site and the epoch: a row copied to another
patient, or kept from an ended epoch, does not open.

The file provider is for demos and teaching nodes. It is NOT a hardware security
module: whoever can read the key file can unwrap every key.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from twinward.clock import Chance, SystemChance
from twinward.errors import Malformed, Tampered, Unavailable, Unready

WRAP_VERSION = 1
_PREFIX = "epoch-"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class KeyProvider(Protocol):
    """What auth needs of whatever holds the key-encryption keys."""

    @property
    def epoch(self) -> int:
        """The epoch that new keys are wrapped under."""
        ...

    @property
    def unwraps(self) -> int:
        """Keys unwrapped since start: the number that must equal the leaves."""
        ...

    def wrap(self, handle: bytes, key: bytes) -> tuple[int, bytes]:
        """(epoch, wrapped) of `key`, bound to `handle`. Raises Unavailable."""
        ...

    def unwrap(self, handle: bytes, epoch: int, wrapped: bytes) -> bytes:
        """The key. Raises Unready (no such epoch), Tampered (another owner, or changed), Unavailable."""
        ...


class FileProvider:
    """Epoch keys as files `epoch-<n>`, 32 raw bytes, mode 0600, in one private folder."""

    def __init__(self, directory: Path, site: str, chance: Chance | None = None) -> None:
        """
        Raises:
            Unready: no epoch key, a file of the wrong length, or one that others may read.
        """
        self._site = site.encode()
        self._chance = chance or SystemChance()
        self._keys = {number: AESGCM(_read(path)) for number, path in _epochs(directory)}
        if not self._keys:
            raise Unready(
                f"no key-encryption key in {directory.name}: run node init, or put back epoch-1 from its custodian"
            )
        self._epoch = max(self._keys)
        self._lock = threading.Lock()
        self._wraps = 0
        self._unwraps = 0

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def wraps(self) -> int:
        return self._wraps

    @property
    def unwraps(self) -> int:
        return self._unwraps

    def wrap(self, handle: bytes, key: bytes) -> tuple[int, bytes]:
        """version u8 || nonce 12 || AES-256-GCM of `key`; see `_associated` for what it is bound to."""
        nonce = self._chance.bytes(_NONCE_BYTES)
        sealed = self._keys[self._epoch].encrypt(nonce, key, self._associated(handle, self._epoch))
        with self._lock:
            self._wraps += 1
        return self._epoch, bytes([WRAP_VERSION]) + nonce + sealed

    def unwrap(self, handle: bytes, epoch: int, wrapped: bytes) -> bytes:
        # Counted before the attempt: a provider's counter may run ahead of the leaves, never behind.
        with self._lock:
            self._unwraps += 1
        if epoch not in self._keys:
            have = ", ".join(str(number) for number in sorted(self._keys))
            raise Unready(f"a key is wrapped under epoch {epoch}, which this node does not hold (it holds {have})")
        if len(wrapped) <= 1 + _NONCE_BYTES or wrapped[0] != WRAP_VERSION:
            raise Malformed("a wrapped key is of a format this version does not know")
        nonce, sealed = wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        try:
            return self._keys[epoch].decrypt(nonce, sealed, self._associated(handle, epoch))
        except InvalidTag:
            raise Tampered(
                "a wrapped key does not open: it is of another owner, site or epoch, or was changed"
            ) from None

    def _associated(self, handle: bytes, epoch: int) -> bytes:
        """u8 length || site, u8 length || handle, u32be epoch, u8 version."""
        parts = b"".join(len(part).to_bytes(1, "big") + part for part in (self._site, handle))
        return parts + epoch.to_bytes(4, "big") + bytes([WRAP_VERSION])


def _epochs(directory: Path) -> list[tuple[int, Path]]:
    try:
        found = sorted(directory.iterdir())
    except OSError as error:
        raise Unready("the folder of key-encryption keys cannot be read", detail=str(error)) from None
    numbers = ((path.name.removeprefix(_PREFIX), path) for path in found if path.name.startswith(_PREFIX))
    return [(int(number), path) for number, path in numbers if number.isascii() and number.isdigit()]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            key = file.read(_KEY_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"the key-encryption key {path.name} cannot be read", detail=str(error)) from None
    if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
        raise Unready(f"{path.name} may be read by others: set its mode to 0600 and think about who may have read it")
    if found.st_uid != os.geteuid():
        raise Unready(f"{path.name} belongs to another account than the one auth runs under")
    if len(key) != _KEY_BYTES:
        raise Unready(f"{path.name} does not hold a key of {_KEY_BYTES} bytes")
    return key
