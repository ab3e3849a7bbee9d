"""Joining and leaving: what each person gets to hear, and what a kill between two writes leaves."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.federation.membership import NAME, MembershipFile
from services.federation.token import Invitation, bytes_of
from tests.unit.federation.ward import SITE, Far, Killed, Tokens, Ward, at_call, certificate_key, killed
from twinward.errors import BadInput, Conflict, Denied, Malformed, Unavailable, Unready


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture
def ward(tokens: Tokens, tmp_path: Path) -> Ward:
    return Ward(tmp_path, Far(tokens))


def test_joining_leaves_one_private_file_and_one_leaf(ward: Ward, tmp_path: Path) -> None:
    member = ward.joining.join(ward.far.tokens.token(), "proxy.test:3128", "admin")
    assert member.open
    assert ward.ledger.kinds == ["site_join"]
    assert member.proxy == "proxy.test:3128"
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert MembershipFile(tmp_path).now() == member
    key = load_pem_private_key(member.key.encode(), None)
    assert certificate_key(member) == key.public_key()
    (wish,) = ward.far.joins
    assert wish.site == SITE
    assert bytes_of(wish.secret) == bytes(32)
    assert member.key not in str(ward.ledger.leaves)
    assert member.key not in repr(member)


def test_a_token_for_another_hospital_or_none_goes_nowhere(ward: Ward) -> None:
    with pytest.raises(BadInput):
        ward.joining.join(ward.far.tokens.token(site="other.demo"), "", "admin")
    for text in ("", "abc", "e30", ward.far.tokens.token()[:-9]):
        with pytest.raises(Malformed):
            ward.joining.join(text, "", "admin")
    assert not ward.far.joins


def test_demo_joins_demo_only(ward: Ward, tmp_path: Path) -> None:
    with pytest.raises(Denied):
        ward.joining.join(ward.far.tokens.token(coordinator="university.site"), "", "admin")
    clinical = Ward(tmp_path / "clinical", ward.far, profile="clinical")
    with pytest.raises(Denied):
        clinical.joining.join(ward.far.tokens.token(), "", "admin")
    assert not ward.far.joins


@pytest.mark.parametrize("proxy", ["nowhere", "http://a:1", "user@a:1", "a:0", "a:99999", ":80"])
def test_a_proxy_is_a_host_and_a_port(ward: Ward, proxy: str) -> None:
    with pytest.raises(BadInput):
        ward.joining.join(ward.far.tokens.token(), proxy, "admin")
    assert not ward.far.joins


def test_a_used_token_says_what_the_coordinator_says(ward: Ward) -> None:
    ward.far.away = Conflict("this join token was used already: ask the coordinator for another")
    with pytest.raises(Conflict, match="used already"):
        ward.joined()
    assert ward.file.now() is None
    assert not ward.ledger.leaves


def test_a_certificate_of_another_key_is_not_taken(ward: Ward, tmp_path: Path) -> None:
    other = Ward(tmp_path / "other", Far(ward.far.tokens)).joined().file.now()
    assert other is not None
    ward.far.chain = other.certificate.encode()
    with pytest.raises(Malformed):
        ward.joined()
    ward.far.chain = b"no certificate"
    with pytest.raises(Malformed):
        ward.joined()
    assert ward.file.now() is None


def test_one_coordinator_at_a_time_and_the_same_one_anew(ward: Ward) -> None:
    first = ward.joined().file.now()
    with pytest.raises(Unready):
        ward.joining.join(ward.far.tokens.token(coordinator="another.demo"), "", "admin")
    second = ward.joined().file.now()
    assert first is not None
    assert second is not None
    assert (first.key, first.node_key) != (second.key, second.node_key)


# Killed while joining ----------------------------------------------------------------


def test_killed_before_the_coordinator_answered_the_next_token_joins(ward: Ward) -> None:
    at_call(ward.far, "join", killed, before=False)
    with pytest.raises(Killed):
        ward.joined()
    again = ward.again()
    assert again.file.now() is None
    assert again.joined().file.now() is not None
    assert again.ledger.kinds == ["site_join"]


def test_killed_before_the_leaf_the_restart_enters_it_and_nothing_opens_before(ward: Ward) -> None:
    at_call(ward.ledger, "record", killed, before=True)
    with pytest.raises(Killed):
        ward.joined()
    again = ward.again()
    held = again.file.now()
    assert held is not None
    assert not held.open
    again.link.once()
    held = again.file.now()
    assert held is not None
    assert held.open
    assert again.ledger.kinds == ["site_join"]
    assert again.far.told, "the line runs"


def test_killed_after_the_leaf_there_is_never_a_joining_without_one(ward: Ward) -> None:
    at_call(ward.ledger, "record", killed, before=False)
    with pytest.raises(Killed):
        ward.joined()
    again = ward.again()
    again.joining.settle()
    held = again.file.now()
    assert held is not None
    assert held.leaf == 2
    assert again.ledger.kinds == ["site_join", "site_join"]


def test_while_the_ledger_is_away_the_token_is_not_lost(ward: Ward) -> None:
    ward.ledger.away = True
    with pytest.raises(Unready, match="as soon as"):
        ward.joined()
    ward.link.once()
    assert not ward.far.told, "nothing is said to the coordinator before the ledger knows"
    ward.ledger.away = False
    ward.link.once()
    assert ward.ledger.kinds == ["site_join"]
    assert ward.far.told


def test_a_file_that_cannot_be_read_stops_the_start(ward: Ward, tmp_path: Path) -> None:
    ward.joined()
    whole = (tmp_path / NAME).read_bytes()
    for broken in (whole[:-5], b"{}", b"[]"):
        (tmp_path / NAME).write_bytes(broken)
        with pytest.raises(Unready):
            ward.again()


# Leaving -------------------------------------------------------------------------------


def test_leaving_tells_the_coordinator_a_code_and_the_ledger_why(ward: Ward, tmp_path: Path) -> None:
    ward.joined().joining.leave("we close", "admin")
    assert ward.far.left == ["LEFT"]
    assert ward.ledger.kinds == ["site_join", "site_leave"]
    assert ward.ledger.leaves[-1][1]["reason"] == "we close"
    assert ward.file.now() is None
    assert not (tmp_path / NAME).exists()
    with pytest.raises(Unready):
        ward.joining.leave("again", "admin")


def test_leaving_does_not_need_the_coordinator(ward: Ward) -> None:
    ward.joined()
    ward.far.away = Unavailable("away")
    ward.joining.leave("we close", "admin")
    assert ward.file.now() is None
    assert ward.ledger.kinds[-1] == "site_leave"


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("moment", ["far", "ledger"])
def test_killed_while_leaving_the_restart_ends_it(ward: Ward, moment: str, before: bool) -> None:
    ward.joined()
    target, name = (ward.far, "leave") if moment == "far" else (ward.ledger, "record")
    at_call(target, name, killed, before=before)
    with pytest.raises(Killed):
        ward.joining.leave("we close", "admin")
    again = ward.again()
    held = again.file.now()
    assert held is not None
    assert not held.open, "from the first moment on nothing is answered any more"
    again.link.once()
    assert again.file.now() is None
    assert "site_leave" in again.ledger.kinds


def test_a_renewed_certificate_does_not_undo_a_leaving(ward: Ward) -> None:
    held = ward.joined().file.now()
    assert held is not None
    left = ward.file.put(replace(held, leaving=True))
    made = ward.far.join(
        Invitation(
            coordinator="c.demo", site=SITE, door="", join="", fleet="", authority=b"", secret=b""
        ),
        "", ward.far.joins[0],
    )  # fmt: skip
    assert ward.joining.renewed(held, held.key, made) is None
    assert ward.file.now() == left
