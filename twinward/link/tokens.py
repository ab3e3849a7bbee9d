"""Access tokens: verified by what is known beforehand, never by what they bring.

The issuer, the audience and the two algorithms are settings of the door. Keys
come from the issuer's key set over HTTPS under its own authority; what a token
says of keys (`jwk`, `jku`, `x5u`, `x5c`) makes it refused. A verified token is
remembered by its hash until it ends.

1. three parts, at most 8 KiB; header: at+jwt, ES256 or RS256, a kid, no keys
2. key: of that kid from the cache; unknown: one refresh, at most every 30 s
3. the key's own algorithm must be the header's (no RS256 key used for HS256)
4. signature; then iss, aud, exp, iat essential, leeway 30 s, at most 5 min long
5. the claims that we read have the types that we expect
"""

from __future__ import annotations

import binascii
import hashlib
import json
import threading
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from joserfc import jwk, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError

from twinward.clock import Clock
from twinward.errors import Malformed, Unauthenticated, Unavailable, Unready
from twinward.link.caller import Person
from twinward.link.https import Https
from twinward.link.permissions import audience_of
from twinward.settings import ProgramSettings

ALGORITHMS = {"ES256": jwk.ECKey, "RS256": jwk.RSAKey}
LEEWAY_S = 30
LONGEST_S = 300
REFRESH_S = 30.0  # unknown kid: at most this often
FIRST_S = 1.0  # while the issuer has never answered: it may be starting beside us
STALE_S = 600.0  # a key that the issuer withdrew is believed no longer than this
MOST_BYTES = 8 * 1024
MOST_REMEMBERED = 4096
FORBIDDEN = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"})


@dataclass(frozen=True, slots=True)
class Token:
    """What a verified token says."""

    sub: str
    azp: str
    exp: int  # seconds since 1970
    roles: tuple[str, ...]
    purpose: str
    jti: str
    sid: str
    acr: str
    bound: bytes | None  # SHA-256 of the certificate it is bound to

    @property
    def service(self) -> bool:
        """A program's own token, not a person's."""
        return self.sub == self.azp

    def person(self) -> Person:
        return Person(self.sub, self.roles, self.purpose, self.azp, self.jti, self.sid, self.acr)


Fetch = Callable[[], Mapping[str, object]]


class KeyCache:
    """The issuer's keys by kid."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwk.ECKey | jwk.RSAKey] = {}  # replaced as a whole, never changed
        self._asked: float | None = None
        self._got: float | None = None
        self._refreshing = threading.Lock()

    def key(self, kid: str) -> jwk.ECKey | jwk.RSAKey | None:
        """
        Raises:
            Unavailable: no keys are known and the issuer does not answer.
        """
        if kid not in self._keys:
            with self._refreshing:
                if kid not in self._keys:
                    self._refresh()
        elif self._stale() and self._refreshing.acquire(blocking=False):
            try:  # one caller asks; the others go on with what is known
                self._refresh()
            finally:
                self._refreshing.release()
        if self._got is None:
            raise Unavailable("the identity provider does not answer, so no login can be checked: try again")
        return self._keys.get(kid)

    def _stale(self) -> bool:
        return self._got is None or self._clock.monotonic() - self._got >= STALE_S

    def _refresh(self) -> None:
        now = self._clock.monotonic()
        if self._asked is not None and now - self._asked < (FIRST_S if self._got is None else REFRESH_S):
            return
        self._asked = now
        try:
            found = self._fetch()
        except (Unavailable, Malformed):
            return  # what we know stays good: the issuer's absence must not stop a ward
        keys = found.get("keys")
        usable = {kid: key for kid, key in map(_usable, keys if isinstance(keys, list) else []) if key is not None}
        if usable:
            self._keys, self._got = usable, now


class TokenVerifier:
    """Verifies tokens of one issuer for one audience."""

    def __init__(self, issuer: str, audience: str, fetch: Fetch, clock: Clock) -> None:
        self.issuer = issuer
        self.audience = audience
        self._clock = clock
        self._cache = KeyCache(fetch, clock)
        self._known: OrderedDict[bytes, Token] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: ProgramSettings, clock: Clock) -> Self:
        """For the door of a program: issuer and authority from its settings, audience by its name."""
        issuer = Issuer(settings.issuer, Https(settings.issuer_ca_file))
        return cls(settings.issuer, audience_of(settings.program), issuer.keys, clock)

    def verify(self, token: str) -> Token:
        """
        Raises:
            Unauthenticated: refused; `detail` is one word for the count of refusals.
            Unavailable: the issuer's keys cannot be had.
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        now = self._clock.now_ms() // 1000
        with self._lock:
            known = self._known.get(digest)
        if known is not None and now < known.exp + LEEWAY_S:
            return known
        found = self._read(token, now)
        with self._lock:
            self._known[digest] = found
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _read(self, token: str, now: int) -> Token:
        header = _header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise refused("algorithm")
        if FORBIDDEN & header.keys():
            raise refused("embedded-key")
        if header.get("typ") != "at+jwt":
            raise refused("type")
        kid = header.get("kid")
        key = self._cache.key(kid) if isinstance(kid, str) else None
        if key is None:
            raise refused("unknown-key")
        if not isinstance(key, ALGORITHMS[algorithm]):
            raise refused("algorithm")
        rules = jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm]).claims
            rules.validate(claims)
        except ExpiredTokenError:
            raise refused("expired") from None
        except (MissingClaimError, InvalidClaimError) as error:
            raise refused(f"claim-{error.claim}" if error.claim in ("iss", "aud", "exp", "iat") else "claim") from None
        except (JoseError, ValueError, RecursionError):
            raise refused("signature") from None
        return _token(claims)


class Issuer:
    """An identity provider by its discovery document."""

    def __init__(self, issuer: str, https: Https) -> None:
        self.issuer = issuer
        self._https = https
        self._found: dict[str, object] | None = None

    def endpoint(self, name: str) -> str:
        """Address from discovery, for example "jwks_uri", "token_endpoint".

        Raises:
            Unavailable: the issuer does not answer.
            Malformed: it does not name the address, or names another issuer.
        """
        if self._found is None:
            if not self.issuer:
                raise Unready("no identity provider is set: `issuer` is missing in the settings")
            answer = self._https.get(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if answer.status != 200:
                raise Unavailable("the identity provider does not answer")
            if answer.body.get("issuer") != self.issuer:
                raise Malformed("the identity provider calls itself by another name than the settings")
            self._found = answer.body
        found = self._found.get(name)
        if not isinstance(found, str):
            raise Malformed("the identity provider's discovery document is not complete")
        return found

    def keys(self) -> Mapping[str, object]:
        answer = self._https.get(self.endpoint("jwks_uri"))
        if answer.status != 200:
            raise Unavailable("the identity provider does not answer")
        return answer.body


def refused(why: str) -> Unauthenticated:
    """One sentence for every refused token, so that a forger learns nothing; `why` stays in the house."""
    return Unauthenticated("the login is not valid or has ended: log in again with `twinward login`", detail=why)


def _usable(entry: object) -> tuple[str, jwk.ECKey | jwk.RSAKey | None]:
    """The kid and a signature key of a kind that we accept, else None; private and symmetric keys are not taken."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or "d" in entry:
        return "", None
    kid = str(entry["kid"])
    if entry.get("kty") not in ("EC", "RSA"):
        return kid, None
    try:
        key = jwk.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return kid, None
    if entry.get("use", "sig") != "sig":
        return kid, None
    if isinstance(key, jwk.ECKey) and entry.get("crv") == "P-256" and entry.get("alg", "ES256") == "ES256":
        return kid, key
    long_enough = len(str(entry.get("n"))) >= 342  # 2048 bits in base64url
    if isinstance(key, jwk.RSAKey) and entry.get("alg", "RS256") == "RS256" and long_enough:
        return kid, key
    return kid, None


def _header(token: str) -> dict[str, object]:
    if len(token) > MOST_BYTES or token.count(".") != 2:
        raise refused("form")
    first = token.split(".", 1)[0]
    try:
        found = json.loads(urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        raise refused("form") from None
    if not isinstance(found, dict):
        raise refused("form")
    return found


def _token(claims: Mapping[str, object]) -> Token:
    exp, iat = claims["exp"], claims["iat"]
    if not isinstance(exp, int) or not isinstance(iat, int) or exp - iat > LONGEST_S:
        raise refused("too-long")
    roles = claims.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise refused("claim")
    return Token(
        sub=_text(claims, "sub"),
        azp=_text(claims, "azp"),
        exp=exp,
        roles=tuple(roles),
        purpose=_text(claims, "purpose", ""),
        jti=_text(claims, "jti"),
        sid=_text(claims, "sid", ""),
        acr=_text(claims, "acr", ""),
        bound=_bound(claims.get("cnf")),
    )


def _text(claims: Mapping[str, object], name: str, default: str | None = None) -> str:
    found = claims.get(name, default)
    if not isinstance(found, str) or (default is None and not found):
        raise refused("claim")
    return found


def _bound(cnf: object) -> bytes | None:
    if cnf is None:
        return None
    value = cnf.get("x5t#S256") if isinstance(cnf, dict) else None
    if not isinstance(value, str) or len(value) != 43:
        raise refused("binding")
    try:
        return urlsafe_b64decode(value + "=")
    except ValueError:
        raise refused("binding") from None
