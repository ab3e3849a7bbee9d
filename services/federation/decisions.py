"""What this hospital's people decided about studies: asked of auth, which keeps it beside its ledger.

Deciding, in order: the study is one that was offered, with the code that is installed here, and within the policy;
auth checks person, privacy class and requester, and writes decision and leaf in one transaction; the link tells the
coordinator that there is a decision, with a code and never the person's words. Killed in between: the decision
stands, and the link tells it after the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.federation.policy import PolicyFile
from services.federation.site_studies import Offered, SiteStudies
from services.federation.study_words import approval_text, categories, period
from twinward.clock import Clock
from twinward.errors import BadInput, Denied, Unready
from twinward.wire.codec.cohort import APPROVE, REFUSE, Decided, DecidedStudy, StudyWish

REFUSED_BY_STEWARD = "REFUSED_BY_STEWARD"
WAITING, EXPIRED = "waiting", "expired"
AT_ONCE = 100  # studies asked about in one call


class Decides(Protocol):
    """auth."""

    def decide(self, token: str, wish: StudyWish) -> Decided: ...
    def decisions(self, studies: Sequence[bytes] = ()) -> list[DecidedStudy]:
        """The last decision about each of the studies. Raises Unavailable."""
        ...


@dataclass
class Decisions:
    """Thread-safe. An answer of auth is used for at most `fresh_s` seconds."""

    authority: Decides
    studies: SiteStudies
    policy: PolicyFile
    bundle: Callable[[], bytes]  # SHA-256 of the code installed here
    clock: Clock
    fresh_s: float = 2.0
    changed: Callable[[], None] = lambda: None
    _seen: dict[bytes, tuple[float, DecidedStudy | None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, study: bytes) -> DecidedStudy | None:
        """The last decision about one study, expired or not. Raises Unavailable."""
        return self.about([study]).get(study)

    def about(self, studies: Sequence[bytes]) -> dict[bytes, DecidedStudy]:
        """As `of`, for several: one call for a hundred that were not asked about just now."""
        now = self.clock.monotonic()
        with self._lock:
            self._seen = {key: one for key, one in self._seen.items() if 0 <= now - one[0] < self.fresh_s}
            stale = [study for study in studies if study not in self._seen]
        for first in range(0, len(stale), AT_ONCE):
            part = stale[first:][:AT_ONCE]
            found = {one.study: one for one in self.authority.decisions(part)}
            with self._lock:
                for study in part:
                    self._seen[study] = now, found.get(study)
        with self._lock:
            seen = [self._seen.get(study, (0.0, None))[1] for study in studies]
        return {one.study: one for one in seen if one is not None}

    def word(self, decided: DecidedStudy | None) -> str:
        """waiting | approve | refuse | expired"""
        if decided is None:
            return WAITING
        if decided.decision == APPROVE and decided.expires_ms <= self.clock.now_ms():
            return EXPIRED
        return decided.decision

    def listed(self) -> list[tuple[Offered, DecidedStudy | None]]:
        offered = self.studies.all()
        found = self.about([one.sha256 for one in offered])
        return [(one, found.get(one.sha256)) for one in offered]

    def decide(self, token: str, prefix: bytes, decision: str, reason: str, privacy: str) -> tuple[Offered, Decided]:
        """
        Raises:
            NotFound, BadInput: no such study, no such decision, or not the word of its privacy class.
            Denied: the policy does not allow it; or auth: who asks wrote the study, or may not decide.
            Unready: the coordinator's code is not what is installed here.
        """
        offered = self.studies.find(prefix)
        if decision == APPROVE:
            self._approvable(offered, privacy)
        elif decision != REFUSE:
            raise BadInput(f"a decision is {APPROVE} or {REFUSE}")
        first, last = period(offered.study)
        wish = StudyWish(
            study=offered.sha256,
            decision=decision,
            reason=reason,
            privacy=privacy if decision == APPROVE else offered.study.privacy,
            requester=offered.study.author,
            bundle=offered.bundle,
            categories=tuple(int(one) for one in categories(offered.study)),
            first_month=first,
            last_month=last,
        )
        decided = self.authority.decide(token, wish)
        with self._lock:
            self._seen.pop(offered.sha256, None)
        self.changed()
        return offered, decided

    def _approvable(self, offered: Offered, privacy: str) -> None:
        if privacy != offered.study.privacy:
            raise BadInput(f'to approve, repeat the study\'s privacy class: "{offered.study.privacy}"')
        objections = self.policy.now().objections(offered.study)
        if objections:
            raise Denied(f"this hospital's policy does not allow it: {'; '.join(objections)}")
        if offered.bundle != self.bundle():
            raise Unready("the coordinator would run other code than is installed here: bring both to one version")

    def text(self, offered: Offered) -> str:
        """What approving means here, for whoever decides."""
        objections = self.policy.now().objections(offered.study)
        text = approval_text(offered.study)
        return (
            text if not objections else f"{text}\n\nThis hospital's policy does not allow it: {'; '.join(objections)}."
        )


def public_reason(decided: DecidedStudy) -> str:
    return REFUSED_BY_STEWARD if decided.decision == REFUSE else ""
