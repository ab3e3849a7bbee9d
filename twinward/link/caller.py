"""Who is calling: the program by its certificate, the person by their token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import grpc

_ATTRIBUTE = "twinward_caller"


@dataclass(frozen=True, slots=True)
class Person:
    """What a verified token says of a person."""

    sub: str
    roles: tuple[str, ...]
    purpose: str
    azp: str  # the application they logged in with
    jti: str
    sid: str  # their session at the identity provider
    acr: str  # how strongly they were authenticated


@dataclass(frozen=True, slots=True)
class Caller:
    """The other end of one call. At least one of `program` and `person` is there."""

    program: str | None  # from the certificate's SPIFFE id: "twin", "feed/files"
    person: Person | None
    token: str  # the person's, where there is one: to be handed on; else the program's
    certificate_sha256: bytes  # 32 bytes of the client certificate; empty at the enrolment door
    peer_id: str  # SPIFFE id, or "certificate:<hex>", or "enrolment"
    until: int = 0  # the token's end, seconds since 1970; 0 where there is none


def attach(context: grpc.ServicerContext, caller: Caller) -> None:
    """Fastens `caller` to the call; the door does it before a servicer sees the context."""
    setattr(context, _ATTRIBUTE, caller)


def caller_of(context: grpc.ServicerContext) -> Caller:
    """The verified caller of this call."""
    return cast(Caller, getattr(context, _ATTRIBUTE))
