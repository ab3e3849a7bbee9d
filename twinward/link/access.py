"""Who may call a method: read from the contract, decided in one place.

The rules are method options in the .proto files; nothing here names a method.
What a door does not find in its table it refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from twinward.errors import Denied, Unauthenticated, Unready
from twinward.link.caller import Caller
from twinward.link.permissions import FORWARDERS, PERMISSIONS, allowed
from twinward.link.tokens import Token, TokenVerifier, refused
from twinward.wire.v1 import access_pb2

AUTHORIZATION = "authorization"
PERSON = "twinward-person"  # a person's token, handed on by a program
BEARER = "Bearer "
FEED = "feed"
SITE = "site"  # a hospital at its coordinator: spiffe://<coordinator>/site/<hospital>


@dataclass(frozen=True, slots=True)
class Access:
    """The option of one method."""

    permission: str
    act: str
    forwarded_by: frozenset[str]
    programs: frozenset[str]
    enrolling: bool
    sites: bool = False
    joining: bool = False
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """The client certificate of a connection."""

    program: str | None
    sha256: bytes
    id: str


def table(services: Iterable[ServiceDescriptor], *, enrolment: bool, streams: bool = False) -> dict[str, Access]:
    """Full method name -> its access. `streams`: the door takes streams too (`twinward/link/streams.py`).

    Raises:
        Unready: a method without the option, with an empty or unknown one, a stream that does not say so or at a
            door for single calls, or one that belongs on the other listener. The server must not start.
    """
    found = {}
    for service in services:
        for method in service.methods:
            found[f"/{service.full_name}/{method.name}"] = _read(method, enrolment, streams)
    return found


def _read(method: MethodDescriptor, enrolment: bool, streams: bool) -> Access:
    options = method.GetOptions()
    if not options.HasExtension(access_pb2.access):
        raise Unready(f"{method.full_name} has no access option: the server does not start")
    option = options.Extensions[access_pb2.access]
    if not (option.permission or option.programs or option.enrolling or option.sites or option.joining):
        raise Unready(f"{method.full_name} lets nobody in: its access option is empty")
    if option.permission and option.permission not in PERMISSIONS:
        raise Unready(f"{method.full_name} asks for a permission that no role holds")
    if (option.enrolling or option.joining) != enrolment:
        raise Unready(f"{method.full_name} is on the wrong listener: enrolling methods have one of their own")
    flows = method.client_streaming or method.server_streaming
    if flows and not streams:
        raise Unready(f"{method.full_name} is a stream: this door takes single calls")
    if flows != option.streams:
        raise Unready(f"{method.full_name} and its access option do not agree on whether it is a stream")
    if method.client_streaming != method.server_streaming:
        raise Unready(
            f"{method.full_name} streams one way: a stream here goes both ways, so that its login can be renewed"
        )
    if flows and not option.permission:
        raise Unready(f"{method.full_name} is a stream for nobody: streams are for people, by a permission")
    return Access(
        option.permission, option.act, frozenset(option.forwarded_by), frozenset(option.programs), option.enrolling,
        option.sites, option.joining, option.streams,
    )  # fmt: skip


def peer_of(context: grpc.ServicerContext, site: str) -> Peer | None:
    """The certificate at the other end; None where none was shown.

    TLS has verified it up to the site's root. Certificates for people come from an authority whose name
    constraints forbid SPIFFE ids, so a program's name is the site's own word.

    Raises:
        Unauthenticated: a SPIFFE id of another site.
    """
    pem = _property(context, "x509_pem_cert")
    if not pem:
        return None
    digest = _digest(pem)
    spiffe = spiffe_id(context)
    if not spiffe:
        return Peer(None, digest, f"certificate:{digest.hex()}")
    start = f"spiffe://{site}/"
    if not spiffe.startswith(start):
        raise Unauthenticated("this certificate belongs to another site", detail="site")
    return Peer(spiffe.removeprefix(start), digest, spiffe)


@lru_cache(maxsize=1024)
def _digest(pem: bytes) -> bytes:
    """SHA-256 of the certificate's DER, as tokens are bound to it (RFC 8705)."""
    return hashlib.sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).digest()


def spiffe_id(context: grpc.ServicerContext) -> str:
    """The SPIFFE id of the client certificate; empty where it has none."""
    return _property(context, "peer_spiffe_id").decode()


def _property(context: grpc.ServicerContext, name: str) -> bytes:
    # The stubs say Mapping[str, bytes]; grpcio gives a list of values for each name.
    found = cast(Mapping[str, Sequence[bytes]], context.auth_context()).get(name)
    return found[0] if found else b""


class Gate:
    """Decides over every call of one door."""

    def __init__(self, site: str, methods: Mapping[str, Access], verifier: TokenVerifier) -> None:
        self._site = site
        self._methods = methods
        self._verifier = verifier

    def admit(self, method: str, context: grpc.ServicerContext) -> Caller:
        """
        Raises:
            Unauthenticated: no certificate, no token, or one that is refused.
            Denied: known, and not allowed to call this method.
        """
        access = self._methods.get(method)
        if access is None:
            raise Denied("this call is not offered here")
        if access.enrolling:
            return self._enrolling(context)
        if access.joining:  # its one-time token lies in the request, and is the servicer's to check
            return Caller(None, None, "", b"", "joining")
        peer = peer_of(context, self._site)
        if access.sites:
            return self._joined(peer)
        if peer is None:
            raise Unauthenticated("a client certificate is needed: log in with `twinward login`", detail="certificate")
        bearer = _bearer(context)
        token = self._verifier.verify(bearer)
        if token.bound != peer.sha256:
            raise refused("binding")
        if peer.program is None:
            return self._direct(access, peer, token, bearer, context)
        if not token.service or token.sub != peer.program:
            raise refused("program")
        handed = _metadata(context, PERSON)
        if handed is not None:
            return self._forwarded(access, peer, handed)
        named = FEED if peer.program.startswith(f"{FEED}/") else peer.program
        if named not in access.programs:
            raise Denied(f"{peer.program} may not make this call for itself")
        return Caller(peer.program, None, bearer, peer.sha256, peer.id, token.exp)

    def renew(self, method: str, caller: Caller, bearer: str) -> Caller:
        """`caller` with the fresh token that came through an open stream.

        Raises:
            Unauthenticated: refused; or of another person, or bound to another certificate than the stream's.
            Denied: the person may no longer call this method.
        """
        token = self._verifier.verify(bearer)
        person = caller.person
        if token.bound != caller.certificate_sha256:
            raise refused("binding")
        if person is None or caller.program is not None or token.service or token.azp not in FORWARDERS:
            raise refused("azp")
        if token.sub != person.sub:
            raise refused("person")
        _permit(token, self._methods[method])
        return Caller(None, token.person(), bearer, caller.certificate_sha256, caller.peer_id, token.exp)

    def _enrolling(self, context: grpc.ServicerContext) -> Caller:
        """A person's first token: bound to nothing, so it opens nothing else."""
        bearer = _bearer(context)
        token = self._verifier.verify(bearer)
        if token.service or token.bound is not None or token.azp not in FORWARDERS:
            raise refused("enrolment")
        return Caller(None, token.person(), bearer, b"", "enrolment")

    def _joined(self, peer: Peer | None) -> Caller:
        """Another organisation: this coordinator's certificate is all it has here. Whether it left since is the
        servicer's to know."""
        if peer is None or peer.program is None or not peer.program.startswith(f"{SITE}/"):
            raise Unauthenticated("this call is for hospitals that joined: `twinward site join`", detail="site")
        return Caller(peer.program, None, "", peer.sha256, peer.id)

    def _direct(self, access: Access, peer: Peer, token: Token, bearer: str, context: grpc.ServicerContext) -> Caller:
        if token.service or token.azp not in FORWARDERS or _metadata(context, PERSON) is not None:
            raise refused("azp")
        if not access.permission or access.forwarded_by:
            through = " or ".join(sorted(access.forwarded_by | access.programs))
            raise Denied(f"people reach this only through {through}")
        _permit(token, access)
        return Caller(None, token.person(), bearer, peer.sha256, peer.id, token.exp)

    def _forwarded(self, access: Access, peer: Peer, handed: str) -> Caller:
        """A person's token in a program's hands. Its binding was checked where the person called."""
        program = peer.program or ""
        if program not in access.forwarded_by:
            raise Denied(f"{program} may not make this call for a person")
        token = self._verifier.verify(handed)
        if token.service or token.bound is None or program not in FORWARDERS.get(token.azp, frozenset()):
            raise refused("azp")
        _permit(token, access)
        return Caller(program, token.person(), handed, peer.sha256, peer.id, token.exp)


def _permit(token: Token, access: Access) -> None:
    if not allowed(token.roles, access.permission):
        raise Denied(f"your role does not include {access.permission}: ask for a role that does (`--as ROLE`)")


def _bearer(context: grpc.ServicerContext) -> str:
    found = _metadata(context, AUTHORIZATION)
    if found is None or not found.startswith(BEARER):
        raise Unauthenticated("no login came with this call: log in with `twinward login`", detail="missing")
    return found.removeprefix(BEARER)


def _metadata(context: grpc.ServicerContext, name: str) -> str | None:
    """The one value of `name`; two of them are nobody's mistake but a forger's."""
    values = [value for key, value in context.invocation_metadata() if key == name]
    if len(values) > 1 or (values and not isinstance(values[0], str)):
        raise refused("form")
    return str(values[0]) if values else None
