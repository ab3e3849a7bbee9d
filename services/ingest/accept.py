"""Takes a message: who it is about, whether the feed may say it, and into the database.

1 idempotency key seen: the stored answer again, or Conflict on other bytes;
2 entries read, each for itself; 3 patients found by blind index, unknown ones
admitted by auth within 2 s; 4 whoever cannot be told or has no keys goes sealed to
intake; 5 one transaction; 6 the answer. Nothing is acknowledged before 5 is durable.
"""

from __future__ import annotations

import collections.abc as abc
import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import psycopg

from services.ingest import books
from services.ingest.admission import Admitted, Admitting, Wanted
from services.ingest.answer import Answer, decode_replayed
from services.ingest.backpressure import Budget
from services.ingest.entry import Aside, NamePair, Read, Taken, Who
from services.ingest.fhir import Reader
from services.ingest.kept import VERSION, Kept, KeptEntry, KeptMapping, encode
from services.ingest.mapping import Mapping
from services.ingest.receipts import Names
from services.ingest.series import SeriesReader
from services.ingest.work import Keep, Work, categories
from twinward.clock import Clock
from twinward.errors import BadInput, Conflict, Unavailable
from twinward.record import Handle
from twinward.vault.identifiers import blind
from twinward.vault.writer import MissingKeys

Missing = abc.Mapping[Handle, frozenset[int]]  # patient -> categories without a key
Borrow = Callable[[], AbstractContextManager[books.Connection]]
FEEDS_LAST_S = 5.0
LONGEST_KEY = 200
IDENTITY = "identity"
UNKNOWN, UNREACHABLE, NO_KEYS = "unknown-patient", "auth-unavailable", "no-keys"
CONFLICT, ERASED = "two-patients", "erased"  # auth's words for them


class Putting(Protocol):
    def put(self, work: Work) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one `Who`: a handle, or the reason for intake, or a refusal."""

    handle: Handle | None = None
    wait: str = ""
    refused: str = ""


class Acceptor:
    def __init__(
        self, *, borrow: Borrow, names: Names, admitting: Admitting, committer: Putting, clock: Clock, budget: Budget
    ) -> None:
        self._borrow = borrow
        self._names = names
        self._admitting = admitting
        self._committer = committer
        self._clock = clock
        self._budget = budget
        self._turn = threading.Lock()
        self._received_ms = 0
        self._feeds: dict[str, frozenset[str]] = {}
        self._feeds_at = -FEEDS_LAST_S

    def fhir(self, feed: str, idempotency_key: str, payload: bytes) -> Answer:
        """One bundle or resource.

        Raises:
            Malformed, TooLarge, BadInput: nothing of it can be taken; says what to do.
            Conflict: the idempotency key was used for other bytes.
            Busy, Unavailable: nothing was taken; send it again.
        """
        digest = hashlib.sha256(payload).digest()

        def read(now_ms: int) -> tuple[list[Read], Keep]:
            reader = Reader(feed, self._names, now_ms)
            return reader.message(payload), keep_fhir(feed, now_ms)

        return self._message(feed, idempotency_key, digest, len(payload), read)

    def series(
        self, feed: str, idempotency_key: str, data: bytes, mapping: Mapping, patient: NamePair | None
    ) -> Answer:
        """Rows of a file; errors as `fhir`."""
        digest = hashlib.sha256(repr((mapping, patient)).encode() + b"\x00" + data).digest()

        def read(now_ms: int) -> tuple[list[Read], Keep]:
            reader = SeriesReader(feed, self._names, now_ms)
            return reader.read(data, mapping, patient), keep_series(feed, now_ms, mapping)

        return self._message(feed, idempotency_key, digest, len(data), read)

    def _message(
        self, feed: str, idempotency_key: str, digest: bytes, size: int,
        read: Callable[[int], tuple[list[Read], Keep]],
    ) -> Answer:  # fmt: skip
        if len(idempotency_key) > LONGEST_KEY:
            raise BadInput(f"an idempotency key may have {LONGEST_KEY} characters")
        with self._budget.hold(size):
            approvals = self.approvals(feed)
            key = self._names.answer(feed, idempotency_key) if idempotency_key else None
            if key is not None and (told := self._told(key, digest)) is not None:
                return told
            entries, keep, now_ms = self._read(read)
            work = self.work(feed, approvals, now_ms, entries, keep)
            receipt = key or self._names.message(feed, digest)
            work = replace(work, receipt=receipt, answer_key=key, answer_hash=digest, size=size)
            try:
                return self._put(work)
            except Unavailable:
                # The same key may have been written by a twin of this message at the same moment.
                told = self._told(key, digest) if key is not None else None
                if told is None:
                    raise
                return told

    def _read(self, read: Callable[[int], tuple[list[Read], Keep]]) -> tuple[list[Read], Keep, int]:
        """Reads at a time of receipt that no other message of this program has: of two versions one is last."""
        with self._turn:
            now_ms = max(self._clock.now_ms(), self._received_ms + 1)
            self._received_ms = now_ms
        entries, keep = read(now_ms)
        with self._turn:
            self._received_ms = max(self._received_ms, *(_received(entry) for entry in entries), now_ms)
        return entries, keep, now_ms

    def approvals(self, feed: str) -> frozenset[str]:
        """What a steward approved `feed` for.

        Raises:
            BadInput: no such feed at this site.
        """
        now = self._clock.monotonic()
        if feed not in self._feeds or not 0 <= now - self._feeds_at < FEEDS_LAST_S:
            with self._look() as connection:
                self._feeds, self._feeds_at = books.feeds(connection), now
        if feed not in self._feeds:
            raise BadInput("this site knows no feed of that name: use files, or have a steward add it")
        return self._feeds[feed]

    @contextmanager
    def _look(self) -> Iterator[books.Connection]:
        """A connection for look-ups; where there is none, senders are told to come again."""
        try:
            with self._borrow() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:  # PoolTimeout is one too
            refusal = "the database does not answer: nothing was taken, send this again"
            raise Unavailable(refusal, detail=type(error).__name__) from None

    def _told(self, key: bytes, digest: bytes) -> Answer | None:
        with self._look() as connection:
            stored = books.answer(connection, key)
        if stored is None:
            return None
        if stored[0] != digest:
            raise Conflict("this idempotency key was used for other content: use a new key for new content")
        return decode_replayed(stored[1])

    def work(self, feed: str, approvals: frozenset[str], received_ms: int, entries: Sequence[Read], keep: Keep) -> Work:
        """Finds the patients of `entries` and sorts them into known, late and aside."""
        asides = [entry for entry in entries if isinstance(entry, Aside)]
        allowed: list[Taken] = []
        for entry in entries:
            if not isinstance(entry, Taken):
                continue
            if entry.approval and entry.approval not in approvals:
                asides.append(_refused(entry, "feed-not-approved", NOT_APPROVED.format(entry.approval)))
            else:
                allowed.append(entry)
        found = self.find(feed, approvals, allowed)
        known: list[tuple[Taken, Handle]] = []
        late: list[tuple[Taken, str]] = []
        erased: list[Taken] = []
        for entry in allowed:
            place = found[entry.who]
            if place.handle is not None:
                known.append((entry, place.handle))
            elif place.wait:
                late.append((entry, place.wait))
            elif place.refused == ERASED:
                erased.append(entry)
            else:
                asides.append(_refused(entry, place.refused, REFUSALS.get(place.refused, "auth refused this patient")))
        return Work(feed, received_ms, known, late, erased, asides, keep)

    def find(self, feed: str, approvals: frozenset[str], entries: Sequence[Taken]) -> dict[Who, Found]:
        """Every `Who` of `entries`: by blind index, then by Admit."""
        by_who: dict[Who, list[Taken]] = defaultdict(list)
        for entry in entries:
            by_who[entry.who].append(entry)
        indexes = {who: [blind(self._names.key, name) for name in who.names] for who in by_who}
        with self._look() as connection:
            known = books.handles(connection, {index for some in indexes.values() for index in some})
        found: dict[Who, Found] = {}
        asked: list[Who] = []
        for who, entries_of in by_who.items():
            handles = {known[index] for index in indexes[who] if index in known}
            states_identity = any(entry.approval == IDENTITY for entry in entries_of)
            complete = all(index in known for index in indexes[who])
            if len(handles) > 1:
                found[who] = Found(refused=CONFLICT)
            elif handles and (complete or not states_identity):
                found[who] = Found(handle=handles.pop())
            elif who.stated and IDENTITY in approvals:
                asked.append(who)
            else:
                found[who] = Found(wait=UNKNOWN)
        found.update(self._admit(feed, asked, by_who, dict.fromkeys(asked, known), indexes))
        return found

    def _admit(
        self, feed: str, asked: list[Who], by_who: dict[Who, list[Taken]], known: dict[Who, dict[bytes, Handle]],
        indexes: dict[Who, list[bytes]],
    ) -> dict[Who, Found]:  # fmt: skip
        if not asked:
            return {}
        wanted = [Wanted(who.names, None, categories(by_who[who])) for who in asked]
        try:
            answers = self._admitting.admit(feed, wanted)
        except Unavailable:
            # A known patient whose new number could not be added is still that patient.
            return {
                who: Found(handle=handle) if (handle := _any(known[who], indexes[who])) else Found(wait=UNREACHABLE)
                for who in asked
            }
        return {who: _admitted(one) for who, one in zip(asked, answers, strict=True)}

    def _put(self, work: Work) -> Answer:
        for _ in range(2):
            try:
                return self._committer.put(work)
            except MissingKeys as missing:
                work = self._with_keys(work, missing.categories)
        return self._committer.put(work)

    def _with_keys(self, work: Work, missing: Missing) -> Work:
        """Asks auth for the keys; whoever gets none goes to intake, and the rest is written."""
        refused = self.ask_keys(work, missing)
        if not refused:
            return work
        late = [*work.late, *((entry, NO_KEYS) for entry, handle in work.taken if handle in refused)]
        kept = [(entry, handle) for entry, handle in work.taken if handle not in refused]
        return replace(work, taken=kept, late=late)

    def ask_keys(self, work: Work, missing: Missing) -> frozenset[Handle]:
        """Those of `missing` (patient -> categories) that got no keys."""
        ordered = sorted(missing)
        wanted = [Wanted((), handle, tuple(sorted(missing[handle]))) for handle in ordered]
        try:
            answers = self._admitting.admit(work.feed, wanted)
        except Unavailable:
            return frozenset(ordered)
        return frozenset(handle for handle, one in zip(ordered, answers, strict=True) if one.handle is None)


NOT_APPROVED = "this feed is not approved for {}: a steward must approve it, then redrive"
REFUSALS = {
    CONFLICT: "its numbers belong to two patients: a merge needs a steward",
    "no-identifier": "no usable patient number: add a medical record number with its system",
}


def _admitted(one: Admitted) -> Found:
    if one.handle is not None:
        return Found(handle=one.handle)
    # Somebody else may still make this patient known; other refusals need a steward.
    return Found(wait=UNKNOWN) if one.refused == "feed-not-approved" else Found(refused=one.refused or "refused")


def _refused(entry: Taken, word: str, advice: str) -> Aside:
    return Aside(entry.index, entry.resource, word, advice, entry.body, entry.who, True, entry.weight, entry.said)


def _received(entry: Read) -> int:
    return entry.document.received_ms if isinstance(entry, Taken) and entry.document is not None else 0


def _any(known: dict[bytes, Handle], indexes: Sequence[bytes]) -> Handle | None:
    return next((known[index] for index in indexes if index in known), None)


def keep_fhir(feed: str, received_ms: int) -> Keep:
    """How FHIR entries of a message are kept while they wait."""

    def keep(entries: Sequence[Taken | Aside], who: Who | None) -> bytes:
        kept = tuple(KeptEntry(entry.index, "", entry.body, entry.said) for entry in entries)
        return encode(Kept(VERSION, feed, received_ms, who.names if who else (), bool(who and who.stated), kept))

    return keep


def code_of(entry: Taken | Aside) -> str:
    """Which column's group of a series this is: a line lies in the group of every column that it fills."""
    return entry.measurements[0].code if isinstance(entry, Taken) and entry.measurements else ""


def keep_series(feed: str, received_ms: int, mapping: Mapping) -> Keep:
    """How groups of a series are kept while they wait, with the mapping that reads them."""
    declared = KeptMapping.of(mapping)

    def keep(entries: Sequence[Taken | Aside], who: Who | None) -> bytes:
        kept = tuple(KeptEntry(entry.index, code_of(entry), entry.body, entry.said) for entry in entries)
        names = who.names if who else ()
        return encode(Kept(VERSION, feed, received_ms, names, bool(who and who.stated), kept, declared))

    return keep
