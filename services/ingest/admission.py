"""Asking auth for patients that ingest cannot find or has no keys for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ingest.entry import NamePair
from twinward.record import Handle

DEADLINE_S = 2.0  # then the item goes to intake; acceptance never waits longer
MOST = 500  # patients in one call


@dataclass(frozen=True, slots=True)
class Wanted:
    """A patient by numbers (sealed before they leave) or, where known, by handle; one of the two."""

    names: tuple[NamePair, ...]
    handle: Handle | None
    categories: tuple[int, ...]  # that are to be written


@dataclass(frozen=True, slots=True)
class Admitted:
    handle: Handle | None  # None where refused
    refused: str = ""


class Admitting(Protocol):
    def admit(self, feed: str, wanted: Sequence[Wanted]) -> list[Admitted]:
        """Answers in the order of `wanted`, within DEADLINE_S.

        Raises:
            Unavailable: auth does not answer.
        """
        ...
