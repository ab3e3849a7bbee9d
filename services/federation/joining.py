"""How a hospital comes in, and goes.

Joining, in order; the token's row is locked all the while:

1. the token is looked up by the SHA-256 of its secret: unused, not over, for this very hospital
2. the certificate is signed; it does not leave
3. the engine learns the node's key
4. the leaf `site_join`
5. one commit: token used, hospital joined
6. the certificate leaves

Killed before 5: the token still works, and the engine knows a key that nobody asks anything. Killed between 5 and 6:
the hospital has nothing and needs another token. Two that show one token at once: the second waits, and is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from prometheus_client import Counter

from services.federation import books
from services.federation.books import Connection, Pool
from services.federation.neighbours import Control, Ledger
from services.federation.token import SECRET_BYTES, SITE, Invitation, bytes_of, write_token
from twinward import telemetry
from twinward.clock import Chance, Clock, utc
from twinward.errors import BadInput, Conflict, Denied, NotFound, TwinwardError, Unauthenticated, Unready
from twinward.link.enrolment import SiteAuthority

DAY_MINUTES = 24 * 60
MOST_MINUTES = 7 * DAY_MINUTES
MOST_KEY = 1024  # bytes of a node's public key
MOST_VERSION = 40
MOST_REASON = 200

REFUSED = Counter("twinward_join_refused", "Join tokens shown and not taken.", ["why"])
NOT_UNREGISTERED = telemetry.event("node_not_unregistered", "error")


class TokenUsed(Conflict):
    """A one-time token that was taken already: what a stolen copy gets, or the hospital it was stolen from."""

    reason = "TOKEN_USED"


class TokenEnded(Denied):
    reason = "TOKEN_ENDED"


class TokenRefused(Denied):
    """No token of ours, or one for another hospital: who guesses learns not which."""

    reason = "TOKEN_REFUSED"


@dataclass(frozen=True, slots=True)
class Doors:
    """Where hospitals reach the coordinator, and whom they trust there: goes into tokens."""

    coordinator: str  # site id
    door: str
    join: str
    fleet: str
    authority: bytes  # PEM of the root
    bundle_key: bytes  # Ed25519, raw


@dataclass(frozen=True, slots=True)
class Joined:
    chain: bytes  # PEM
    until_ms: int
    fleet: str
    bundle_key: bytes


class Joining:
    def __init__(
        self, pool: Pool, ledger: Ledger, authority: SiteAuthority, control: Control, doors: Doors, clock: Clock,
        chance: Chance, *, away_s: float,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._ledger = ledger
        self._authority = authority
        self._control = control
        self._doors = doors
        self._clock = clock
        self._chance = chance
        self._away_s = away_s

    def places(self) -> list[books.Place]:
        with self._pool.connection() as connection:
            return books.places(connection, self._away_s)

    def invite(self, person: str, site: str, minutes: int) -> tuple[str, int]:
        """(token, its end in ms) for one hospital. The secret is in the token and nowhere else.

        Raises:
            BadInput: no site id, or too long a time.
            Unavailable: the ledger cannot be written; no token was made.
        """
        if not SITE.fullmatch(site) or site == self._doors.coordinator:
            raise BadInput('name the hospital by its site id, for example "st-anne.demo": its `node status` shows it')
        if minutes > MOST_MINUTES:
            raise BadInput(f"a token is good for at most {MOST_MINUTES} minutes, a week")
        now_ms = self._clock.now_ms()
        until_ms = now_ms + (minutes or DAY_MINUTES) * 60_000
        secret = self._chance.bytes(SECRET_BYTES)
        sha256 = hashlib.sha256(secret).digest()
        body = {"act": "site_invite", "hospital": site, "person": person, "token": sha256.hex(), "until": until_ms}
        self._ledger.record("site_join", body)
        with self._pool.connection() as connection:
            books.invite(connection, site, sha256, utc(now_ms), utc(until_ms))
        doors = self._doors
        invitation = Invitation(
            coordinator=doors.coordinator, site=site, door=doors.door, join=doors.join, fleet=doors.fleet,
            authority=doors.authority, secret=secret,
        )  # fmt: skip
        return write_token(invitation), until_ms

    def join(self, secret: str, site: str, signing_request: bytes, node_key: bytes, version: str) -> Joined:
        """
        Raises:
            TokenUsed, TokenEnded, TokenRefused: counted, and the token stays as it is.
            Malformed, BadInput: the request or the key; the token still works.
            Unavailable: engine or ledger do not answer; the token still works.
        """
        shown = _digest(secret)
        try:
            with self._pool.connection() as connection:
                self._check(connection, shown, site)
                chain, until_ms, certificate = self._authority.issue(signing_request, site)
                node = self._register(connection, site, node_key)
                body = {
                    "act": "site_join", "hospital": site, "certificate": certificate.hex(), "until": until_ms,
                    "node_key": hashlib.sha256(node_key).hexdigest(), "token": shown.hex(),
                }  # fmt: skip
                leaf = self._ledger.record("site_join", body)
                books.use(connection, shown, utc(self._clock.now_ms()))
                books.joined(
                    connection, site, node_key=node_key, node=node, certificate=certificate, until=utc(until_ms),
                    version=shown_version(version), leaf=leaf,
                )  # fmt: skip
        except (TokenUsed, TokenEnded, TokenRefused) as error:
            REFUSED.labels(error.reason).inc()
            with self._pool.connection() as connection:
                books.count_refusal(connection, shown)
            raise
        return Joined(chain, until_ms, self._doors.fleet, self._doors.bundle_key)

    def _check(self, connection: Connection, shown: bytes, site: str) -> None:
        """The row is found by a hash of 32 random bytes: how long that takes tells nothing of the secret."""
        kept = books.token_of(connection, shown)
        if kept is None or not hmac.compare_digest(kept.sha256, shown):
            raise TokenRefused("this join token is not one of this coordinator, or not for this hospital")
        if not hmac.compare_digest(kept.site.encode(), site.encode()):
            raise TokenRefused("this join token is not one of this coordinator, or not for this hospital")
        if kept.used is not None:
            raise TokenUsed("this join token was used already: if it was not you, tell the coordinator at once")
        if kept.until <= utc(self._clock.now_ms()):
            raise TokenEnded("this join token is over: ask the coordinator for another")

    def _register(self, connection: Connection, site: str, node_key: bytes) -> int:
        if not 0 < len(node_key) <= MOST_KEY:
            raise BadInput("the node's public key is missing or too long")
        books.known_place(connection, site)  # locked: a removal waits for this joining, or this finds it done
        return self._control.register(site, node_key)  # an older key of the hospital opens nothing any more

    def member(self, connection: Connection, site: str, certificate: bytes, *, lock: bool = False) -> books.Place:
        """The joined hospital that showed this certificate.

        Raises:
            Unauthenticated: it is not joined any more, or the certificate is over, or neither its newest nor the one
                before.
        """
        place = books.place_of(connection, site, lock=lock)
        if place is None or place.state != "joined":
            raise Unauthenticated("this hospital is not a member any more: ask the coordinator", detail="site")
        over = place.certificate_until is None or place.certificate_until <= utc(self._clock.now_ms())
        if over:  # TLS looked when the connection was opened, which may be long ago
            raise Unauthenticated("this hospital's certificate is over: join again", detail="site")
        if certificate not in (place.certificate, place.previous):
            raise Unauthenticated("this certificate was replaced by a newer one: join again", detail="site")
        return place

    def renew(self, site: str, shown: bytes, signing_request: bytes) -> Joined:
        """A new certificate, for one that still holds; the leaf before it leaves."""
        with self._pool.connection() as connection:
            self.member(connection, site, shown, lock=True)
            chain, until_ms, certificate = self._authority.issue(signing_request, site)
            body = {"act": "site_renew", "hospital": site, "certificate": certificate.hex(), "until": until_ms}
            self._ledger.record("site_join", body)
            books.renewed(connection, site, certificate, shown, utc(until_ms))
        return Joined(chain, until_ms, self._doors.fleet, self._doors.bundle_key)

    def leave(self, site: str, shown: bytes, reason: str) -> None:
        if len(reason) > MOST_REASON:
            raise BadInput(f"a reason has at most {MOST_REASON} characters")
        with self._pool.connection() as connection:
            place = self.member(connection, site, shown, lock=True)
            leaf = self._ledger.record("site_leave", {"act": "site_leave", "hospital": site, "why": reason})
            books.parted(connection, site, "left", leaf, utc(self._clock.now_ms()))
        self._unregister(place)

    def remove(self, person: str, site: str, reason: str) -> int:
        """The hospital's certificate opens nothing from the commit on.

        Raises:
            NotFound: no such hospital.
            Unready: it is not there any more.
        """
        if not reason.strip() or len(reason) > MOST_REASON:
            raise BadInput(f"say why, in at most {MOST_REASON} characters")
        with self._pool.connection() as connection:
            place = books.place_of(connection, site, lock=True)
            if place is None:
                raise NotFound("no hospital of that name was invited here")
            if place.state in ("left", "removed"):
                raise Unready(
                    f"this hospital is not a member: it has {place.state}".replace("has removed", "was removed")
                )
            body = {"act": "site_remove", "hospital": site, "person": person, "why": reason}
            leaf = self._ledger.record("site_leave", body)
            books.parted(connection, site, "removed", leaf, utc(self._clock.now_ms()))
        self._unregister(place)
        return leaf

    def _unregister(self, place: books.Place) -> None:
        """At once if the engine answers; else the director does it when it does."""
        if place.node is None:
            return
        try:
            self._control.unregister(place.node)
        except TwinwardError as error:
            telemetry.warn(NOT_UNREGISTERED, error=error)
            return
        with self._pool.connection() as connection:
            books.unregistered(connection, place.site, place.node)


def shown_version(version: str) -> str:
    """A hospital's word for its software, made fit to be kept."""
    return "".join(letter for letter in version[:MOST_VERSION] if letter.isprintable())


def _digest(secret: str) -> bytes:
    """Of what was shown; what is no secret at all gets a digest that fits none."""
    try:
        raw = bytes_of(secret[:200])
    except ValueError:
        raw = b""
    return hashlib.sha256(raw).digest()
