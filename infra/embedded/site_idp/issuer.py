"""The endpoints: discovery, keys, device flow, token. Pure but for clock and chance; `door.py` is the HTTP."""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from cryptography import x509
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from infra.embedded.site_idp.keys import KeyRing
from infra.embedded.site_idp.page import DONE, form
from infra.embedded.site_idp.sessions import INTERVAL_S, Session, Sessions
from infra.embedded.site_idp.settings import IdpSettings
from twinward.clock import Chance, Clock

PEOPLE_CLIENT = "twinward-cli"
PEOPLE_AUDIENCE = ["auth", "ingest", "twin", "federation"]
FIRST_AUDIENCE = ["auth"]  # a token that no certificate holds: good for enrolment only
SERVICE_AUDIENCE = ["auth", "ingest", "twin"]
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_MOST_S = 300
LEEWAY_S = 30


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    kind: str = "application/json"


class Refused(Exception):
    """An OAuth error word (RFC 6749 5.2); never leaves this package."""

    def __init__(self, word: str, status: int = 400) -> None:
        super().__init__(word)
        self.word = word
        self.status = status


class SiteIdp:
    """`handle` answers one request; `peer` is the client certificate in DER, verified by TLS, or None."""

    def __init__(self, settings: IdpSettings, clock: Clock, chance: Chance) -> None:
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._keys = KeyRing(settings.keys_file, settings.rotate_hours * 3_600_000, clock, chance)
        self._sessions = Sessions(settings.people_dir, settings.session_hours * 3_600_000, clock, chance)
        self._used: dict[str, int] = {}  # jti of client assertions -> end in s
        self._lock = threading.Lock()
        self._path = "/" + settings.issuer.split("/", 3)[3].rstrip("/")
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, str], bytes | None], Reply]] = {
            ("GET", "/.well-known/openid-configuration"): self._discovery,
            ("GET", "/jwks"): lambda form, peer: _json(self._keys.published()),
            ("GET", "/health"): lambda form, peer: _json({"status": "SERVING"}),
            ("POST", "/device_authorization"): self._begin,
            ("GET", "/device"): self._page,
            ("POST", "/device"): self._approve,
            ("POST", "/token"): self._token,
        }

    def handle(self, method: str, path: str, given: Mapping[str, str], peer: bytes | None) -> Reply:
        route = self._routes.get((method, path.removeprefix(self._path)))
        if route is None or not path.startswith(self._path):
            return _json({"error": "not_found"}, 404)
        try:
            return route(given, peer)
        except Refused as refusal:
            return _json({"error": refusal.word}, refusal.status)

    def _discovery(self, given: Mapping[str, str], peer: bytes | None) -> Reply:
        issuer = self._settings.issuer
        return _json(
            {
                "issuer": issuer,
                "jwks_uri": f"{issuer}/jwks",
                "token_endpoint": f"{issuer}/token",
                "device_authorization_endpoint": f"{issuer}/device_authorization",
                "grant_types_supported": [DEVICE_GRANT, "refresh_token", "client_credentials"],
                "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
                "tls_client_certificate_bound_access_tokens": True,
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }
        )

    def _begin(self, given: Mapping[str, str], peer: bytes | None) -> Reply:
        if given.get("client_id") != PEOPLE_CLIENT:
            raise Refused("invalid_client", 401)
        scopes = given.get("scope", "").split()
        wanted = next((scope.removeprefix("purpose:") for scope in scopes if scope.startswith("purpose:")), "")
        code, device = self._sessions.begin(wanted)
        page = f"{self._settings.issuer}/device"
        return _json(
            {
                "device_code": code,
                "user_code": device.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={device.user_code}",
                "expires_in": max(0, (device.until_ms - self._clock.now_ms()) // 1000),
                "interval": INTERVAL_S,
            }
        )

    def _page(self, given: Mapping[str, str], peer: bytes | None) -> Reply:
        return _html(form(self._settings.site, given.get("user_code", ""), ""))

    def _approve(self, given: Mapping[str, str], peer: bytes | None) -> Reply:
        code = given.get("user_code", "")
        problem = self._sessions.approve(
            code, given.get("account", ""), given.get("password", ""), given.get("purpose", "")
        )
        if problem:
            return _html(form(self._settings.site, code, problem), 403)
        return _html(DONE.replace("{site}", escape(self._settings.site)))

    def _token(self, given: Mapping[str, str], peer: bytes | None) -> Reply:
        kind = given.get("grant_type", "")
        if kind == "client_credentials":
            return self._program(given, peer)
        if given.get("client_id") != PEOPLE_CLIENT:
            raise Refused("invalid_client", 401)
        if kind == DEVICE_GRANT:
            found = self._sessions.collect(given.get("device_code", ""))
            if isinstance(found, str):
                raise Refused(found)
            return self._person(found, None)
        if kind == "refresh_token":
            digest = None if peer is None else hashlib.sha256(peer).digest()
            session = self._sessions.refresh(given.get("refresh_token", ""), digest)
            if session is None:
                raise Refused("invalid_grant")
            if peer is not None and _common_name(peer) != _person_name(session):
                raise Refused("invalid_grant")
            return self._person(session, digest)
        raise Refused("unsupported_grant_type")

    def _person(self, session: Session, certificate: bytes | None) -> Reply:
        claims: dict[str, object] = {
            "aud": FIRST_AUDIENCE if certificate is None else PEOPLE_AUDIENCE,
            "sub": str(session.role), "azp": PEOPLE_CLIENT, "sid": session.sid, "roles": [str(session.role)],
            "purpose": str(session.purpose), "acr": "pwd",
        }  # fmt: skip
        answer = self._signed(claims, certificate)
        return _json({**answer, "refresh_token": session.refresh})

    def _program(self, given: Mapping[str, str], peer: bytes | None) -> Reply:
        """private_key_jwt, under the certificate with that program's own SPIFFE id."""
        client = given.get("client_id", "")
        if given.get("client_assertion_type") != ASSERTION or peer is None:
            raise Refused("invalid_client", 401)
        if _spiffe(peer) != f"spiffe://{self._settings.site}/{client}":
            raise Refused("invalid_client", 401)
        self._check_assertion(client, given.get("client_assertion", ""))
        claims: dict[str, object] = {
            "aud": SERVICE_AUDIENCE, "sub": client, "azp": client, "sid": "", "roles": [], "purpose": "",
            "acr": "private_key_jwt",
        }  # fmt: skip
        return _json(self._signed(claims, hashlib.sha256(peer).digest()))

    def _check_assertion(self, client: str, assertion: str) -> None:
        key = _client_key(self._settings.clients_dir, client)
        now = self._clock.now_ms() // 1000
        endpoints = [f"{self._settings.issuer}/token", self._settings.issuer]
        rules = jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": client},
            sub={"essential": True, "value": client},
            aud={"essential": True, "values": endpoints},
            exp={"essential": True},
            jti={"essential": True},
        )
        try:
            claims = jwt.decode(assertion, key, algorithms=["ES256"]).claims
            rules.validate(claims)
        except (JoseError, ValueError, RecursionError):
            raise Refused("invalid_client", 401) from None
        if claims["exp"] - now > ASSERTION_MOST_S + LEEWAY_S:
            raise Refused("invalid_client", 401)
        with self._lock:
            self._used = {jti: end for jti, end in self._used.items() if end + LEEWAY_S >= now}
            if claims["jti"] in self._used:
                raise Refused("invalid_client", 401)
            self._used[claims["jti"]] = claims["exp"]

    def _signed(self, claims: Mapping[str, object], certificate: bytes | None) -> dict[str, object]:
        kid, key = self._keys.current()
        now = self._clock.now_ms() // 1000
        lifetime = self._settings.token_seconds
        whole = {
            "iss": self._settings.issuer, "iat": now, "exp": now + lifetime, "jti": self._chance.bytes(16).hex(),
            **claims,
        }  # fmt: skip
        if certificate is not None:
            whole["cnf"] = {"x5t#S256": urlsafe_b64encode(certificate).rstrip(b"=").decode()}
        token = jwt.encode({"alg": "ES256", "kid": kid, "typ": "at+jwt"}, whole, key)
        return {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}


def _json(body: Mapping[str, object], status: int = 200) -> Reply:
    return Reply(status, json.dumps(body).encode())


def _html(body: str, status: int = 200) -> Reply:
    return Reply(status, body.encode(), "text/html; charset=utf-8")


def _client_key(folder: Path, client: str) -> jwk.ECKey:
    file = folder / f"{client.replace('/', '-')}.key"
    if not client or file.parent != folder or not file.is_file():
        raise Refused("invalid_client", 401)
    return jwk.ECKey.import_key(file.read_bytes())


def _common_name(der: bytes) -> str:
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _person_name(session: Session) -> str:
    return f"person {hashlib.sha256(str(session.role).encode()).hexdigest()[:16]}"


def _spiffe(der: bytes) -> str:
    try:
        found = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ""
    uris = found.value.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else ""
