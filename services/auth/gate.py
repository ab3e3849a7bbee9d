"""Decisions side by side, consent changes alone.

A decision reads the consents, decides, and commits its leaf and lease some
milliseconds later. Were a withdrawal to commit in between, a key would go out
after it. So decisions share the gate from reading to commit, and a change of
consent or care team has it alone; a waiting change lets no new decision in.
`auth` is one active process (the ledger's fence sees to it), so a gate in
memory is enough.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from twinward.errors import Busy


class Gate:
    def __init__(self, patience_s: float = 5.0) -> None:
        self._changed = threading.Condition()
        self._deciding = 0
        self._alone = False
        self._waiting = 0
        self._patience_s = patience_s

    @contextmanager
    def decision(self) -> Iterator[None]:
        """Shared. Raises Busy when a change takes longer than the patience."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._alone and not self._waiting, self._patience_s):
                raise Busy("a change of consent is being written; try again")
            self._deciding += 1
        try:
            yield
        finally:
            with self._changed:
                self._deciding -= 1
                self._changed.notify_all()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Exclusive. Raises Busy when decisions do not end within the patience."""
        with self._changed:
            self._waiting += 1
            try:
                if not self._changed.wait_for(lambda: not self._alone and not self._deciding, self._patience_s):
                    raise Busy("decisions are still being written; try again")
                self._alone = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
