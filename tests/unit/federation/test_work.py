"""A hospital's side of a round: each refusal, and what a patient who leaves does to a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from services.federation.cohort import Cohort
from services.federation.course import Answer, Ask, Course
from services.federation.held import MOST, Tables
from services.federation.query import Unanswerable, root_of
from services.federation.study import Study
from services.federation.table import Table
from services.federation.work import UNANSWERABLE_S, Work
from tests.unit.federation.ward import BUNDLE, SITE, Far, Tokens, Ward, at_call, study
from twinward.clock import SystemChance
from twinward.errors import BadInput, Busy, Denied, LeaseEnded, Tampered, Unavailable
from twinward.record import Handle
from twinward.wire.codec.cohort import RoundEntry


@dataclass
class Hospital:
    """Its patients, and auth's word about who withdrew; `fault` is what building meets."""

    patients: int = 12
    withdrawn: set[Handle] = field(default_factory=set)
    between: Handle | None = None  # withdraws after the table was built, before the round is entered
    fault: Exception | None = None
    built: int = 0
    rounds: list[tuple[int, str, bytes]] = field(default_factory=list)

    def build(self, sha256: bytes, asked: Study) -> Cohort:
        self.built += 1
        if self.fault is not None:
            raise self.fault
        handles = tuple(handle for handle in map(_handle, range(self.patients)) if handle not in self.withdrawn)
        if self.between is not None:
            self.withdrawn.add(self.between)
            self.between = None
        x = np.array([[float(handle.int)] for handle in handles]).reshape(len(handles), 1)
        return Cohort(Table(("pressure",), x, x[:, 0], np.zeros(len(handles))), handles)

    def enter_round(self, asked: bytes, round: int, step: str, handles: Sequence[Handle]) -> RoundEntry:
        gone = tuple(handle for handle in handles if handle in self.withdrawn)
        permitted = [handle for handle in handles if handle not in self.withdrawn]
        self.rounds.append((round, step, root_of(permitted)))
        return RoundEntry(len(self.rounds), self.rounds[-1][2], gone)


class Sum:
    """A recipe: the sum of the only column, times the first number of the vector."""

    name, privacy = "sum", "NON-PRIVATE"

    def __init__(self) -> None:
        self.asked = 0

    def check(self, asked: Study) -> Sequence[str]:
        return ()

    def course(self, asked: Study, state: bytes | None) -> Course:
        raise AssertionError

    def answer(self, asked: Study, ask: Ask, table: Table) -> Answer:
        self.asked += 1
        if ask.step == "wrong":
            raise BadInput("no such step")
        if ask.step == "broken":
            raise ZeroDivisionError("with a patient's name in its text")
        if ask.step == "nan":
            return Answer(np.array([np.nan]), {})
        if ask.step == "infinite":
            return Answer(np.array([1.0]), {"n": float("inf")})
        if ask.step == "invented":
            return Answer(np.empty(0), {}, "PATIENT 7 IS ILL")
        return Answer(np.array([float(table.x.sum()) * float(ask.vector[0])]), {"n": float(len(table))})


def _handle(number: int) -> Handle:
    return UUID(int=number + 1)


@dataclass
class Room:
    """A hospital's program, started (again) on the same files."""

    ward: Ward
    hospital: Hospital
    recipe: Sum = field(default_factory=Sum)
    member: bool = True

    def __post_init__(self) -> None:
        self.tables = Tables(self.ward.folder / "cohorts")
        self.work = Work(
            SITE, self.ward.studies, self.ward.decisions, self.ward.policy, lambda: BUNDLE, lambda: self.member,
            self.hospital, self.hospital, self.tables, lambda asked: self.recipe, self.ward.clock, SystemChance(),
        )  # fmt: skip
        self.sha256 = b""

    def approved(self, **changed: Any) -> Room:
        self.sha256 = self.ward.offer(study(**changed))
        self.ward.desk.put(self.sha256)
        return self

    def again(self) -> Room:
        room = Room(self.ward.again(), self.hospital)
        room.sha256 = self.sha256
        return room

    def ask(self, round: int = 1, step: str = "sum", by: float = 1.0, **more: Any) -> Answer:
        bundle = more.pop("bundle", BUNDLE)
        made: dict[str, Any] = {"study": self.sha256, "round": round, "step": step, "vector": np.array([by])}
        return self.work.answer(bundle, Ask(**made | more))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture
def room(tokens: Tokens, tmp_path: Path) -> Room:
    return Room(Ward(tmp_path, Far(tokens)), Hospital()).approved()


def test_an_approved_study_is_answered_round_after_round_from_one_table(room: Room) -> None:
    answers = [room.ask(number) for number in (1, 2, 3)]
    assert [answer.refusal for answer in answers] == ["", "", ""]
    assert answers[0].vector.tolist() == [78.0]
    assert answers[0].numbers == {"n": 12.0}
    assert room.hospital.built == 1
    assert [(number, step) for number, step, _ in room.hospital.rounds] == [(1, "sum"), (2, "sum"), (3, "sum")]


def test_the_same_ask_gets_the_same_answer_and_is_one_round(room: Room) -> None:
    first, second = room.ask(1), room.ask(1)
    assert second is first
    assert (len(room.hospital.rounds), room.recipe.asked) == (1, 1)
    assert room.ask(1, by=2.0).vector.tolist() == [156.0], "another ask is another answer"
    assert len(room.hospital.rounds) == 2


# What is refused -----------------------------------------------------------------------


def test_a_study_nobody_offered(room: Room) -> None:
    assert room.ask(study=bytes(32)).refusal == "NOT_APPROVED"


def test_a_study_nobody_decided_on_or_somebody_refused(room: Room) -> None:
    room.ward.desk.rows.clear()
    assert room.ask().refusal == "NOT_APPROVED"
    room.ward.desk.put(room.sha256, "refuse")
    room.ward.clock.ms += 3000
    assert room.ask().refusal == "NOT_APPROVED"
    assert room.hospital.built == 0


def test_an_approval_taken_back_counts_within_seconds_though_the_table_is_there(room: Room) -> None:
    assert room.ask(1).refusal == ""
    room.ward.desk.put(room.sha256, "refuse")
    room.ward.clock.ms += 3000
    assert room.ask(1).refusal == "NOT_APPROVED", "not even the same answer again"
    assert room.ask(2).refusal == "NOT_APPROVED"


def test_an_approval_that_ended(room: Room) -> None:
    room.ward.desk.put(room.sha256, expires_ms=room.ward.clock.ms)
    assert room.ask().refusal == "EXPIRED"


def test_edited_bytes(room: Room) -> None:
    offered = room.ward.studies.known(room.sha256)
    assert offered is not None
    room.ward.studies._by_hash[room.sha256] = replace(offered, canonical=offered.canonical.replace(b"30", b"31"))
    assert room.ask().refusal == "WRONG_STUDY"


def test_other_code_than_was_approved(room: Room) -> None:
    assert room.ask(bundle=bytes(32)).refusal == "WRONG_BUNDLE"
    room.ward.desk.put(room.sha256, bundle=bytes(32))
    room.ward.clock.ms += 3000
    assert room.ask().refusal == "WRONG_BUNDLE"
    assert room.ask(bundle=bytes(32)).refusal == "WRONG_BUNDLE"


def test_what_the_policy_does_not_allow_though_it_was_approved(room: Room) -> None:
    room.ward.policy.path.write_text('recipes = ["statistics"]')
    assert room.ask().refusal == "POLICY"
    room.ward.policy.path.write_text("a policy that cannot be read allows nothing")
    assert room.ask().refusal == "POLICY"
    room.ward.policy.path.unlink()
    assert room.ask().refusal == ""


def test_a_study_of_other_hospitals(room: Room) -> None:
    room.approved(sites=("north.demo", "south.demo"))
    assert room.ask().refusal == "POLICY"


def test_a_hospital_that_left(room: Room) -> None:
    room.member = False
    assert room.ask().refusal == "NOT_APPROVED"


def test_a_hospital_that_leaves_while_the_table_is_built_holds_none(room: Room) -> None:
    at_call(room.hospital, "build", lambda: setattr(room, "member", False), before=False)
    assert room.ask().refusal == "NOT_APPROVED"
    assert room.tables.count == 0


@pytest.mark.parametrize(("patients", "refusal"), [(9, "COHORT"), (10, "")])
def test_the_minimum_is_exact(room: Room, patients: int, refusal: str) -> None:
    room.hospital.patients = patients
    assert room.ask().refusal == refusal
    assert bool(room.hospital.rounds) is not bool(refusal)


def test_the_hospitals_own_minimum_counts_where_it_is_higher(room: Room) -> None:
    room.ward.policy.path.write_text("minimum_cohort = 13")
    assert room.ask().refusal == "COHORT"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_come_neither_in_nor_out(room: Room, number: float) -> None:
    assert room.ask(by=number).refusal == "BAD_ASK"
    assert room.ask(step="nan").refusal == "DATA"
    assert room.ask(step="infinite").refusal == "DATA"
    assert room.ask(step="nan").vector.size == 0


def test_more_rounds_than_were_approved(room: Room) -> None:
    assert room.ask(round=30).refusal == ""
    assert room.ask(round=31).refusal == "BAD_ASK"


def test_what_goes_wrong_in_a_recipe_leaves_as_a_word(room: Room) -> None:
    assert room.ask(step="wrong").refusal == "BAD_ASK"
    assert room.ask(step="broken").refusal == "INTERNAL"
    assert room.ask(step="invented").refusal == "INTERNAL"
    assert room.ask(config={"x": object()}).refusal == "BAD_ASK"
    assert room.ask(config={"x": float("nan")}).refusal == "BAD_ASK"


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        (Unavailable("auth is away"), "UNAVAILABLE"),
        (Busy("later"), "UNAVAILABLE"),
        (LeaseEnded("over"), "UNAVAILABLE"),
        (Denied("not approved"), "NOT_APPROVED"),
        (Tampered("edited"), "INTERNAL"),
        (Unanswerable(), "DATA"),
        (MemoryError(), "INTERNAL"),
    ],
)
def test_what_goes_wrong_while_building_leaves_as_a_word_and_can_be_tried_again(
    room: Room, fault: Exception, refusal: str
) -> None:
    room.hospital.fault = fault
    assert room.ask().refusal == refusal
    room.hospital.fault = None
    room.ward.clock.ms += int(UNANSWERABLE_S * 1000)
    assert room.ask().refusal == ""


def test_auth_away(room: Room) -> None:
    room.ward.desk.away = True
    assert room.ask().refusal == "UNAVAILABLE"


def test_a_question_that_cannot_be_answered_is_not_tried_every_second(room: Room) -> None:
    room.hospital.fault = Unanswerable()
    assert [room.ask(number).refusal for number in (1, 2, 3)] == ["DATA"] * 3
    assert room.hospital.built == 1


# Patients who leave ----------------------------------------------------------------------


def test_withdrawn_before_the_first_round_is_no_part_of_it(room: Room) -> None:
    room.hospital.withdrawn.add(_handle(0))
    assert room.ask().numbers == {"n": 11.0}


def test_withdrawn_in_the_moment_before_the_first_round_neither(room: Room) -> None:
    room.hospital.between = _handle(0)
    answer = room.ask()
    assert (answer.refusal, answer.numbers) == ("", {"n": 11.0})
    assert room.ask(2).refusal == ""


def test_withdrawn_between_rounds_the_study_has_to_start_again(room: Room) -> None:
    assert room.ask(1).refusal == ""
    room.hospital.withdrawn.add(_handle(3))
    assert room.ask(2).refusal == "COHORT_CHANGED"
    assert room.tables.count == 0, "the table is gone at once"
    assert room.ask(3).refusal == "COHORT_CHANGED"
    assert room.again().ask(4).refusal == "COHORT_CHANGED", "a restart does not forget it"
    assert room.ask(1).numbers == {"n": 11.0}
    assert room.ask(2).refusal == ""


def test_a_restart_in_mid_study_goes_on_with_the_same_patients_or_not_at_all(room: Room) -> None:
    assert room.ask(4).refusal == ""
    assert room.again().ask(5).refusal == ""
    room.hospital.patients += 1
    assert room.again().ask(6).refusal == "COHORT_CHANGED"


def test_a_hospital_that_came_late_begins_with_its_own_first_round(room: Room) -> None:
    assert room.ask(7).refusal == ""
    room.hospital.withdrawn.add(_handle(3))
    assert room.again().ask(6).numbers == {"n": 11.0}, "an earlier round: the study began again"


def test_what_is_known_of_a_cohort_that_cannot_be_read_is_no_reason_to_go_on(room: Room) -> None:
    assert room.ask(1).refusal == ""
    (file,) = (room.ward.folder / "cohorts").glob("*.json")
    file.write_bytes(b"{")
    assert room.again().ask(2).refusal == "INTERNAL"


def test_no_list_of_patients_is_written_down(room: Room) -> None:
    room.ask(1)
    written = b"".join(file.read_bytes() for file in room.ward.folder.rglob("*") if file.is_file())
    for number in range(12):
        assert _handle(number).bytes not in written
        assert _handle(number).hex.encode() not in written


# Memory ------------------------------------------------------------------------------------


def test_tables_go_when_the_study_does(room: Room) -> None:
    room.ask(1)
    assert room.tables.count == 1
    room.ward.studies.hear_states({room.sha256: "running"})
    room.work.ended(room.ward.studies.hear_states({room.sha256: "stopped"}))
    assert room.tables.count == 0
    assert room.tables.frozen(room.sha256) is not None, "it may be resumed"
    room.work.ended(room.ward.studies.hear_states({room.sha256: "done"}))
    assert room.tables.frozen(room.sha256) is None


def test_a_few_tables_at_once(room: Room) -> None:
    for number in range(MOST + 2):
        room.sha256 = room.ward.offer(study(seed=number), number + 2)
        room.ward.desk.put(room.sha256)
        assert room.ask().refusal == ""
    assert room.tables.count == MOST
    room.tables.forget_all()
    assert room.tables.count == 0
    assert list((room.ward.folder / "cohorts").glob("*")) == []
