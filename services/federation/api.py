"""The coordinator's three doors, and the calls it makes of auth."""

# ruff: noqa: N802 - the methods are named as in the contract

from __future__ import annotations

import grpc

from services.federation import study_books as books
from services.federation.books import Place, ms_of
from services.federation.joining import Joining
from services.federation.studies import Studies
from services.federation.syncing import Decided, Syncing
from twinward.errors import Denied
from twinward.link.access import SITE
from twinward.link.caller import caller_of
from twinward.link.server import Served
from twinward.wire.v1 import federation_pb2 as pb
from twinward.wire.v1 import federation_pb2_grpc

Context = grpc.ServicerContext


class CoordinatorDoor(federation_pb2_grpc.CoordinatorServicer):
    """What people ask."""

    def __init__(self, studies: Studies, joining: Joining) -> None:
        self._studies = studies
        self._joining = joining

    def CheckStudy(self, request: pb.CheckStudyRequest, context: Context) -> pb.CheckStudyResponse:
        found = self._studies.check(request.file, _person(context))
        return pb.CheckStudyResponse(
            problems=found.problems, study=found.study, canonical=found.canonical, sites=found.sites,
            privacy=found.privacy, approval_text=found.text,
        )  # fmt: skip

    def SubmitStudy(self, request: pb.SubmitStudyRequest, context: Context) -> pb.SubmitStudyResponse:
        study, leaf = self._studies.submit(request.file, _person(context))
        return pb.SubmitStudyResponse(study=study, leaf=leaf)

    def ListStudies(self, request: pb.ListStudiesRequest, context: Context) -> pb.ListStudiesResponse:
        found, more = self._studies.page(request.page_size, request.page_token)
        return pb.ListStudiesResponse(studies=map(_summary, found), next_page_token=more)

    def ShowStudy(self, request: pb.ShowStudyRequest, context: Context) -> pb.ShowStudyResponse:
        shown, rounds = self._studies.show(request.study)
        return pb.ShowStudyResponse(
            summary=_summary(shown), canonical=shown.study.canonical, rounds=map(_round, rounds)
        )

    def RunStudy(self, request: pb.RunStudyRequest, context: Context) -> pb.RunStudyResponse:
        sites, leaf = self._studies.run(request.study, _person(context))
        return pb.RunStudyResponse(sites=sites, leaf=leaf)

    def StopStudy(self, request: pb.StopStudyRequest, context: Context) -> pb.StopStudyResponse:
        return pb.StopStudyResponse(leaf=self._studies.stop(request.study, _person(context), request.reason))

    def ResumeStudy(self, request: pb.ResumeStudyRequest, context: Context) -> pb.ResumeStudyResponse:
        following, leaf = self._studies.resume(request.study, _person(context))
        return pb.ResumeStudyResponse(from_round=following, leaf=leaf)

    def WatchStudy(self, request: pb.WatchStudyRequest, context: Context) -> pb.WatchStudyResponse:
        found, state = self._studies.watch(request.study, request.after, request.wait_ms)
        return pb.WatchStudyResponse(events=map(_event, found), state=state)

    def StudyResults(self, request: pb.StudyResultsRequest, context: Context) -> pb.StudyResultsResponse:
        model, card, report = self._studies.results(request.study)
        return pb.StudyResultsResponse(model=model, card=card, report=report)

    def InviteSite(self, request: pb.InviteSiteRequest, context: Context) -> pb.InviteSiteResponse:
        token, until = self._joining.invite(_person(context), request.site, request.valid_minutes)
        return pb.InviteSiteResponse(token=token, expires_ms=until)

    def ListSites(self, request: pb.ListSitesRequest, context: Context) -> pb.ListSitesResponse:
        return pb.ListSitesResponse(sites=map(_place, self._joining.places()))

    def RemoveSite(self, request: pb.RemoveSiteRequest, context: Context) -> pb.RemoveSiteResponse:
        return pb.RemoveSiteResponse(leaf=self._joining.remove(_person(context), request.site, request.reason))


class SitesDoor(federation_pb2_grpc.SitesServicer):
    """What joined hospitals ask. TLS and the gate know that a certificate is ours; whether its hospital still is a
    member each method asks the books."""

    def __init__(self, joining: Joining, syncing: Syncing, fleet: str) -> None:
        self._joining = joining
        self._syncing = syncing
        self._fleet = fleet

    def Sync(self, request: pb.SyncRequest, context: Context) -> pb.SyncResponse:
        site, certificate = _hospital(context)
        decisions = [
            Decided(one.study, one.decision, one.reason, one.decided_ms, one.expires_ms, one.leaf)
            for one in request.decisions
        ]
        found = self._syncing.sync(site, certificate, request.version, decisions, request.after, life=request.life)
        studies = [
            pb.OfferedStudy(
                number=one.number, study=one.study, canonical=one.canonical, bundle=one.bundle, author=one.author
            )
            for one in found.studies
        ]
        return pb.SyncResponse(
            studies=studies, states=found.states, acknowledged=found.acknowledged, fleet_address=self._fleet
        )

    def RenewCertificate(self, request: pb.RenewCertificateRequest, context: Context) -> pb.RenewCertificateResponse:
        site, certificate = _hospital(context)
        found = self._joining.renew(site, certificate, request.signing_request)
        return pb.RenewCertificateResponse(certificate_chain=found.chain, not_after_ms=found.until_ms)

    def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:
        site, certificate = _hospital(context)
        self._joining.leave(site, certificate, request.reason)
        return pb.LeaveResponse()


class JoiningDoor(federation_pb2_grpc.JoiningServicer):
    """The listener without client certificates."""

    def __init__(self, joining: Joining) -> None:
        self._joining = joining

    def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        found = self._joining.join(
            request.secret, request.site, request.signing_request, request.node_key, request.version
        )
        return pb.JoinResponse(
            certificate_chain=found.chain, not_after_ms=found.until_ms, fleet_address=found.fleet,
            bundle_key=found.bundle_key,
        )  # fmt: skip


def _person(context: Context) -> str:
    person = caller_of(context).person
    if person is None:
        raise Denied("this call is for people")
    return person.sub


def _hospital(context: Context) -> tuple[str, bytes]:
    caller = caller_of(context)
    return (caller.program or "").removeprefix(f"{SITE}/"), caller.certificate_sha256


def _summary(shown: books.Shown) -> pb.StudySummary:
    study = shown.study
    return pb.StudySummary(
        study=study.hash, title=study.title, author=study.author, state=study.state, round=study.round,
        rounds=study.most_rounds, submitted_ms=ms_of(study.submitted), privacy=study.privacy, note=study.note,
        answers=[
            pb.SiteAnswer(
                site=one.site, decision=one.decision, reason=one.reason, decided_ms=ms_of(one.decided), leaf=one.leaf
            )
            for one in shown.answers
        ],
    )  # fmt: skip


def _round(row: books.RoundRow) -> pb.RoundSummary:
    return pb.RoundSummary(
        round=row.number, step=row.step, asked=row.asked, answered=row.answered, refused=row.refused,
        seconds=row.seconds, metrics=row.metrics,
    )  # fmt: skip


def _event(one: books.Happened) -> pb.StudyEvent:
    return pb.StudyEvent(
        number=one.number, time_ms=ms_of(one.at), kind=one.kind, text=one.text,
        round=None if one.round is None else _round(one.round),
    )  # fmt: skip


def _place(one: Place) -> pb.SiteSummary:
    return pb.SiteSummary(
        site=one.site, state=one.state, seen_ms=ms_of(one.seen), online=one.online, version=one.version,
        certificate_until_ms=ms_of(one.certificate_until),
    )  # fmt: skip


SERVICES = pb.DESCRIPTOR.services_by_name


def served_coordinator(door: CoordinatorDoor) -> Served:
    return (federation_pb2_grpc.add_CoordinatorServicer_to_server, door, SERVICES["Coordinator"])


def served_sites(door: SitesDoor) -> Served:
    return (federation_pb2_grpc.add_SitesServicer_to_server, door, SERVICES["Sites"])


def served_joining(door: JoiningDoor) -> Served:
    return (federation_pb2_grpc.add_JoiningServicer_to_server, door, SERVICES["Joining"])
