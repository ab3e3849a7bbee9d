"""What a token verifier must refuse, each made by hand; and how it treats keys and time."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from joserfc import jwk, jws

from tests.site import Site, key
from twinward.clock import SetClock
from twinward.errors import Malformed, Unauthenticated, Unavailable
from twinward.link.tokens import TokenVerifier

CHAIN_ONLY = None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def without_algorithm(site: Site) -> str:
    middle = site.signed(site.claims(None)).split(".")[1]
    header = encoded(b'{"alg":"none","typ":"at+jwt","kid":"k1"}')
    return f"{header}.{middle}."


def hmac_with_the_public_key(site: Site) -> str:
    """The classic confusion: the public key, which everybody has, taken as an HMAC secret."""
    middle = site.signed(site.claims(None)).split(".")[1]
    header = encoded(b'{"alg":"HS256","typ":"at+jwt","kid":"k1"}')
    mac = hmac.digest(site.keys[0].as_pem(private=False), f"{header}.{middle}".encode(), "sha256")
    return f"{header}.{middle}.{encoded(mac)}"


def rsa_header_on_an_elliptic_key(site: Site) -> str:
    rsa = jwk.RSAKey.generate_key(2048, {"kid": "k1"})
    return site.signed(site.claims(None), {"alg": "RS256", "kid": "k1"}, rsa)


def own_key_inside(site: Site) -> str:
    own = key("k1")
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "k1", "jwk": own.as_dict(private=False)}
    return jws.serialize_compact(header, json.dumps(site.claims(None)), own)


def key_by_address(site: Site) -> str:
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "k1", "jku": "https://evil.example/jwks"}
    return jws.serialize_compact(header, json.dumps(site.claims(None)), site.keys[0])


def changed_after_signing(site: Site) -> str:
    head, _, tail = site.signed(site.claims(None)).split(".")
    return f"{head}.{encoded(json.dumps(site.claims(None, roles=['site-admin'])).encode())}.{tail}"


def claims(**more: Any) -> Callable[[Site], str]:
    return lambda site: site.signed(site.claims(None, **more))


def at(offset_s: int) -> Callable[[Site], str]:
    def make(site: Site) -> str:
        now = site.clock.now_ms() // 1000
        return site.signed(site.claims(None, iat=now + offset_s - 300, exp=now + offset_s))

    return make


BAD: list[tuple[str, Callable[[Site], str], str]] = [
    ("alg none", without_algorithm, "algorithm"),
    ("HS256 with the public key", hmac_with_the_public_key, "algorithm"),
    ("RS256 with a kid of an EC key", rsa_header_on_an_elliptic_key, "algorithm"),
    ("embedded jwk", own_key_inside, "embedded-key"),
    ("jku", key_by_address, "embedded-key"),
    ("no at+jwt", lambda site: site.signed(site.claims(None), {"typ": "JWT"}), "type"),
    ("unknown kid", lambda site: site.signed(site.claims(None), key=key("k9")), "unknown-key"),
    ("same kid, other key", lambda site: site.signed(site.claims(None), key=key("k1")), "signature"),
    ("changed", changed_after_signing, "signature"),
    ("wrong aud", claims(aud=["ingest"]), "claim-aud"),
    ("missing aud", claims(aud=None), "claim-aud"),
    ("token of another site", claims(iss="https://localhost/embedded/other.demo"), "claim-iss"),
    ("missing exp", claims(exp=None), "claim-exp"),
    ("exp is text", claims(exp="never"), "claim-exp"),
    ("expired", at(-31), "expired"),
    ("from the future", at(300 + 120), "claim-iat"),
    ("lives too long", claims(exp=4_000_000_000), "too-long"),
    ("missing iat", claims(iat=None), "claim-iat"),
    ("no sub", claims(sub=None), "claim"),
    ("roles no list", claims(roles="clinician"), "claim"),
    ("roles of numbers", claims(roles=[1]), "claim"),
    ("cnf without thumbprint", claims(cnf={"jkt": "x"}), "binding"),
    ("two parts", lambda site: "a.b", "form"),
    ("not base64", lambda site: "ä.b.c", "form"),
    ("header no object", lambda site: f"{encoded(b'[1]')}.b.c", "form"),
    ("deep header", lambda site: f"{encoded(b'[' * 6000)}.b.c", "form"),
    ("huge", lambda site: "a" * 9000 + ".b.c", "form"),
    ("empty", lambda site: "", "form"),
]


@pytest.mark.parametrize(("make", "why"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_it_is_refused(site: Site, make: Callable[[Site], str], why: str) -> None:
    with pytest.raises(Unauthenticated) as seen:
        site.verifier("twin").verify(make(site))
    assert seen.value.detail == why
    assert "twinward login" in seen.value.public


def test_a_good_token_is_read(site: Site) -> None:
    token = site.verifier("twin").verify(site.signed(site.claims(None)))
    assert (token.sub, token.azp, token.roles, token.purpose) == (
        "clinician",
        "twinward-cli",
        ("clinician",),
        "treatment",
    )
    assert token.bound is None
    assert not token.service


def test_rs256_of_the_issuer_is_accepted(site: Site) -> None:
    rsa = jwk.RSAKey.generate_key(2048, {"kid": "r1", "use": "sig", "alg": "RS256"})
    keys = {"keys": [rsa.as_dict(private=False)]}
    verifier = TokenVerifier(site.issuer, "twin", lambda: keys, site.clock)
    assert verifier.verify(site.signed(site.claims(None), {"alg": "RS256"}, rsa)).sub == "clinician"


def test_leeway_is_thirty_seconds(site: Site) -> None:
    assert site.verifier("twin").verify(at(-25)(site)).sub == "clinician"


def test_a_remembered_token_ends_all_the_same(site: Site) -> None:
    clock = SetClock(site.clock.now_ms())
    verifier = TokenVerifier(site.issuer, "twin", site.published, clock)
    token = site.signed(site.claims(None))
    verifier.verify(token)
    clock.ms += 329_000
    verifier.verify(token)
    clock.ms += 2_000
    with pytest.raises(Unauthenticated):
        verifier.verify(token)


class Keys:
    """An issuer's key set that counts who asks, and can be away."""

    def __init__(self, *keys: Any) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.away = False

    def __call__(self) -> Mapping[str, object]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return {"keys": [one.as_dict(private=False) for one in self.keys]}


def test_a_new_key_is_fetched_but_not_for_every_forger(site: Site) -> None:
    clock, keys = SetClock(site.clock.now_ms()), Keys(site.keys[0])
    verifier = TokenVerifier(site.issuer, "twin", keys, clock)
    verifier.verify(site.signed(site.claims(None)))
    for number in range(20):
        with pytest.raises(Unauthenticated):
            verifier.verify(site.signed(site.claims(None), key=key(f"forged-{number}")))
    assert keys.asked == 1
    new = key("k2")
    keys.keys.append(new)
    clock.ms += 31_000
    assert verifier.verify(site.signed(site.claims(None), key=new)).sub == "clinician"
    assert keys.asked == 2


def test_what_is_known_stays_good_while_the_issuer_is_away(site: Site) -> None:
    clock, keys = SetClock(site.clock.now_ms()), Keys(site.keys[0])
    verifier = TokenVerifier(site.issuer, "twin", keys, clock)
    verifier.verify(site.signed(site.claims(None)))
    keys.away = True
    clock.ms += 250_000
    assert verifier.verify(site.signed(site.claims(None))).sub == "clinician"


def test_a_key_that_the_issuer_withdrew_is_not_believed_for_long(site: Site) -> None:
    clock, keys = SetClock(site.clock.now_ms()), Keys(site.keys[0])
    verifier = TokenVerifier(site.issuer, "twin", keys, clock)
    token = site.signed(site.claims(None))
    verifier.verify(token)
    keys.keys[:] = [key("k2")]
    clock.ms += 601_000
    now = clock.ms // 1000
    with pytest.raises(Unauthenticated):
        verifier.verify(site.signed(site.claims(None, iat=now, exp=now + 300)))


def test_an_issuer_never_seen_is_unavailable_and_asked_again_soon(site: Site) -> None:
    clock, keys = SetClock(site.clock.now_ms()), Keys(site.keys[0])
    keys.away = True
    verifier = TokenVerifier(site.issuer, "twin", keys, clock)
    with pytest.raises(Unavailable):
        verifier.verify(site.signed(site.claims(None)))
    keys.away = False
    clock.ms += 1_100
    assert verifier.verify(site.signed(site.claims(None))).sub == "clinician"


@pytest.mark.parametrize(
    "entries",
    [
        [{"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}],
        ["text", 7, None, {"kid": "k1"}, {"kty": "EC", "kid": "k1", "crv": "P-256", "x": "!", "y": "!"}],
        "not a list",
    ],
)
def test_a_strange_key_set_yields_no_key(site: Site, entries: Any) -> None:
    verifier = TokenVerifier(site.issuer, "twin", lambda: {"keys": entries}, site.clock)
    with pytest.raises((Unavailable, Unauthenticated)):
        verifier.verify(site.signed(site.claims(None)))


def test_a_broken_key_set_is_as_good_as_none(site: Site) -> None:
    def broken() -> Mapping[str, object]:
        raise Malformed("not JSON")

    with pytest.raises(Unavailable):
        TokenVerifier(site.issuer, "twin", broken, site.clock).verify(site.signed(site.claims(None)))


def test_memory_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinward.link.tokens.MOST_REMEMBERED", 3)
    verifier = site.verifier("twin")
    for _ in range(5):
        verifier.verify(site.signed(site.claims(None)))
    assert len(verifier._known) == 3
