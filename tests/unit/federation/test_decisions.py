"""A person decides; the policy, the code and the privacy class have a say before auth is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.federation.decisions import REFUSED_BY_STEWARD, public_reason
from tests.unit.federation.ward import BUNDLE, Far, Tokens, Ward, study
from twinward.errors import BadInput, Denied, NotFound, Unready


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture
def ward(tokens: Tokens, tmp_path: Path) -> Ward:
    return Ward(tmp_path, Far(tokens))


def test_approving_names_the_code_the_author_and_what_is_read(ward: Ward) -> None:
    sha256 = ward.offer(study())
    offered, decided = ward.decisions.decide("token", sha256[:4], "approve", "useful", "NON-PRIVATE")
    assert offered.sha256 == sha256
    assert decided.leaf == 100
    assert ward.desk.rows[sha256].bundle == BUNDLE
    assert ward.decisions.word(ward.decisions.of(sha256)) == "approve"


def test_the_very_word_of_the_privacy_class_is_needed(ward: Ward) -> None:
    sha256 = ward.offer(study())
    for word in ("", "non-private", "PRIVATE"):
        with pytest.raises(BadInput, match="NON-PRIVATE"):
            ward.decisions.decide("token", sha256, "approve", "", word)
    assert not ward.desk.rows


def test_what_the_policy_forbids_nobody_can_approve_but_anybody_can_refuse(ward: Ward) -> None:
    ward.policy.path.write_text('recipes = ["statistics"]')
    sha256 = ward.offer(study())
    with pytest.raises(Denied, match="recipe"):
        ward.decisions.decide("token", sha256, "approve", "", "NON-PRIVATE")
    ward.decisions.decide("token", sha256, "refuse", "not for us", "")
    assert ward.desk.rows[sha256].decision == "refuse"
    assert "policy does not allow it" in ward.decisions.text(ward.studies.find(sha256))


def test_other_code_cannot_be_approved(ward: Ward) -> None:
    sha256 = ward.offer(study(), bundle=bytes(32))
    with pytest.raises(Unready, match="other code"):
        ward.decisions.decide("token", sha256, "approve", "", "NON-PRIVATE")


def test_a_study_is_named_by_enough_of_its_hash(ward: Ward) -> None:
    sha256 = ward.offer(study())
    with pytest.raises(BadInput):
        ward.decisions.decide("token", sha256[:3], "refuse", "", "")
    with pytest.raises(NotFound):
        ward.decisions.decide("token", bytes(32), "refuse", "", "")
    with pytest.raises(BadInput):
        ward.decisions.decide("token", sha256, "maybe", "", "")


def test_the_coordinator_hears_a_code_and_not_the_words(ward: Ward) -> None:
    sha256 = ward.offer(study())
    ward.decisions.decide("token", sha256, "refuse", "the words of a person", "")
    decided = ward.decisions.of(sha256)
    assert decided is not None
    assert public_reason(decided) == REFUSED_BY_STEWARD
    ward.desk.put(sha256, "approve", reason="fine")
    assert public_reason(ward.desk.rows[sha256]) == ""


def test_an_answer_of_auth_is_used_for_seconds_and_a_decision_at_once(ward: Ward) -> None:
    sha256 = ward.offer(study())
    assert ward.decisions.word(ward.decisions.of(sha256)) == "waiting"
    ward.decisions.of(sha256)
    assert ward.desk.calls == 1
    ward.decisions.decide("token", sha256, "approve", "", "NON-PRIVATE")
    assert ward.decisions.word(ward.decisions.of(sha256)) == "approve"
    ward.desk.put(sha256, "refuse")
    ward.clock.ms += 2001
    assert ward.decisions.word(ward.decisions.of(sha256)) == "refuse"


def test_an_approval_expires(ward: Ward) -> None:
    sha256 = ward.offer(study())
    ward.desk.put(sha256, expires_ms=ward.clock.ms + 1000)
    assert ward.decisions.word(ward.decisions.of(sha256)) == "approve"
    ward.clock.ms += 1000
    assert ward.decisions.word(ward.decisions.of(sha256)) == "expired"
