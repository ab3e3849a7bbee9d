"""The policies, asked for every combination there is, against the rules in one table of our own."""

from __future__ import annotations

from itertools import product

import pytest

from services.auth.consent import Answer
from services.auth.policy import PROFILES, Asker, Policies, Slice
from twinward.errors import Unready
from twinward.record import Purpose, Role

SLICES = [
    Slice(consent, sensitive, reserved, index, model, care_team, erased)
    for consent, sensitive, reserved, index, model, care_team, erased in product(
        Answer, (False, True), (False, True), (False, True), (False, True), (False, True), (False, True)
    )
    if reserved or not index  # the index is of a reserved category
]


def expected(profile: str, asker: Asker, act: str, purpose: Purpose, one: Slice) -> bool:
    """vault.md 4, written out."""
    if one.erased:
        return False
    if act == "compact":
        return asker.name == "compactor" and not asker.is_person and purpose is Purpose.OPERATIONS
    study = act == "study" and asker.name == "federation" and not asker.is_person
    if (one.reserved and not (study and one.cohort_index)) or one.consent in (Answer.DENY, Answer.CLOSED):
        return False
    permit = one.consent is Answer.PERMIT
    if act == "study":
        return study and purpose is Purpose.RESEARCH and permit
    if act == "upkeep":
        named = asker.name in ("twin-worker", "twin-jobs") and not asker.is_person
        return named and purpose is Purpose.UPKEEP and permit and one.model_input and not one.sensitive
    if purpose is Purpose.TREATMENT:
        default = permit or not one.sensitive
        return profile != "research-teaching" and "clinician" in asker.roles and one.care_team and default
    if purpose is Purpose.TEACHING:
        return bool({"learner", "instructor"} & set(asker.roles)) and permit
    return purpose is Purpose.RESEARCH and "researcher" in asker.roles and permit


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("act", ["read", "list", "upkeep", "compact", "study"])
def test_every_combination_is_decided_as_the_table_says(profile: str, act: str) -> None:
    policies = Policies(profile)
    if act in ("read", "list"):
        askers = [Asker("somebody", (role.value,), "twin", True) for role in Role]
        askers.append(Asker("somebody", ("clinician", "researcher"), "twin", True))
    else:
        names = ("twin-worker", "twin-jobs", "compactor", "twin", "ingest", "federation")
        askers = [Asker(name, (), name, False) for name in names]
    for asker, purpose in product(askers, Purpose):
        rulings = policies.rule(asker, act, purpose, SLICES)
        for one in SLICES:
            assert rulings[one].allowed == expected(profile, asker, act, purpose, one), (asker, purpose, one)
            assert not rulings[one].allowed or rulings[one].policies


def test_a_person_never_passes_for_a_program() -> None:
    policies = Policies("demo")
    asker = Asker("twin-worker", ("clinician",), "twin", True)
    slices = [one for one in SLICES if one.consent is Answer.PERMIT]
    assert not any(r.allowed for r in policies.rule(asker, "upkeep", Purpose.UPKEEP, slices).values())
    assert not any(r.allowed for r in policies.rule(asker, "compact", Purpose.OPERATIONS, slices).values())


def test_an_unknown_act_or_role_is_denied() -> None:
    policies = Policies("demo")
    good = Slice(Answer.PERMIT, False, False, False, True, True, False)
    assert not policies.rule(Asker("x", ("emperor",), "twin", True), "read", Purpose.TREATMENT, [good])[good].allowed
    assert not policies.rule(Asker("x", ("clinician",), "twin", True), "erase", Purpose.TREATMENT, [good])[good].allowed


def test_an_unknown_profile_stops_the_start() -> None:
    with pytest.raises(Unready):
        Policies("wild-west")


def test_the_set_has_one_hash_for_one_text() -> None:
    assert Policies("demo").sha256 == Policies("demo").sha256 != Policies("clinical").sha256
