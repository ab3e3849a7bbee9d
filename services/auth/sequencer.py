"""The sequencer: one thread that gives every entry its place and makes it last.

Whoever wants something recorded hands in proposals and waits. The committer
takes all that wait (group commit) and writes, in this order:

1. PostgreSQL, one transaction: entries, sealed bodies, search terms, the head,
   and every row that the entries stand for (leases, consents, ...). An act and
   its entry live or die together.
2. The bundle file, outside PostgreSQL: the entries and a signed note over
   origin, size and root; fdatasync.
3. The head guard, outside PostgreSQL: compare-and-swap to the same note, after
   hashing the entries itself; fsync.
4. Only now the callers are released, and with them the keys.

A crash after 1 leaves PostgreSQL ahead: nobody was answered, and the next start
(or the next attempt) catches bundles and guard up before anything else. A crash
inside 2 leaves an unfinished frame, which is cut off; between 2 and 3 the guard
follows the bundles. No order of crashes leaves the guard ahead of PostgreSQL:
where that is found, the database is an older copy, and auth does not start.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import psycopg

from services.auth import ledger_rows
from services.auth.bodies import AuditKeys
from services.auth.durable import Durable
from services.auth.grouping import Draft, Grouping, Proposal, no_writes
from services.auth.kek import KeyProvider
from services.auth.ledger_rows import Connection, Fenced, Group, Head, Statement
from services.auth.terms import Terms
from twinward.clock import Chance, Clock
from twinward.database import hung_up
from twinward.errors import Busy, Conflict, Tampered, TwinwardError, Unavailable
from twinward.ledger.guardfile import Guarded
from twinward.ledger.note import Signer

__all__ = ["LedgerState", "Proposal", "Sequencer", "no_writes"]

_WAITING_MOST = 10_000
_RETRY_S = 1.0
_STEP_MS = 1_000  # smaller steps back are threads overtaking each other
# SQLSTATE classes that say something of the database, not of one caller's rows.
_DATABASE_STATES = ("08", "25", "53", "57", "58", "F0", "XX")
_CHANGED_MEANWHILE = ("23", "40")


@dataclass(frozen=True, slots=True)
class LedgerState:
    """For `node status` and health."""

    size: int
    root: bytes
    trouble: str  # empty when all is well
    stopped: bool  # for good: only a restart helps
    groups: int
    clock_steps_back: int


class _Call:
    """One caller's proposals: they get their places together or not at all."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.done: Future[list[int]] = Future()

    def fail(self, error: Exception) -> None:
        self.done.set_exception(error)


class Sequencer:
    """Writes the ledger. `start` compares what is stored, `commit` records, `close` ends.

    `connect` opens a connection of role auth (autocommit off); `directory` is the
    ledger folder; `signer` is named like the ledger's origin; `search_key` is the
    32 bytes of secrets/aidx.key.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        directory: Path,
        *,
        site: str,
        signer: Signer,
        provider: KeyProvider,
        search_key: bytes,
        clock: Clock,
        chance: Chance,
        most: int = 256,
    ) -> None:
        self.site = site
        self.signer = signer
        self.directory = directory
        self.terms = Terms(search_key)
        self.keys = AuditKeys(provider, chance)
        self._connect = connect
        self._clock = clock
        self._most = most
        self._grouping = Grouping(site, signer, self.keys, self.terms, chance)
        self._waiting: queue.Queue[_Call | None] = queue.Queue(_WAITING_MOST)
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
        self._connection: Connection | None = None
        self._durable: Durable | None = None
        self._head: Head | None = None
        self._released: Guarded | None = None
        self._settled = False
        self._trouble = ""
        self._stopped = False
        self._last_ms = 0
        self._clock_ms = 0
        self._steps_back = 0
        self._groups = 0

    def __enter__(self) -> Sequencer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Compares database, bundles and guard, catches the latter up, and begins to serve.

        Raises:
            Unready: the database may lose what it confirms, or another auth runs here.
            Tampered, Incomplete: what is stored is not one history; says which part.
            Unavailable: database or disk do not answer.
        """
        self._durable = Durable(self.directory, self.signer.verifier)
        try:
            self._settle()
        except BaseException:
            self.close()
            raise
        self._thread.start()

    def close(self) -> None:
        """Finishes the group in hand, refuses what still waits, and lets go of the folder."""
        self._stopped = True
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        if self._connection is not None:
            self._connection.close()
        if self._durable is not None:
            self._durable.close()
            self._durable = None

    def commit(self, proposals: Sequence[Proposal], timeout_s: float = 5.0) -> list[int]:
        """Ledger indexes of `proposals`, once everything is on disk in all three places.

        The proposals of one call are recorded together or not at all. After a
        timeout an entry may still appear; nothing may be released for it.

        Raises:
            BadInput: a body cannot be recorded.
            Conflict: one of `writes` met a row that changed meanwhile.
            Busy: too many are waiting.
            Unavailable: not recorded, or not known to be; release nothing.
        """
        if not proposals:
            return []
        now_ms = self._clock.now_ms()
        call = _Call([self._grouping.draft(proposal, now_ms) for proposal in proposals])
        if self._stopped:
            raise Unavailable(self._trouble or "the ledger is stopping; ask again in a moment")
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            raise Busy("too many decisions are waiting for the ledger; ask again in a moment") from None
        try:
            return call.done.result(timeout_s)
        except TimeoutError:
            call.done.cancel()  # holds only where the committer has not taken it yet
            raise Unavailable("the ledger did not answer in time, so nothing is released; ask again") from None

    def released(self) -> Guarded:
        """The head up to which callers were released: what may be published."""
        if self._released is None:
            raise Unavailable("the ledger has not started yet")
        return self._released

    def state(self) -> LedgerState:
        edge = self.released().edge
        return LedgerState(edge.size, edge.root(), self._trouble, self._stopped, self._groups, self._steps_back)

    # The committer's thread ---------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped:
            calls = self._gather()
            try:
                self._serve(calls)
            except Exception as error:
                # Whatever this is (a fork, a second auth, a mistake of ours): record nothing more.
                self._stopped = True
                self._trouble = error.public if isinstance(error, TwinwardError) else "the ledger stopped on an error"
                self._refuse(calls)
        self._refuse(self._drain())

    def _gather(self) -> list[_Call]:
        """Waits for a caller and takes all that wait, up to `most` entries."""
        try:
            first = self._waiting.get(timeout=None if self._settled else _RETRY_S)
        except queue.Empty:
            return []
        calls = [] if first is None else [first]
        count = len(first.drafts) if first else 0
        while count < self._most:
            try:
                call = self._waiting.get_nowait()
            except queue.Empty:
                break
            if call is not None:
                calls.append(call)
                count += len(call.drafts)
        return [call for call in calls if call.done.set_running_or_notify_cancel()]

    def _drain(self) -> list[_Call]:
        found: list[_Call] = []
        while True:
            try:
                call = self._waiting.get_nowait()
            except queue.Empty:
                return found
            if call is not None and call.done.set_running_or_notify_cancel():
                found.append(call)

    def _serve(self, calls: list[_Call]) -> None:
        if self._connection is not None and hung_up(self._connection):
            self._settled = False  # the database was started again: compared anew before anything is recorded
        if not self._settled:
            try:
                self._settle()
            except Unavailable as error:
                self._trouble = error.public
                self._refuse(calls)
                return
        if calls:
            self._write(calls)

    def _write(self, calls: list[_Call]) -> None:
        """Steps 1 to 4 for `calls` as one group; call by call where the database refuses the group."""
        if not self._settled:
            self._refuse(calls)
            return
        try:
            group, ready = self._first_step(calls)
        except Fenced:
            raise Tampered("another auth has taken this ledger over; this one records nothing more") from None
        except (psycopg.Error, TwinwardError) as error:
            self._undo(error)
            if self._settled and len(calls) > 1:
                for call in calls:
                    self._write([call])
            elif self._settled:
                calls[0].fail(_refusal(error))
            else:
                self._refuse(calls)
            return
        if ready:
            self._last_steps(group, ready)

    def _first_step(self, calls: list[_Call]) -> tuple[Group, list[_Call]]:
        """Step 1. A call whose `writes` cannot even be made is answered at once and left out."""
        connection, head = self._require()
        at_ms = self._log_time()
        drafts: list[Draft] = []
        writes: list[Statement] = []
        ready: list[_Call] = []
        for call in calls:
            first = head.edge.size + len(drafts)
            try:
                made = [s for place, d in enumerate(call.drafts) for s in d.proposal.writes(first + place)]
            except Exception as error:
                call.fail(error)
                continue
            writes += made
            drafts += call.drafts
            ready.append(call)
        keys = self.keys.obtain(connection, self._grouping.owners(drafts, at_ms)) if drafts else {}
        group = self._grouping.build(head, drafts, at_ms, keys, writes)
        if ready:
            ledger_rows.write(connection, group, head.fence)
            connection.commit()
            self.keys.keep(keys)
            self._head = Head(group.edge, group.note, head.fence)
            self._last_ms = at_ms
        return group, ready

    def _last_steps(self, group: Group, calls: list[_Call]) -> None:
        """Steps 2, 3 and 4."""
        durable = self._held_open()
        try:
            durable.extend([row.entry for row in group.rows], group.note)
        except Unavailable as error:
            # The entries stand in PostgreSQL; bundles and guard follow as soon as the disk lets them.
            self._settled = False
            self._trouble = error.public
            self._refuse(calls)
            return
        self._released = durable.held
        self._groups += 1
        index = group.first
        for call in calls:
            following = index + len(call.drafts)
            call.done.set_result(list(range(index, following)))
            index = following

    def _log_time(self) -> int:
        """Milliseconds that never go back: where the clock did, the last time stays and is counted."""
        now_ms = self._clock.now_ms()
        if now_ms < self._clock_ms - _STEP_MS:
            self._steps_back += 1
        self._clock_ms = now_ms
        return max(now_ms, self._last_ms)

    def _settle(self) -> None:
        """Database, bundles and guard brought to one head. Raises as `start`."""
        durable = self._held_open()
        try:
            connection = self._connected()
            if self._head is None:
                head = ledger_rows.take_fence(connection, self.signer.verifier.name, self.signer)
            else:
                head = ledger_rows.read_head(connection, self.signer.verifier)
                if head.fence != self._head.fence:
                    raise Tampered("another auth has taken this ledger over; this one records nothing more")
            durable.settle(head, lambda first, end: ledger_rows.entries(connection, first, end))
            self._last_ms = max(self._last_ms, ledger_rows.last_time_s(connection, head.edge.size) * 1000)
            connection.commit()
        except psycopg.Error as error:
            self._undo(error)
            sentence = "the ledger's database does not answer, so nothing is released"
            raise Unavailable(sentence, detail=str(error)) from None
        self._head = head
        self._released = durable.held
        self._settled = True
        self._trouble = ""

    def _connected(self) -> Connection:
        if self._connection is None or hung_up(self._connection):
            self._connection = self._connect()
            ledger_rows.prepare(self._connection)
            ledger_rows.require_durable(self._connection)
        return self._connection

    def _undo(self, error: Exception) -> None:
        """Back to no transaction; unsettled where the database itself is the trouble."""
        connection = self._connection
        state = getattr(error, "sqlstate", None) or ""
        lost = connection is None or connection.closed or connection.broken
        if not lost and connection is not None:
            try:
                connection.rollback()
            except psycopg.Error:
                lost = True
        if lost or (isinstance(error, psycopg.Error) and state[:2] in _DATABASE_STATES):
            self._settled = False
            self._trouble = "the ledger's database does not answer or cannot write, so nothing is released"
        if lost and connection is not None:
            connection.close()

    def _refuse(self, calls: Sequence[_Call]) -> None:
        sentence = self._trouble or "the ledger is stopping; ask again in a moment"
        for call in calls:
            if not call.done.done():
                call.fail(Unavailable(sentence))

    def _require(self) -> tuple[Connection, Head]:
        if self._connection is None or self._head is None:
            raise Unavailable("the ledger has not started yet")
        return self._connection, self._head

    def _held_open(self) -> Durable:
        if self._durable is None:
            raise Unavailable("the ledger has not started yet")
        return self._durable


def _refusal(error: Exception) -> Exception:
    """What the one caller whose rows the database refused is told."""
    if not isinstance(error, psycopg.Error):
        return error
    state = error.sqlstate or ""
    if state[:2] in _CHANGED_MEANWHILE:
        return Conflict("what this decision is about changed meanwhile; ask again", detail=f"SQLSTATE {state}")
    if state[:2] == "55":
        return Busy("what this decision is about is in use; ask again in a moment", detail=f"SQLSTATE {state}")
    return TwinwardError("this decision could not be recorded, so nothing is released", detail=f"SQLSTATE {state}")
