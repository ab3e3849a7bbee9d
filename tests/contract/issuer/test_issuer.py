"""What an identity provider of a site must do: the embedded one here, Keycloak with the same suite later."""

from __future__ import annotations

import http.client
import ssl
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from joserfc import jwk, jwt

from infra.embedded.site_idp.settings import IdpSettings
from tests.contract.issuer.conftest import Running
from tests.site import thumbprint
from twinward.clock import SystemChance
from twinward.errors import BadInput, Unauthenticated, Unavailable
from twinward.link.https import Answer, Https
from twinward.link.service import ASSERTION_TYPE, ServiceTokens
from twinward.link.tokens import Issuer, TokenVerifier

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CLI = "twinward-cli"


def begin(issuer: Running, scope: str = "openid") -> dict[str, Any]:
    answer = issuer.https().post(issuer.endpoint("device_authorization_endpoint"), {"client_id": CLI, "scope": scope})
    assert answer.status == 200
    return answer.body


def approve(issuer: Running, code: str, account: str, password: str, purpose: str = "") -> tuple[int, str]:
    """What the browser posts, and what it shows."""
    parts = urlsplit(f"{issuer.issuer}/device")
    context = ssl.create_default_context(cafile=str(issuer.site.pki / "ca.pem"))
    connection = http.client.HTTPSConnection("localhost", parts.port, context=context, timeout=10)
    form = {"user_code": code, "account": account, "password": password, "purpose": purpose}
    connection.request("POST", parts.path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def collect(issuer: Running, device_code: str) -> Answer:
    issuer.clock.ms += 1_000
    form = {"grant_type": DEVICE, "client_id": CLI, "device_code": device_code}
    return issuer.https().post(issuer.endpoint("token_endpoint"), form)


def login(issuer: Running, role: str, scope: str = "openid") -> dict[str, Any]:
    begun = begin(issuer, scope)
    assert approve(issuer, begun["user_code"], role, issuer.password(role))[0] == 200
    answer = collect(issuer, begun["device_code"])
    assert answer.status == 200
    return answer.body


def refresh(issuer: Running, https: Https, token: str) -> Answer:
    form = {"grant_type": "refresh_token", "client_id": CLI, "refresh_token": token}
    return https.post(issuer.endpoint("token_endpoint"), form)


def verifier(issuer: Running, audience: str) -> TokenVerifier:
    return TokenVerifier(issuer.issuer, audience, Issuer(issuer.issuer, issuer.https()).keys, issuer.clock)


def test_discovery_says_what_it_is(issuer: Running) -> None:
    answer = issuer.https().get(f"{issuer.issuer}/.well-known/openid-configuration")
    assert answer.body["issuer"] == issuer.issuer
    assert "/embedded" in issuer.issuer
    assert answer.body["tls_client_certificate_bound_access_tokens"] is True
    assert all("d" not in key for key in issuer.https().get(issuer.endpoint("jwks_uri")).body["keys"])  # type: ignore[attr-defined]


def test_a_person_logs_in_enrols_and_gets_a_bound_token(issuer: Running) -> None:
    first = login(issuer, "clinician")
    assert first["expires_in"] <= 300
    unbound = verifier(issuer, "auth").verify(first["access_token"])
    assert unbound.bound is None
    with pytest.raises(Unauthenticated):  # good for auth's enrolment door and nothing else
        verifier(issuer, "twin").verify(first["access_token"])
    identity = issuer.site.person_identity("clinician")
    answer = refresh(issuer, issuer.https(identity), first["refresh_token"])
    assert answer.status == 200
    token = verifier(issuer, "twin").verify(str(answer.body["access_token"]))
    assert token.bound is not None
    assert thumbprint(identity[1]) == _b64(token.bound)
    assert (token.sub, token.roles, token.purpose, token.azp) == ("clinician", ("clinician",), "treatment", CLI)
    assert token.sid == unbound.sid


def _b64(value: bytes) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(value).rstrip(b"=").decode()


def test_a_session_stays_with_its_first_certificate(issuer: Running) -> None:
    first = login(issuer, "auditor")
    bound = refresh(issuer, issuer.https(issuer.site.person_identity("auditor")), first["refresh_token"])
    other = issuer.https(issuer.site.person_identity("auditor"), "other")
    assert refresh(issuer, other, str(bound.body["refresh_token"])).body["error"] == "invalid_grant"


def test_somebody_elses_certificate_binds_nothing(issuer: Running) -> None:
    first = login(issuer, "auditor")
    https = issuer.https(issuer.site.person_identity("clinician"))
    assert refresh(issuer, https, first["refresh_token"]).body["error"] == "invalid_grant"


def test_a_refresh_token_used_twice_ends_the_session(issuer: Running) -> None:
    https = issuer.https(issuer.site.person_identity("clinician"))
    first = login(issuer, "clinician")
    second = refresh(issuer, https, first["refresh_token"])
    assert second.status == 200
    assert refresh(issuer, https, first["refresh_token"]).status == 400
    assert refresh(issuer, https, str(second.body["refresh_token"])).status == 400


def test_the_device_flow_waits_and_ends(issuer: Running) -> None:
    begun = begin(issuer)
    assert collect(issuer, begun["device_code"]).body["error"] == "authorization_pending"
    issuer.clock.ms -= 999
    assert collect(issuer, begun["device_code"]).body["error"] == "slow_down"
    issuer.clock.ms += 601_000
    assert approve(issuer, begun["user_code"], "clinician", issuer.password("clinician"))[0] == 403
    assert collect(issuer, begun["device_code"]).body["error"] == "expired_token"
    assert collect(issuer, "guess").body["error"] == "expired_token"


def test_an_approved_code_is_collected_once(issuer: Running) -> None:
    begun = begin(issuer)
    approve(issuer, begun["user_code"], "learner", issuer.password("learner"))
    assert collect(issuer, begun["device_code"]).status == 200
    assert collect(issuer, begun["device_code"]).body["error"] == "expired_token"


def test_passwords_cannot_be_tried_for_long(issuer: Running) -> None:
    begun = begin(issuer)
    for _ in range(5):
        status, text = approve(issuer, begun["user_code"], "clinician", "guess")
        assert status == 403
        assert "wrong" in text
    status, text = approve(issuer, begun["user_code"], "clinician", issuer.password("clinician"))
    assert status == 403
    assert "Start the login again" in text
    assert collect(issuer, begun["device_code"]).body["error"] == "access_denied"


@pytest.mark.parametrize("account", ["nobody", "../clients/auth.key", "", "clinician\x00"])
def test_accounts_that_are_none(issuer: Running, account: str) -> None:
    begun = begin(issuer)
    assert approve(issuer, begun["user_code"], account, "x")[0] == 403


def test_one_purpose_and_only_one_the_role_may_have(issuer: Running) -> None:
    asked = verifier(issuer, "auth").verify(login(issuer, "clinician", "openid purpose:teaching")["access_token"])
    assert asked.purpose == "teaching"
    begun = begin(issuer)
    status, text = approve(issuer, begun["user_code"], "learner", issuer.password("learner"), "treatment")
    assert status == 403
    assert "teaching" in text


def test_what_is_typed_is_escaped(issuer: Running) -> None:
    _, text = approve(issuer, "<script>", "clinician", "x")
    assert "<script>" not in text


def test_a_program_gets_a_token_bound_to_its_certificate(issuer: Running) -> None:
    settings = issuer.site.settings(
        "twin-worker",
        issuer=issuer.issuer,
        issuer_ca_file=issuer.site.pki / "ca.pem",
        service_key_file=issuer.folder / "secrets" / "clients" / "twin-worker.key",
    )
    source = ServiceTokens.of(settings, issuer.clock, SystemChance())
    said = source.token()
    token = verifier(issuer, "auth").verify(said)
    assert token.service
    assert token.sub == "twin-worker"
    assert token.bound is not None
    assert _b64(token.bound) == thumbprint(settings.certificate_file.read_bytes())
    issuer.clock.ms += 60_000
    assert source.token() == said
    issuer.clock.ms += 130_000
    assert source.token() != said


def assertion(issuer: Running, program: str, key_of: str | None = None, **more: Any) -> dict[str, str]:
    key = jwk.ECKey.import_key((issuer.folder / "secrets" / "clients" / f"{key_of or program}.key").read_bytes())
    now = issuer.clock.now_ms() // 1000
    claims = {"iss": program, "sub": program, "aud": issuer.endpoint("token_endpoint"), "iat": now, "exp": now + 60,
              "jti": SystemChance().bytes(8).hex(), **more}  # fmt: skip
    return {
        "grant_type": "client_credentials", "client_id": program, "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": jwt.encode({"alg": "ES256"}, claims, key),
    }  # fmt: skip


def of_program(issuer: Running, program: str) -> Https:
    settings = issuer.site.settings(program)
    return Https(settings.ca_file, settings.certificate_file, settings.key_file)


def test_programs_that_lie(issuer: Running) -> None:
    endpoint = issuer.endpoint("token_endpoint")
    auth, now = of_program(issuer, "auth"), issuer.clock.now_ms() // 1000
    good = assertion(issuer, "auth")
    assert auth.post(endpoint, good).status == 200
    lies: list[tuple[Https, dict[str, str]]] = [
        (auth, good),  # replayed
        (issuer.https(), assertion(issuer, "auth")),  # no certificate
        (of_program(issuer, "twin"), assertion(issuer, "auth")),  # another program's certificate
        (auth, assertion(issuer, "auth", key_of="twin")),  # another program's key
        (auth, assertion(issuer, "auth", aud="https://elsewhere.example/token")),
        (auth, assertion(issuer, "auth", exp=now - 60)),
        (auth, assertion(issuer, "auth", exp=now + 86_400)),
        (auth, assertion(issuer, "auth", sub="twin")),
        (auth, {**assertion(issuer, "auth"), "client_id": "../people/auditor"}),
        (auth, {**assertion(issuer, "auth"), "client_assertion": "a.b.c"}),
    ]
    for https, form in lies:
        assert https.post(endpoint, form).body == {"error": "invalid_client"}


def test_keys_rotate_without_a_gap(issuer: Running) -> None:
    known = verifier(issuer, "auth")
    before = login(issuer, "clinician")["access_token"]
    known.verify(before)
    names = {key["kid"] for key in issuer.https().get(issuer.endpoint("jwks_uri")).body["keys"]}  # type: ignore[attr-defined]
    issuer.clock.ms += 24 * 3_600_000
    after = login(issuer, "clinician")["access_token"]
    kid = jwt.decode(after, _any_key(issuer, after), algorithms=["ES256"]).header["kid"]
    assert kid in names  # the key that signs now was known a period before
    assert kid != jwt.decode(before, _any_key(issuer, before), algorithms=["ES256"]).header["kid"]
    assert known.verify(after).sub == "clinician"


def _any_key(issuer: Running, token: str) -> Any:
    return jwk.KeySet.import_key_set(issuer.https().get(issuer.endpoint("jwks_uri")).body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/jwks", 404), ("GET", "/../../etc/passwd", 404)]
)
def test_addresses_that_are_none(issuer: Running, method: str, path: str, status: int) -> None:
    https = issuer.https()
    answer = https.get(issuer.issuer + path) if method == "GET" else https.post(issuer.issuer + path, {})
    assert answer.status == status


def test_too_much_is_refused_and_a_silent_client_stops_nobody(issuer: Running) -> None:
    import socket

    port = urlsplit(issuer.issuer).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)):  # connects and never speaks
        assert issuer.https().get(f"{issuer.issuer}/health").status == 200
    answer = issuer.https().post(issuer.endpoint("token_endpoint"), {"x": "y" * 20_000})
    assert answer.status == 413


def test_a_client_of_another_authority_gets_no_connection(issuer: Running, tmp_path_factory: Any) -> None:
    from tests.site import Site

    stranger = Site(tmp_path_factory.mktemp("stranger"))
    settings = stranger.settings("auth")
    https = Https(issuer.site.pki / "ca.pem", settings.certificate_file, settings.key_file)
    with pytest.raises(Unavailable):
        https.get(f"{issuer.issuer}/health")


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "clinical"},
        {"issuer": "https://localhost/realms/site"},
        {"listen": "0.0.0.0:443"},
        {"token_seconds": 3600},
    ],
)
def test_the_embedded_one_serves_demo_on_loopback_only(issuer: Running, wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "site": "s", "profile": "demo", "listen": "127.0.0.1:0", "issuer": "https://localhost/embedded/s",
        **dict.fromkeys(
            ("ca_file", "certificate_file", "key_file", "people_dir", "clients_dir", "keys_file"), issuer.folder
        ),
    }  # fmt: skip
    IdpSettings(**good)
    with pytest.raises(BadInput):
        IdpSettings(**{**good, **wrong})
