"""Sessions from a virtual person's snapshot, and what draws such people."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from services.twin.session_case import Case
from services.twin.session_command import Act, Mode, Rewind
from services.twin.session_engine import Session, replay
from services.twin.session_lint import lint
from services.twin.session_patient import Patients
from services.twin.session_score import score
from services.twin.session_virtual import case_of, name
from twinward.errors import BadInput, Malformed, NotFound
from twinward.physiology import cohort, population, virtual
from twinward.physiology import glucose as s2008

BODIES = Patients()


@pytest.fixture(scope="module")
def case() -> Case:
    return case_of(name(7, 0))


def test_the_patient_begins_at_the_snapshots_glucose_with_their_own_parameters(case: Case) -> None:
    moment = virtual.moment(7, 0, 12.0)
    session = Session.open(case, 1, Mode.TRAINING, BODIES)
    assert abs(session.labs["glucose"] - moment.glucose) < 1e-6
    body = session.body.metabolism.body  # type: ignore[attr-defined]
    own = [k for k in range(32) if k not in (s2008.KE1, s2008.BW)]
    assert np.array_equal(body.p[own], moment.person.parameters[own])
    assert body.p[s2008.BW] == pytest.approx(moment.person.weight, abs=0.01)
    hidden = [k for k in range(13) if k != s2008.GP]
    assert np.array_equal(body.x[hidden], moment.state.x[hidden])  # a meal on its way goes on being digested
    assert body.x[s2008.GP] == pytest.approx(moment.state.x[s2008.GP], rel=0.05)


def test_a_stored_bedside_gives_the_same_bits_and_answers_insulin(case: Case) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(case), type=Case)
    assert stored.sha256() == case.sha256()
    session = Session.open(case, 1, Mode.TRAINING, BODIES)
    session.do(Act("insulin_skin", {"dose": 8.0}))
    session.advance(1200)
    session.do(Rewind(600))
    session.advance(1800)
    again = replay(stored, 1, session.log, Mode.TRAINING, BODIES, session.now_s)
    assert again.rows == session.rows
    assert again.body.dump() == session.body.dump()
    untreated = Session.open(case, 1, Mode.TRAINING, BODIES)
    untreated.advance(session.now_s)
    assert session.labs["glucose"] < untreated.labs["glucose"] - 2.0


def test_every_dose_the_bedside_allows_the_body_takes_and_nothing_is_scored(case: Case) -> None:
    assert [str(one) for one in lint(case, BODIES)] == []
    assert not case.scored
    assert score(Session.open(case, 1, Mode.TRAINING, BODIES)).total == 0.0


def test_another_number_is_another_person_and_names_that_are_none_are_refused() -> None:
    assert case_of(name(7, 1)).sha256() != case_of(name(7, 0)).sha256()
    assert case_of(name(7, 0, 13.5)).patient.snapshot != case_of(name(7, 0)).patient.snapshot
    for wrong in ("virtual:7", "virtual:7:0:x", "virtual:-1:0:12"):
        with pytest.raises(NotFound):
            case_of(wrong)
    with pytest.raises(BadInput, match="1 to 336"):
        case_of(name(7, 0, 500))
    with pytest.raises(Malformed):
        BODIES.resume({}, b"nothing")


def test_who_is_drawn_could_exist_and_the_cohort_lies_where_the_prior_does() -> None:
    people = [population.person(3, k) for k in range(150)]
    for one in people:
        assert cohort.refusal(one.parameters, one.basal) == ""
    rows, refused = population.report(people)
    assert sum(refused.values()) == sum(len(one.refused) for one in people) > 0
    of = {row.name: row for row in rows}
    sd = population.prior().four_sd()
    for which in ("SI", "meal", "skin"):  # the median of 150 within four standard errors of the prior's
        assert abs(np.log(of[which].median / of[which].prior_median)) < 4 * 1.25 * sd[which] / np.sqrt(150)
        assert of[which].low < of[which].median < of[which].high
    assert of["age"].low >= population.AGE_LEAST
    drawn_again = population.person.__wrapped__(3, 5)
    assert drawn_again is not people[5]
    assert np.array_equal(drawn_again.parameters, people[5].parameters)
    with pytest.raises(BadInput):
        population.person(3, -1)
    with pytest.raises(BadInput):
        population.report([])
