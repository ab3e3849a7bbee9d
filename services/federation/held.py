"""Tables that are in memory, and what was promised about their cohorts.

A study's table is built at its first ask and serves until the study ends, the hospital
leaves, or a patient withdraws. The cohort is frozen at its start: its root is written
down (a hash over random handles; no list of them), so that a restart in mid-study
cannot go on with other patients unnoticed. A cohort that changed stays changed until
the study begins again, at its first round here or an earlier one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from services.federation import privatefile
from services.federation.cohort import Cohort
from services.federation.course import Answer
from twinward.errors import Unready

MOST = 4  # tables at once; the one that was asked least lately goes first


@dataclass
class Held:
    cohort: Cohort
    asked: bytes = b""  # digest of the last ask
    answered: Answer | None = None  # what it got


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a study's cohort was when it began here."""

    root: bytes
    round: int  # the first that was asked
    changed: bool


@dataclass
class Tables:
    """Thread-safe."""

    folder: Path
    _held: OrderedDict[bytes, Held] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, study: bytes) -> Held | None:
        with self._lock:
            found = self._held.get(study)
            if found is not None:
                self._held.move_to_end(study)
            return found

    def hold(self, study: bytes, cohort: Cohort) -> Held:
        with self._lock:
            held = self._held[study] = Held(cohort)
            self._held.move_to_end(study)
            while len(self._held) > MOST:
                self._held.popitem(last=False)
            return held

    def drop(self, studies: Iterable[bytes]) -> None:
        """Tables alone: what the cohorts were stays known."""
        with self._lock:
            for study in studies:
                self._held.pop(study, None)

    def forget(self, studies: Iterable[bytes]) -> None:
        """Tables, and what the cohorts were: the studies are over."""
        for study in studies:
            self.drop([study])
            privatefile.remove(self._file(study))

    def forget_all(self) -> None:
        with self._lock:
            self._held.clear()
        for file in self.folder.glob("*.json"):
            privatefile.remove(file)

    @property
    def count(self) -> int:
        with self._lock:
            return len(self._held)

    def frozen(self, study: bytes) -> Frozen | None:
        """Raises Unready where it cannot be read: then the cohort is not known to be the same."""
        try:
            found = orjson.loads(self._file(study).read_bytes())
            return Frozen(bytes.fromhex(found["root"]), int(found["round"]), bool(found["changed"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise Unready("what is known of a study's cohort cannot be read; the study has to start again") from None

    def freeze(self, study: bytes, root: bytes, round: int, *, changed: bool = False) -> None:
        body = {"root": root.hex(), "round": round, "changed": changed}
        privatefile.put(self._file(study), orjson.dumps(body))

    def _file(self, study: bytes) -> Path:
        return self.folder / f"{study.hex()}.json"
