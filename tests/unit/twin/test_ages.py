"""Under 18 there is no personal twin; who does not know says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from services.twin.ages import ADULT, MINOR, NOTE, UNKNOWN, Ages, verdict
from twinward.clock import SetClock
from twinward.errors import ConsentDenied, Underage
from twinward.record import Category, Document

TODAY = date(2026, 11, 25)
NOW_MS = 1_795_600_000_000
SOMEBODY = UUID(int=7)


def chart(born: str, at: int = 1) -> Document:
    return Document("Patient", at, at, b"", f'{{"resourceType": "Patient", "birthDate": {born}}}'.encode())


@pytest.mark.parametrize(
    ("born", "word"),
    [
        ('"1990-05-17"', ADULT),
        ('"2008-11-25"', ADULT),  # eighteen today
        ('"2008-11-26"', MINOR),
        ('"2008"', MINOR),  # in doubt younger
        ('"2007"', ADULT),
        ('"2008-10"', ADULT),
        ('"soon"', UNKNOWN),
        ("17", UNKNOWN),
        ('"2008-13-40"', UNKNOWN),
    ],
)
def test_what_a_date_of_birth_says(born: str, word: str) -> None:
    assert verdict([chart(born)], TODAY) == word


def test_the_newest_chart_counts_and_none_says_nothing() -> None:
    assert verdict([chart('"1990"', 1), chart('"2015"', 2)], TODAY) == MINOR
    assert verdict([], TODAY) == UNKNOWN


@dataclass
class Books:
    documents_: list[Document]
    waiting: bool = False
    denies: bool = False
    asked: list[tuple[Sequence[int], int, str]] = field(default_factory=list)
    noted: list[int] = field(default_factory=list)

    def grant(self, token: str, whom: UUID, categories: Sequence[int], month: int, act: str) -> Any:
        self.asked.append((tuple(categories), month, act))
        if self.denies:
            raise ConsentDenied("no")
        return SimpleNamespace(lease_id=b"x")

    def documents(self, lease: Any) -> tuple[list[Document], bool]:
        return self.documents_, self.waiting

    def note(self, lease: Any, rows: int) -> None:
        self.noted.append(rows)


def ages(books: Books, clock: SetClock) -> Ages:
    return Ages(books, books, books, clock)


def test_a_minor_is_refused_and_one_decision_lasts_a_day() -> None:
    books, clock = Books([chart('"2015-03-01"')]), SetClock(NOW_MS)
    found = ages(books, clock)
    for _ in range(3):
        with pytest.raises(Underage, match="18"):
            found.check("token", SOMEBODY)
    assert books.asked == [((Category.IDENTITY,), 0, "age")]  # identity, records without a time of their own
    assert books.noted == [1]
    clock.ms += 86_400_000
    books.documents_ = [chart('"1980-03-01"')]
    assert found.check("token", SOMEBODY) == ""
    assert len(books.asked) == 2


def test_unknown_goes_on_with_a_note_and_asks_again_soon_where_a_chart_is_being_filed() -> None:
    books, clock = Books([], waiting=True), SetClock(NOW_MS)
    found = ages(books, clock)
    assert found.check("token", SOMEBODY) == NOTE
    books.documents_, books.waiting = [chart('"1980"')], False
    clock.ms += 1_000
    assert found.check("token", SOMEBODY) == ""
    refused = Books([], denies=True)
    assert ages(refused, clock).check("token", SOMEBODY) == NOTE
    assert refused.noted == []
