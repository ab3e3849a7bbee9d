"""Keys for a study: first to find its patients, then to read those that were found.

screen   the sealed index of every patient whose consent permits research, page by page
         in the order of handles. The index speaks of all ordinary categories, so the
         consent must permit all of them: one that leaves anything out leaves the patient
         out. One leaf `screen` a patient, included in the study or not; who may not be
         screened opens nothing and is only counted.
read     the approved categories and months of patients that were found; one leaf `grant`
         a patient. A patient is read whole or not at all.

A page is one range of the primary key: cost is a page's patients times log of all.
Both steps need the study's approval, looked up inside the gate of the decision.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from services.auth import months
from services.auth.decision import Asked, Decision, Runs
from services.auth.desk import INSERT_LEASE, ROLES, Desk, asker_of
from services.auth.facts import Facts, connection_of
from services.auth.leaf import Body, decided, released
from services.auth.ledger_rows import Statement
from services.auth.permits import Permits
from services.auth.sequencer import Proposal
from services.auth.studies import Decided, actor_of, approved, first_and_last, terms_of
from services.auth.upkeep import PATIENTS
from twinward.clock import month_of, utc
from twinward.errors import BadInput, Busy, Denied, TooLarge
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Category, Handle, Purpose
from twinward.vault.cohortindex import INDEXED
from twinward.vault.keytree import Period
from twinward.vault.lease import Lease

MOST = 500  # patients of one call
LEASE_S = 60  # a page of indexes is read in under a second, 500 whole patients in some seconds
MOST_NODES = 250_000  # keys of one answer: some 12 MB
_MOST_REMEMBERED = 10_000
_DAY_MS = 86_400_000

_PAGE = "select handle from vault.patient_state where handle > %s and not erased order by handle limit %s"
_INDEX: Runs = {Category.COHORT_INDEX: (Period(months.LAST, months.FIRST, undated=True),)}
_SCREENED = (Category.COHORT_INDEX, *sorted(INDEXED))
EVER = Period(months.FIRST, months.LAST, undated=True)


@dataclass(frozen=True, slots=True)
class Page:
    leases: list[Lease]
    denied: int
    next_after: Handle | None = None  # None at the end


class Cohorts:
    def __init__(self, desk: Desk, permits: Permits) -> None:
        self._desk = desk
        self._permits = permits
        self._patients = 0  # of the site, when they were last counted
        self._refused: OrderedDict[tuple[bytes, str, int], None] = OrderedDict()
        self._lock = threading.Lock()

    def screen(self, caller: Caller, study: bytes, after: Handle | None) -> Page:
        """The next page of patients.

        Raises:
            Denied: the study is not approved here.
            Busy, Unavailable: not decided; nothing was released.
        """
        with connection_of(self._desk.pool) as connection:
            rows = connection.execute(_PAGE, (after or UUID(int=0), MOST), binary=True).fetchall()
        handles = [handle for (handle,) in rows]
        page = self._granted(caller, study, handles, "screen")
        return replace(page, next_after=handles[-1] if len(handles) == MOST else None)

    def read(self, caller: Caller, study: bytes, handles: Sequence[Handle]) -> Page:
        """Of patients that were found. Raises TooLarge above 500, or 250,000 keys; else as `screen`."""
        wanted = list(dict.fromkeys(handles))
        if len(wanted) > MOST:
            raise TooLarge(f"one cohort has {MOST} patients at most; ask for the rest apart")
        return self._granted(caller, study, wanted, "read")

    def approval(self, caller: Caller, study: bytes, now_ms: int) -> Decided:
        """The study's approval; the refusal is an entry, once a day and reason. Raises Denied."""
        try:
            with connection_of(self._desk.pool) as connection:
                return approved(connection, study, now_ms)
        except Denied as refusal:
            self._deny(caller, study, refusal, now_ms)
            raise

    def count(self, caller: Caller, handles: Sequence[Handle]) -> None:
        """Raises Busy above the number of the site's patients in one minute."""
        caps, certificate = self._desk.caps, caller.certificate_sha256
        try:
            caps.count(certificate, handles, most=self._patients)
        except Busy:  # the site may have grown since it was counted
            with connection_of(self._desk.pool) as connection:
                row = connection.execute(PATIENTS).fetchone()
            self._patients = row[0] if row else 0
            caps.count(certificate, handles, most=self._patients)

    def _granted(self, caller: Caller, study: bytes, handles: Sequence[Handle], step: str) -> Page:
        desk = self._desk
        with desk.deciding(handles) as known:
            now_ms = known.now_ms
            approval = self.approval(caller, study, now_ms)
            self.count(caller, handles)
            said: Body = {
                **desk.who(caller), "act": "cohort", "step": step, "study": study.hex(), "approval": approval.leaf,
                "purpose": Purpose.RESEARCH.value, "now": now_ms,
            }  # fmt: skip
            asked = screened(caller, now_ms) if step == "screen" else wished(caller, approval, now_ms)
            kind = Kind.SCREEN if step == "screen" else Kind.GRANT
            leases, proposals = [], []
            for facts in sorted(known.facts, key=lambda one: one.handle):
                decision, key = self._permits.decide(facts, asked, None if step == "screen" else approval)
                if decision.allowed and not decision.reason:
                    runs = _INDEX if step == "screen" else self._filed(facts, decision.released, now_ms)
                    lease, proposal = self._lease(study, facts, asked, decision, key, runs, Proposal(kind, said))
                    leases.append(lease)
                    proposals.append(proposal)
            if sum(len(lease.nodes) for lease in leases) > MOST_NODES:
                raise TooLarge("these patients' records go back too far for one answer; ask for fewer at once")
            leaves = desk.record(proposals)
        made = [replace(lease, leaf=leaf) for lease, leaf in zip(leases, leaves, strict=True)]
        return Page(made, len(handles) - len(made))

    def _filed(self, facts: Facts, runs: Runs, now_ms: int) -> Runs:
        """`runs` from the first year on in which something of a category is filed: keys of empty years open nothing."""
        found: Runs = {}
        for category, periods in runs.items():
            own = self._desk.ring.tag(facts.handle, category)
            years = [group.year for group in facts.groups if group.tag == own and group.year]
            earliest = min(years, default=month_of(now_ms) // 100) * 100 + 1
            found[category] = tuple(
                replace(one, first=max(one.first, earliest)) if one.last >= earliest else _undated(one)
                for one in periods
                if one.undated or one.last >= earliest
            )
        return found

    def _lease(
        self, study: bytes, facts: Facts, asked: Asked, decision: Decision, key: bytes, runs: Runs, leaf: Proposal
    ) -> tuple[Lease, Proposal]:
        """The lease, and `leaf` with what it says of this patient."""
        desk, lease_id = self._desk, self._desk.new_id()
        until_ms = asked.now_ms + LEASE_S * 1000
        tags = desk.ring.tags(facts.handle, runs)
        lease = Lease(
            lease_id=lease_id.bytes,
            handle=facts.handle,
            until_ms=until_ms,
            purpose=Purpose.RESEARCH.value,
            tags=tags,
            nodes=desk.ring.nodes(key, facts, runs, asked.now_ms),
            tails=(),
            manifest_root=facts.manifest_root,
            manifest_previous=facts.manifest_previous,
            leaf=0,
            version=facts.version,
            issued_ms=asked.now_ms,
        )
        row = (
            lease_id, ROLES[asked.asker.program], facts.handle, list(tags.values()), Purpose.RESEARCH.value,
            utc(asked.now_ms), utc(until_ms),
        )  # fmt: skip
        body = {
            **leaf.body, **decided(decision, desk.policies.sha256), **released(runs), "lease_s": LEASE_S,
            "lease": str(lease_id),
        }  # fmt: skip

        def writes(index: int) -> Sequence[Statement]:
            return [(INSERT_LEASE, (*row, index, actor_of(study)))]

        return lease, replace(leaf, body=body, patient=facts.handle, terms=terms_of(study), writes=writes)

    def _deny(self, caller: Caller, study: bytes, refusal: Denied, now_ms: int) -> None:
        """A program that asks again and again is no news."""
        place = (bytes(study), refusal.public, now_ms // _DAY_MS)
        with self._lock:
            if place in self._refused:
                return
        body: Mapping[str, object] = {
            **self._desk.who(caller), "act": "cohort", "study": study.hex(), "decision": "deny",
            "reason": "study-not-approved", "now": now_ms,
        }  # fmt: skip
        self._desk.record([Proposal(Kind.DENY, body, terms=terms_of(study))])
        with self._lock:
            self._refused[place] = None
            while len(self._refused) > _MOST_REMEMBERED:
                self._refused.popitem(last=False)


def _undated(period: Period) -> Period:
    return Period(months.LAST, months.FIRST, period.undated)


def screened(caller: Caller, now_ms: int) -> Asked:
    """Whether the index may be opened: it tells of every ordinary category."""
    return Asked(asker_of(caller), "study", Purpose.RESEARCH, _SCREENED, EVER, now_ms)


def wished(caller: Caller, approval: Decided, now_ms: int) -> Asked:
    """What an approved study reads: its months, and what has no time."""
    first, last = first_and_last(approval, month_of(now_ms))
    period = Period(first, last, undated=True) if first <= last else Period(months.LAST, months.FIRST, undated=True)
    return Asked(asker_of(caller), "study", Purpose.RESEARCH, approval.categories, period, now_ms)


def handle_of(data: bytes) -> Handle | None:
    """None for empty bytes. Raises BadInput."""
    if len(data) not in (0, 16):
        raise BadInput("a page begins after a handle of 16 bytes, or empty at the start")
    return Handle(bytes=bytes(data)) if data else None
