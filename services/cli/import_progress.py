"""How far an import came: kept in the person's own state folder while it is unfinished.

Sending again what was taken already is harmless (it counts as duplicate); the file
only saves the time. It names files by hash and holds nothing of what is in them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path


def state_folder() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "twinward" / "ingest"


@dataclass
class Progress:
    """Messages of each file that were acknowledged."""

    file: Path
    done: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Path, feed: str, paths: list[Path]) -> Progress:
        """The unfinished import of these paths to this node, or a new one."""
        named = "\n".join([str(node.resolve()), feed, *sorted(str(path.resolve()) for path in paths)])
        file = state_folder() / (hashlib.sha256(named.encode()).hexdigest()[:24] + ".json")
        try:
            found = json.loads(file.read_text())
            done = {str(name): int(count) for name, count in found.items()}
        except (OSError, ValueError, AttributeError):
            done = {}
        return cls(file, done)

    def sent(self, path: Path) -> int:
        """Messages of `path` that need not be sent again; 0 where the file has changed since."""
        return self.done.get(_name(path), 0)

    def note(self, path: Path, messages: int) -> None:
        self.done[_name(path)] = messages
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = self.file.with_suffix(".new")
        half.write_text(json.dumps(self.done))
        half.rename(self.file)

    def finished(self) -> None:
        self.file.unlink(missing_ok=True)


def _name(path: Path) -> str:
    seen = path.stat()
    return hashlib.sha256(f"{path.resolve()}|{seen.st_size}|{seen.st_mtime_ns}".encode()).hexdigest()[:32]
