"""Patients for a person: the own care team, or the one with an exact number.

No free search. A patient who may not be shown looks like one who is not there.
One leaf for every patient shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from services.auth.decision import Asked, Decision
from services.auth.desk import Desk, Known, Patient, asker_of, person_of, purpose_of
from services.auth.facts import Facts, connection_of
from services.auth.grants import Grants
from services.auth.leaf import Body, decided
from services.auth.sequencer import Proposal
from twinward.clock import month_of, utc
from twinward.errors import BadInput
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Category, Handle, Purpose
from twinward.vault.identifiers import Identifier
from twinward.vault.keytree import Period

MOST = 50

_OWN = """
select distinct t.handle from vault.care_team t
where t.actor = %s and t.starts <= %s and (t.ends is null or t.ends > %s) and t.handle > %s
order by t.handle limit %s"""


@dataclass(frozen=True, slots=True)
class Listed:
    handle: Handle
    has_twin: bool
    leaf: int


class Listing:
    def __init__(self, desk: Desk, grants: Grants) -> None:
        self._desk = desk
        self._grants = grants

    def find(
        self, caller: Caller, identifier: Identifier | None, page_size: int, page_token: str
    ) -> tuple[list[Listed], str]:
        """Patients, and the token of the next page ("" at the end).

        Raises:
            Denied, BadInput, Busy, Unavailable
        """
        person = person_of(caller)
        purpose, size = purpose_of(person), min(page_size or MOST, MOST)
        if identifier is not None:
            with self._desk.of_patient(Patient(identifier=identifier), person.sub) as known:
                return self._shown(caller, purpose, known), ""
        handles = self._own(person.sub, page_token, size + 1)
        with self._desk.deciding(handles[:size], None, person.sub) as known:
            shown = self._shown(caller, purpose, known)
        return shown, handles[size - 1].hex if len(handles) > size else ""

    def _own(self, actor: str, page_token: str, most: int) -> list[Handle]:
        try:
            after = UUID(hex=page_token) if page_token else UUID(int=0)
        except ValueError:
            raise BadInput("this page token is none of ours; begin with the first page") from None
        now = utc(self._desk.clock.now_ms())
        with connection_of(self._desk.pool) as connection:
            return [handle for (handle,) in connection.execute(_OWN, (actor, now, now, after, most)).fetchall()]

    def _shown(self, caller: Caller, purpose: Purpose, known: Known) -> list[Listed]:
        said: Body = {
            **self._desk.who(caller), "act": "list", "purpose": purpose.value, "now": known.now_ms,
        }  # fmt: skip
        ordered = sorted(known.facts, key=lambda facts: facts.handle)
        self._desk.caps.count(caller.certificate_sha256 + person_of(caller).sub.encode(), [f.handle for f in ordered])
        decisions = [self._decide(caller, purpose, facts, known.now_ms) for facts in ordered]
        leaves = self._desk.record(
            [self._proposal(facts, decision, said) for facts, decision in zip(ordered, decisions, strict=True)]
        )
        return [
            Listed(facts.handle, facts.twin_month is not None, leaf)
            for facts, decision, leaf in zip(ordered, decisions, leaves, strict=True)
            if decision.allowed
        ]

    def _decide(self, caller: Caller, purpose: Purpose, facts: Facts, now_ms: int) -> Decision:
        month = month_of(now_ms)
        asked = Asked(asker_of(caller), "list", purpose, _SHOWN, Period(month, month, undated=False), now_ms)
        return self._grants.decide(facts, asked)[0]

    def _proposal(self, facts: Facts, decision: Decision, said: Body) -> Proposal:
        body = {**said, **decided(decision, self._desk.policies.sha256)}
        return Proposal(Kind.GRANT if decision.allowed else Kind.DENY, body, patient=facts.handle)


# What a line of the list tells: that there are such records, not what they say.
_SHOWN = (Category.DEVICES,)
