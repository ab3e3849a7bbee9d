"""How old a patient is, from the stored Patient resource: personal twins are for adults.

The population prior and the cohorts are of adults (docs/models.md), so a question about somebody under 18 is
refused. The date of birth is opened with a decision of its own (category identity, records without a time of
their own only), looked at and forgotten; what is kept for a day, in memory alone, is one of three words.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from services.twin.store import Pool
from twinward.clock import Clock, utc
from twinward.errors import Denied, Incomplete, LeaseEnded, NotFound, Underage
from twinward.record import Category, Document, Handle
from twinward.vault.lease import Lease
from twinward.vault.reader import Connection, Reader

ADULT, MINOR, UNKNOWN = "adult", "minor", "unknown"
OF_AGE = 18  # years
KEPT_MS = 86_400_000
UNKNOWN_MS = 15 * 60_000
WAITING_MS = 1_000  # what came in just now is filed in a moment
MOST = 20_000
REFUSED = "no twin of somebody under 18: its body, its prior and its limits are adults', and no paediatric set exists"
NOTE = "the patient's age is not known here: the twin is an adult's; under 18 it is not valid"


class Decides(Protocol):
    def grant(self, token: str, whom: Handle, categories: Sequence[int], month: int, act: str) -> Lease: ...


class Opens(Protocol):
    """Opens what a lease covers."""

    def documents(self, lease: Lease) -> tuple[list[Document], bool]:
        """The documents, and whether more wait to be filed."""
        ...


class Used(Protocol):
    def note(self, lease: Lease, rows: int) -> None: ...


def verdict(documents: Sequence[Document], today: date) -> str:
    """Of the newest Patient resource that says when its patient was born."""
    until = of_age(documents)
    return UNKNOWN if until is None else ADULT if until <= today else MINOR


def of_age(documents: Sequence[Document]) -> date | None:
    """The eighteenth birthday, by the newest Patient resource that says when its patient was born."""
    for one in reversed(documents):
        if one.resource == "Patient":
            born = _born(one.body)
            if born is not None:
                leap = (born.month, born.day) == (2, 29)
                return date(born.year + OF_AGE, 3, 1) if leap else born.replace(year=born.year + OF_AGE)
    return None


def _born(body: bytes) -> date | None:
    """The latest day that "1990", "1990-05" or "1990-05-17" may mean: in doubt somebody is younger."""
    try:
        found = json.loads(body)
        text = found.get("birthDate") if isinstance(found, dict) else None
        parts = [int(part) for part in text.split("-")] if isinstance(text, str) else []
        if len(parts) == 1:
            return date(parts[0], 12, 31)
        if len(parts) == 2:
            return date(parts[0], parts[1], 28)
        return date(*parts) if len(parts) == 3 else None
    except (ValueError, TypeError, RecursionError):
        return None


@dataclass
class StoredDocuments:
    """Documents of blocks and tail, through row-level security."""

    pool: Pool
    reader_of: Callable[[Connection], Reader]

    def documents(self, lease: Lease) -> tuple[list[Document], bool]:
        with self.pool.connection() as connection:
            reader = self.reader_of(connection)
            found = reader.read(lease, measurements=False, documents=True)
            if found.waiting:
                reader.ask_for(lease.handle)
        return found.documents, bool(found.waiting)


@dataclass
class Minors:
    """Whom a question found to be under 18, and until when: nobody's body is refitted at night who is in it."""

    pool: Pool

    def note(self, handle: Handle, until: date) -> None:
        sql = """
            insert into twin.minor (handle, until) values (%s, %s)
            on conflict (handle) do update set until = excluded.until"""
        with self.pool.connection() as connection:
            connection.execute(sql, (handle, until))

    def forget(self, handle: Handle) -> None:
        with self.pool.connection() as connection:
            connection.execute("delete from twin.minor where handle = %s", (handle,))


@dataclass
class Ages:
    """Thread-safe."""

    decides: Decides
    opens: Opens
    used: Used
    clock: Clock
    minors: Minors | None = None
    _kept: OrderedDict[Handle, tuple[int, str]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, token: str, handle: Handle) -> str:
        """A note for the answer; empty where the patient is an adult.

        Raises:
            Underage: a personal twin is refused.
            Unavailable.
        """
        now = self.clock.now_ms()
        with self._lock:
            until, word = self._kept.get(handle, (0, UNKNOWN))
        if until <= now:
            word, keep_ms = self._ask(token, handle, now)
            with self._lock:
                self._kept[handle] = (now + keep_ms, word)
                while len(self._kept) > MOST:
                    self._kept.popitem(last=False)
        if word == MINOR:
            raise Underage(REFUSED)
        return NOTE if word == UNKNOWN else ""

    def _ask(self, token: str, handle: Handle, now: int) -> tuple[str, int]:
        """The word, and for how long it holds, ms."""
        try:
            lease = self.decides.grant(token, handle, (Category.IDENTITY,), 0, "age")
        except (Denied, NotFound):  # who may not know who the patient is may still ask what the twin says
            return UNKNOWN, UNKNOWN_MS
        found: list[Document] = []
        try:
            found, waiting = self.opens.documents(lease)
        except (LeaseEnded, Incomplete):
            return UNKNOWN, UNKNOWN_MS
        finally:
            self.used.note(lease, len(found))
        word, until = verdict(found, utc(now).date()), of_age(found)
        if self.minors is not None and until is not None:
            if word == MINOR:
                self.minors.note(handle, until)
            else:
                self.minors.forget(handle)
        return word, KEPT_MS if word != UNKNOWN else WAITING_MS if waiting else UNKNOWN_MS
