"""A hospital comes in with a token once, and goes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from psycopg.rows import TupleRow

from infra.embedded.certificates import Certificates
from services.federation.books import Pool
from services.federation.joining import Doors, Joined, Joining, TokenEnded, TokenRefused, TokenUsed
from services.federation.token import Invitation, read_token, write_token
from tests.conftest import Database
from tests.unit.federation.engine import Engine
from tests.unit.federation.hall import Ledgered
from tests.unit.federation.papers import request, sites_authority
from twinward.clock import SetClock, SystemChance, SystemClock
from twinward.database import LivePool
from twinward.errors import BadInput, Malformed, NotFound, Unauthenticated, Unavailable, Unready
from twinward.link.enrolment import SiteAuthority

COORDINATOR, SITE = "north.demo", "st-anne.demo"
KEY = b"public key of a node"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(root and programs, the sites authority's chain, its key)."""
    folder = tmp_path_factory.mktemp("coordinator")
    Certificates(folder, COORDINATOR, SystemClock(), SystemChance()).ensure(["coordinator"], [])
    return folder / "pki" / "ca.pem", *sites_authority(folder, COORDINATOR)


class Hall:
    def __init__(self, pool: Pool, books: Database, authority: tuple[Path, Path, Path]) -> None:
        self.pool, self.books = pool, books
        self.clock = SetClock(SystemClock().now_ms())
        self.ledger, self.engine = Ledgered(), Engine()
        ca, chain, key = authority
        root = next(one for one in x509.load_pem_x509_certificates(ca.read_bytes()) if one.issuer == one.subject)
        signs = SiteAuthority.of(chain, key, COORDINATOR, 24.0, self.clock, SystemChance())
        doors = Doors(COORDINATOR, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", root.public_bytes(Encoding.PEM), KEY)
        self.joining = Joining(
            pool, self.ledger, signs, self.engine, doors, self.clock, SystemChance(), away_s=3.0
        )  # fmt: skip

    def invite(self, site: str = SITE, minutes: int = 0) -> str:
        return self.joining.invite("admin", site, minutes)[0]

    def join(self, token: str, site: str = SITE, csr: bytes | None = None, key: bytes = KEY) -> Joined:
        secret = urlsafe_b64encode(read_token(token).secret).decode()
        return self.joining.join(secret, site, csr or request(), key, "1")

    def row(self, columns: str, site: str = SITE) -> Any:
        with self.books.connect("coordinator") as connection:
            return connection.execute(f"select {columns} from fed.site where id = %s", (site,)).fetchone()  # noqa: S608

    def member(self, site: str, digest: bytes) -> None:
        with self.pool.connection() as connection:
            self.joining.member(connection, site, digest)


@pytest.fixture
def hall(pool: Pool, books: Database, authority: tuple[Path, Path, Path]) -> Hall:
    return Hall(pool, books, authority)


def digest(joined: Joined) -> bytes:
    leaf = x509.load_pem_x509_certificates(joined.chain)[0]
    return hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest()


def test_a_token_survives_its_way_and_keeps_its_secret_from_the_books(hall: Hall) -> None:
    token = hall.invite()
    found = read_token(f"  {token}\n")
    assert (found.coordinator, found.site, found.join) == (COORDINATOR, SITE, "127.0.0.1:2")
    assert write_token(found) == token
    assert "secret" not in repr(found)
    assert str(found.secret) not in repr(found)
    with hall.books.connect("coordinator") as connection:
        rows = connection.execute("select sha256 from fed.join_token").fetchall()
    assert rows == [(hashlib.sha256(found.secret).digest(),)]
    assert found.secret.hex() not in json.dumps(hall.ledger.entries)


@pytest.mark.parametrize(
    "text", ["", "no token", "e30", "W10", "A" * 9000, "é", urlsafe_b64encode(b'{"v":2}').decode()]
)
def test_what_is_no_token_is_refused_as_that(text: str) -> None:
    with pytest.raises(Malformed):
        read_token(text)


@pytest.mark.parametrize("field", ["coordinator", "site", "door", "join", "fleet", "authority", "secret"])
def test_a_token_with_a_strange_field_is_refused(hall: Hall, field: str) -> None:
    token = hall.invite()
    fields = json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for strange in ("", "a b", "../x", 5, None, "x" * 300):
        text = urlsafe_b64encode(json.dumps({**fields, field: strange}).encode()).decode()
        with pytest.raises(Malformed):
            read_token(text)


def test_joining_gives_a_certificate_that_names_the_hospital_and_nothing_else(hall: Hall) -> None:
    joined = hall.join(hall.invite())
    leaf, signer = x509.load_pem_x509_certificates(joined.chain)
    leaf.verify_directly_issued_by(signer)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [one.value for one in names] == [f"spiffe://{COORDINATOR}/site/{SITE}"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc.timestamp() * 1000 == pytest.approx(joined.until_ms, abs=1000)
    assert joined.until_ms == pytest.approx(hall.clock.ms + 24 * 3_600_000, abs=2000)
    assert hall.ledger.acts() == ["site_invite", "site_join"]
    state, node, certificate = hall.row("state, node, certificate")
    assert (state, certificate) == ("joined", digest(joined))
    assert hall.engine.nodes[int(node)] == (SITE, KEY)
    hall.member(SITE, digest(joined))


def test_a_token_opens_once(hall: Hall) -> None:
    token = hall.invite()
    hall.join(token)
    before = hall.row("certificate, node_key")
    for _ in range(2):
        with pytest.raises(TokenUsed):
            hall.join(token, key=b"another's key")
    assert hall.row("certificate, node_key") == before
    assert hall.ledger.acts() == ["site_invite", "site_join"]
    with hall.books.connect("coordinator") as connection:
        assert connection.execute("select refused from fed.join_token").fetchall() == [(2,)]


def test_of_many_at_once_one_gets_in(hall: Hall) -> None:
    token = hall.invite()
    came: list[object] = []

    def join(number: int) -> None:
        try:
            came.append(hall.join(token, key=f"key {number}".encode()))
        except TokenUsed as error:
            came.append(error)

    threads = [threading.Thread(target=join, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Joined) for one in came) == 1
    assert sum(isinstance(one, TokenUsed) for one in came) == 4
    assert hall.ledger.acts().count("site_join") == 1


def test_a_token_is_for_one_hospital_and_stays_good_for_it(hall: Hall) -> None:
    token = hall.invite()
    hall.invite("other.demo")
    with pytest.raises(TokenRefused):
        hall.join(token, site="other.demo")
    assert hall.row("state", "other.demo") == ("invited",)
    hall.join(token)


def test_a_token_that_is_over_or_replaced_or_made_up_opens_nothing(hall: Hall) -> None:
    over, newer = hall.invite(minutes=1), hall.invite(minutes=5)
    with pytest.raises(TokenEnded):  # a newer one was made
        hall.join(over)
    hall.clock.ms += 5 * 60_000
    with pytest.raises(TokenEnded):
        hall.join(newer)
    for secret in ("", "zz", "é", "A" * 43, "A" * 100_000):
        with pytest.raises(TokenRefused):
            hall.joining.join(secret, SITE, request(), KEY, "1")
    assert hall.engine.nodes == {}


@pytest.mark.parametrize("minutes", [7 * 24 * 60 + 1, 2**32 - 1])
def test_no_token_is_good_for_long(hall: Hall, minutes: int) -> None:
    with pytest.raises(BadInput):
        hall.invite(minutes=minutes)


@pytest.mark.parametrize("site", ["", "St. Anne", "a/b", "site/x", "ä.demo", "-a.demo", COORDINATOR, "a" * 130, "a\n"])
def test_what_is_no_hospital_is_not_invited(hall: Hall, site: str) -> None:
    with pytest.raises(BadInput):
        hall.invite(site)
    assert hall.ledger.entries == []


def test_a_bad_request_or_key_leaves_the_token_as_it_was(hall: Hall) -> None:
    token = hall.invite()
    for csr in (b"x", b"x" * 9000, request(ec.SECP384R1())):
        with pytest.raises(Malformed):
            hall.join(token, csr=csr)
    for key in (b"x" * 2000,):
        with pytest.raises(BadInput):
            hall.join(token, key=key)
    hall.join(token)


def test_without_ledger_or_engine_nobody_joins_and_the_token_stays(hall: Hall) -> None:
    token = hall.invite()
    hall.ledger.away = Unavailable("auth does not answer")
    with pytest.raises(Unavailable):
        hall.join(token)
    with pytest.raises(Unavailable):
        hall.invite("other.demo")
    assert hall.row("state", "other.demo") is None
    hall.ledger.away, hall.engine.away = None, True
    with pytest.raises(Unavailable):
        hall.join(token)
    assert hall.row("state") == ("invited",)
    hall.engine.away = False
    hall.join(token)


def test_a_certificate_is_renewed_and_the_one_before_lasts_until_the_next(hall: Hall) -> None:
    first = digest(hall.join(hall.invite()))
    second = digest(hall.joining.renew(SITE, first, request()))
    # The answer with the second got lost: the first asks again.
    third = digest(hall.joining.renew(SITE, first, request()))
    hall.member(SITE, first)
    hall.member(SITE, third)
    with pytest.raises(Unauthenticated):
        hall.member(SITE, second)
    fourth = digest(hall.joining.renew(SITE, third, request()))
    hall.member(SITE, fourth)
    with pytest.raises(Unauthenticated):
        hall.joining.renew(SITE, first, request())
    assert hall.ledger.acts().count("site_renew") == 3


def test_a_certificate_that_is_over_opens_nothing_on_an_open_connection_either(hall: Hall) -> None:
    shown = digest(hall.join(hall.invite()))
    hall.clock.ms += 24 * 3_600_000 - 2000
    hall.member(SITE, shown)
    hall.clock.ms += 4000
    with pytest.raises(Unauthenticated):
        hall.member(SITE, shown)


class Fused(psycopg.Connection[TupleRow]):
    """Kills this process, as from outside, at the n-th statement."""

    left = 0  # not lit

    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[TupleRow]:
        Fused.left -= 1
        if Fused.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*args, **kwargs)


def test_a_kill_at_every_statement_of_joining_leaves_a_token_or_a_member(
    hall: Hall, books: Database, authority: tuple[Path, Path, Path]
) -> None:
    at, died = 0, True
    while died:
        at += 1
        site = f"site-{at}.demo"
        token = hall.invite(site)
        child = os.fork()
        if child == 0:
            try:
                doomed = LivePool(books.dsn("coordinator"), connection_class=Fused, min_size=1, max_size=1, open=True)
                Fused.left = at
                Hall(doomed, books, authority).join(token, site, key=site.encode())
                os._exit(0)
            finally:
                os._exit(7)
        _, status = os.waitpid(child, 0)
        died = os.WIFSIGNALED(status)
        assert died or os.WEXITSTATUS(status) == 0
        if hall.row("state", site) == ("invited",):
            hall.join(token, site, key=site.encode())
        else:
            assert not died  # the commit is the last there is
        with pytest.raises(TokenUsed):
            hall.join(token, site, key=site.encode())
        assert hall.row("state", site) == ("joined",)
    assert at > 3


def test_a_certificate_of_another_hospital_is_no_membership(hall: Hall) -> None:
    mine = digest(hall.join(hall.invite()))
    other = digest(hall.join(hall.invite("other.demo"), site="other.demo", key=b"k2"))
    for site, shown in ((SITE, other), ("other.demo", mine), ("never.demo", mine), (SITE, b"")):
        with pytest.raises(Unauthenticated):
            hall.member(site, shown)


def test_a_removed_hospital_is_out_at_once(hall: Hall) -> None:
    shown = digest(hall.join(hall.invite()))
    spare = hall.invite()  # a token that was made and not used falls with it
    leaf = hall.joining.remove("admin", SITE, "its contract ended")
    assert hall.ledger.entries[leaf - 1] == (
        "site_leave",
        {"act": "site_remove", "hospital": SITE, "person": "admin", "why": "its contract ended"},
    )
    with pytest.raises(Unauthenticated):
        hall.member(SITE, shown)
    with pytest.raises(Unauthenticated):
        hall.joining.renew(SITE, shown, request())
    assert hall.engine.nodes == {}
    assert hall.row("state, node") == ("removed", None)
    with pytest.raises(TokenEnded):
        hall.join(spare)
    with pytest.raises(Unready):
        hall.joining.remove("admin", SITE, "again")
    with pytest.raises(NotFound):
        hall.joining.remove("admin", "never.demo", "why not")


def test_a_removal_holds_though_the_engine_is_away(hall: Hall) -> None:
    shown = digest(hall.join(hall.invite()))
    hall.engine.away = True
    hall.joining.remove("admin", SITE, "its contract ended")
    with pytest.raises(Unauthenticated):
        hall.member(SITE, shown)
    assert hall.row("node")[0] is not None  # the director takes it off


def test_a_hospital_leaves_and_joins_anew(hall: Hall) -> None:
    shown = digest(hall.join(hall.invite()))
    with pytest.raises(Unauthenticated):
        hall.joining.leave(SITE, b"another's", "")
    hall.joining.leave(SITE, shown, "")
    assert hall.row("state") == ("left",)
    assert hall.engine.nodes == {}
    again = digest(hall.join(hall.invite(), key=b"a new key"))
    hall.member(SITE, again)
    with pytest.raises(Unauthenticated):
        hall.member(SITE, shown)


def test_a_token_for_a_member_leaves_it_one_until_it_is_used(hall: Hall) -> None:
    shown = digest(hall.join(hall.invite()))
    token = hall.invite()
    hall.member(SITE, shown)
    hall.join(token, key=b"a new key")
    with pytest.raises(Unauthenticated):
        hall.member(SITE, shown)
    assert [name for name, _ in hall.engine.nodes.values()] == [SITE]


def test_an_invitation_is_read_as_it_was_written(hall: Hall) -> None:
    found = read_token(hall.invite())
    assert isinstance(found, Invitation)
    assert x509.load_pem_x509_certificate(found.authority).subject
