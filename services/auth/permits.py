"""Whose consent permits an approved study, decided once as long as nothing about it changed.

A decision depends on the study's approval, on the consents on file, on whether the
patient was erased, on the month that reading ends with, and on moments inside the consents
at which one begins or ends. So it is remembered with a print of all of them, and with
the first moment at which time alone could change it. Prints are read anew each time, in
the gate that keeps consents still: nothing stale is ever answered.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.auth import onfile
from services.auth.consent import FOREVER_MS, Statement
from services.auth.decision import Asked, Decision, decide
from services.auth.desk import Desk
from services.auth.facts import Connection, Facts
from services.auth.studies import Decided
from twinward.clock import month_of
from twinward.record import Handle

MOST = 200_000  # patients remembered

_PRINTS = """
select s.handle, s.version, c.print
from unnest(%s::uuid[]) as w (handle)
join vault.patient_state s using (handle) join vault.patient_key k using (handle)
cross join lateral (
  select sha256(convert_to(coalesce(string_agg(concat_ws(' ', encode(sha256, 'hex'),
    (extract(epoch from received) * 1000)::bigint, verified::text, source), ';' order by received, sha256), ''),
    'UTF8')) as print
  from vault.consent where handle = s.handle and active) c
where not s.erased and k.state = 'live'"""

Print = tuple[int, bytes]  # key version, and a hash over the consents on file


@dataclass(frozen=True, slots=True)
class _Known:
    approval: int  # its leaf
    print: Print
    month: int
    until_ms: int  # time alone changes nothing before
    permitted: bool


class Permits:
    """Thread-safe."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: OrderedDict[tuple[bytes, Handle], _Known] = OrderedDict()
        self._lock = threading.Lock()

    def decide(self, facts: Facts, asked: Asked, approval: Decided | None = None) -> tuple[Decision, bytes]:
        """The decision and the patient's key (empty where erased); remembered where an approval is given."""
        desk = self._desk
        key = b"" if facts.erased else desk.ring.unwrap(facts)
        statements = [] if facts.erased else onfile.statements(desk.ring, key, facts)
        decision = decide(desk.policies, asked, statements, care_team=False, erased=facts.erased)
        if approval is not None:
            known = _Known(
                approval.leaf, _print(facts), month_of(asked.now_ms), _next_change(statements, asked.now_ms),
                decision.allowed and not decision.reason,
            )  # fmt: skip
            with self._lock:
                self._known[approval.study, facts.handle] = known
                self._known.move_to_end((approval.study, facts.handle))
                while len(self._known) > MOST:
                    self._known.popitem(last=False)
        return decision, key

    def remembered(self, approval: Decided, prints: Mapping[Handle, Print], now_ms: int) -> dict[Handle, bool]:
        """Who of `prints` is known to be permitted, or not; those that must be decided anew are left out."""
        found: dict[Handle, bool] = {}
        month = month_of(now_ms)
        with self._lock:
            for handle, print_ in prints.items():
                known = self._known.get((approval.study, handle))
                if known is None or (known.approval, known.print, known.month) != (approval.leaf, print_, month):
                    continue
                if now_ms < known.until_ms:
                    found[handle] = known.permitted
        return found


def prints(connection: Connection, handles: Sequence[Handle]) -> dict[Handle, Print]:
    """Of the patients that are there: what a decision depends on and can change."""
    rows = connection.execute(_PRINTS, (list(handles),), binary=True).fetchall()
    return {handle: (version, bytes(print_)) for handle, version, print_ in rows}


def _print(facts: Facts) -> Print:
    """What `prints` says of the patient at the moment of these facts."""
    words = (f"{one.sha256.hex()} {one.received_ms} {str(one.verified).lower()} {one.source}" for one in facts.consents)
    return facts.version, hashlib.sha256(";".join(words).encode()).digest()


def _next_change(statements: Sequence[Statement], now_ms: int) -> int:
    """The first moment after now at which a provision begins or ends."""
    provisions = [one for statement in statements for one in statement.document.root.flat()]
    edges = [edge for one in provisions for edge in (one.from_ms, one.until_ms) if edge > now_ms]
    return min(edges, default=FOREVER_MS)
