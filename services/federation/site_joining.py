"""Joining a coordinator, and leaving it: one person's act each, with an entry in this hospital's ledger.

Joining, in order:

1. keys are made, in memory
2. the coordinator takes the token and signs (TLS under the token's authority, no certificate of ours)
3. membership.json with leaf 0: it opens nothing yet
4. the leaf `site_join`
5. membership.json with the leaf: link and processes start

Killed before 3: nothing is here, the coordinator counts us in; a fresh token joins anew. Killed between 3 and 5: the
program goes on with 4 when it starts, and while auth is away it tries again; at worst there are two leaves of one
joining, never a joining without one.

Leaving: 1. membership.json says so: nothing is answered or asked any more; 2. the coordinator is told, if it answers
(else the certificate ends by itself within a day); 3. the leaf `site_leave`; 4. studies and the file are
removed. Killed in
between: the program goes on with 2.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from services.federation import membership
from services.federation.membership import Membership, MembershipFile
from services.federation.token import Invitation, read_token, text_of
from twinward import telemetry
from twinward.clock import Clock
from twinward.errors import BadInput, Denied, Malformed, TwinwardError, Unavailable, Unready

DEMO = ".demo"  # how every site id of the profile ends
MOST_REASON = 200
LEFT = "LEFT"  # what the coordinator hears; the person's words stay here
BUNDLE_KEY_BYTES = 32

NOT_TOLD = telemetry.event("coordinator_not_told", "error")


@dataclass(frozen=True, slots=True)
class JoinWish:
    """What a hospital shows to come in."""

    secret: str
    site: str
    signing_request: bytes
    node_key: bytes


@dataclass(frozen=True, slots=True)
class Certified:
    """What the coordinator answers to joining and to renewing."""

    chain: bytes
    until_ms: int
    fleet_address: str = ""  # joining only
    bundle_key: bytes = b""  # joining only


class JoinsAt(Protocol):
    """The coordinator's doors."""

    def join(self, invitation: Invitation, proxy: str, wish: JoinWish) -> Certified:
        """Raises what the coordinator refuses with, or Unavailable."""
        ...

    def leave(self, member: Membership, reason: str) -> None: ...


class Records(Protocol):
    def record(self, kind: str, body: Mapping[str, object]) -> int:
        """The leaf of an act. Raises Unavailable."""
        ...


@dataclass
class Joining:
    """`changed` is called after every change: link and processes look at the file then. `parted` forgets the studies
    and tables that came from a coordinator: before it is none any more, and before it is joined anew."""

    site: str
    profile: str
    file: MembershipFile
    coordinator: JoinsAt
    ledger: Records
    clock: Clock
    changed: Callable[[], None]
    parted: Callable[[], None]

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def join(self, token: str, proxy: str, person: str) -> Membership:
        """
        Raises:
            Malformed, BadInput: the token, or one for another hospital.
            Denied: this profile joins no such coordinator.
            Unready: joined elsewhere; or the coordinator took us in and our ledger does not answer.
            Whatever the coordinator refuses with.
        """
        invitation = read_token(token)
        self._permit(invitation, proxy)
        with self._lock:
            self._free_for(invitation)
            key, node_key = membership.new_key(), membership.new_node_key()
            wish = JoinWish(
                text_of(invitation.secret),
                self.site,
                membership.signing_request(key, self.site),
                membership.public_of(node_key),
            )
            made = self.coordinator.join(invitation, proxy, wish)
            if len(made.bundle_key) != BUNDLE_KEY_BYTES:
                raise Malformed("the coordinator's answer holds no key for code bundles: ask its operator")
            joined = Membership(
                coordinator=invitation.coordinator,
                door_address=invitation.door,
                fleet_address=made.fleet_address or invitation.fleet,
                authority=invitation.authority.decode(),
                proxy=proxy,
                certificate=membership.checked_chain(made.chain, key),
                key=key,
                node_key=node_key,
                bundle_key=made.bundle_key.hex(),
                issued_ms=self.clock.now_ms(),
                until_ms=made.until_ms,
            )
            self.parted()
            self.file.put(joined)
            return self._enter(joined, person)

    def _permit(self, invitation: Invitation, proxy: str) -> None:
        if invitation.site != self.site:
            raise BadInput("this join token was made for another hospital: ask the coordinator for one of yours")
        if self.profile != "demo":
            raise Denied("studies are NON-PRIVATE in this version: only a node of profile demo joins a coordinator")
        if not invitation.coordinator.endswith(DEMO):
            raise Denied(f"a demo node joins only a coordinator whose id ends in {DEMO}")
        if proxy and not _address(proxy):
            raise BadInput("a proxy is host:port")

    def _free_for(self, invitation: Invitation) -> None:
        """Joining the same coordinator again replaces what is held of it: that repairs whatever went wrong."""
        held = self.file.now()
        if held is not None and (held.leaving or held.coordinator != invitation.coordinator):
            raise Unready("this hospital has joined a coordinator already: `twinward site leave` first")

    def _enter(self, joined: Membership, person: str) -> Membership:
        body = {
            "act": "site_join",
            "coordinator": joined.coordinator,
            "certificate": _fingerprint(joined.certificate),
            "authority": _fingerprint(joined.authority),
            "node_key": hashlib.sha256(membership.public_of(joined.node_key)).hexdigest(),
            "until": joined.until_ms,
            "actor": person,
        }
        try:
            leaf = self.ledger.record("site_join", body)
        except Unavailable:
            raise Unready(
                "the coordinator let this hospital in, but its own ledger does not answer: it takes part as soon as "
                "it does; see `twinward site status`"
            ) from None
        return self._put(replace(joined, leaf=leaf))

    def leave(self, reason: str, person: str) -> int:
        """The leaf of leaving.

        Raises:
            Unready: not joined.
            BadInput: no reason, or a long one.
            Unavailable: the ledger does not answer; it is left all the same, and entered when it does.
        """
        if not reason.strip() or len(reason) > MOST_REASON:
            raise BadInput(f"say why, in at most {MOST_REASON} characters")
        with self._lock:
            held = self.file.now()
            if held is None:
                raise Unready("this hospital has joined no coordinator")
            return self._go(self._put(replace(held, leaving=True)), person, reason)

    def _go(self, held: Membership, person: str, reason: str) -> int:
        try:
            self.coordinator.leave(held, LEFT)
        except TwinwardError as error:  # its certificate ends by itself within a day
            telemetry.warn(NOT_TOLD, error=error)
        body = {"act": "site_leave", "coordinator": held.coordinator, "actor": person, "reason": reason}
        leaf = self.ledger.record("site_leave", body)
        self.parted()
        self.file.remove()
        self.changed()
        return leaf

    def settle(self) -> None:
        """Goes on where an end, or an auth that was away, left joining or leaving. Raises Unavailable, Unready."""
        with self._lock:
            held = self.file.now()
            if held is None or held.open:
                return
            if held.leaving:
                self._go(held, "federation", "")
            else:
                self._enter(held, "federation")

    def renewed(self, before: Membership, key: str, made: Certified) -> Membership | None:
        """Takes a renewed certificate in, unless the membership changed meanwhile. Raises Malformed, Unready."""
        chain = membership.checked_chain(made.chain, key)
        with self._lock:
            if self.file.now() is not before:
                return None
            return self._put(
                replace(before, key=key, certificate=chain, issued_ms=self.clock.now_ms(), until_ms=made.until_ms)
            )

    def _put(self, new: Membership) -> Membership:
        self.file.put(new)
        self.changed()
        return new


def _fingerprint(pem: str) -> str:
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


def _address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536 and "/" not in host and "@" not in host
