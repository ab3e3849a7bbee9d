"""The hospital's door for people, and its calls to auth and to the coordinator: where messages meet our nouns."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from services.federation.decisions import Decisions, public_reason
from services.federation.membership import Membership, MembershipFile
from services.federation.site_joining import Certified, Joining, JoinWish
from services.federation.site_link import Heard, OfferedRaw, Told
from services.federation.site_studies import Offered, SiteStudies
from services.federation.token import Invitation
from twinward.errors import Malformed, Unauthenticated
from twinward.link.caller import caller_of
from twinward.link.client import channel, with_person
from twinward.link.server import Served
from twinward.wire.codec.cohort import CohortCalls, Decided, DecidedStudy, StudyWish
from twinward.wire.v1 import federation_pb2 as pb
from twinward.wire.v1 import federation_pb2_grpc

JOIN_S = 30.0  # the coordinator signs, registers and enters before it answers
SYNC_S = 10.0
HASH_BYTES = 32


class Reaches(Protocol):
    """How the coordinator was heard of."""

    @property
    def last_ms(self) -> int: ...
    def reachable(self) -> bool: ...


class Runs(Protocol):
    def up(self) -> bool: ...


class FederationDoor(federation_pb2_grpc.FederationServicer):
    """People of this hospital."""

    def __init__(
        self,
        joining: Joining,
        file: MembershipFile,
        link: Reaches,
        studies: SiteStudies,
        decisions: Decisions,
        children: Runs,
    ) -> None:
        self._joining, self._file, self._link = joining, file, link
        self._studies, self._decisions, self._children = studies, decisions, children

    def JoinCoordinator(  # noqa: N802
        self, request: pb.JoinCoordinatorRequest, context: grpc.ServicerContext
    ) -> pb.JoinCoordinatorResponse:
        joined = self._joining.join(request.token, request.proxy, _person(context))
        return pb.JoinCoordinatorResponse(
            coordinator=joined.coordinator, certificate_until_ms=joined.until_ms, leaf=joined.leaf
        )

    def LeaveCoordinator(  # noqa: N802
        self, request: pb.LeaveCoordinatorRequest, context: grpc.ServicerContext
    ) -> pb.LeaveCoordinatorResponse:
        return pb.LeaveCoordinatorResponse(leaf=self._joining.leave(request.reason, _person(context)))

    def FederationStatus(  # noqa: N802
        self, request: pb.FederationStatusRequest, context: grpc.ServicerContext
    ) -> pb.FederationStatusResponse:
        held = self._file.now()
        if held is None:
            return pb.FederationStatusResponse()
        return pb.FederationStatusResponse(
            coordinator=held.coordinator,
            reachable=self._link.reachable(),
            last_sync_ms=self._link.last_ms,
            supernode_up=self._children.up(),
            certificate_until_ms=held.until_ms,
            waiting=sum(decided is None for _, decided in self._decisions.listed()),
        )

    def ListSiteStudies(  # noqa: N802
        self, request: pb.ListSiteStudiesRequest, context: grpc.ServicerContext
    ) -> pb.ListSiteStudiesResponse:
        return pb.ListSiteStudiesResponse(studies=[self._shown(*one) for one in self._decisions.listed()])

    def _shown(self, offered: Offered, decided: DecidedStudy | None) -> pb.SiteStudy:
        here = pb.StudyDecisionHere(decision=self._decisions.word(decided))
        if decided is not None:
            here.reason, here.leaf = decided.reason, decided.leaf
            here.decided_ms, here.expires_ms = decided.decided_ms, decided.expires_ms
        study = offered.study
        return pb.SiteStudy(
            study=offered.sha256,
            title=study.title,
            author=study.author,
            state=self._studies.state(offered.sha256),
            privacy=study.privacy,
            approval_text=self._decisions.text(offered),
            canonical=offered.canonical,
            decision=here,
        )

    def DecideSiteStudy(  # noqa: N802
        self, request: pb.DecideSiteStudyRequest, context: grpc.ServicerContext
    ) -> pb.DecideSiteStudyResponse:
        offered, decided = self._decisions.decide(
            caller_of(context).token, request.study, request.decision, request.reason, request.privacy
        )
        return pb.DecideSiteStudyResponse(study=offered.sha256, leaf=decided.leaf, expires_ms=decided.expires_ms)


def _person(context: grpc.ServicerContext) -> str:
    """The caller's pseudonym at the identity provider, for the ledger."""
    person = caller_of(context).person
    if person is None:
        raise Unauthenticated("this is a person's act: log in with `twinward login`")
    return person.sub


def served_federation(door: FederationDoor) -> Served:
    return (
        federation_pb2_grpc.add_FederationServicer_to_server,
        door,
        pb.DESCRIPTOR.services_by_name["Federation"],
    )


@dataclass(frozen=True, slots=True)
class AuthDecisions:
    """auth, as `services.federation.decisions.Decides`."""

    calls: CohortCalls

    def decide(self, token: str, wish: StudyWish) -> Decided:
        return self.calls.decide(with_person(token), wish)

    def decisions(self, studies: Sequence[bytes] = ()) -> list[DecidedStudy]:
        return self.calls.decisions(studies)


@dataclass
class CoordinatorCalls:
    """The coordinator's doors: `JoinsAt` and `Syncs`. One channel, of the certificate that was used last."""

    version: str
    _channel: grpc.Channel | None = None
    _of: tuple[str, str, str] | None = None  # address, certificate, proxy
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def join(self, invitation: Invitation, proxy: str, wish: JoinWish) -> Certified:
        name = _server_name(invitation.coordinator)
        opened = channel(invitation.join, name, invitation.authority, None, None, JOIN_S, proxy)
        with opened:
            answer = federation_pb2_grpc.JoiningStub(opened).Join(
                pb.JoinRequest(
                    secret=wish.secret,
                    site=wish.site,
                    signing_request=wish.signing_request,
                    node_key=wish.node_key,
                    version=self.version,
                )
            )
        return Certified(
            bytes(answer.certificate_chain), answer.not_after_ms, answer.fleet_address, bytes(answer.bundle_key)
        )

    def sync(self, member: Membership, told: Told) -> Heard:
        answer = self._stub(member).Sync(
            pb.SyncRequest(
                version=self.version,
                life=told.life,
                decisions=[
                    pb.SiteDecision(
                        study=one.study,
                        decision=one.decision,
                        reason=public_reason(one),
                        decided_ms=one.decided_ms,
                        expires_ms=one.expires_ms,
                        leaf=one.leaf,
                    )
                    for one in told.decisions
                ],
                after=told.after,
            )
        )
        return Heard(
            [
                OfferedRaw(one.number, bytes(one.study), bytes(one.canonical), bytes(one.bundle))
                for one in answer.studies
            ],
            {_hash(name): state for name, state in answer.states.items()},
            [bytes(one) for one in answer.acknowledged],
        )

    def renew(self, member: Membership, signing_request: bytes) -> Certified:
        answer = self._stub(member).RenewCertificate(pb.RenewCertificateRequest(signing_request=signing_request))
        return Certified(bytes(answer.certificate_chain), answer.not_after_ms)

    def leave(self, member: Membership, reason: str) -> None:
        self._stub(member).Leave(pb.LeaveRequest(reason=reason))

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            self._channel, self._of = None, None

    def _stub(self, member: Membership) -> federation_pb2_grpc.SitesStub:
        wanted = (member.door_address, member.certificate, member.proxy)
        with self._lock:
            if self._channel is None or self._of != wanted:
                if self._channel is not None:
                    self._channel.close()
                self._channel = channel(
                    member.door_address,
                    _server_name(member.coordinator),
                    member.authority.encode(),
                    member.identity,
                    None,
                    SYNC_S,
                    member.proxy,
                )
                self._of = wanted
            return federation_pb2_grpc.SitesStub(self._channel)


def _server_name(coordinator: str) -> str:
    return f"coordinator.{coordinator}"


def _hash(name: str) -> bytes:
    try:
        found = bytes.fromhex(name)
    except ValueError:
        found = b""
    if len(found) != HASH_BYTES:
        raise Malformed("the coordinator names a study by something that is no hash")
    return found
