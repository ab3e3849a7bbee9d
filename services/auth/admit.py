"""New patients, and public keys for those whose keys are missing or near their end.

Nothing is released here: what goes out are handles, index numbers and public
keys. A patient who is new comes only from a feed approved for `identity`; what
another feed says of a stranger goes to intake (ingest sees the refusal). Numbers
that point to two patients are refused: merging is a steward's act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg

from services.auth import sets
from services.auth.desk import Desk
from services.auth.facts import Connection, connection_of, facts_of
from services.auth.policy import RESERVED
from services.auth.sets import Order, Wanted, wanted_months
from twinward.clock import utc
from twinward.errors import BadInput, Busy, Tampered, TooLarge
from twinward.record import Category, Handle
from twinward.vault import hpke
from twinward.vault.identifiers import Identifier, decode_admission
from twinward.vault.manifest import FIRST_CHAIN

MOST = 500
_ROUNDS = 3

_KNOWN = "select idx, handle from vault.blind_index where idx = any (%s)"
_KEYS = """
select handle, tag, month from vault.public_key k
where handle = any (%s) and valid_until > %s
  and version = (select version from vault.patient_state s where s.handle = k.handle)"""
_NEW_KEYS = """
insert into vault.patient_key (handle, epoch, wrapped) select * from unnest(%b::uuid[], %b::int[], %b::bytea[])"""
_NEW_STATES = "insert into vault.patient_state (handle, chain) select handle, %b from unnest(%b::uuid[]) as n (handle)"
_INDEX = """
insert into vault.blind_index (idx, handle) select * from unnest(%b::uuid[], %b::uuid[]) order by 1
on conflict (idx) do nothing"""
_FEED_INDEX = """
insert into vault.feed_index (idx, handle) select * from unnest(%b::uuid[], %b::uuid[]) order by 1
on conflict (idx) do nothing"""


@dataclass(frozen=True, slots=True)
class Applicant:
    """Sealed identifiers of somebody unknown, or the handle of somebody known."""

    sealed: bytes
    handle: Handle | None
    categories: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Admitted:
    handle: Handle | None
    refused: str  # reason, empty where admitted
    feed_index: bytes  # 16 bytes, of the first identifier
    version: int


@dataclass(frozen=True, slots=True)
class _Opened:
    identifiers: tuple[Identifier, ...]
    handle: Handle | None
    categories: tuple[Category, ...]
    refused: str = ""


def admit_info(site: str) -> bytes:
    """What sealed identifiers are bound to."""
    return hpke.INFO_ADMIT + site.encode()


class Admit:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def admit(self, feed: str, applicants: Sequence[Applicant]) -> list[Admitted]:
        """In the applicants' order; each on its own: one refusal stops nobody else.

        Raises:
            TooLarge, Unavailable
        """
        if len(applicants) > MOST:
            raise TooLarge(f"one call admits {MOST} patients at most; send the rest apart")
        opened = [self._open(applicant) for applicant in applicants]
        for _ in range(_ROUNDS):
            try:
                # Inside the gate: no version is raised between its reading and the new keys.
                with self._desk.gate.decision(), connection_of(self._desk.pool) as connection, connection.transaction():
                    return _Round(self._desk, connection, feed, opened).admitted()
            except _Raced:
                continue  # another ingest named the same patient: its commit is visible now
        raise Busy("the same patients are being admitted elsewhere; try again in a moment")

    def _open(self, applicant: Applicant) -> _Opened:
        numbers = list(applicant.categories)
        identifiers: tuple[Identifier, ...] = ()
        try:
            if applicant.sealed:
                plain = hpke.open_sealed(self._desk.ring.admit_key, applicant.sealed, admit_info(self._desk.ring.site))
                admission = decode_admission(plain)
                identifiers, numbers = admission.identifiers, [*numbers, *admission.categories]
                for identifier in identifiers:
                    self._desk.ring.blind(identifier)
            categories = tuple(sorted({Category(number) for number in numbers} - RESERVED | _raw(numbers)))
        except Tampered:
            return _Opened((), None, (), "does-not-open")
        except (BadInput, ValueError):
            return _Opened((), None, (), "malformed")
        return _Opened(identifiers, applicant.handle, categories)


class _Round:
    """One transaction: what is known is read at once, what is new is written at once."""

    def __init__(self, desk: Desk, connection: Connection, feed: str, opened: Sequence[_Opened]) -> None:
        self._desk, self._ring, self._connection, self._opened = desk, desk.ring, connection, opened
        self._now_ms = desk.clock.now_ms()
        approved = connection.execute("select approvals from vault.feed where name = %s", (feed,)).fetchone()
        self._may_name = approved is not None and "identity" in approved[0]
        self._indexes = [[UUID(bytes=self._ring.blind(one)) for one in each.identifiers] for each in opened]
        wanted = [index for some in self._indexes for index in some]
        self._known: dict[UUID, Handle] = dict(connection.execute(_KNOWN, (wanted,)).fetchall())
        asked = {*self._known.values(), *(each.handle for each in opened if each.handle is not None)}
        self._facts = {facts.handle: facts for facts in facts_of(connection, list(asked), None, (), self._now_ms)}
        self._fresh: dict[Handle, tuple[bytes, int, bytes]] = {}  # key, epoch, wrapped
        self._new_index: dict[UUID, Handle] = {}
        self._feed_index: dict[UUID, Handle] = {}
        self._asked: dict[Handle, set[Category]] = {}

    def admitted(self) -> list[Admitted]:
        """The answers, once all rows are written; the caller commits."""
        answers = [self._answer(each, own) for each, own in zip(self._opened, self._indexes, strict=True)]
        self._write()
        self._issue()
        return answers

    def _answer(self, each: _Opened, own: Sequence[UUID]) -> Admitted:
        handle, refused = self._place(each, own)
        if refused or handle is None:
            return Admitted(None, refused, b"", 0)
        self._index(each, own, handle)
        self._asked.setdefault(handle, set()).update(each.categories)
        first = self._ring.feed_blind(each.identifiers[0]) if each.identifiers else b""
        return Admitted(handle, "", first, self._version(handle))

    def _place(self, each: _Opened, own: Sequence[UUID]) -> tuple[Handle | None, str]:
        """The applicant's handle, old or new, or the reason of a refusal."""
        if each.refused:
            return None, each.refused
        found = {self._known[index] for index in own if index in self._known}
        found |= {each.handle} if each.handle else set()
        if len(found) > 1:
            return None, "two-patients"
        if found:
            handle = next(iter(found))
            if handle in self._fresh:
                return handle, ""
            if handle not in self._facts:
                return None, "unknown-handle"
            return (None, "erased") if self._facts[handle].erased else (handle, "")
        if not own:
            return None, "no-identifier"
        if not self._may_name:
            return None, "feed-not-approved"
        handle = self._desk.new_id()
        self._fresh[handle] = self._ring.create(handle)
        return handle, ""

    def _index(self, each: _Opened, own: Sequence[UUID], handle: Handle) -> None:
        """Both indexes of every number; a further number of a known patient needs the approval too."""
        for identifier, index in zip(each.identifiers, own, strict=True):
            if index not in self._known:
                if not self._may_name:
                    continue
                self._known[index] = self._new_index[index] = handle
            self._feed_index[UUID(bytes=self._ring.feed_blind(identifier))] = handle

    def _write(self) -> None:
        run = self._connection.execute
        if self._fresh:
            handles = list(self._fresh)
            run(
                _NEW_KEYS, (handles, [one[1] for one in self._fresh.values()], [one[2] for one in self._fresh.values()])
            )
            run(_NEW_STATES, (FIRST_CHAIN, handles))
        if self._new_index:
            written = run(_INDEX, (list(self._new_index), list(self._new_index.values()))).rowcount
            if written != len(self._new_index):
                raise _Raced
        if self._feed_index:
            run(_FEED_INDEX, (list(self._feed_index), list(self._feed_index.values())))

    def _issue(self) -> None:
        """Public keys for every category and month that has none yet: one new signed set a patient."""
        rows = self._connection.execute(_KEYS, (list(self._asked), utc(self._now_ms)), binary=True).fetchall()
        have = {(handle, bytes(tag), month) for handle, tag, month in rows}
        orders = []
        for handle, named in sorted(self._asked.items()):  # one order everywhere: no deadlocks
            wanted = tuple(
                Wanted(int(category), month)
                for category in sorted(named)
                for month in wanted_months(self._now_ms)
                if (handle, self._ring.tag(handle, category), month) not in have
            )
            if wanted:
                orders.append(Order(handle, self._key(handle), self._version(handle), wanted))
        try:
            if orders:
                self._connection.execute(*sets.issue(self._ring, orders))
        except psycopg.errors.UniqueViolation:
            raise _Raced from None

    def _key(self, handle: Handle) -> bytes:
        return self._fresh[handle][0] if handle in self._fresh else self._ring.unwrap(self._facts[handle])

    def _version(self, handle: Handle) -> int:
        return self._facts[handle].version if handle in self._facts else 1


def _raw(numbers: Sequence[int]) -> set[Category]:
    """Raw is written by ingest and read by nobody; the other reserved ones are not ingest's."""
    return {Category.RAW} if Category.RAW in numbers else set()


class _Raced(Exception):
    """Somebody else admitted the same patient at the same time."""
