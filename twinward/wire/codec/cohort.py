"""What a hospital's federation program asks of auth: decisions, cohorts, rounds, recorded acts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc

from twinward.errors import Malformed, TooLarge
from twinward.record import Handle
from twinward.vault.lease import Lease
from twinward.wire.codec.compaction import Use
from twinward.wire.codec.lease import lease_from_message
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2

APPROVE, REFUSE = "approve", "refuse"
SCREEN, READ = "screen", "read"
MOST_HANDLES = 500  # of one call of `read`


@dataclass(frozen=True, slots=True)
class StudyWish:
    """What a data steward says about a study."""

    study: bytes  # 32 bytes: its hash
    decision: str  # approve | refuse
    reason: str  # at most 200 characters
    privacy: str  # the class that was agreed to; needed to approve
    requester: str  # who wrote it: may not be who approves
    bundle: bytes  # 32 bytes: SHA-256 of the code that may run
    categories: tuple[int, ...] = ()  # what it reads
    first_month: int | None = None  # year * 100 + month; None: from the first record on
    last_month: int | None = None  # None: until now
    expires_ms: int = 0  # 0: in 90 days


@dataclass(frozen=True, slots=True)
class Decided:
    leaf: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class DecidedStudy:
    """The last decision about one study; whether it has expired is for the reader's clock to say."""

    study: bytes
    decision: str  # approve | refuse
    reason: str
    decided_ms: int
    expires_ms: int
    leaf: int
    bundle: bytes


@dataclass(frozen=True, slots=True)
class CohortPage:
    leases: list[Lease]
    denied: int  # patients that were looked at and not granted
    next_after: bytes  # empty at the end


@dataclass(frozen=True, slots=True)
class RoundEntry:
    leaf: int
    root: bytes  # SHA-256 over the permitted handles in order
    withdrawn: tuple[Handle, ...]  # of the cohort: may no longer take part


@dataclass(frozen=True, slots=True)
class CohortCalls:
    """The calls themselves, over a channel of `twinward.link.client`; errors are our types."""

    channel: grpc.Channel

    def decide(self, person: Sequence[tuple[str, str]], wish: StudyWish) -> Decided:
        """`person`: who decides, handed on: `twinward.link.client.with_person(token)`.

        Raises:
            Denied: who asks wrote the study, or may not decide.
            BadInput: the decision does not make sense, or names no privacy class.
        """
        request = auth_pb2.DecideStudyRequest(
            study=wish.study,
            decision=wish.decision,
            reason=wish.reason,
            privacy=wish.privacy,
            requester=wish.requester,
            categories=[int(category) for category in wish.categories],
            period=period_to_message(wish.first_month, wish.last_month),
            expires_ms=wish.expires_ms,
            bundle=wish.bundle,
        )
        answer = self._stub.DecideStudy(request, metadata=tuple(person))
        return Decided(answer.leaf, answer.expires_ms)

    def decisions(self, studies: Sequence[bytes] = ()) -> list[DecidedStudy]:
        """The last decision about each; of every study that was decided where none is named."""
        answer = self._stub.StudyDecisions(auth_pb2.StudyDecisionsRequest(studies=studies))
        return [
            DecidedStudy(
                bytes(one.study),
                one.decision,
                one.reason,
                one.decided_ms,
                one.expires_ms,
                one.leaf,
                bytes(one.bundle),
            )
            for one in answer.decisions
        ]

    def screen(self, study: bytes, after: bytes = b"") -> CohortPage:
        """Leases for the sealed index of the next patients whose consent permits the study.

        Raises:
            Denied: the study is not approved here, or its approval has ended.
        """
        return self._cohort(auth_pb2.GrantCohortRequest(study=study, step=SCREEN, after=after))

    def pages(self, study: bytes) -> Iterator[CohortPage]:
        """`screen` page by page to the end."""
        after = b""
        while True:
            page = self.screen(study, after)
            yield page
            if not page.next_after:
                return
            after = page.next_after

    def read(self, study: bytes, handles: Sequence[Handle]) -> list[Lease]:
        """Leases for the study's categories and months; patients who may not be read are left out.

        Settle what waits in the tail before: keys go back to the first year that is filed.

        Raises:
            Denied: the study is not approved here, or its approval has ended.
            TooLarge: more than 500 patients.
        """
        request = auth_pb2.GrantCohortRequest(study=study, step=READ, handles=[one.bytes for one in handles])
        try:
            return self._cohort(request).leases
        except TooLarge:
            if not 1 < len(handles) <= MOST_HANDLES:
                raise
        half = len(handles) // 2  # their records go back too far for one answer
        return self.read(study, handles[:half]) + self.read(study, handles[half:])

    def enter_round(self, study: bytes, round: int, step: str, handles: Sequence[Handle]) -> RoundEntry:
        """One entry for a round over the cohort. Raises Denied as `screen`, TooLarge above 100,000."""
        answer = self._stub.EnterRound(
            auth_pb2.EnterRoundRequest(study=study, round=round, step=step, handles=[one.bytes for one in handles])
        )
        return RoundEntry(answer.leaf, bytes(answer.root), tuple(Handle(bytes=one) for one in answer.withdrawn))

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        """The leaf of an act of this program; see `RecordAct` for what a body may hold. No floats."""
        data = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return int(self._stub.RecordAct(auth_pb2.RecordActRequest(kind=kind, body=data)).leaf)

    def give_back(self, lease_ids: Sequence[bytes]) -> None:
        self._stub.ReturnLease(auth_pb2.ReturnLeaseRequest(lease_ids=lease_ids))

    def report(self, uses: Sequence[Use]) -> None:
        self._stub.ReportUse(
            auth_pb2.ReportUseRequest(uses=[auth_pb2.LeaseUse(lease_id=use.lease_id, rows=use.rows) for use in uses])
        )

    def _cohort(self, request: auth_pb2.GrantCohortRequest) -> CohortPage:
        answer = self._stub.GrantCohort(request)
        if len(answer.next_after) not in (0, 16):
            raise Malformed("the place of the next page is a handle of 16 bytes")
        leases = [lease_from_message(one) for one in answer.leases]
        return CohortPage(leases, answer.denied, bytes(answer.next_after))

    @property
    def _stub(self) -> auth_pb2_grpc.AuthStub:
        return auth_pb2_grpc.AuthStub(self.channel)


def period_to_message(first: int | None, last: int | None) -> record_pb2.Period | None:
    """None where both ends are open; an open end alone is the zero month."""
    if first is None and last is None:
        return None
    return record_pb2.Period(first=_month(first or 0), last=_month(last or 0))


def period_from_message(message: record_pb2.Period) -> tuple[int | None, int | None]:
    """Undoes `period_to_message`. Raises Malformed where a month is none."""
    return _of_month(message.first), _of_month(message.last)


def _month(number: int) -> record_pb2.Month:
    return record_pb2.Month(year=number // 100, month=number % 100)


def _of_month(message: record_pb2.Month) -> int | None:
    if message.month > 12 or message.year > 9999 or bool(message.month) != bool(message.year):
        raise Malformed("a month has a year and a number from 1 to 12; both zero leaves that end open")
    return message.year * 100 + message.month or None
