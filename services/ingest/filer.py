"""Files what waited: opens intake under a 60 s lease and sends it down the same path.

An identity and process of its own (`python -m services.ingest filer`), because it is
the only one that opens what ingest sealed. Items go in the order they came; while
one of a patient cannot be filed, later ones of that patient wait. Nothing is ever
deleted: an item ends as filed, or stays, or lies in quarantine with a reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import psycopg

from services.ingest import books
from services.ingest.accept import NO_KEYS, UNKNOWN, Acceptor, code_of, keep_fhir, keep_series
from services.ingest.bundle import entry as one_entry
from services.ingest.commit import Pen, write
from services.ingest.entry import Read
from services.ingest.fhir import Reader
from services.ingest.kept import Kept, decode
from services.ingest.references import Links
from services.ingest.series import SeriesReader
from services.ingest.work import Planner, Work
from twinward import telemetry
from twinward.clock import Chance, Clock
from twinward.errors import BadInput, Tampered, TwinwardError
from twinward.record import Handle
from twinward.vault import hpke
from twinward.vault.writer import MissingKeys, intake_info
from twinward.wire.codec.admission import IntakeLease

ROUND = 200  # items opened under one lease
TOGETHER = 20  # items filed in one transaction
LONGEST_PAUSE_S = 30.0  # while nothing of what waits can be filed
TROUBLE_PAUSE_S = 5.0  # a database or an auth that is back is asked again soon

FILED = telemetry.event("filed", "items", "left", "quarantined")
TROUBLE = telemetry.event("filer_waits", "error", "pause_s")


class Leasing(Protocol):
    """The two calls of auth that the filer makes (twinward.wire.codec.admission.AuthCalls)."""

    def grant_intake(self, intake_ids: Sequence[int]) -> IntakeLease: ...

    def give_back(self, lease_id: UUID, rows: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Done:
    """One round: items filed, left waiting, put into quarantine."""

    filed: int = 0
    left: int = 0
    quarantined: int = 0


class Filer:
    def __init__(
        self,
        *,
        site: str,
        acceptor: Acceptor,
        planner: Planner,
        open_pen: Callable[[], Pen],
        leasing: Leasing,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._site = site
        self._names = planner.names
        self._acceptor = acceptor
        self._planner = planner
        self._open_pen = open_pen
        self._leasing = leasing
        self._clock = clock
        self._chance = chance
        self._pen: Pen | None = None

    def run(self, stop: threading.Event, poll_s: float) -> None:
        """Rounds until `stop`; after trouble or a round without progress the pause doubles, with jitter."""
        pause = poll_s
        while not stop.is_set():
            try:
                done = self.round()
                pause = 0.0 if done.filed else min(max(pause, poll_s) * 2, LONGEST_PAUSE_S) if done.left else poll_s
                if done != Done():
                    telemetry.note(FILED, items=done.filed, left=done.left, quarantined=done.quarantined)
            except TwinwardError as error:
                pause = min(max(pause, poll_s) * 2, TROUBLE_PAUSE_S)
                telemetry.warn(TROUBLE, error=error, pause_s=pause)
            except psycopg.Error as error:
                self.close()
                pause = min(max(pause, poll_s) * 2, TROUBLE_PAUSE_S)
                telemetry.LOG.unexpected(error, 0, telemetry.UNEXPECTED)
            stop.wait(pause * (0.75 + self._chance.bytes(1)[0] / 512))
        self.close()

    def round(self) -> Done:
        """One lease, at most ROUND items.

        Raises:
            Unavailable: auth or the database does not answer; everything stays where it was.
        """
        pen = self._pen_now()
        waiting = books.to_file(pen.connection, ROUND)
        if not waiting:
            return Done()
        lease = self._leasing.grant_intake([item.id for item in waiting])
        opened = 0
        filed = left = quarantined = 0
        blocked: set[UUID] = set()
        group: list[tuple[books.Item, Work]] = []
        try:
            for item in waiting:
                if self._clock.now_ms() >= lease.until_ms:
                    break
                if item.feed_index in blocked:
                    left += 1
                    continue
                opened += 1
                verdict = self._verdict(item, lease)
                if isinstance(verdict, Work):
                    group.append((item, verdict))
                    if len(group) == TOGETHER:
                        filed += self._file(pen, group, blocked)
                        group = []
                elif verdict.quarantine:
                    quarantined += 1
                    books.set_aside(pen.connection, item.id, verdict.reason)
                else:
                    left += 1
                    books.give_reason(pen.connection, item.id, verdict.reason)
                    if item.feed_index is not None and verdict.reason != UNKNOWN:
                        blocked.add(item.feed_index)
            if group:
                filed += self._file(pen, group, blocked)
        finally:
            self._leasing.give_back(lease.lease_id, opened)
        return Done(filed, left, quarantined)

    def _verdict(self, item: books.Item, lease: IntakeLease) -> Work | Verdict:
        """What an item has become: work to write, or why it stays."""
        try:
            kept = decode(self._open(item, lease))
            approvals = self._acceptor.approvals(kept.feed)
            entries = self._entries(kept)
        except Tampered:
            return Verdict("does-not-open", quarantine=True)
        except BadInput as refusal:
            return Verdict(getattr(refusal, "word", "unreadable"), quarantine=True)
        keep = (
            keep_fhir(kept.feed, kept.received_ms)
            if kept.mapping is None
            else keep_series(kept.feed, kept.received_ms, kept.mapping.mapping())
        )
        work = self._acceptor.work(kept.feed, approvals, kept.received_ms, entries, keep)
        if work.late:
            return Verdict(work.late[0][1], quarantine=False)
        bad = [aside for aside in work.asides if aside.keep]
        if bad and not work.taken:
            return Verdict(bad[0].word, quarantine=True)
        return replace(work, receipt=bytes(16), filing=True)

    def _open(self, item: books.Item, lease: IntakeLease) -> bytes:
        seed = lease.seeds.get(item.key_id)
        if seed is None:
            raise Tampered("an item names an intake key that this site does not have")
        return hpke.open_sealed(hpke.private_key(seed), item.blob, intake_info(self._site, item.key_id))

    def _entries(self, kept: Kept) -> list[Read]:
        if kept.mapping is not None:
            reader = SeriesReader(kept.feed, self._names, kept.received_ms)
            mapping = kept.mapping.mapping()
            patient = kept.names[0] if kept.names and not mapping.patient_column else None
            # The lines of a group fill other columns too, whose groups are kept for themselves.
            found = [
                one
                for part in kept.entries
                for one in reader.read(part.body, mapping, patient)
                if part.full_url in ("", code_of(one))
            ]
            return [replace(one, index=number) for number, one in enumerate(found)]
        entries = [one_entry(part.index, part.full_url, part.body, part.said) for part in kept.entries]
        links = Links.of(kept.feed, entries)
        fhir = Reader(kept.feed, self._names, kept.received_ms)
        return [fhir.entry(entry, links, kept.who) for entry in entries]

    def _file(self, pen: Pen, group: Sequence[tuple[books.Item, Work]], blocked: set[UUID]) -> int:
        """Writes a group in one transaction, one by one where that fails; how many were filed."""
        numbers = [item.id for item, _ in group]
        try:
            write(pen, self._planner, [work for _, work in group], lambda at: books.mark_filed(at, numbers))
        except MissingKeys as missing:
            if len(group) > 1:
                return sum(self._file(pen, [one], blocked) for one in group)
            return self._with_keys(pen, group[0], missing.categories, blocked)
        return len(group)

    def _with_keys(
        self, pen: Pen, one: tuple[books.Item, Work], missing: Mapping[Handle, frozenset[int]], blocked: set[UUID]
    ) -> int:
        item, work = one
        if item.feed_index in blocked:
            return 0
        if not self._acceptor.ask_keys(work, missing):
            try:
                write(pen, self._planner, [work], lambda at: books.mark_filed(at, [item.id]))
            except MissingKeys:
                pass
            else:
                return 1
        books.give_reason(pen.connection, item.id, NO_KEYS)
        if item.feed_index is not None:
            blocked.add(item.feed_index)
        return 0

    def _pen_now(self) -> Pen:
        if self._pen is None or self._pen.connection.closed:
            self._pen = self._open_pen()
        return self._pen

    def close(self) -> None:
        """Gives the connection back; the next round opens another."""
        if self._pen is not None:
            self._pen.connection.close()
            self._pen = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an item is not filed now."""

    reason: str
    quarantine: bool
