"""The line to the coordinator: what is told, what is heard, what an absence costs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.federation.site_link import LONGEST_S, Heard, OfferedRaw
from services.federation.study import canonical
from tests.unit.federation.ward import BUNDLE, HOUR_MS, Far, Tokens, Ward, certificate_key, study
from twinward.errors import Denied, Unauthenticated, Unavailable


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture
def ward(tokens: Tokens, tmp_path: Path) -> Ward:
    return Ward(tmp_path, Far(tokens)).joined()


def offered(number: int, **changed: object) -> OfferedRaw:
    text = canonical(study(**changed))
    return OfferedRaw(number, hashlib.sha256(text).digest(), text, BUNDLE)


def test_not_joined_nothing_is_said(tokens: Tokens, tmp_path: Path) -> None:
    ward = Ward(tmp_path, Far(tokens))
    assert ward.link.once() == 1.0
    assert not ward.far.told


def test_studies_are_heard_once_and_known_after_a_restart(ward: Ward) -> None:
    ward.far.heard = Heard([offered(3), offered(7, title="Second")], {}, ())
    ward.link.once()
    ward.far.heard = Heard((), {}, ())
    ward.link.once()
    assert [told.after for told in ward.far.told] == [0, 7]
    again = ward.again()
    again.link.once()
    assert ward.far.told[-1].after == 7
    assert [one.study.title for one in again.studies.all()] == ["Pressure", "Second"]


def test_a_study_whose_bytes_are_others_is_not_taken_and_does_not_stop_the_line(ward: Ward) -> None:
    right = offered(2)
    wrong = OfferedRaw(1, bytes(32), right.canonical, BUNDLE)
    nonsense = OfferedRaw(3, right.study, b"{}", BUNDLE)
    ward.far.heard = Heard([wrong, right, nonsense], {}, ())
    ward.link.once()
    assert [one.number for one in ward.studies.all()] == [2]
    assert ward.link.reachable()


def test_an_edited_file_makes_everything_be_asked_for_anew(ward: Ward, tmp_path: Path) -> None:
    ward.far.heard = Heard([offered(1), offered(2, title="Second")], {}, ())
    ward.link.once()
    file = sorted((tmp_path / "studies").glob("*.json"))[0]
    file.write_bytes(file.read_bytes().replace(b"research", b"reserach"))
    again = ward.again()
    assert again.studies.all() == []
    again.link.once()
    assert again.far.told[-1].after == 0
    assert len(again.studies.all()) == 2


def test_a_decision_is_told_until_it_is_acknowledged(ward: Ward) -> None:
    sha256 = ward.offer(study())
    ward.link.once()
    ward.desk.put(sha256, "refuse", reason="the steward's own words", leaf=5)
    ward.link.decided()
    ward.clock.ms += 3000  # what was asked of auth before is not used any more
    ward.link.once()
    ward.link.once()
    assert [len(told.decisions) for told in ward.far.told[-2:]] == [1, 1]
    ward.far.heard = Heard((), {}, [sha256])
    ward.link.once()
    ward.far.heard = Heard((), {}, ())
    ward.link.once()
    assert ward.far.told[-1].decisions == []
    again = ward.again()
    again.link.once()
    assert [one.leaf for one in again.far.told[-1].decisions] == [5], "after a start every one goes once more"


def test_a_new_decision_about_the_same_study_is_told_too(ward: Ward) -> None:
    sha256 = ward.offer(study())
    ward.desk.put(sha256, leaf=5)
    ward.far.heard = Heard((), {}, [sha256])
    ward.link.once()
    ward.desk.put(sha256, "refuse", leaf=9)
    ward.link.decided()
    ward.clock.ms += 3000
    ward.far.heard = Heard((), {}, ())
    ward.link.once()
    assert [one.leaf for one in ward.far.told[-1].decisions] == [9]


def test_while_auth_is_away_the_coordinator_still_hears_that_we_live(ward: Ward) -> None:
    ward.offer(study())
    ward.desk.away = True
    ward.up = False
    ward.link.once()
    assert ward.far.told[-1].life == 0
    assert ward.link.reachable()


def test_away_it_asks_more_and_more_seldom_and_comes_back_by_itself(ward: Ward) -> None:
    ward.link.once()
    ward.far.away = Unavailable("away")
    waits = [ward.link.once() for _ in range(12)]
    assert all(0.5 <= wait <= LONGEST_S for wait in waits)
    assert max(waits[:2]) <= 4.0
    assert min(waits[6:]) >= LONGEST_S / 2
    ward.clock.ms += 60_000
    assert not ward.link.reachable()
    ward.far.away = None
    assert ward.link.once() == 1.0
    assert ward.link.reachable()


@pytest.mark.parametrize("refusal", [Unauthenticated("removed"), Denied("removed")])
def test_thrown_out_it_does_not_knock_every_second(ward: Ward, refusal: Unauthenticated | Denied) -> None:
    ward.far.away = refusal
    assert ward.link.once() >= LONGEST_S / 2
    assert ward.file.now() is not None, "what a coordinator says takes nothing away here: a person leaves"


def test_nonsense_from_the_coordinator_does_not_end_the_line(ward: Ward) -> None:
    ward.far.heard = Heard(None, {}, ())  # type: ignore[arg-type]
    assert ward.link.once() > 0
    ward.far.heard = Heard((), {}, ())
    assert ward.link.once() == 1.0


def test_the_certificate_renews_itself_at_half_its_life(ward: Ward) -> None:
    ward.link.once()
    before = ward.file.now()
    assert before is not None
    assert ward.far.renewals == 0
    ward.clock.ms += 12 * HOUR_MS + 1000
    ward.link.once()
    after = ward.file.now()
    assert after is not None
    assert ward.far.renewals == 1
    assert after.key != before.key
    assert (after.node_key, after.leaf, after.coordinator) == (before.node_key, before.leaf, before.coordinator)
    assert certificate_key(after) != certificate_key(before)
    assert ward.again().file.now() == after


def test_a_coordinator_that_does_not_renew_now_is_asked_again_and_the_old_one_holds(ward: Ward) -> None:
    ward.clock.ms += 13 * HOUR_MS
    ward.far.renew_away = Unavailable("busy")
    assert ward.link.once() == 1.0
    assert ward.far.told
    ward.far.renew_away = None
    ward.link.once()
    assert ward.far.renewals == 1


def test_states_say_when_a_study_stopped_running(ward: Ward) -> None:
    sha256 = ward.offer(study())
    for state in ("running", "running", "stopped", "stopped", "running", "done"):
        ward.far.heard = Heard((), {sha256: state, bytes(32): "done"}, ())
        ward.link.once()
    assert ward.ended == [sha256, sha256]
    assert ward.studies.state(sha256) == "done"


def test_what_came_from_a_coordinator_that_was_left_is_forgotten(ward: Ward, tmp_path: Path) -> None:
    ward.offer(study())
    ward.joining.leave("over", "admin")
    assert ward.studies.all() == []
    assert list((tmp_path / "studies").glob("*.json")) == []
