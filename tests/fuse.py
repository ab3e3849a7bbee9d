"""A process that kills itself, as from outside, at the n-th statement that it sends to the database."""

from __future__ import annotations

import os
import signal
from typing import Any

import psycopg
from psycopg.rows import TupleRow


class Fuse:
    def __init__(self, at: int) -> None:
        """`at`: which statement; 0: none."""
        self.left = at

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Fused(psycopg.Connection[TupleRow]):
    """Set `fuse` on the class before connecting: it is every connection's."""

    fuse = Fuse(0)

    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[TupleRow]:
        self.fuse.burn()
        return super().execute(*args, **kwargs)
