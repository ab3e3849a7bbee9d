"""From proposals to the rows of one group: bodies, commitments, seals, terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.auth import bodies
from services.auth.bodies import AuditKey, AuditKeys, Owner
from services.auth.ledger_rows import Group, Head, Row, Statement
from services.auth.terms import Terms
from twinward.clock import Chance
from twinward.errors import BadInput
from twinward.ledger import body as canonical
from twinward.ledger import checkpoint as checkpoints
from twinward.ledger.checkpoint import Checkpoint
from twinward.ledger.entry import SALT_BYTES, Entry, commit, join, minute_of
from twinward.ledger.kinds import Kind
from twinward.ledger.note import Signer
from twinward.ledger.tree import leaf_hash
from twinward.record import Handle

BODY_VERSION = 1
_OURS = ("v", "t", "site", "kind")


def no_writes(_index: int) -> Sequence[Statement]:
    return ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """One entry that somebody wants recorded.

    `body` is what vault.md 5 lists, without v, t, site, kind and patient, which the
    sequencer adds. `writes(index)` gives the SQL that stands or falls with the entry.
    `terms` are further search terms, `field:value`.
    """

    kind: Kind
    body: Mapping[str, object]
    patient: Handle | None = None
    terms: tuple[str, ...] = ()
    writes: Callable[[int], Sequence[Statement]] = no_writes


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal made ready as far as it can be without its place in the ledger."""

    proposal: Proposal
    at_ms: int
    encoded: bytes  # canonical JSON with `t` = at_ms
    terms: tuple[bytes, ...]


class Grouping:
    def __init__(self, site: str, signer: Signer, keys: AuditKeys, terms: Terms, chance: Chance) -> None:
        self._site = site
        self._signer = signer
        self._keys = keys
        self._terms = terms
        self._chance = chance

    def draft(self, proposal: Proposal, at_ms: int) -> Draft:
        """Raises Malformed, TooLarge or BadInput where the body cannot be recorded."""
        terms = [self._terms.kind(proposal.kind)]
        if proposal.patient is not None:
            terms.append(self._terms.patient(proposal.patient))
        actor = proposal.body.get("actor")
        if isinstance(actor, str) and actor:
            terms.append(self._terms.actor(actor))
        terms += map(self._terms.named, proposal.terms)
        return Draft(proposal, at_ms, self._encode(proposal, at_ms), tuple(dict.fromkeys(terms)))

    def owners(self, drafts: Sequence[Draft], at_ms: int) -> set[Owner]:
        return {bodies.owner_of(draft.proposal.patient, at_ms) for draft in drafts}

    def build(
        self,
        head: Head,
        drafts: Sequence[Draft],
        at_ms: int,
        keys: Mapping[Owner, AuditKey],
        writes: Sequence[Statement],
    ) -> Group:
        """The group that follows `head`; log time `at_ms`, not before any earlier entry's."""
        first = head.edge.size
        rows = [self._row(draft, first + place, at_ms, keys) for place, draft in enumerate(drafts)]
        edge = head.edge.extended(leaf_hash(row.entry) for row in rows)
        stated = Checkpoint(self._signer.verifier.name, edge.size, edge.root())
        return Group(first, rows, edge, checkpoints.sign(stated, self._signer).encode(), writes)

    def _row(self, draft: Draft, index: int, at_ms: int, keys: Mapping[Owner, AuditKey]) -> Row:
        proposal = draft.proposal
        encoded = draft.encoded if draft.at_ms == at_ms else self._encode(proposal, at_ms)
        salt = self._chance.bytes(SALT_BYTES)
        entry = Entry(int(proposal.kind), minute_of(at_ms), commit(salt, encoded))
        key = keys[bodies.owner_of(proposal.patient, at_ms)]
        sealed = bodies.seal(key, self._site, index, entry.kind, join(salt, encoded), self._chance)
        return Row(entry.kind, entry.time_s, entry.encode(), key.id, sealed, draft.terms)

    def _encode(self, proposal: Proposal, at_ms: int) -> bytes:
        if any(key in proposal.body for key in _OURS):
            raise BadInput("a ledger body does not carry v, t, site or kind: the sequencer writes them")
        body = dict(proposal.body, v=BODY_VERSION, t=at_ms, site=self._site, kind=proposal.kind.word)
        if proposal.patient is not None and body.setdefault("patient", str(proposal.patient)) != str(proposal.patient):
            raise BadInput("a ledger body names another patient than its entry")
        return canonical.encode(body)
