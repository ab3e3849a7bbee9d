"""A person asks for one patient through a program.

1. facts: one statement, inside the gate (`desk.deciding`)
2. the patient's key is unwrapped, the consents on file are opened
3. decision: consents, then Cedar
4. leaf and lease row in one transaction, durable everywhere (`sequencer.py`)
5. only now the keys leave

A denial goes the same way and ends at 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.auth import months, onfile
from services.auth.decision import Asked, Decision, decide, refusal
from services.auth.desk import INSERT_LEASE, ROLES, Desk, Patient, asker_of, person_of, purpose_of
from services.auth.facts import Facts
from services.auth.leaf import Body, decided, released
from services.auth.sequencer import Proposal
from twinward.clock import month_of, utc
from twinward.errors import BadInput, Busy, Denied, NotFound
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Category, Purpose
from twinward.vault.keytree import Period, is_month
from twinward.vault.lease import Lease, NodeKey

TREATMENT_S = 15 * 60
OTHERS_S = 60
SKEW_MS = 5 * 60_000
MOST_REASON = 200  # characters
UNKNOWN = "no patient has this number here; check the number and its system"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for."""

    patient: Patient
    categories: tuple[int, ...]
    first: int | None  # year * 100 + month; 0 undated; None: from the first record on
    last: int | None  # None: until now
    act: str  # forecast, show, explain: written down
    reason: str


class Grants:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def grant(self, caller: Caller, wish: Wish) -> Lease:
        """
        Raises:
            ConsentDenied, Denied: decided, and the answer is no; the leaf is written.
            NotFound: no such patient.
            BadInput: categories or period make no sense.
            Busy, Unavailable: not decided; nothing was released.
        """
        desk, person = self._desk, person_of(caller)
        purpose, categories = purpose_of(person), _categories(wish.categories)
        if caller.program not in ROLES:
            raise Denied("keys go to programs that read for people; ask through the twin")
        said: Body = {**desk.who(caller), "act": wish.act[:40], "purpose": purpose.value}
        if wish.reason:
            said["why"] = wish.reason[:MOST_REASON]
        with desk.of_patient(wish.patient, person.sub) as known:
            said["now"] = known.now_ms
            if not known.facts:
                desk.record([Proposal(Kind.DENY, {**said, "decision": "deny", "reason": "unknown-patient"})])
                raise NotFound(UNKNOWN)
            facts = known.facts[0]
            self._count(caller, facts, said)
            period = _period(wish, facts, known.now_ms)
            asked = Asked(asker_of(caller), "read", purpose, categories, period, known.now_ms)
            decision, key = self.decide(facts, asked)
            said |= decided(decision, desk.policies.sha256)
            if not decision.allowed:
                said["categories"] = [int(category) for category in categories]
                desk.record([Proposal(Kind.DENY, said, patient=facts.handle)])
                raise refusal(decision.reason, purpose)
            nodes = desk.ring.nodes(key, facts, decision.released, known.now_ms)
            return self._release(caller, facts, asked, decision, nodes, said)

    def decide(self, facts: Facts, asked: Asked) -> tuple[Decision, bytes]:
        """The decision about one patient, and the patient's key (empty where erased)."""
        ring = self._desk.ring
        key = b"" if facts.erased else ring.unwrap(facts)
        statements = [] if facts.erased else onfile.statements(ring, key, facts)
        decision = decide(self._desk.policies, asked, statements, care_team=facts.care_team, erased=facts.erased)
        return decision, key

    def _count(self, caller: Caller, facts: Facts, said: Body) -> None:
        try:
            self._desk.caps.count(caller.certificate_sha256 + said_actor(said), [facts.handle])
        except Busy:
            self._desk.record(
                [Proposal(Kind.DENY, {**said, "decision": "deny", "reason": "too-many-patients"}, facts.handle)]
            )
            raise

    def _release(
        self, caller: Caller, facts: Facts, asked: Asked, decision: Decision, nodes: tuple[NodeKey, ...], said: Body
    ) -> Lease:
        desk, lease_id = self._desk, self._desk.new_id()
        seconds = TREATMENT_S if asked.purpose is Purpose.TREATMENT else OTHERS_S
        until_ms = asked.now_ms + seconds * 1000
        tags = desk.ring.tags(facts.handle, decision.released)
        row = (
            lease_id, ROLES[caller.program or ""], facts.handle, list(tags.values()), asked.purpose.value,
            utc(asked.now_ms), utc(until_ms),
        )  # fmt: skip
        body = {**said, **released(decision.released), "lease_s": seconds, "lease": str(lease_id)}
        proposal = Proposal(
            Kind.GRANT,
            body,
            patient=facts.handle,
            writes=lambda leaf: [(INSERT_LEASE, (*row, leaf, asked.asker.name))],
        )
        leaf = desk.record([proposal])[0]
        return Lease(
            lease_id=lease_id.bytes,
            handle=facts.handle,
            until_ms=until_ms,
            purpose=asked.purpose.value,
            tags=tags,
            nodes=nodes,
            tails=(),
            manifest_root=facts.manifest_root,
            manifest_previous=facts.manifest_previous,
            leaf=leaf,
            version=facts.version,
            issued_ms=asked.now_ms,
        )


def said_actor(said: Body) -> bytes:
    """People who share a program's certificate are counted each for themselves."""
    return str(said.get("actor", "")).encode()


def _categories(numbers: tuple[int, ...]) -> tuple[Category, ...]:
    try:
        found = tuple(dict.fromkeys(Category(number) for number in numbers))
    except ValueError:
        raise BadInput("a category that was asked for is not known here; see docs/formats.md") from None
    if not found:
        raise BadInput("no category was asked for; name at least one")
    return found


def _period(wish: Wish, facts: Facts, now_ms: int) -> Period:
    """The months that the question is about; nothing after the present one.

    Raises:
        BadInput: no months, or all of them in the future.
    """
    current = month_of(now_ms)
    for month in (wish.first, wish.last):
        if month not in (None, months.UNDATED) and not is_month(month or 0):
            raise BadInput("a period runs from a month to a month; a month has a number from 1 to 12")
    earliest = min((group.year * 100 + 1 for group in facts.groups if group.year), default=current)
    undated = wish.first in (None, months.UNDATED)
    if wish.last == months.UNDATED and wish.first == months.UNDATED:
        return Period(months.LAST, months.FIRST, undated=True)
    first = earliest if wish.first in (None, months.UNDATED) else wish.first
    last = current if wish.last in (None, months.UNDATED) else wish.last
    assert first is not None and last is not None  # noqa: S101, PT018  None was replaced above
    if first > month_of(now_ms + SKEW_MS):
        raise BadInput("the period lies in the future; nothing is recorded there yet")
    if first > last and not undated:
        raise BadInput("the period ends before it begins; turn the months round")
    return Period(max(first, months.FIRST), min(last, max(current, first)), undated=undated)
