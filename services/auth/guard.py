"""The head guard: the last head that was released, outside PostgreSQL.

PostgreSQL can be put back to yesterday by a restore that nobody thinks twice
about. The guard lies in another file, moves only forward, and only to a head
whose entries it has hashed itself: the ledger neither forks nor forgets unseen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from twinward.errors import Tampered, Unavailable
from twinward.ledger import checkpoint as checkpoints
from twinward.ledger.guardfile import TABLE, Guarded, row_of
from twinward.ledger.note import Verifier


class Guard:
    """One row, compare-and-swap, on disk before `advance` returns. Used by one thread at a time."""

    def __init__(self, path: Path, verifier: Verifier) -> None:
        """Raises Unavailable where the file cannot be opened."""
        self._verifier = verifier
        try:
            # check_same_thread: opened by whoever starts auth, used by the committer.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            path.chmod(0o600)
            self._connection.execute("pragma journal_mode = wal")
            # FULL: every commit waits for fsync of the write-ahead file.
            self._connection.execute("pragma synchronous = full")
            self._connection.execute(TABLE)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable("the head guard cannot be opened", detail=str(error)) from None

    def read(self) -> Guarded | None:
        """What it holds, or None when new. Raises Malformed, Tampered, Unavailable."""
        try:
            found = row_of(self._connection)
        except sqlite3.Error as error:
            raise Unavailable("the head guard cannot be read", detail=str(error)) from None
        if found is not None:
            stated = checkpoints.open_note(found.note, self._verifier)
            if (stated.size, stated.root) != (found.edge.size, found.edge.root()):
                raise Tampered("the head guard's note states another head than its row")
        return found

    def begin(self, first: Guarded) -> None:
        """The first row of a new ledger; refused where there is one.

        Raises:
            Tampered, Unavailable
        """
        self._write("insert or ignore into guard (one, size, root, edge, note) values (1, ?, ?, ?, ?)", first, ())

    def advance(self, held: Guarded, leaves: Sequence[bytes], note: str) -> Guarded:
        """From `held` to the head that `leaves` (leaf hashes) and `note` make.

        Raises:
            Tampered: `note` does not extend `held`, or the guard holds another head.
            Unavailable: it could not be written; it still holds `held`.
        """
        following = Guarded(held.edge.extended(leaves), note)
        stated = checkpoints.open_note(note, self._verifier)
        if (stated.size, stated.root) != (following.edge.size, following.edge.root()):
            raise Tampered("the head guard refuses a head that does not extend the one it holds")
        self._write(
            "update guard set size = ?, root = ?, edge = ?, note = ? where one = 1 and size = ? and root = ?",
            following,
            (held.edge.size, held.edge.root()),
        )
        return following

    def close(self) -> None:
        self._connection.close()

    def _write(self, statement: str, head: Guarded, condition: tuple[object, ...]) -> None:
        values = (head.edge.size, head.edge.root(), head.edge.encode(), head.note)
        try:
            # One statement is one transaction here; it is on disk when execute returns.
            changed = self._connection.execute(statement, (*values, *condition)).rowcount
        except sqlite3.Error as error:
            raise Unavailable("the head guard cannot be written: look at its disk", detail=str(error)) from None
        if changed != 1:
            raise Tampered("the head guard holds another head than this program knows: is a second auth running?")
