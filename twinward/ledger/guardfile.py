"""The head guard's file as a reader finds it: the last head that was released.

One SQLite table with one row (services/auth/guard.py writes it). A copied file
is read from a copy of its own, because SQLite in write-ahead mode wants to write
beside what it reads, and evidence is not written to.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from twinward.errors import Malformed
from twinward.ledger.tree import Edge

NAME = "guard.sqlite"
TABLE = """create table if not exists guard (
  one integer primary key check (one = 1),
  size integer not null,
  root blob not null,
  edge blob not null,
  note text not null
) strict"""


@dataclass(frozen=True, slots=True)
class Guarded:
    edge: Edge
    note: str  # signed checkpoint


def row_of(connection: sqlite3.Connection) -> Guarded | None:
    """The guard's row, or None in a new guard. Raises Malformed."""
    row = connection.execute("select size, root, edge, note from guard").fetchone()
    if row is None:
        return None
    edge = Edge.decode(row[2])
    if edge.size != row[0] or edge.root() != row[1]:
        raise Malformed("the head guard's right edge does not fit its size and root")
    return Guarded(edge, row[3])


def read_copy(path: Path) -> Guarded | None:
    """What a copied guard holds. Raises Malformed where it is no guard."""
    with tempfile.TemporaryDirectory(prefix="twinward-guard-") as scratch:
        for suffix in ("", "-wal"):
            found = path.with_name(path.name + suffix)
            if found.exists():
                shutil.copyfile(found, Path(scratch) / found.name)
        connection = sqlite3.connect(Path(scratch) / path.name)
        try:
            return row_of(connection)
        except sqlite3.Error:
            raise Malformed("the head guard is no readable SQLite file") from None
        finally:
            connection.close()
