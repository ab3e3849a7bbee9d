"""Every shipped case: what is written in it works, it tells good care from none, and it is exact.

Quick, because a patient's hour costs one to two seconds: lint and replay of all cases; the expert of cases of up to two
hours, inaction of those up to one. Marked slow: everything bench/cases.py looks at (docs/evidence/cases.md): the other
policies and patients, who comes late, chance against experts on other days, what is expected of the patient.
"""

from __future__ import annotations

import pytest

from bench.cases import SEEDS, Bench
from services.twin import session_policies as policies
from services.twin.session_case import shipped, shipped_case
from services.twin.session_command import Mode
from services.twin.session_engine import Session, replay
from services.twin.session_lint import lint
from services.twin.session_patient import Patients
from services.twin.session_score import score

BODIES = Patients()
IDS = sorted(shipped())
REPLAYED_S = 900


def upto(minutes: int) -> list[str]:
    return [id for id in IDS if shipped_case(id).minutes <= minutes]


@pytest.mark.parametrize("id", IDS)
def test_a_case_is_clean(id: str) -> None:
    assert [str(one) for one in lint(shipped_case(id), BODIES)] == []


@pytest.mark.parametrize("id", upto(120))
def test_the_expert_passes(id: str) -> None:
    case = shipped_case(id)
    session, found = policies.run(case, policies.expert(case), 1, BODIES)
    assert found.total >= 85.0, found.explained()
    assert session.body.alive


@pytest.mark.parametrize("id", upto(60))
def test_who_does_nothing_fails(id: str) -> None:
    case = shipped_case(id)
    found = policies.run(case, policies.inaction(case), 1, BODIES)[1]
    assert found.total <= 25.0, found.explained()


@pytest.mark.parametrize("id", IDS)
def test_the_beginning_of_the_expert_is_replayed_bit_for_bit(id: str) -> None:
    case = shipped_case(id)
    session = Session.open(case, 1, Mode.ASSESSMENT, BODIES)
    policies.onwards(session, policies.expert(case), until_s=REPLAYED_S)
    again = replay(case, 1, session.log, Mode.ASSESSMENT, BODIES, session.now_s)
    assert len(session.log) > 3
    assert again.body.dump() == session.body.dump()
    assert again.rows == session.rows
    assert again.entries == session.entries


@pytest.mark.slow
@pytest.mark.parametrize("id", IDS)
def test_the_whole_expert_is_replayed_bit_for_bit(id: str) -> None:
    case = shipped_case(id)
    session, found = policies.run(case, policies.expert(case), 1, BODIES)
    again = replay(case, 1, session.log, Mode.ASSESSMENT, BODIES, session.now_s)
    assert again.body.dump() == session.body.dump()
    assert again.rows == session.rows
    assert score(again) == found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("id", IDS)
def test_a_case_keeps_all_limits(id: str) -> None:
    bench = Bench(shipped_case(id))
    found = [*bench.four(SEEDS), bench.later(), bench.chance(), bench.partial(), *bench.expected(SEEDS)]
    assert [row for row in found if not row.green] == []
