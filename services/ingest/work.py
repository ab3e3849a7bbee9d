"""One message on its way into the database, and what one transaction makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.ingest import books
from services.ingest.answer import (
    CORRECTED,
    DROPPED,
    DUPLICATE,
    INTAKE,
    QUARANTINED,
    REJECTED,
    STORED,
    Answer,
    Outcome,
    summed,
)
from services.ingest.entry import Aside, Taken, Who
from services.ingest.pile import Piles
from services.ingest.receipts import Names, body_hash
from twinward.record import Category, Handle
from twinward.vault.buckets import bucket_of
from twinward.vault.identifiers import blind
from twinward.vault.tags import by_tag, tag
from twinward.vault.writer import ConsentItem, IntakeItem, Receipt

Keep = Callable[[Sequence[Taken | Aside], Who | None], bytes]  # entries of one patient as an intake plaintext


@dataclass(slots=True)
class Work:
    """A message after reading and finding its patients. `late` may grow when keys are missing."""

    feed: str
    received_ms: int
    taken: Sequence[tuple[Taken, Handle]]  # whose patient is known
    late: list[tuple[Taken, str]]  # (entry, reason): to intake
    erased: Sequence[Taken]  # of patients who were erased: counted, kept nowhere
    asides: Sequence[Aside]
    keep: Keep
    receipt: bytes = bytes(16)
    answer_key: bytes | None = None
    answer_hash: bytes = b""
    filing: bool = False  # the filer's: what lies in intake already is not put there again
    size: int = 0  # bytes of the message


@dataclass(slots=True)
class Look:
    """What the database says about everything in one transaction; grows as entries are taken."""

    states: Mapping[Handle, books.State]  # locked
    behind: set[Handle]  # with unfiled intake
    seen: dict[bytes, bytes]  # receipt key -> body hash
    before: dict[bytes, set[bytes]]  # lineage -> tags its versions lie under


@dataclass(slots=True)
class Told:
    """What one message learns."""

    outcomes: list[Outcome] = field(default_factory=list)
    observations: int = 0
    flagged: int = 0

    def note(self, entry: Taken | Aside, result: str, reason: str = "", advice: str = "") -> None:
        self.outcomes.append(Outcome(entry.index, entry.resource, result, reason, advice, entry.weight))


@dataclass(frozen=True, slots=True)
class Planner:
    """Decides inside the transaction; `tag_key` and `names` are the site's."""

    names: Names
    tag_key: bytes

    def look(self, connection: books.Connection, works: Sequence[Work]) -> Look:
        """One look for all of `works`; patients' states are locked first, in one order everywhere."""
        known = {handle for work in works for _, handle in work.taken}
        lineages = {taken.lineage for work in works for taken, _ in work.taken}
        keys = {key for work in works for key in self._keys(work)}
        look = Look(
            states=books.states(connection, known) if known else {},
            behind=books.behind(connection, known) if known else set(),
            seen=books.receipts(connection, keys) if keys else {},
            before=books.lineages(connection, lineages) if lineages else {},
        )
        # Only what came before can turn out to be a version that goes to quarantine.
        doubtful = {
            self.names.bad(work.feed, taken.body_hash)
            for work in works
            for taken, _ in work.taken
            if taken.key in look.seen or taken.lineage in look.before
        }
        if doubtful:
            look.seen.update(books.receipts(connection, doubtful))
        return look

    def plan(self, look: Look, piles: Piles, work: Work) -> Answer:
        """Puts the entries of `work` on their piles; what its sender is told."""
        told = Told()
        late = list(work.late)
        for taken, handle in work.taken:
            if self._repeated(look, piles, told, work, taken):
                continue
            if handle in look.behind and not work.filing:
                late.append((taken, "behind-intake"))
                continue
            if self._elsewhere(taken, handle, look.before):
                aside = Aside(taken.index, taken.resource, "subject-changed", MOVED, taken.body, taken.who, True)
                self._quarantine(look, piles, told, work, aside)
                continue
            self._take(look, piles, told, work, taken, handle)
        for taken in work.erased:
            self._drop(piles, told, work, taken, "erased", ERASED)
        self._wait(look, piles, told, work, late)
        for aside in work.asides:
            if aside.keep:
                self._quarantine(look, piles, told, work, aside)
            else:
                told.note(aside, REJECTED, aside.word, aside.advice)
        ordered = sorted(told.outcomes, key=lambda one: one.index)
        return summed(work.receipt, ordered, told.observations, told.flagged)

    def _keys(self, work: Work) -> set[bytes]:
        keys = {taken.key for taken, _ in work.taken} | {taken.key for taken, _ in work.late}
        keys |= {self.names.waiting(taken.key) for taken, _ in (*work.taken, *work.late)}
        return keys | {self.names.bad(work.feed, body_hash(aside.body)) for aside in work.asides if aside.keep}

    def _repeated(self, look: Look, piles: Piles, told: Told, work: Work, taken: Taken) -> bool:
        """Seen before: the same bytes are a duplicate; other bytes under the feed's own version are not."""
        digest = look.seen.get(taken.key)
        if digest is None:
            return False
        if digest == taken.body_hash or not taken.versioned:
            piles.of(work.feed).duplicates += taken.weight
            told.note(taken, DUPLICATE)
            return True
        aside = Aside(taken.index, taken.resource, "version-reused", REUSED, taken.body, taken.who, True, taken.weight)
        self._quarantine(look, piles, told, work, aside)
        return True

    def _elsewhere(self, taken: Taken, handle: Handle, before: Mapping[bytes, set[bytes]]) -> bool:
        """An earlier version lies under a tag of another patient."""
        tags = before.get(taken.lineage, set())
        return bool(tags) and not tags <= by_tag(self.tag_key, handle, Category).keys()

    def _take(self, look: Look, piles: Piles, told: Told, work: Work, taken: Taken, handle: Handle) -> None:
        state, clear = look.states.get(handle), taken.category
        if state is not None and state.erased:
            self._drop(piles, told, work, taken, "erased", ERASED)
            return
        if clear is not None and state is not None and tag(self.tag_key, handle, clear) in state.refused_tags:
            self._drop(piles, told, work, taken, "consent-denies-collection", DENIED)
            return
        corrected = taken.lineage in look.before
        look.seen[taken.key] = taken.body_hash
        look.before.setdefault(taken.lineage, set())
        pile = piles.next_of(work.feed, taken.lineage)
        first = taken.document
        bucket = bucket_of(clear, first.effective_ms, first.precision) if clear is not None and first else None
        pile.receipts.append(Receipt(taken.key, taken.lineage, taken.body_hash, handle, clear, bucket))
        if clear is None:
            pile.consents.append(ConsentItem(handle, None, taken.kind, taken.said or taken.body))
        else:
            measurements, documents = pile.parts.setdefault((handle, int(clear)), ([], []))
            measurements.extend(taken.measurements)
            if taken.document is not None:
                documents.append(taken.document)
        told.observations += len(taken.measurements)
        told.flagged += sum(1 for row in taken.measurements if row.flags)
        piles.list_unmapped(work.feed, list(taken.unmapped))
        told.note(taken, CORRECTED if corrected else STORED)

    def _drop(self, piles: Piles, told: Told, work: Work, taken: Taken, reason: str, advice: str) -> None:
        piles.of(work.feed).dropped += max(taken.items, 1)
        told.note(taken, DROPPED, reason, advice)

    def _wait(self, look: Look, piles: Piles, told: Told, work: Work, late: Sequence[tuple[Taken, str]]) -> None:
        """Entries whose patient cannot be told or reached now: sealed whole, one item a patient."""
        pile = piles.of(work.feed)
        groups: dict[tuple[Who, str], list[Taken]] = defaultdict(list)
        for taken, reason in late:
            waiting = self.names.waiting(taken.key)
            if taken.key in look.seen or waiting in look.seen:
                pile.duplicates += taken.weight
                told.note(taken, DUPLICATE)
                continue
            pile.receipts.append(Receipt(waiting, waiting, taken.body_hash, None, None, None))
            look.seen[waiting] = taken.body_hash
            groups[(taken.who, reason)].append(taken)
            told.note(taken, INTAKE, reason, WAITING.get(reason, "kept sealed; filed later"))
        for (who, reason), entries in groups.items():
            index = blind(self.names.key, who.names[0])
            count = sum(taken.weight for taken in entries)
            pile.intake.append(IntakeItem(index, reason, "intake", count, work.keep(entries, who)))

    def _quarantine(self, look: Look, piles: Piles, told: Told, work: Work, aside: Aside) -> None:
        pile = piles.of(work.feed)
        digest = body_hash(aside.body)
        key = self.names.bad(work.feed, digest)
        if key in look.seen and not work.filing:
            pile.duplicates += aside.weight
            told.note(aside, DUPLICATE)
            return
        if key not in look.seen:
            pile.receipts.append(Receipt(key, key, digest, None, None, None))
            look.seen[key] = digest
        index = blind(self.names.key, aside.who.names[0]) if aside.who is not None else None
        pile.intake.append(IntakeItem(index, aside.word, "quarantine", aside.weight, work.keep([aside], aside.who)))
        told.note(aside, QUARANTINED, aside.word, aside.advice)


REUSED = "the same version came before with other content: give a corrected resource a new versionId"
DENIED = "the patient's consent denies collecting this"
MOVED = "an earlier version is about another patient: a steward must say whose it is"
ERASED = "this patient was erased: nothing more is kept"
WAITING = {
    "unknown-patient": "kept sealed until the patient it means is known: send the Patient too",
    "auth-unavailable": "kept sealed until auth answers; nothing to do",
    "no-keys": "kept sealed until auth gives keys; nothing to do",
    "behind-intake": "kept sealed behind earlier items of the same patient; nothing to do",
}


def categories(taken: Sequence[Taken]) -> tuple[int, ...]:
    """What will be written for a patient; consent alone still makes an identity."""
    found = {int(entry.category) for entry in taken if entry.category is not None}
    return tuple(sorted(found or {int(Category.IDENTITY)}))
