"""Which role may do what, and through which programs a person's token may come."""

from __future__ import annotations

from collections.abc import Iterable

ROLES: dict[str, frozenset[str]] = {
    "clinician": frozenset({"grant", "patient.list", "twin.read", "consent.read"}),
    "learner": frozenset({"grant", "patient.list", "twin.read", "session.run"}),
    "instructor": frozenset({"grant", "patient.list", "twin.read", "session.run", "session.watch", "session.steer"}),
    "researcher": frozenset({"grant", "patient.list", "twin.read", "study.read", "study.write"}),
    "data-steward": frozenset(
        {"ingest.write", "ingest.read", "consent.read", "consent.write", "study.read", "study.approve"}
    ),
    "privacy-officer": frozenset({"consent.read", "consent.write", "audit.read", "ledger.status"}),
    "auditor": frozenset({"audit.read", "ledger.status", "study.read"}),
    "site-admin": frozenset(
        {"ledger.status", "ingest.read", "study.read", "site.join", "site.invite", "twin.jobs", "twin.prior"}
    ),
}
PERMISSIONS = frozenset().union(*ROLES.values())

# The application a person logged in with (azp) -> programs that may hand its tokens on.
FORWARDERS: dict[str, frozenset[str]] = {"twinward-cli": frozenset({"twin", "federation"})}

# Program -> the audience its door asks for; the others ask for their own name.
AUDIENCES: dict[str, str] = {
    "twin-worker": "twin",
    "sessions": "twin",
    "twin-jobs": "twin",
    "ingest-filer": "ingest",
    "coordinator": "federation",
    "superlink": "federation",
}


def allowed(roles: Iterable[str], permission: str) -> bool:
    """Whether one of `roles` holds `permission`; unknown roles hold nothing."""
    return any(permission in ROLES.get(role, frozenset()) for role in roles)


def audience_of(program: str) -> str:
    return AUDIENCES.get(program, program)
