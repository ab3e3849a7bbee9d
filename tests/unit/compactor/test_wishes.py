"""What readers ask for: a patient by handle, or everybody."""

from __future__ import annotations

from uuid import UUID

from services.compactor.wishes import MOST, MOST_OF_A_RUN, Wishes


def test_a_patient_asked_for_twice_is_taken_once_and_in_order() -> None:
    wishes = Wishes(everybody=False)
    handles = [UUID(int=number) for number in range(MOST_OF_A_RUN + 2)]
    for handle in [*handles, *handles]:
        wishes.note(str(handle))
    assert wishes.named
    assert [wishes.take(), wishes.take(), wishes.take()] == [handles[:MOST_OF_A_RUN], handles[MOST_OF_A_RUN:], []]
    assert not wishes.named
    assert not wishes.everybody


def test_no_word_is_for_everybody_and_nonsense_for_nobody() -> None:
    wishes = Wishes(everybody=False)
    wishes.note("not a handle")
    assert not wishes.everybody
    assert not wishes.named
    wishes.note("")
    assert wishes.everybody
    assert wishes.take() == []


def test_a_flood_is_bounded() -> None:
    wishes = Wishes()
    for number in range(MOST + 5):
        wishes.note(str(UUID(int=number)))
    taken = 0
    while wishes.named:
        taken += len(wishes.take())
    assert taken == MOST
