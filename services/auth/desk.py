"""What every decision needs at hand, and the way into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from uuid import UUID

from services.auth.caps import Caps
from services.auth.facts import ANY_WAITING, Connection, Facts, Pool, connection_of, facts_of
from services.auth.gate import Gate
from services.auth.keyring import KeyRing
from services.auth.leaf import Body, who
from services.auth.policy import Asker, Policies
from services.auth.sequencer import Proposal, Sequencer
from services.auth.waiting import Waiting
from twinward.clock import Chance, Clock
from twinward.errors import Busy, Denied, Unauthenticated
from twinward.link.caller import Caller, Person
from twinward.record import Handle, Purpose
from twinward.vault.identifiers import Identifier

# Program -> database role of its leases: what row-level security compares.
ROLES = {
    "twin": "twin",
    "twin-worker": "twin_worker",
    "twin-jobs": "twin_jobs",
    "compactor": "compactor",
    "ingest-filer": "filer",
    "federation": "federation",
}

INSERT_LEASE = """
insert into vault.lease (id, role, handle, tags, purpose, issued, until, leaf, actor)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""

_ROUNDS = 5


@dataclass(frozen=True)
class Patient:
    """Whom a question is about: exactly one of the two."""

    handle: Handle | None = None
    identifier: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """The facts of one moment."""

    now_ms: int
    facts: Sequence[Facts]


@dataclass(frozen=True)
class Desk:
    pool: Pool
    ring: KeyRing
    policies: Policies
    sequencer: Sequencer
    gate: Gate
    waiting: Waiting
    caps: Caps
    clock: Clock
    chance: Chance
    issuer: str

    @contextmanager
    def deciding(self, handles: Sequence[Handle], index: bytes | None = None, actor: str = "") -> Iterator[Known]:
        """Facts for one decision, inside the gate: hold it until the decision is committed.

        Consents and care teams that wait are applied first.

        Raises:
            Unavailable: the database does not answer.
            Busy: consents come in faster than they can be applied.
        """
        for _ in range(_ROUNDS):
            with self.gate.decision():
                now_ms = self.clock.now_ms()
                with connection_of(self.pool) as connection:
                    found = facts_of(connection, handles, UUID(bytes=index) if index else None, (actor,), now_ms)
                if not any(one.waiting for one in found):
                    yield Known(now_ms, found)
                    return
            self.waiting.apply()
        raise Busy("consents are coming in faster than they can be applied; try again in a moment")

    @contextmanager
    def settled(self) -> Iterator[int]:
        """`deciding` about no patient in particular; the one moment (ms) of whatever is decided. Raises as it."""
        for _ in range(_ROUNDS):
            with self.gate.decision():
                now_ms = self.clock.now_ms()
                with connection_of(self.pool) as connection:
                    row = connection.execute(ANY_WAITING).fetchone()
                if row is not None and not row[0]:
                    yield now_ms
                    return
            self.waiting.apply()
        raise Busy("consents are coming in faster than they can be applied; try again in a moment")

    def of_patient(self, patient: Patient, actor: str = "") -> AbstractContextManager[Known]:
        """`deciding` for the one patient that a person named."""
        if patient.identifier is not None:
            return self.deciding((), self.ring.blind(patient.identifier), actor)
        return self.deciding(() if patient.handle is None else (patient.handle,), None, actor)

    @contextmanager
    def reading(self, patient: Patient, actor: str, now_ms: int) -> Iterator[tuple[Connection, Sequence[Facts]]]:
        """Facts of one patient on an open connection, for a change: the caller holds the gate alone."""
        index = None if patient.identifier is None else UUID(bytes=self.ring.blind(patient.identifier))
        handles = () if patient.handle is None else (patient.handle,)
        with connection_of(self.pool) as connection:
            yield connection, facts_of(connection, handles, index, (actor,), now_ms)

    def record(self, proposals: Sequence[Proposal]) -> list[int]:
        """Ledger indexes, once the entries and their rows are durable. Raises Unavailable."""
        return self.sequencer.commit(proposals)

    def who(self, caller: Caller) -> Body:
        return who(caller, issuer=self.issuer)

    def new_id(self) -> UUID:
        return UUID(bytes=self.chance.bytes(16), version=4)


def person_of(caller: Caller) -> Person:
    if caller.person is None:
        raise Unauthenticated("this call is made for a person; log in with `twinward login`")
    return caller.person


def asker_of(caller: Caller) -> Asker:
    if caller.person is not None:
        return Asker(caller.person.sub, caller.person.roles, caller.program or "", True)
    if caller.program is None:
        raise Unauthenticated("nobody is known to make this call")
    return Asker(caller.program, (), caller.program, False)


def purpose_of(person: Person) -> Purpose:
    """The one purpose of a person's token."""
    try:
        return Purpose(person.purpose)
    except ValueError:
        raise Denied("the login states no purpose that is known here; log in again with `--purpose`") from None
