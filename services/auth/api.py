"""The doors `Auth` and `Enrolment`: decode, one call, encode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import grpc

from services.auth import studies
from services.auth.acts import Acts
from services.auth.admit import Admit, Applicant
from services.auth.audit import Audit, Search
from services.auth.cohort import Cohorts, handle_of
from services.auth.compaction import Change, Compaction, Months, Unit
from services.auth.consent import Statement
from services.auth.consents import Consents
from services.auth.desk import Patient
from services.auth.enrol import Enrolment
from services.auth.grants import Grants, Wish
from services.auth.intake import Intake
from services.auth.leases import Leases
from services.auth.listing import Listing
from services.auth.rounds import Rounds
from services.auth.status import Status
from services.auth.studies import Studies
from services.auth.upkeep import Upkeep
from twinward.errors import BadInput
from twinward.ledger.kinds import word_of
from twinward.link.caller import caller_of
from twinward.link.server import Served
from twinward.record import Handle
from twinward.vault.manifest import BucketManifest
from twinward.wire.codec.cohort import READ, SCREEN, period_from_message
from twinward.wire.codec.lease import lease_to_message, node_to_message
from twinward.wire.v1 import auth_pb2 as pb
from twinward.wire.v1 import auth_pb2_grpc, record_pb2

Context = grpc.ServicerContext


@dataclass(frozen=True)
class AuthDoor(auth_pb2_grpc.AuthServicer):
    grants: Grants
    listing: Listing
    upkeep: Upkeep
    compaction: Compaction
    admission: Admit
    intake: Intake
    leases: Leases
    consents: Consents
    audit: Audit
    status: Status
    studies: Studies
    cohorts: Cohorts
    rounds: Rounds
    acts: Acts

    def Grant(self, request: pb.GrantRequest, context: Context) -> pb.GrantResponse:  # noqa: N802
        first, last = _period(request.period) if request.HasField("period") else (None, None)
        wish = Wish(_patient(request.patient), tuple(request.categories), first, last, request.act, request.reason)
        return pb.GrantResponse(lease=lease_to_message(self.grants.grant(caller_of(context), wish)))

    def ListPatients(self, request: pb.ListPatientsRequest, context: Context) -> pb.ListPatientsResponse:  # noqa: N802
        wanted = _identifier(request.identifier) if request.HasField("identifier") else None
        shown, following = self.listing.find(caller_of(context), wanted, request.page_size, request.page_token)
        patients = [pb.ListedPatient(handle=one.handle.bytes, has_twin=one.has_twin, leaf=one.leaf) for one in shown]
        return pb.ListPatientsResponse(patients=patients, next_page_token=following)

    def GrantUpkeep(self, request: pb.GrantUpkeepRequest, context: Context) -> pb.GrantUpkeepResponse:  # noqa: N802
        replay = _period(request.replay) if request.HasField("replay") else None
        leases, denials = self.upkeep.grant(caller_of(context), [_uuid(one) for one in request.handles], replay)
        return pb.GrantUpkeepResponse(
            leases=map(lease_to_message, leases),
            denials=[pb.Denial(handle=one.handle.bytes, reason=one.reason, leaf=one.leaf) for one in denials],
        )

    def GrantCompaction(  # noqa: N802
        self, request: pb.GrantCompactionRequest, context: Context
    ) -> pb.GrantCompactionResponse:
        units = [Unit(_uuid(one.handle), one.tag) for one in request.units]
        granted = self.compaction.grant(caller_of(context), units, {_uuid(one) for one in request.asked})
        return pb.GrantCompactionResponse(
            leases=map(lease_to_message, granted.leases),
            deferred=[pb.DeferredPatient(handle=one.bytes, until_ms=at) for one, at in granted.deferred.items()],
        )

    def ExtendCompaction(  # noqa: N802
        self, request: pb.ExtendCompactionRequest, context: Context
    ) -> pb.ExtendCompactionResponse:
        wanted = [Months(_uuid(one.lease_id), tuple(map(_month, one.months))) for one in request.months]
        found = self.compaction.extend(wanted)
        return pb.ExtendCompactionResponse(
            nodes=[pb.CompactionNodes(lease_id=id_.bytes, nodes=map(node_to_message, nodes)) for id_, nodes in found]
        )

    def SealManifests(self, request: pb.SealManifestsRequest, context: Context) -> pb.SealManifestsResponse:  # noqa: N802
        seals = self.compaction.seal(caller_of(context), [_change(one) for one in request.changes])
        return pb.SealManifestsResponse(
            seals=[pb.ManifestSeal(handle=one.handle.bytes, root=one.root, mac=one.signature) for one in seals]
        )

    def Admit(self, request: pb.AdmitRequest, context: Context) -> pb.AdmitResponse:  # noqa: N802
        applicants = [
            Applicant(one.sealed_identifiers, _uuid(one.handle) if one.handle else None, tuple(one.categories))
            for one in request.patients
        ]
        admitted = self.admission.admit(request.feed, applicants)
        return pb.AdmitResponse(
            patients=[
                pb.Admitted(
                    handle=one.handle.bytes if one.handle else b"",
                    refused=one.refused,
                    feed_index=one.feed_index,
                    version=one.version,
                )
                for one in admitted
            ]
        )

    def GrantIntake(self, request: pb.GrantIntakeRequest, context: Context) -> pb.GrantIntakeResponse:  # noqa: N802
        found = self.intake.grant(caller_of(context), list(request.intake_ids))
        return pb.GrantIntakeResponse(
            lease_id=found.lease_id.bytes,
            until_ms=found.until_ms,
            keys=[pb.IntakeKey(key_id=number, seed=seed) for number, seed in found.seeds.items()],
            leaf=found.leaf,
        )

    def ReportUse(self, request: pb.ReportUseRequest, context: Context) -> pb.ReportUseResponse:  # noqa: N802
        rows: dict[UUID, int] = {}
        for use in request.uses:
            rows[_uuid(use.lease_id)] = rows.get(_uuid(use.lease_id), 0) + use.rows
        return pb.ReportUseResponse(leaf=self.leases.report(caller_of(context), rows))

    def DecideStudy(self, request: pb.DecideStudyRequest, context: Context) -> pb.DecideStudyResponse:  # noqa: N802
        first, last = period_from_message(request.period)
        wish = studies.Decision(
            study=request.study,
            decision=request.decision,
            reason=request.reason,
            privacy=request.privacy,
            requester=request.requester,
            categories=tuple(request.categories),
            first_month=first,
            last_month=last,
            expires_ms=request.expires_ms,
            bundle=request.bundle,
        )
        leaf, expires_ms = self.studies.decide(caller_of(context), wish)
        return pb.DecideStudyResponse(leaf=leaf, expires_ms=expires_ms)

    def StudyDecisions(self, request: pb.StudyDecisionsRequest, context: Context) -> pb.StudyDecisionsResponse:  # noqa: N802
        return pb.StudyDecisionsResponse(
            decisions=[
                pb.StudyDecision(
                    study=one.study,
                    decision=one.decision,
                    reason=one.reason,
                    decided_ms=one.decided_ms,
                    expires_ms=one.expires_ms,
                    leaf=one.leaf,
                    bundle=one.bundle,
                )
                for one in self.studies.decisions(list(request.studies))
            ]
        )

    def GrantCohort(self, request: pb.GrantCohortRequest, context: Context) -> pb.GrantCohortResponse:  # noqa: N802
        caller, handles = caller_of(context), [_uuid(one) for one in request.handles]
        if request.step == SCREEN and not handles:
            page = self.cohorts.screen(caller, request.study, handle_of(request.after))
        elif request.step == READ and not request.after:
            page = self.cohorts.read(caller, request.study, handles)
        else:
            raise BadInput("a cohort is granted in two steps: screen, from a place on, and read, of handles")
        return pb.GrantCohortResponse(
            leases=map(lease_to_message, page.leases),
            denied=page.denied,
            next_after=page.next_after.bytes if page.next_after else b"",
        )

    def EnterRound(self, request: pb.EnterRoundRequest, context: Context) -> pb.EnterRoundResponse:  # noqa: N802
        handles = [_uuid(one) for one in request.handles]
        entered = self.rounds.enter(caller_of(context), request.study, request.round, request.step, handles)
        return pb.EnterRoundResponse(
            leaf=entered.leaf, root=entered.root, withdrawn=[one.bytes for one in entered.withdrawn]
        )

    def RecordAct(self, request: pb.RecordActRequest, context: Context) -> pb.RecordActResponse:  # noqa: N802
        return pb.RecordActResponse(leaf=self.acts.record(caller_of(context), request.kind, request.body))

    def ReturnLease(self, request: pb.ReturnLeaseRequest, context: Context) -> pb.ReturnLeaseResponse:  # noqa: N802
        self.leases.give_back(caller_of(context), [_uuid(one) for one in request.lease_ids])
        return pb.ReturnLeaseResponse()

    def ShowConsent(self, request: pb.ShowConsentRequest, context: Context) -> pb.ShowConsentResponse:  # noqa: N802
        shown = self.consents.show(caller_of(context), _patient(request.patient))
        return pb.ShowConsentResponse(
            handle=shown.handle.bytes, consents=map(_stated, shown.statements), effective=shown.effective
        )

    def SetConsent(self, request: pb.SetConsentRequest, context: Context) -> pb.SetConsentResponse:  # noqa: N802
        done = self.consents.set(caller_of(context), _patient(request.patient), request.fhir_consent)
        return pb.SetConsentResponse(handle=done.handle.bytes, sha256=done.sha256, leaf=done.leaf)

    def WithdrawConsent(  # noqa: N802
        self, request: pb.WithdrawConsentRequest, context: Context
    ) -> pb.WithdrawConsentResponse:
        done = self.consents.withdraw(
            caller_of(context), _patient(request.patient), list(request.purposes), request.reason
        )
        return pb.WithdrawConsentResponse(
            handle=done.handle.bytes, leaf=done.leaf, leases_ended=done.leases_ended, version=done.version
        )

    def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:  # noqa: N802
        patient = _patient(request.patient) if request.HasField("patient") else None
        page = self.audit.find(
            caller_of(context),
            Search(
                patient,
                request.actor,
                request.kind,
                request.since_ms,
                request.page_size,
                request.page_token,
                request.study,
            ),
        )
        return pb.ListEntriesResponse(
            entries=[
                pb.LedgerEntry(
                    index=one.index,
                    kind=word_of(one.kind),
                    time_ms=one.time_s * 1000,
                    body=one.body,
                    state=one.state,
                )
                for one in page.entries
            ],
            next_page_token=page.next_token,
            leaf=page.leaf,
        )

    def LedgerStatus(self, request: pb.LedgerStatusRequest, context: Context) -> pb.LedgerStatusResponse:  # noqa: N802
        found = self.status.read()
        return pb.LedgerStatusResponse(**{name: getattr(found, name) for name in found.__slots__})


@dataclass(frozen=True)
class EnrolmentDoor(auth_pb2_grpc.EnrolmentServicer):
    enrolment: Enrolment

    def IssueCertificate(  # noqa: N802
        self, request: pb.IssueCertificateRequest, context: Context
    ) -> pb.IssueCertificateResponse:
        chain, until_ms = self.enrolment.issue(caller_of(context), request.signing_request)
        return pb.IssueCertificateResponse(certificate_chain=chain, not_after_ms=until_ms)


def _uuid(data: bytes) -> Handle:
    if len(data) != 16:
        raise BadInput("a handle or lease is named by 16 bytes")
    return Handle(bytes=bytes(data))


def _patient(ref: record_pb2.PatientRef) -> Patient:
    which = ref.WhichOneof("ref")
    if which == "handle":
        return Patient(handle=_uuid(ref.handle))
    if which == "identifier":
        return Patient(identifier=_identifier(ref.identifier))
    raise BadInput("no patient is named; give a handle, or a number with its system")


def _identifier(message: record_pb2.Identifier) -> tuple[str, str]:
    return message.system, message.value


def _month(message: record_pb2.Month) -> int:
    if message.month > 12 or message.year > 9999 or bool(message.month) != bool(message.year):
        raise BadInput("a month has a year and a number from 1 to 12; both zero is for records without time")
    return message.year * 100 + message.month


def _period(message: record_pb2.Period) -> tuple[int, int]:
    return _month(message.first), _month(message.last)


def _change(message: pb.ManifestChange) -> Change:
    return Change(
        lease_id=_uuid(message.lease_id),
        handle=_uuid(message.handle),
        next_seq=message.next_seq,
        chain=message.chain,
        buckets=tuple(
            BucketManifest(one.tag, one.version, one.bucket, one.blocks, one.n, one.commitments)
            for one in message.buckets
        ),
    )


def _stated(statement: Statement) -> pb.StatedConsent:
    return pb.StatedConsent(
        sha256=statement.sha256,
        status=statement.document.status,
        verified=statement.verified,
        source=statement.source,
        received_ms=statement.received_ms,
        provisions=list(_provisions(statement)),
    )


def _provisions(statement: Statement) -> Iterable[pb.ConsentProvision]:
    """The tree, flat, parents first; a bound that is open is 0."""
    for one in statement.document.root.flat():
        yield pb.ConsentProvision(
            decision="permit" if one.permit else "deny",
            purposes=sorted(purpose.value for purpose in one.purposes),
            categories=sorted(int(category) for category in one.categories),
            from_ms=one.from_ms if abs(one.from_ms) < 1 << 61 else 0,
            until_ms=one.until_ms if abs(one.until_ms) < 1 << 61 else 0,
        )


def served_auth(door: AuthDoor) -> Served:
    return (auth_pb2_grpc.add_AuthServicer_to_server, door, pb.DESCRIPTOR.services_by_name["Auth"])


def served_enrolment(door: EnrolmentDoor) -> Served:
    return (auth_pb2_grpc.add_EnrolmentServicer_to_server, door, pb.DESCRIPTOR.services_by_name["Enrolment"])
