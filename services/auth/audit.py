"""Reading the ledger's bodies: for auditors, and itself an entry.

The leaf `audit_read` is durable before the first body is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from services.auth.desk import Desk, Patient
from services.auth.entries import MOST, EntryReader, Found, Question
from services.auth.facts import connection_of
from services.auth.grants import UNKNOWN
from services.auth.leaf import Body
from services.auth.sequencer import Proposal
from services.auth.studies import HASH_BYTES
from twinward.errors import BadInput, NotFound
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Handle


@dataclass(frozen=True, slots=True)
class Search:
    patient: Patient | None
    actor: str
    kind: str  # word, "" for all
    since_ms: int
    page_size: int  # 0: 100; at most 500
    page_token: str
    study: bytes = b""  # its hash; empty for all


@dataclass(frozen=True, slots=True)
class Page:
    entries: tuple[Found, ...]
    next_token: str
    leaf: int


class Audit:
    def __init__(self, desk: Desk, reader: EntryReader) -> None:
        self._desk = desk
        self._reader = reader

    def find(self, caller: Caller, search: Search) -> Page:
        """Entries that match all that is asked, newest first.

        Raises:
            NotFound: no such patient.
            Malformed, BadInput: a kind or page token that is none.
            Unavailable: nothing was opened.
        """
        handle = None if search.patient is None else self._handle(search.patient)
        kind = Kind.of(search.kind) if search.kind else None
        limit = min(search.page_size or 100, MOST)
        if search.page_token and not (search.page_token.isascii() and search.page_token.isdigit()):
            raise BadInput("this page token is none of ours; begin with the first page")
        said: Body = {
            **self._desk.who(caller),
            "act": "audit_read",
            "asked": {"actor": search.actor[:120], "of_kind": search.kind, "since_ms": search.since_ms, "most": limit},
            "now": self._desk.clock.now_ms(),
        }
        if search.study:
            said["study"] = search.study[:HASH_BYTES].hex()
        leaf = self._desk.record([Proposal(Kind.AUDIT_READ, said, patient=handle)])[0]
        before = int(search.page_token) if search.page_token else None
        question = Question(handle, search.actor, search.study, kind, search.since_ms, before, limit)
        with connection_of(self._desk.pool) as connection:
            found = self._reader.find(connection, question)
        return Page(tuple(found), str(found[-1].index) if len(found) == limit else "", leaf)

    def _handle(self, patient: Patient) -> Handle:
        if patient.handle is not None:
            return patient.handle
        assert patient.identifier is not None  # noqa: S101  a Patient is one of the two
        index = UUID(bytes=self._desk.ring.blind(patient.identifier))
        with connection_of(self._desk.pool) as connection:
            row = connection.execute("select handle from vault.blind_index where idx = %s", (index,)).fetchone()
        if row is None:
            raise NotFound(UNKNOWN)
        return Handle(int=row[0].int)
