"""Consents and care teams that ingest took in and sealed to auth.

They are applied before the first decision after they came: every decision asks
whether any wait, and a start applies all. What a feed says:

    consent     narrows at once; widens only from a feed approved for `consent`
    care_team   counts only from a feed approved for `care_team`

Each row that is applied is one leaf, in the transaction that applies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.auth import careteam, onfile
from services.auth.facts import Connection, Facts, Pool, connection_of, facts_of
from services.auth.gate import Gate
from services.auth.keyring import KeyRing
from services.auth.onfile import SQL, Change
from services.auth.sequencer import Proposal, Sequencer
from twinward.clock import Clock, utc
from twinward.errors import BadInput, Tampered
from twinward.ledger.kinds import Kind
from twinward.record import Handle
from twinward.vault import hpke
from twinward.vault.acceptance import consent_info

BATCH = 200

_WAITING = """
select i.id, coalesce(i.handle, f.handle), i.feed, i.kind, i.received, i.blob, coalesce(d.approvals, '{}')
from vault.intake_consent i
left join vault.feed_index f on f.idx = i.feed_index
left join vault.feed d on d.name = i.feed
where i.applied is null and coalesce(i.handle, f.handle) is not null
order by i.id limit %s"""
_DONE = "update vault.intake_consent set applied = %s, outcome = %s where id = %s"


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    handle: Handle
    feed: str
    kind: str
    received: datetime
    blob: bytes
    approvals: Sequence[str]

    @property
    def received_ms(self) -> int:
        return int(self.received.timestamp() * 1000)


class Waiting:
    def __init__(self, pool: Pool, ring: KeyRing, sequencer: Sequencer, gate: Gate, clock: Clock) -> None:
        self._pool, self._ring, self._sequencer, self._gate, self._clock = pool, ring, sequencer, gate, clock

    def apply(self) -> int:
        """Applies all that wait for known patients; how many.

        Raises:
            Unavailable, Busy: what was not applied waits on, and decisions with it.
        """
        applied = 0
        with self._gate.change():
            while True:
                with connection_of(self._pool) as connection:
                    rows = [_Row(*row) for row in connection.execute(_WAITING, (BATCH,), binary=True).fetchall()]
                    if not rows:
                        return applied
                    proposals = self._proposals(connection, rows)
                self._sequencer.commit(proposals)
                applied += len(proposals)

    def _proposals(self, connection: Connection, rows: Sequence[_Row]) -> list[Proposal]:
        now_ms = self._clock.now_ms()
        first: dict[Handle, _Row] = {}
        for row in rows:  # one change a patient and round: the next one builds on it
            first.setdefault(row.handle, row)
        facts = {one.handle: one for one in facts_of(connection, list(first), None, (), now_ms)}
        return [self._proposal(connection, row, facts.get(handle), now_ms) for handle, row in first.items()]

    def _proposal(self, connection: Connection, row: _Row, facts: Facts | None, now_ms: int) -> Proposal:
        if facts is None or facts.erased:
            return self._refused(row, "erased", now_ms)
        try:
            body = hpke.open_sealed(self._ring.admit_key, row.blob, consent_info(self._ring.site))
            if row.kind == "care_team":
                return self._care_team(row, facts, body, now_ms)
            key = self._ring.unwrap(facts)
            new = Change(
                body=body,
                source=f"feed:{row.feed}",
                verified="consent" in row.approvals,
                received_ms=row.received_ms,
                who=_who(row),
                note=[_done(row, "applied" if "consent" in row.approvals else "unverified", now_ms)],
            )
            known = onfile.statements(self._ring, key, facts)
            return onfile.change(connection, self._ring, key, facts, known, new, now_ms).proposal
        except Tampered:
            return self._refused(row, "does-not-open", now_ms)
        except BadInput:
            return self._refused(row, "malformed", now_ms)

    def _care_team(self, row: _Row, facts: Facts, body: bytes, now_ms: int) -> Proposal:
        if "care_team" not in row.approvals:
            return self._refused(row, "feed-not-approved", now_ms)
        team = careteam.parse(body, row.received_ms)
        source = f"feed:{row.feed}:{team.identity}"
        writes: list[SQL] = [
            ("delete from vault.care_team where handle = %s and source = %s", (facts.handle, source)),
            (
                """insert into vault.care_team (handle, actor, starts, ends, source)
                select %s, m.actor, m.starts, m.ends, %s
                from unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) as m (actor, starts, ends)
                on conflict (handle, actor, starts) do nothing""",
                (
                    facts.handle,
                    source,
                    [one.actor for one in team.members],
                    [utc(one.from_ms) for one in team.members],
                    [None if one.until_ms is None else utc(one.until_ms) for one in team.members],
                ),
            ),
            *onfile.ending(facts, ["treatment"]),
            _done(row, "applied", now_ms),
        ]
        said = {**_who(row), "outcome": "care-team", "members": len(team.members), "now": now_ms}
        return Proposal(Kind.CONSENT_CHANGE, said, patient=facts.handle, writes=lambda _leaf: writes)

    def _refused(self, row: _Row, outcome: str, now_ms: int) -> Proposal:
        done = _done(row, outcome, now_ms)
        said = {**_who(row), "outcome": outcome, "decision": "deny", "now": now_ms}
        return Proposal(Kind.CONSENT_CHANGE, said, patient=row.handle, writes=lambda _leaf: [done])


def _who(row: _Row) -> dict[str, Any]:
    return {"actor": f"feed:{row.feed}", "what": row.kind}


def _done(row: _Row, outcome: str, now_ms: int) -> SQL:
    return _DONE, (utc(now_ms), outcome, row.id)
