"""A program's own tokens: client_credentials by private_key_jwt, bound to its certificate."""

from __future__ import annotations

import threading
from typing import Protocol, Self

from joserfc import jwk, jwt

from twinward.clock import Chance, Clock, SystemChance
from twinward.errors import Malformed, TwinwardError, Unauthenticated, Unready
from twinward.link.https import Https
from twinward.link.tokens import Issuer
from twinward.settings import ProgramSettings

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523
ASSERTION_S = 60
SPARE_S = 120  # a new token is asked for when the old one has less than this left
LAST_S = 5  # an old token is used up to here when no new one can be had


class TokenSource(Protocol):
    def token(self) -> str:
        """An access token that is valid now.

        Raises:
            Unavailable: none can be had.
            Unauthenticated: the identity provider refuses us.
        """
        ...


class ServiceTokens:
    """A `TokenSource` for the program of `settings`; the issuer sees its client certificate and binds to it."""

    def __init__(
        self, program: str, key: jwk.ECKey, issuer: Issuer, https: Https, clock: Clock, chance: Chance
    ) -> None:
        self._program = program
        self._key = key
        self._issuer = issuer
        self._https = https
        self._clock = clock
        self._chance = chance
        self._token = ""
        self._ends = 0.0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: ProgramSettings, clock: Clock, chance: Chance | None = None) -> Self:
        """
        Raises:
            Unready: the settings name no service key, or it cannot be read.
        """
        if settings.service_key_file is None:
            raise Unready("service_key_file is missing in the settings")
        try:
            key = jwk.ECKey.import_key(settings.service_key_file.read_bytes())
        except (OSError, ValueError) as error:
            raise Unready(
                f"cannot read {settings.service_key_file.name}: check its owner and mode", detail=str(error)
            ) from None
        https = Https(settings.issuer_ca_file, settings.certificate_file, settings.key_file)
        issuer = Issuer(settings.issuer, https)
        return cls(settings.program, key, issuer, https, clock, chance or SystemChance())

    def token(self) -> str:
        with self._lock:
            left = self._ends - self._clock.monotonic()
            if left < SPARE_S:
                try:
                    self._renew()
                except TwinwardError:
                    if left < LAST_S:
                        raise
            return self._token

    def _renew(self) -> None:
        endpoint = self._issuer.endpoint("token_endpoint")
        now = self._clock.now_ms() // 1000
        claims = {
            "iss": self._program, "sub": self._program, "aud": endpoint, "iat": now, "exp": now + ASSERTION_S,
            "jti": self._chance.bytes(16).hex(),
        }  # fmt: skip
        answer = self._https.post(
            endpoint,
            {
                "grant_type": "client_credentials",
                "client_id": self._program,
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": jwt.encode({"alg": "ES256", "typ": "JWT"}, claims, self._key),
            },
        )
        if answer.status != 200:
            raise Unauthenticated("the identity provider refuses this program: check its key and the clocks")
        token, lifetime = answer.body.get("access_token"), answer.body.get("expires_in")
        if not isinstance(token, str) or not isinstance(lifetime, int):
            raise Malformed("the identity provider's answer holds no token")
        self._token, self._ends = token, self._clock.monotonic() + lifetime
