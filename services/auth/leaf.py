"""What the bodies of our entries say: who, through what, decided how.

Field names as vault.md 5. `t` is the decision's own moment; the sequencer adds
what it alone knows. No names, numbers or values of patients: handles only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from services.auth.decision import Decision, Runs
from twinward.link.caller import Caller
from twinward.vault.keytree import Period

Body = dict[str, object]


def who(caller: Caller, *, issuer: str) -> Body:
    """The fields about the caller. `issuer` tells embedded from external identity providers."""
    body: Body = {"client": caller.peer_id, "idp_class": "embedded" if "/embedded" in issuer else "external"}
    person = caller.person
    if person is None:
        return {**body, "actor": caller.program or caller.peer_id}
    return {
        **body,
        "actor": person.sub,
        "session": person.sid,
        "jti_hash": hashlib.sha256(person.jti.encode()).hexdigest()[:32],
        "roles": list(person.roles),
    }


def decided(decision: Decision, policy_sha256: str) -> Body:
    """The fields about a decision; lists are cut where a body would grow beyond its limit."""
    body: Body = {
        "decision": "permit" if decision.allowed else "deny",
        "policy": policy_sha256,
        "policy_ids": list(decision.policies),
        "consent": [sha256.hex() for sha256 in decision.consents[:8]],
    }
    if len(decision.consents) > 8:
        body["consents"] = len(decision.consents)
    if decision.reason:
        body["reason"] = decision.reason
    return body


def released(runs: Runs) -> Body:
    """Categories and the months of each, as `2025-01..2025-12`, `0000-00` for undated."""
    return {
        "categories": [int(category) for category in runs],
        "period": _spans({span for periods in runs.values() for period in periods for span in _text(period)}),
    }


def _text(period: Period) -> Iterable[str]:
    if period.undated:
        yield "0000-00"
    if period.first <= period.last:
        yield f"{_month(period.first)}..{_month(period.last)}"


def _month(month: int) -> str:
    return f"{month // 100:04d}-{month % 100:02d}"


def _spans(spans: Iterable[str]) -> list[str]:
    ordered = sorted(spans)
    return ordered if len(ordered) <= 40 else [*ordered[:40], "..."]


def joined(*parts: Mapping[str, object]) -> Body:
    whole: Body = {}
    for part in parts:
        whole.update(part)
    return whole
