"""What joined hospitals say every second: how they are and what they decided; and what they hear back.

A decision is made and entered at the hospital; here it is only taken, once, and acknowledged after the commit. The
number of its leaf there orders decisions of one hospital about one study: an older one never replaces a newer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from services.federation import books
from services.federation.books import Connection, Pool
from services.federation.events import add_event
from services.federation.joining import Joining, shown_version
from twinward.clock import Clock, utc
from twinward.errors import BadInput, TooLarge

MOST_DECISIONS = 500
MOST_OFFERED = 20
MOST_STATES = 200
LATELY = timedelta(days=7)
REASON = re.compile(r"[A-Za-z0-9_ .-]{0,60}")
DECISIONS = {"approve": ("approved", "approves"), "refuse": ("refused", "refuses")}


@dataclass(frozen=True, slots=True)
class Decided:
    study: bytes
    decision: str
    reason: str
    decided_ms: int
    expires_ms: int
    leaf: int


@dataclass(frozen=True, slots=True)
class Offered:
    number: int
    study: bytes
    canonical: bytes
    bundle: bytes
    author: str


@dataclass(frozen=True, slots=True)
class Synced:
    studies: list[Offered] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    acknowledged: list[bytes] = field(default_factory=list)


class Syncing:
    def __init__(self, pool: Pool, joining: Joining, clock: Clock) -> None:
        self._pool = pool
        self._joining = joining
        self._clock = clock

    def sync(
        self, site: str, certificate: bytes, version: str, decisions: Sequence[Decided], after: int, *,
        life: int,
    ) -> Synced:  # fmt: skip
        """
        Raises:
            Unauthenticated: the hospital is no member any more.
            BadInput: a decision that cannot be one.
        """
        if len(decisions) > MOST_DECISIONS:
            raise TooLarge(f"send at most {MOST_DECISIONS} decisions at once")
        for one in decisions:
            _check(one)
        with self._pool.connection() as connection:
            self._joining.member(connection, site, certificate)
            books.heard(connection, site, shown_version(version), life=min(life, 2**62))
            taken = [one.study for one in decisions if self._take(connection, site, one)]
            found = Synced(_offered(connection, site, min(after, 2**62)), self._states(connection, site), taken)
        return found

    def _take(self, connection: Connection, site: str, one: Decided) -> bool:
        """Whether it is durable here, now or since before; not for a study that nobody asked this hospital."""
        known = connection.execute(
            "select number from fed.study where hash = %s and (sites = '{}' or %s = any(sites))", (one.study, site)
        ).fetchone()
        if known is None:
            return False
        changed = connection.execute(
            """
            insert into fed.answer as old (study, site, decision, reason, decided, expires, leaf)
            values (%s, %s, %s, %s, %s, %s, %s)
            on conflict (study, site) do update set decision = excluded.decision, reason = excluded.reason,
              decided = excluded.decided, expires = excluded.expires, leaf = excluded.leaf
            where excluded.leaf > old.leaf
            """,
            (
                known[0], site, one.decision, one.reason, books.at(one.decided_ms), books.at(one.expires_ms), one.leaf,
            ),
        )  # fmt: skip
        if changed.rowcount == 1:
            kind, verb = DECISIONS[one.decision]
            add_event(connection, known[0], kind, f"{site} {verb} the study", utc(self._clock.now_ms()))
        return True

    def _states(self, connection: Connection, site: str) -> dict[str, str]:
        found = connection.execute(
            "select hash, state from fed.study where (sites = '{}' or %s = any(sites))"
            " and (state in ('running', 'stopping') or changed > %s) order by number desc limit %s",
            (site, utc(self._clock.now_ms()) - LATELY, MOST_STATES),
        ).fetchall()
        return {hash_.hex(): state for hash_, state in found}


def _offered(connection: Connection, site: str, after: int) -> list[Offered]:
    found = connection.execute(
        "select number, hash, canonical, bundle, author from fed.study"
        " where number > %s and (sites = '{}' or %s = any(sites)) order by number limit %s",
        (after, site, MOST_OFFERED),
    ).fetchall()
    return [Offered(*row) for row in found]


def _check(one: Decided) -> None:
    if one.decision not in DECISIONS or not REASON.fullmatch(one.reason):
        raise BadInput("a decision is approve or refuse, with a public code as its reason")
    if one.leaf >= 2**63:
        raise BadInput("a decision names the leaf it has in the hospital's ledger")
    books.at(one.decided_ms)
    books.at(one.expires_ms)
