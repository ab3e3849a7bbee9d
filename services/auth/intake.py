"""The private intake key for sixty seconds, so that what could not be filed is filed.

Intake holds records whose patient or keys were unknown when they came. Only the
filer asks; the leaf says for how many items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.auth.desk import INSERT_LEASE, ROLES, Desk, asker_of
from services.auth.facts import connection_of
from services.auth.sequencer import Proposal
from twinward.clock import utc
from twinward.errors import Denied, NotFound, TooLarge, Unready
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Handle, Purpose

INTAKE_S = 60
MOST = 500
NOBODY = Handle(int=0)  # stands in the lease for "of no patient that is known"

_KEYS = "select distinct key_id from ingest.intake where id = any (%s) and state = 'waiting'"


@dataclass(frozen=True, slots=True)
class IntakeGrant:
    lease_id: UUID
    until_ms: int
    seeds: Mapping[int, bytes]  # key id -> 96 bytes
    leaf: int


class Intake:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def grant(self, caller: Caller, ids: Sequence[int]) -> IntakeGrant:
        """
        Raises:
            TooLarge: more than 500 items.
            NotFound: none of them waits.
            Unready: their key is not on this node.
            Unavailable: nothing was released.
        """
        desk, role = self._desk, ROLES.get(caller.program or "")
        if role is None:
            raise Denied("only the filer opens intake")
        if len(ids) > MOST:
            raise TooLarge(f"one grant covers {MOST} items of intake at most; ask for the rest apart")
        now_ms = desk.clock.now_ms()
        with connection_of(desk.pool) as connection:
            wanted = [number for (number,) in connection.execute(_KEYS, (list(ids),)).fetchall()]
        if not wanted:
            raise NotFound("none of these items waits in intake any more")
        missing = [number for number in wanted if number not in desk.ring.intake_seeds]
        if missing:
            raise Unready("items of intake are sealed to a key that this node does not hold; restore secrets/intake")
        lease_id, until_ms = desk.new_id(), now_ms + INTAKE_S * 1000
        row: tuple[object, ...] = (lease_id, role, NOBODY, [], Purpose.OPERATIONS.value, utc(now_ms), utc(until_ms))
        body = {
            **desk.who(caller),
            "act": "intake",
            "decision": "permit",
            "items": len(ids),
            "key_ids": sorted(wanted),
            "lease_s": INTAKE_S,
            "lease": str(lease_id),
            "now": now_ms,
        }
        actor = asker_of(caller).name
        writes = lambda leaf: [(INSERT_LEASE, (*row, leaf, actor))]  # noqa: E731
        leaf = desk.record([Proposal(Kind.INTAKE_FILE, body, writes=writes)])[0]
        return IntakeGrant(lease_id, until_ms, {number: desk.ring.intake_seeds[number] for number in wanted}, leaf)
