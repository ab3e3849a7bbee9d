"""Feeds in the ledger: a feed that was set up with the node has its entry from auth's first start on."""

from __future__ import annotations

from collections.abc import Sequence

from services.auth.desk import Desk
from services.auth.facts import connection_of
from services.auth.ledger_rows import Statement
from services.auth.sequencer import Proposal
from twinward.ledger.kinds import Kind

_UNRECORDED = "select name, approvals from vault.feed where leaf is null order by name"
_RECORD = "update vault.feed set leaf = %s where name = %s and leaf is null"


def record(desk: Desk) -> int:
    """Writes an entry for each feed that has none, with what it is approved for; how many. Raises Unavailable."""
    with connection_of(desk.pool) as connection:
        found = connection.execute(_UNRECORDED).fetchall()
    if found:
        desk.record([_proposal(str(name), list(approvals), desk.clock.now_ms()) for name, approvals in found])
    return len(found)


def _proposal(name: str, approvals: Sequence[str], now_ms: int) -> Proposal:
    body = {"feed": name, "approvals": sorted(approvals), "outcome": "set-up-with-the-node", "now": now_ms}

    def writes(leaf: int) -> Sequence[Statement]:
        return [(_RECORD, (leaf, name))]

    return Proposal(Kind.FEED_CHANGE, body, terms=(f"feed:{name}",), writes=writes)
