"""Signing keys with rotation: the next key is published a whole period before it signs."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from joserfc import jwk

from twinward.clock import Chance, Clock
from twinward.errors import Unready

PLACES = 3  # previous, current, next


class KeyRing:
    """Three ES256 keys: one signs, the one before still verifies, the one after is known already."""

    def __init__(self, file: Path, rotate_ms: int, clock: Clock, chance: Chance) -> None:
        """
        Raises:
            Unready: the file cannot be read.
        """
        self._file = file
        self._rotate_ms = rotate_ms
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._since, self._keys = self._load()

    def current(self) -> tuple[str, jwk.ECKey]:
        """(kid, key) that signs now; rotates when it is time."""
        with self._lock:
            self._turn()
            key = self._keys[1]
            return str(key.kid), key

    def published(self) -> dict[str, object]:
        """The public key set (RFC 7517)."""
        with self._lock:
            self._turn()
            return {"keys": [key.as_dict(private=False) for key in self._keys]}

    def _turn(self) -> None:
        now = self._clock.now_ms()
        turned = False
        while now - self._since >= self._rotate_ms:
            self._keys = [*self._keys[1:], self._new()]
            self._since = max(self._since + self._rotate_ms, now - self._rotate_ms * PLACES)
            turned = True
        if turned:
            self._save()

    def _new(self) -> jwk.ECKey:
        kid = self._chance.bytes(8).hex()
        return jwk.ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"}, auto_kid=False)

    def _load(self) -> tuple[int, list[jwk.ECKey]]:
        if not self._file.exists():
            self._since, self._keys = self._clock.now_ms(), [self._new() for _ in range(PLACES)]
            self._save()
            return self._since, self._keys
        try:
            found = json.loads(self._file.read_text())
            return int(found["since_ms"]), [jwk.ECKey.import_key(key) for key in found["keys"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unready(f"{self._file.name} cannot be read", detail=type(error).__name__) from None

    def _save(self) -> None:
        text = json.dumps({"since_ms": self._since, "keys": [key.as_dict(private=True) for key in self._keys]})
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = self._file.with_name(self._file.name + ".new")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
        half.rename(self._file)
