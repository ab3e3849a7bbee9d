"""Consents on file: opened for a decision, changed by an entry.

A Consent lies in vault.consent sealed under the patient's own key, byte for byte
as it came. A change is one `consent_change` leaf and, in the same transaction:

1. the new document, and the end of the version of it that it replaces;
2. where it may narrow anything: a new key version and new public keys, so that
   who hoards keys of today reads nothing that is written tomorrow;
3. the end of every lease of the patient, announced on `lease_revoked`;
4. a mark in twin.pending, so that the twin's worker looks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.auth import consent_fhir, sets
from services.auth.consent import Document, Statement, digest
from services.auth.facts import Connection, Facts
from services.auth.keyring import KeyRing
from services.auth.sequencer import Proposal
from services.auth.sets import Order, Wanted, wanted_months
from twinward.clock import utc
from twinward.ledger.kinds import Kind

SQL = tuple[str, Sequence[object]]

# Row-level security reads the database's clock, so the end is set by that one.
END_LEASES = """
with ended as (
  update vault.lease set until = clock_timestamp()
  where handle = %s and until > clock_timestamp() and role <> 'compactor' and purpose = any (%s)
  returning id)
select pg_notify('lease_revoked', id::text) from ended"""
LOOK_AGAIN = """
insert into twin.pending (handle, seq) values (%s, 0)
on conflict (handle) do update set seq = greatest(twin.pending.seq, excluded.seq)"""
EVERY_PURPOSE = ["treatment", "upkeep", "teaching", "research", "audit", "operations", "patient-access"]


def statements(ring: KeyRing, key: bytes, facts: Facts) -> list[Statement]:
    """The patient's documents, opened and compiled. Raises Tampered where one does not open."""
    found = []
    for one in facts.consents:
        body = ring.open_consent(key, facts.handle, one.sha256, one.sealed)
        found.append(Statement(one.sha256, one.received_ms, one.source, one.verified, consent_fhir.parse(body)))
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """One Consent that comes in for a patient who is known."""

    body: bytes
    source: str  # feed:<name>, steward or withdrawal
    verified: bool
    received_ms: int
    who: Mapping[str, object] = field(default_factory=dict)  # fields of the leaf's body
    note: Sequence[SQL] = ()  # further rows that stand or fall with the change


@dataclass(frozen=True, slots=True)
class Changed:
    proposal: Proposal
    sha256: bytes
    version: int


def change(
    connection: Connection,
    ring: KeyRing,
    key: bytes,
    facts: Facts,
    known: Sequence[Statement],
    new: Change,
    now_ms: int,
) -> Changed:
    """The entry and rows that put `new` on file; nothing is written yet.

    `connection` is only read: for the categories the patient has keys of.

    Raises:
        Malformed, TooLarge: the document cannot be read.
    """
    document = consent_fhir.parse(new.body)
    sha256 = digest(new.body)
    replaced = [one.sha256 for one in known if _replaces(new, document, one) and one.sha256 != sha256]
    narrows = bool(known) or _denies(document)
    sealed = ring.seal_consent(key, facts.handle, sha256, new.body)
    writes: list[SQL] = [
        ("update vault.consent set active = false where handle = %s and sha256 = any (%s)", (facts.handle, replaced)),
        (
            """insert into vault.consent (handle, sha256, received, source, verified, active, sealed)
            values (%s, %s, %s, %s, %s, true, %s)
            on conflict (handle, sha256) do update set verified = consent.verified or excluded.verified, active = true,
              source = case when excluded.verified then excluded.source else consent.source end,
              received = case when excluded.verified then excluded.received else consent.received end,
              sealed = excluded.sealed""",
            (facts.handle, sha256, utc(new.received_ms), new.source, new.verified, sealed),
        ),
    ]
    version = facts.version
    if narrows:
        version += 1
        writes += renewed_keys(connection, ring, key, facts, version, now_ms)
    writes += ending(facts)
    writes += new.note
    body = {
        **new.who,
        "consent": [sha256.hex()],
        "outcome": "on-file",
        "verified": new.verified,
        "source": new.source,
        "replaced": [one.hex() for one in replaced[:8]],
        "version": version,
        "now": now_ms,
    }
    proposal = Proposal(Kind.CONSENT_CHANGE, body, patient=facts.handle, writes=lambda _leaf: writes)
    return Changed(proposal, sha256, version)


def ending(facts: Facts, purposes: Sequence[str] = EVERY_PURPOSE) -> list[SQL]:
    """Ends the patient's leases (compaction aside: it discloses nothing) and asks the twin to look again."""
    return [(END_LEASES, (facts.handle, list(purposes))), (LOOK_AGAIN, (facts.handle,))]


def renewed_keys(
    connection: Connection, ring: KeyRing, key: bytes, facts: Facts, version: int, now_ms: int
) -> list[SQL]:
    """Raises the patient's version and replaces all public keys by ones of that version."""
    rows = connection.execute("select distinct tag from vault.public_key where handle = %s", (facts.handle,)).fetchall()
    categories = [ring.category_of(facts.handle, bytes(tag)) for (tag,) in rows]
    wanted = tuple(
        Wanted(int(category), month)
        for category in sorted(category for category in categories if category is not None)
        for month in wanted_months(now_ms)
    )
    found: list[SQL] = [
        ("update vault.patient_state set version = %s where handle = %s", (version, facts.handle)),
        ("delete from vault.public_key_set where handle = %s", (facts.handle,)),
    ]
    return [*found, sets.issue(ring, [Order(facts.handle, key, version, wanted)])] if wanted else found


def _replaces(new: Change, document: Document, old: Statement) -> bool:
    """Only what is verified ends an earlier version; the rest stands beside it and narrows (consent.judge)."""
    same = bool(document.identity) and document.identity == old.document.identity
    return new.verified and same and new.source == old.source


def _denies(document: Document) -> bool:
    return not document.in_force or any(not provision.permit for provision in document.root.flat())
