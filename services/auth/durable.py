"""What lies outside PostgreSQL: bundle files and head guard, kept in step with it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from services.auth.bundles import BundleFiles
from services.auth.guard import Guard
from services.auth.ledger_rows import Head
from twinward.errors import Tampered, Unready
from twinward.ledger import checkpoint as checkpoints
from twinward.ledger import guardfile
from twinward.ledger.bundles import Frame
from twinward.ledger.guardfile import Guarded
from twinward.ledger.note import Verifier
from twinward.ledger.tree import leaf_hash

BEHIND = (
    "the database is behind the ledger's head guard: it knows {have} entries and {signed} were signed and released. "
    "It was restored from an older copy or put back; nothing is released from it. Restore a newer copy of the database"
)


class Durable:
    """One ledger directory, held by one process. Used by one thread at a time."""

    def __init__(self, directory: Path, verifier: Verifier) -> None:
        """
        Raises:
            Unready: another process holds the directory.
            Unavailable: it cannot be opened.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Unready("another auth is running on this ledger folder: stop it first") from None
        self._verifier = verifier
        self._files = BundleFiles(directory / "bundles")
        self._guard = Guard(directory / guardfile.NAME, verifier)
        self._held: Guarded | None = None

    @property
    def held(self) -> Guarded:
        """The head that the guard holds: everything up to it may be released and published."""
        if self._held is None:
            raise Unready("the ledger was not compared with its database yet")
        return self._held

    def settle(self, head: Head, entries: Callable[[int, int], list[bytes]]) -> None:
        """Compares database, bundles and guard, and brings the latter two up to the database.

        `entries(first, end)` reads tree entries from the database.

        Raises:
            Tampered: the three cannot come from one history, or the database is older.
            Incomplete: bundle files are missing.
            Unavailable: a disk does not answer.
        """
        held = self._guard.read()
        if held is None:
            held = self._begin(head)
        size = head.edge.size
        if held.edge.size > size:
            raise Tampered(BEHIND.format(have=size, signed=held.edge.size))
        tail = self._files.read(held.edge.size)
        if tail.boundary is not None:
            stated = checkpoints.open_note(tail.boundary.note, self._verifier)
            if stated.root != held.edge.root():
                raise Tampered(f"bundle files and head guard state two different heads of {stated.size} entries")
        if self._files.size > size:
            raise Tampered(BEHIND.format(have=size, signed=self._files.size))
        # All is compared before anything is written.
        known = held.edge
        for frame in tail.later:
            known = known.extended(map(leaf_hash, frame.entries))
        missing = entries(known.size, size) if known.size < size else []
        if known.extended(map(leaf_hash, missing)) != head.edge:
            raise Tampered(
                f"database and bundle files hold different entries below {size}: the ledger was changed or forked"
            )
        for frame in tail.later:
            held = self._guard.advance(held, [leaf_hash(entry) for entry in frame.entries], frame.note.decode())
        self._held = held
        if missing:
            self.extend(missing, head.note)

    def extend(self, entries: Sequence[bytes], note: str) -> None:
        """Steps 2 and 3 of a commit: bundle file, then guard; both on disk on return.

        Raises:
            Unavailable: `settle` must be called before the next `extend`.
            Tampered: the guard refuses.
        """
        held = self.held
        self._files.append(Frame(held.edge.size, tuple(entries), note.encode()))
        self._held = self._guard.advance(held, [leaf_hash(entry) for entry in entries], note)

    def close(self) -> None:
        self._files.close()
        self._guard.close()
        os.close(self._lock)

    def _begin(self, head: Head) -> Guarded:
        if head.edge.size:
            raise Tampered(
                f"the head guard is missing while the database holds {head.edge.size} ledger entries: "
                "put guard.sqlite back from a copy of the ledger folder"
            )
        first = Guarded(head.edge, head.note)
        self._guard.begin(first)
        return first
