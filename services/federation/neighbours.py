"""What the coordinator needs of its neighbours: the ledger that auth keeps, and the engine's control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Ledger(Protocol):
    def record(self, kind: str, body: Mapping[str, object]) -> int:
        """The leaf of an entry that is durable when this returns. No patient and no name in `body`.

        Raises:
            Unavailable: it is not known to be written: nothing may be done that it would tell of.
        """
        ...


class Control(Protocol):
    """The SuperLink. Every call raises Unavailable where it does not answer."""

    def register(self, site: str, node_key: bytes) -> int:
        """Lets the node with this key in, as `site`; the engine's number for it.

        Raises:
            BadInput: no key that the engine takes.
        """
        ...

    def unregister(self, node_id: int) -> None:
        """The node is let in no more. One that is not known is no error."""
        ...

    def start(self, study: bytes, attempt: int) -> int:
        """The engine's number of the new run."""
        ...

    def state(self, run_id: int) -> str:
        """pending | running | finished:<how> | unknown"""
        ...

    def stop(self, run_id: int) -> None:
        """Ends a run, if it still goes on."""
        ...
