"""What stewards, clinicians and privacy officers do with consents: show, set, withdraw.

`set` records what the patient has stated; `withdraw` is a deny of its own, takes
effect at once, and holds until a steward records that the patient permits again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from services.auth import onfile
from services.auth.consent import STEWARD, WITHDRAWAL, Answer, Question, Statement, judge
from services.auth.consent_codes import PURPOSE_SYSTEM
from services.auth.desk import Desk, Patient, person_of
from services.auth.facts import Facts
from services.auth.grants import UNKNOWN
from services.auth.leaf import Body
from services.auth.onfile import Change, Changed
from services.auth.sequencer import Proposal
from twinward.clock import month_of, utc
from twinward.errors import BadInput, Denied, NotFound
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Category, Handle, Purpose, Role

_SHOWN = (Purpose.TREATMENT, Purpose.UPKEEP, Purpose.TEACHING, Purpose.RESEARCH)
_ENDED = "select count(*) from vault.lease where handle = %s and role <> 'compactor' and until > clock_timestamp()"


@dataclass(frozen=True, slots=True)
class Shown:
    handle: Handle
    statements: tuple[Statement, ...]
    effective: dict[str, str]  # purpose -> permit or deny, with the reason


@dataclass(frozen=True, slots=True)
class WasSet:
    handle: Handle
    sha256: bytes
    leaf: int
    version: int
    leases_ended: int


class Consents:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def show(self, caller: Caller, patient: Patient) -> Shown:
        """Consents on file and what they come to; a leaf, because they are the patient's words.

        Raises:
            NotFound: no such patient.
            Denied: erased, or a clinician who does not treat the patient.
        """
        desk, person = self._desk, person_of(caller)
        said: Body = {**desk.who(caller), "act": "consent_read"}
        with desk.of_patient(patient, person.sub) as known:
            facts = self._one(known.facts, said)
            allowed = facts.care_team or set(person.roles) - {Role.CLINICIAN.value}
            body = {**said, "decision": "permit" if allowed else "deny", "now": known.now_ms}
            desk.record([Proposal(Kind.GRANT if allowed else Kind.DENY, body, patient=facts.handle)])
            if not allowed:
                raise Denied("you are not in this patient's care team at present; ask the data steward")
            found = onfile.statements(desk.ring, desk.ring.unwrap(facts), facts)
            effective = {purpose.value: _effective(found, purpose, known.now_ms) for purpose in _SHOWN}
        return Shown(facts.handle, tuple(found), effective)

    def set(self, caller: Caller, patient: Patient, body: bytes) -> WasSet:
        """Puts a FHIR R4 Consent on file, verified by the steward who sets it.

        Raises:
            Malformed, TooLarge: it cannot be read.
            NotFound, Denied, Busy, Unavailable: nothing has changed.
        """
        said: Body = {**self._desk.who(caller), "act": "consent_set"}
        return self._change(caller, patient, body, STEWARD, said)

    def withdraw(self, caller: Caller, patient: Patient, purposes: Sequence[str], reason: str) -> WasSet:
        """Denies `purposes` (empty: all) from now on and ends every lease of the patient.

        Raises:
            BadInput: a purpose that is none.
            NotFound, Denied, Busy, Unavailable: nothing has changed.
        """
        try:
            wanted = [Purpose(purpose) for purpose in purposes]
        except ValueError:
            raise BadInput(f"purposes are {', '.join(purpose.value for purpose in Purpose)}") from None
        said: Body = {
            **self._desk.who(caller),
            "act": "consent_withdraw",
            "purposes": [purpose.value for purpose in wanted] or ["all"],
            "why": reason[:200],
        }
        deny = {"type": "deny", **({"purpose": [_coding(purpose) for purpose in wanted]} if wanted else {})}
        document = {
            "resourceType": "Consent",
            "status": "active",
            "dateTime": utc(self._desk.clock.now_ms()).isoformat(timespec="milliseconds"),
            "provision": deny,
        }
        return self._change(caller, patient, orjson.dumps(document), WITHDRAWAL, said)

    def _change(self, caller: Caller, patient: Patient, body: bytes, source: str, said: Body) -> WasSet:
        desk, person = self._desk, person_of(caller)
        desk.waiting.apply()  # what feeds said before comes before
        with desk.gate.change():
            now_ms = desk.clock.now_ms()
            with desk.reading(patient, person.sub, now_ms) as (connection, found):
                facts = self._one(found, said)
                key = desk.ring.unwrap(facts)
                known = onfile.statements(desk.ring, key, facts)
                new = Change(body, source, verified=True, received_ms=now_ms, who=said)
                changed = onfile.change(connection, desk.ring, key, facts, known, new, now_ms)
                row = connection.execute(_ENDED, (facts.handle,)).fetchone()
            return self._recorded(facts, changed, row[0] if row else 0)

    def _recorded(self, facts: Facts, changed: Changed, leases: int) -> WasSet:
        leaf = self._desk.record([changed.proposal])[0]
        return WasSet(facts.handle, changed.sha256, leaf, changed.version, leases)

    def _one(self, found: Sequence[Facts], said: Body) -> Facts:
        if not found:
            self._desk.record([Proposal(Kind.DENY, {**said, "decision": "deny", "reason": "unknown-patient"})])
            raise NotFound(UNKNOWN)
        return found[0]


def _coding(purpose: Purpose) -> dict[str, str]:
    return {"system": PURPOSE_SYSTEM, "code": purpose.value}


def _effective(statements: Sequence[Statement], purpose: Purpose, now_ms: int) -> str:
    """For ordinary records of this month; sensitive ones and other months may differ."""
    answer = judge(statements, Question(purpose, Category.LABS, month_of(now_ms), now_ms)).answer
    if answer is Answer.PERMIT:
        return "permit: a consent says so"
    if answer is Answer.DENY:
        return "deny: a consent or its withdrawal says so"
    if answer is Answer.CLOSED:
        return "deny: the consents permit other things only"
    if purpose is Purpose.TREATMENT:
        return "permit: for the care team, by default"
    return "deny: no consent permits it"
