"""What people do with studies.

Whatever decides something is an entry of the coordinator's ledger first: the study's row is locked, the entry is
written by auth, then the row is changed. Auth away: nothing is done, and the refusal says so. Killed between entry
and commit: an entry of something that was not done, never the other way round.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from services.federation import study_books as books
from services.federation.books import Connection, Pool
from services.federation.events import add_event
from services.federation.hearing import Bell
from services.federation.neighbours import Ledger
from services.federation.study import Study, canonical, parse, problems, sha256
from services.federation.study_words import approval_text
from twinward.clock import Clock, utc
from twinward.errors import BadInput, Busy, Unready

MOST_PAGE = 50
MOST_WAIT_MS = 10_000
MOST_WATCHING = 12  # calls that wait for events at once: the others' workers stay free
MOST_REASON = 200
KIND = "study_approval"  # of the ledger's entries about a study's life
LAST = 2**62


@dataclass(frozen=True, slots=True)
class Checked:
    problems: list[str]
    study: bytes = b""
    canonical: bytes = b""
    sites: tuple[str, ...] = ()
    privacy: str = ""
    text: str = ""


class Studies:
    def __init__(self, pool: Pool, ledger: Ledger, bell: Bell, clock: Clock, *, bundle: bytes, demo: bool) -> None:
        self._pool = pool
        self._ledger = ledger
        self._bell = bell
        self._clock = clock
        self._bundle = bundle
        self._demo = demo
        self._watching = threading.BoundedSemaphore(MOST_WATCHING)

    def check(self, file: bytes, author: str) -> Checked:
        """Keeps nothing."""
        found = problems(file, author)
        if found:
            return Checked(found)
        study = parse(file, author)
        with self._pool.connection() as connection:
            wrong = self._wrong(connection, study)
            members = books.joined_sites(connection)
        if wrong:
            return Checked(wrong)
        asked = study.sites or tuple(members)
        return Checked([], sha256(study), canonical(study), asked, study.privacy, approval_text(study))

    def _wrong(self, connection: Connection, study: Study) -> list[str]:
        found = []
        for site in books.unknown_sites(connection, study.sites):
            found.append(f"sites: {site} was never invited here: see `twinward coordinator sites`")
        return found

    def submit(self, file: bytes, author: str) -> tuple[bytes, int]:
        """(hash, leaf). The same study again is the same study.

        Raises:
            BadInput: what is wrong with it.
            Unavailable: the ledger cannot be written; nothing was submitted.
        """
        study = parse(file, author)
        text, hash_ = canonical(study), sha256(study)
        with self._pool.connection() as connection:
            there = books.by_hash(connection, hash_)
            if there is not None:
                return hash_, there.leaf
            wrong = self._wrong(connection, study)
            if wrong:
                raise BadInput("; ".join(wrong))
            leaf = self._record("study_submit", hash_, author, {"bundle": self._bundle.hex(), "privacy": study.privacy})
            kept = {
                "hash": hash_, "canonical": text, "bundle": self._bundle, "title": study.title, "author": author,
                "privacy": study.privacy, "sites": list(study.sites), "minimum_sites": study.minimum_sites,
                "most_rounds": study.rounds, "now": utc(self._clock.now_ms()), "leaf": leaf,
            }  # fmt: skip
            books.insert(connection, kept)
            there = books.by_hash(connection, hash_)  # of two at once the first one's
        return hash_, there.leaf if there else leaf

    def page(self, size: int, token: str) -> tuple[list[books.Shown], str]:
        if token and not (token.isascii() and token.isdigit() and len(token) < 19):
            raise BadInput("this page token is not one of ours: begin without one")
        size = min(size or MOST_PAGE, MOST_PAGE)
        with self._pool.connection() as connection:
            found = books.page(connection, int(token) if token else LAST, size + 1)
            shown = self._shown(connection, found[:size])
        return shown, str(found[size - 1].number) if len(found) > size else ""

    def _shown(self, connection: Connection, found: list[books.Kept]) -> list[books.Shown]:
        said = books.answers(connection, found, utc(self._clock.now_ms()))
        return [books.Shown(one, said[one.number]) for one in found]

    def show(self, prefix: bytes) -> tuple[books.Shown, list[books.RoundRow]]:
        with self._pool.connection() as connection:
            kept = books.find(connection, prefix)
            return self._shown(connection, [kept])[0], books.rounds(connection, kept.number)

    def run(self, prefix: bytes, person: str) -> tuple[list[str], int]:
        """(hospitals that take part, leaf).

        Raises:
            Unready: too few approved, it ran already, or this coordinator may not run NON-PRIVATE studies.
        """
        with self._pool.connection() as connection:
            kept = books.find(connection, prefix, lock=True)
            if kept.state != "submitted":
                hint = "it goes on" if kept.state in ("running", "stopping") else "`study resume` goes on with it"
                raise Unready(f"this study is {kept.state}: {hint}" if kept.state != "done" else "this study is done")
            return self._go(connection, kept, "study_run", person)

    def resume(self, prefix: bytes, person: str) -> tuple[int, int]:
        """(the round that comes next, leaf)."""
        with self._pool.connection() as connection:
            kept = books.find(connection, prefix, lock=True)
            if kept.state not in ("stopped", "failed"):
                raise Unready(f"this study is {kept.state}: only one that is stopped or failed can be resumed")
            _, leaf = self._go(connection, kept, "study_resume", person)
        return kept.round + 1, leaf

    def _go(self, connection: Connection, kept: books.Kept, act: str, person: str) -> tuple[list[str], int]:
        if not self._demo:
            raise Unready(f"{kept.privacy} studies run in profile demo only: nothing protects a patient's privacy yet")
        now = utc(self._clock.now_ms())
        sites = books.approving(connection, kept.number, now)
        if len(sites) < kept.minimum_sites:
            raise Unready(
                f"{len(sites)} of at least {kept.minimum_sites} hospitals approve this study now: "
                "their data stewards decide with `twinward study approve`"
            )
        leaf = self._record(act, kept.hash, person, {"sites": len(sites), "round": kept.round})
        books.wish(connection, kept.number, "running", leaf, now)
        text = f"{len(sites)} hospitals take part" + (f"; goes on after round {kept.round}" if kept.round else "")
        add_event(connection, kept.number, "started", text, now)
        return sites, leaf

    def stop(self, prefix: bytes, person: str, reason: str) -> int:
        """After the round in progress; the last checkpoint stays."""
        if len(reason) > MOST_REASON or not reason.isprintable():
            raise BadInput(f"a reason is one line of at most {MOST_REASON} characters")
        with self._pool.connection() as connection:
            kept = books.find(connection, prefix, lock=True)
            if kept.state == "stopping" and kept.run_leaf is not None:
                return kept.run_leaf
            if kept.state != "running":
                raise Unready(f"this study is {kept.state}: only one that runs can be stopped")
            leaf = self._record("study_stop", kept.hash, person, {"round": kept.round, "why": reason})
            now = utc(self._clock.now_ms())
            books.wish(connection, kept.number, "stopping", leaf, now)
            why = f": {reason}" if reason else ""
            add_event(connection, kept.number, "stopping", f"ends after the round in progress{why}", now)
        return leaf

    def watch(self, prefix: bytes, after: int, wait_ms: int) -> tuple[list[books.Happened], str]:
        """Events after `after`, at most a page of them; none only where none came within `wait_ms`.

        Raises:
            Busy: too many calls wait already.
        """
        if wait_ms > MOST_WAIT_MS or after > LAST:
            raise BadInput(f"wait_ms is at most {MOST_WAIT_MS}, and after a number that an event had")
        if not self._watching.acquire(blocking=False):
            raise Busy("too many people watch studies at once: try again in a moment")
        try:
            until = self._clock.monotonic() + wait_ms / 1000
            while True:
                heard = self._bell.rung()  # before looking: what comes after it rings
                with self._pool.connection() as connection:
                    kept = books.find(connection, prefix)
                    found = books.events(connection, kept.number, after)
                left = until - self._clock.monotonic()
                if found or left <= 0:
                    return found, kept.state
                self._bell.wait(heard, left)
        finally:
            self._watching.release()

    def results(self, prefix: bytes) -> tuple[bytes, bytes, bytes]:
        with self._pool.connection() as connection:
            kept = books.find(connection, prefix)
            found = books.result(connection, kept.number)
        if found is None:
            raise Unready(f"this study is {kept.state}: it has a result when it is done")
        return found

    def _record(self, act: str, study: bytes, person: str, more: Mapping[str, object]) -> int:
        return self._ledger.record(KIND, {"act": act, "study": study.hex(), "person": person, **more})
