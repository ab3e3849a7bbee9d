"""What the compactor needs of auth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from twinward.record import Handle
from twinward.vault.lease import NodeKey
from twinward.wire.codec.compaction import Change, Granted, Months, Unit, Use


class AuthDoor(Protocol):
    """Over the wire: twinward.wire.codec.compaction.CompactionCalls. All raise Unavailable."""

    def grant(self, units: Sequence[Unit], asked: Collection[Handle]) -> Granted:
        """Leases of 60 s with tail keys, for the units that may be compacted now; at most 200 units.

        Readers wait for the patients `asked`: nothing of them is deferred.
        """
        ...

    def extend(self, wanted: Sequence[Months]) -> Mapping[bytes, Sequence[NodeKey]]:
        """Lease -> block keys of its months, for every key version that its tail has."""
        ...

    def seal(self, changes: Sequence[Change]) -> None:
        """Signs the next manifest heads, before they are true; a patient at most once a call.

        Raises:
            Incomplete, Tampered: what is stored is not what the last head says.
        """
        ...

    def report(self, uses: Sequence[Use]) -> None: ...

    def give_back(self, lease_ids: Sequence[bytes]) -> None: ...
