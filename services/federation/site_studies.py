"""Studies that the coordinator offers to this hospital: in memory, and a small file each so that a restart knows them.

A study is its bytes: what does not hash to its name, or does not read as a study, is
not taken, from the wire and from the disk alike. A file that was edited makes the
program forget them all and ask the coordinator anew. Public words only, no patient.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from services.federation import privatefile
from services.federation.study import Study, from_canonical
from twinward import telemetry
from twinward.errors import BadInput, NotFound

MOST = 500  # offered at one time; the oldest that ended makes room
SHORTEST_PREFIX = 4
ENDED = frozenset({"done", "failed"})
RUNNING = frozenset({"running", "stopping"})
STATES = frozenset({"submitted", "stopped"}) | RUNNING | ENDED
NOT_TAKEN = telemetry.event("study_not_taken", "number", "why")
telemetry.register("hash", "full")


@dataclass(frozen=True, slots=True)
class Offered:
    """One study, checked."""

    number: int  # at the coordinator: later studies have greater ones
    sha256: bytes
    canonical: bytes
    bundle: bytes  # 32 bytes: SHA-256 of the code that the coordinator would run
    study: Study


def checked(number: int, sha256: bytes, canonical: bytes, bundle: bytes) -> Offered:
    """
    Raises:
        BadInput: the bytes are not that study.
    """
    if hashlib.sha256(canonical).digest() != sha256 or len(bundle) != 32 or number < 1:
        raise BadInput("the study's bytes are not those of its hash")
    return Offered(number, sha256, canonical, bundle, from_canonical(canonical))


class SiteStudies:
    """Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._by_hash: dict[bytes, Offered] = {}
        self._states: dict[bytes, str] = {}
        self._newest = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._load()

    @property
    def newest(self) -> int:
        """The last number that is known here."""
        return self._newest

    def all(self) -> list[Offered]:
        """By number."""
        with self._lock:
            return sorted(self._by_hash.values(), key=lambda one: one.number)

    def known(self, sha256: bytes) -> Offered | None:
        with self._lock:
            return self._by_hash.get(sha256)

    def state(self, sha256: bytes) -> str:
        """At the coordinator, as last heard."""
        with self._lock:
            return self._states.get(sha256, "submitted")

    def find(self, prefix: bytes) -> Offered:
        """The study whose hash begins so.

        Raises:
            BadInput: fewer than 4 bytes, or several begin so.
            NotFound: none does.
        """
        if not SHORTEST_PREFIX <= len(prefix) <= 32:
            raise BadInput(f"name a study by its hash, or at least its first {SHORTEST_PREFIX} bytes")
        found = [one for one in self.all() if one.sha256.startswith(prefix)]
        if not found:
            raise NotFound("the coordinator offers no such study here: see `twinward study list`")
        if len(found) > 1:
            raise BadInput("several studies begin so: give more of the hash")
        return found[0]

    def hear(self, number: int, sha256: bytes, canonical: bytes, bundle: bytes) -> None:
        """Takes an offer, file first. One that is not what it says is noted and left out."""
        try:
            offered = checked(number, sha256, canonical, bundle)
        except BadInput:
            telemetry.warn(NOT_TAKEN, number=number, why="hash")
        else:
            with self._lock:
                if self._room():
                    privatefile.put(self._file(sha256), orjson.dumps(_plain(offered)))
                    self._by_hash[sha256] = offered
                else:
                    telemetry.warn(NOT_TAKEN, number=number, why="full")
        self._newest = max(self._newest, number)

    def hear_states(self, states: Mapping[bytes, str]) -> list[bytes]:
        """Takes what the coordinator says of studies known here; those that stopped running since it last said so."""
        stopped = []
        with self._lock:
            for sha256, state in states.items():
                if sha256 not in self._by_hash or state not in STATES or self._states.get(sha256) == state:
                    continue
                self._states[sha256] = state
                if state not in RUNNING:
                    stopped.append(sha256)
        return stopped

    def forget(self) -> None:
        """Another coordinator, or none."""
        with self._lock:
            for file in self._folder.glob("*.json"):
                privatefile.remove(file)
            self._by_hash.clear()
            self._states.clear()
            self._newest = 0

    def _room(self) -> bool:
        if len(self._by_hash) < MOST:
            return True
        ended = [one for one in self._by_hash.values() if self._states.get(one.sha256) in ENDED]
        if not ended:
            return False
        oldest = min(ended, key=lambda one: one.number)
        privatefile.remove(self._file(oldest.sha256))
        self._states.pop(oldest.sha256, None)
        del self._by_hash[oldest.sha256]
        return True

    def _file(self, sha256: bytes) -> Path:
        return self._folder / f"{sha256.hex()}.json"

    def _load(self) -> None:
        for file in sorted(self._folder.glob("*.json"))[: 2 * MOST]:
            try:
                found = orjson.loads(file.read_bytes())
                offered = checked(
                    int(found["number"]),
                    bytes.fromhex(file.stem),
                    str(found["canonical"]).encode(),
                    bytes.fromhex(found["bundle"]),
                )
            except (OSError, BadInput, ValueError, KeyError, TypeError):
                telemetry.warn(NOT_TAKEN, number=0, why="hash")
                self.forget()
                return
            self._by_hash[offered.sha256] = offered
            self._newest = max(self._newest, offered.number)


def _plain(offered: Offered) -> dict[str, object]:
    return {"number": offered.number, "canonical": offered.canonical.decode(), "bundle": offered.bundle.hex()}
