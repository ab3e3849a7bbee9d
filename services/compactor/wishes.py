"""What readers ask for (`notify compact`): one patient by its handle, or with no word, everybody.

A wish proves nothing. The worst that a forged one does is to file a patient early.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from twinward.record import Handle

MOST = 1_000  # a reader that still waits asks again
MOST_OF_A_RUN = 8  # a run for readers is short; the tags of so many fit into one


@dataclass
class Wishes:
    everybody: bool = True  # what waited while nobody was there is filed at once
    _handles: dict[Handle, None] = field(default_factory=dict)  # in the order they were asked for

    @property
    def named(self) -> bool:
        """Whether patients are left to take."""
        return bool(self._handles)

    def note(self, payload: str) -> None:
        if not payload:
            self.everybody = True
        elif len(self._handles) < MOST:
            try:
                self._handles[UUID(payload)] = None
            except ValueError:
                return  # no reader of ours

    def take(self) -> list[Handle]:
        """The next few patients, first asked first."""
        taken = list(self._handles)[:MOST_OF_A_RUN]
        for handle in taken:
            del self._handles[handle]
        return taken
