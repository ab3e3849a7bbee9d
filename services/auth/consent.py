"""FHIR R4 Consent -> one internal form -> an answer.

A `Consent` is a tree of provisions. A child is an exception to its parent: what
it leaves out it takes from the parent, what it states replaces the parent's. The
answer of one document to one question is found from the leaves up:

    deny     a provision that matches says no
    permit   a provision that matches says yes, and none beside or below it says no
    closed   nothing matches, but the document permits something else for this
             purpose: "only the data of 2022" also says "nothing but" (IHE PCF)
    silent   the document is not about this

Over all documents of a patient: deny beats permit beats closed beats silent, and
only silence leaves room for the default. What nobody verified may say deny and
closed, never permit. Unknown codes: `consent_codes.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.auth import months
from services.auth.consent_codes import EVERY_CATEGORY, EVERY_PURPOSE
from twinward.record import Category, Purpose

FOREVER_MS = 1 << 62


class Answer(StrEnum):
    DENY = "deny"
    PERMIT = "permit"
    CLOSED = "closed"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Question:
    """May `who` have what is filed under `category` and `month`, for `purpose`, now?"""

    purpose: Purpose
    category: Category
    month: int  # of the event, year * 100 + month; 0 undated
    now_ms: int
    who: frozenset[str] = frozenset()  # every name the asking person goes by


@dataclass(frozen=True, slots=True)
class Provision:
    permit: bool
    purposes: frozenset[Purpose] = EVERY_PURPOSE
    categories: frozenset[Category] = EVERY_CATEGORY
    first_month: int = months.FIRST
    last_month: int = months.LAST
    undated: bool = True  # covers the pseudo-period
    from_ms: int = -FOREVER_MS
    until_ms: int = FOREVER_MS  # exclusive
    actors: frozenset[str] | None = None  # None: everybody
    children: tuple[Provision, ...] = ()

    def matches(self, question: Question) -> bool:
        if question.month == months.UNDATED:
            in_time = self.undated
        else:
            in_time = self.first_month <= question.month <= self.last_month
        return (
            in_time
            and question.purpose in self.purposes
            and question.category in self.categories
            and self.from_ms <= question.now_ms < self.until_ms
            and (self.actors is None or bool(self.actors & question.who))
        )

    def answer(self, question: Question) -> Answer:
        below = [child.answer(question) for child in self.children]
        if Answer.DENY in below:
            return Answer.DENY
        if Answer.PERMIT in below:
            return Answer.PERMIT
        if self.matches(question):
            return Answer.PERMIT if self.permit else Answer.DENY
        return Answer.SILENT

    def edges(self) -> Iterable[int]:
        """Months at which the answer may change."""
        yield self.first_month
        if self.last_month < months.LAST:
            yield months.following(self.last_month)
        for child in self.children:
            yield from child.edges()

    def flat(self) -> Iterable[Provision]:
        yield self
        for child in self.children:
            yield from child.flat()


@dataclass(frozen=True, slots=True)
class Document:
    """One compiled Consent."""

    identity: str  # the same Consent in all its versions, within one source
    status: str
    root: Provision

    @property
    def in_force(self) -> bool:
        return self.status == "active"

    def answer(self, question: Question) -> Answer:
        if not self.in_force:
            return Answer.SILENT
        found = self.root.answer(question)
        if found is Answer.SILENT and self.root.permit and question.purpose in self.root.purposes:
            return Answer.CLOSED
        return found


STEWARD = "steward"
WITHDRAWAL = "withdrawal"


@dataclass(frozen=True, slots=True)
class Statement:
    """A document as it is on file for one patient."""

    sha256: bytes
    received_ms: int
    source: str  # feed:<name>, steward or withdrawal
    verified: bool
    document: Document


@dataclass(frozen=True, slots=True)
class Judgement:
    answer: Answer
    because: tuple[bytes, ...]  # sha256 of the documents that said so


def judge(statements: Sequence[Statement], question: Question) -> Judgement:
    """What all documents of one patient say together."""
    said = [(statement, statement.document.answer(question)) for statement in statements]
    denies = [s.sha256 for s, answer in said if answer is Answer.DENY and not _lifted(s, said)]
    if denies:
        return Judgement(Answer.DENY, tuple(denies))
    permits = [s.sha256 for s, answer in said if answer is Answer.PERMIT and s.verified and not _doubted(s, said)]
    if permits:
        return Judgement(Answer.PERMIT, tuple(permits))
    closed = [s.sha256 for s, answer in said if answer is Answer.CLOSED or _narrows(s, answer, said)]
    if closed:
        return Judgement(Answer.CLOSED, tuple(closed))
    return Judgement(Answer.SILENT, ())


Said = Sequence[tuple[Statement, Answer]]


def _lifted(statement: Statement, said: Said) -> bool:
    """A withdrawal ends where a steward later recorded that the patient permits this again."""
    return statement.source == WITHDRAWAL and any(
        answer is Answer.PERMIT and later.source == STEWARD and later.verified
        for later, answer in said
        if later.received_ms > statement.received_ms
    )


def _doubted(statement: Statement, said: Said) -> bool:
    """A newer version that nobody verified yet already narrows: both must permit."""
    return any(
        answer is not Answer.PERMIT
        for newer, answer in said
        if not newer.verified
        and newer.source == statement.source
        and newer.received_ms >= statement.received_ms
        and newer.document.identity == statement.document.identity
        and newer.sha256 != statement.sha256
    )


def _narrows(statement: Statement, answer: Answer, said: Said) -> bool:
    """A permit in doubt is not silence: it must not fall back to a default."""
    return answer is Answer.PERMIT and statement.verified and _doubted(statement, said)


def edges(statements: Iterable[Statement]) -> list[int]:
    """Months, ascending, between which no answer changes."""
    return sorted({month for s in statements for month in s.document.root.edges()})


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
