"""Leases in use: reported, given back, ended.

The lease row is what row-level security reads, so ending a lease is setting its
`until` to now; whoever holds its keys hears of it on `lease_revoked` and the
database serves nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from services.auth.desk import ROLES, Desk
from services.auth.facts import connection_of
from services.auth.sequencer import Proposal
from twinward.errors import LeaseEnded, TooLarge
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Handle

MOST = 1_000
_ONE_BODY = 60  # leases named in one leaf, so that it stays below 4 kB

_OWN = "select id, handle, leaf from vault.lease where id = any (%s) and role = %s"
_RETURN = """
update vault.lease set until = clock_timestamp() where id = any (%s) and role = %s and until > clock_timestamp()"""


class Leases:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def report(self, caller: Caller, rows: Mapping[UUID, int]) -> int:
        """Writes down the rows served under each lease; index of the first leaf.

        Raises:
            LeaseEnded: a lease is unknown or of another program.
            TooLarge, Unavailable
        """
        if len(rows) > MOST:
            raise TooLarge(f"one report covers {MOST} leases at most; send the rest apart")
        if not rows:
            return 0
        with connection_of(self._desk.pool) as connection:
            found = connection.execute(_OWN, (list(rows), self._role(caller))).fetchall()
        if len(found) != len(rows):
            raise LeaseEnded("a lease of the report is unknown or of another program")
        by_patient: dict[Handle, list[tuple[UUID, int]]] = {}
        for lease_id, handle, _ in found:
            by_patient.setdefault(handle, []).append((lease_id, rows[lease_id]))
        said = {**self._desk.who(caller), "now": self._desk.clock.now_ms()}
        proposals = [
            Proposal(
                Kind.USE_REPORT,
                {
                    **said,
                    "rows_served": sum(count for _, count in part),
                    "leases": [str(lease_id) for lease_id, _ in part],
                },
                patient=handle if handle.int else None,
            )
            for handle, uses in by_patient.items()
            for part in _parts(uses)
        ]
        return self._desk.record(proposals)[0]

    def give_back(self, caller: Caller, ids: Sequence[UUID]) -> int:
        """Ends leases of the caller that still run; how many. What is not theirs is left alone."""
        if len(ids) > MOST:
            raise TooLarge(f"one call gives back {MOST} leases at most; send the rest apart")
        with connection_of(self._desk.pool) as connection:
            return connection.execute(_RETURN, (list(ids), self._role(caller))).rowcount

    def _role(self, caller: Caller) -> str:
        return ROLES.get(caller.program or "", "")


def _parts(uses: Sequence[tuple[UUID, int]]) -> list[Sequence[tuple[UUID, int]]]:
    return [uses[first : first + _ONE_BODY] for first in range(0, len(uses), _ONE_BODY)]
