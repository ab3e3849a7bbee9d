"""Reading the ledger back: search by terms, open the bodies, say how each stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.auth import bodies
from services.auth.bodies import AuditKeys, Connection
from services.auth.terms import Terms
from twinward.errors import Malformed, Tampered
from twinward.ledger import body as canonical
from twinward.ledger.entry import Entry, check_body
from twinward.ledger.kinds import Kind
from twinward.record import Handle

VALID, DESTROYED, MISSING, TAMPERED = "valid", "destroyed", "missing", "tampered"
MOST = 500


@dataclass(frozen=True, slots=True)
class Found:
    """One entry as an auditor is given it."""

    index: int
    kind: int
    time_s: int
    state: str  # valid | destroyed | missing | tampered
    body: bytes = b""  # canonical JSON where valid


@dataclass(frozen=True, slots=True)
class Question:
    """Newest first, below `before` where set; terms join with and."""

    patient: Handle | None = None
    actor: str = ""
    study: bytes = b""  # its hash
    kind: Kind | None = None
    since_ms: int = 0
    before: int | None = None
    limit: int = 50


class EntryReader:
    """Opens what `sequencer` sealed: give it the sequencer's `site`, `terms` and `keys`."""

    def __init__(self, site: str, terms: Terms, keys: AuditKeys) -> None:
        self._site = site
        self._terms = terms
        self._keys = keys

    def find(self, connection: Connection, question: Question) -> list[Found]:
        """At most `limit` (500) entries. The reading itself is to be recorded first, by the caller."""
        # The rarest first: it decides how many rows are looked at.
        asked = [self._terms.patient(question.patient)] if question.patient is not None else []
        if question.study:
            asked.append(self._terms.study(question.study))
        if question.actor:
            asked.append(self._terms.actor(question.actor))
        if question.kind is not None:
            asked.append(self._terms.kind(question.kind))
        rows = (
            connection.cursor(binary=True)
            .execute(
                """select e.idx, e.entry, b.audit_key, b.sealed
                   from ledger.entry e left join ledger.body b using (idx)
                   where e.idx < %(before)s and e.idx >= %(since)s
                     and not exists (select from unnest(%(terms)s::bytea[]) as w (term)
                       where not exists (select from ledger.term t where t.term = w.term and t.idx = e.idx))
                     and (cardinality(%(terms)s::bytea[]) = 0
                       or e.idx in (select idx from ledger.term where term = (%(terms)s::bytea[])[1]))
                   order by e.idx desc limit %(limit)s""",
                {
                    "before": question.before if question.before is not None else 1 << 62,
                    "since": _first_since(connection, question.since_ms // 60_000 * 60),
                    "terms": asked,
                    "limit": max(1, min(question.limit, MOST)),
                },
            )
            .fetchall()
        )
        keys = self._keys.by_id(connection, [row[2] for row in rows if row[2] is not None])
        ended = self._ended(connection) if any(row[3] is None or row[2] not in keys for row in rows) else []
        found: list[Found] = []
        for index, data, audit_key, sealed in rows:
            key = keys.get(audit_key)
            if sealed is None or key is None:
                state = DESTROYED if any(first <= index < end for first, end in ended) else MISSING
                found.append(_bare(index, data, state))
            else:
                found.append(self._opened(index, data, key, sealed))
        return found

    def _opened(self, index: int, data: bytes, key: bodies.AuditKey, sealed: bytes) -> Found:
        try:
            entry = Entry.decode(data)
            body = check_body(entry, bodies.unseal(key, self._site, index, entry.kind, sealed))
        except (Malformed, Tampered):
            return _bare(index, data, TAMPERED)
        return Found(index, entry.kind, entry.time_s, VALID, canonical.encode(body))

    def _ended(self, connection: Connection) -> list[tuple[int, int]]:
        """[first, end) ranges whose bodies a retention rule has ended."""
        rows = connection.execute(
            """select e.idx, e.entry, b.audit_key, b.sealed from ledger.entry e join ledger.body b using (idx)
               where e.idx in (select idx from ledger.term where term = %s)""",
            [self._terms.kind(Kind.RETENTION)],
        ).fetchall()
        keys = self._keys.by_id(connection, [row[2] for row in rows])
        ranges: list[tuple[int, int]] = []
        for index, data, audit_key, sealed in rows:
            if audit_key in keys:
                opened = self._opened(index, bytes(data), keys[audit_key], bytes(sealed))
                ranges += _ranges(opened.body)
        return ranges


def _bare(index: int, data: bytes, state: str) -> Found:
    try:
        entry = Entry.decode(data)
    except Malformed:
        return Found(index, 0, 0, TAMPERED)
    return Found(index, entry.kind, entry.time_s, state)


def _ranges(body: bytes) -> Sequence[tuple[int, int]]:
    stated = canonical.decode(body).get("ranges") if body else None
    pairs = stated if isinstance(stated, list) else []
    return [(pair[0], pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def _first_since(connection: Connection, since_s: int) -> int:
    """Index of the first entry at or after `since_s`: log time never goes back, so halving finds it."""
    if since_s <= 0:
        return 0
    row = connection.execute("select size from ledger.head").fetchone()
    low, high = 0, 0 if row is None else int(row[0])
    while low < high:
        middle = (low + high) // 2
        at = connection.execute("select at from ledger.entry where idx = %s", [middle]).fetchone()
        if at is None or at[0] < since_s:
            low = middle + 1
        else:
            high = middle
    return low
