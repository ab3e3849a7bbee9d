"""Keys that keep consented twins current: the widest power there is, so the narrowest form.

The worker gets the model's inputs and the model's state, nothing else; the months
since the twin's last place and the one before, nothing older without a replay
that the leaf names; the tail keys of months that still have tail. One leaf a
patient. An explicit permit is needed in every profile.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.auth import months
from services.auth.decision import Asked, Decision
from services.auth.desk import INSERT_LEASE, ROLES, Desk, asker_of
from services.auth.facts import Connection, Facts, connection_of
from services.auth.grants import Grants
from services.auth.leaf import Body, decided, released
from services.auth.policy import MODEL
from services.auth.sequencer import Proposal
from twinward.clock import month_of, utc
from twinward.errors import BadInput, TooLarge
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Category, Handle, Purpose
from twinward.vault.keytree import Period, is_month
from twinward.vault.lease import Lease, TailKey

UPKEEP_S = 24 * 3600
# Program -> act in the leaf and seconds that its lease runs at most: a job has an hour's quarter and no more.
ACTS = {"twin-worker": ("upkeep", UPKEEP_S), "twin-jobs": ("refit", 900)}
SHORTEST_S = 60
MOST = 500
FIRST_BUILD_YEARS = 10
_MOST_REMEMBERED = 200_000
_DAY_MS = 24 * 3_600_000

TAILS = """
select distinct handle, tag, version, received_month from vault.tail where handle = any (%s)"""
PATIENTS = "select count(*) from vault.patient_state where not erased"


@dataclass(frozen=True, slots=True)
class Denial:
    handle: Handle
    reason: str
    leaf: int


@dataclass(frozen=True, slots=True)
class TailPlace:
    """There are tail rows of this kind."""

    tag: bytes
    version: int
    month: int  # of receipt


def tail_places(connection: Connection, handles: Sequence[Handle]) -> dict[Handle, list[TailPlace]]:
    found: dict[Handle, list[TailPlace]] = {}
    for handle, tag, version, month in connection.execute(TAILS, (list(handles),), binary=True).fetchall():
        found.setdefault(handle, []).append(TailPlace(bytes(tag), version, month))
    return found


class Upkeep:
    def __init__(self, desk: Desk, grants: Grants) -> None:
        self._desk = desk
        self._grants = grants
        self._denied: OrderedDict[tuple[Handle, str, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def grant(
        self, caller: Caller, handles: Sequence[Handle], replay: tuple[int, int] | None
    ) -> tuple[list[Lease], list[Denial]]:
        """
        Args:
            replay: first and last month (year * 100 + month) of older inputs that are needed again.

        Raises:
            TooLarge, BadInput: more than 500 patients, or months that are none.
            Busy, Unavailable: not decided; nothing was released.
        """
        wanted = list(dict.fromkeys(handles))
        if len(wanted) > MOST:
            raise TooLarge(f"one cohort has {MOST} patients at most; ask for the rest apart")
        if replay is not None and not (is_month(replay[0]) and is_month(replay[1]) and replay[0] <= replay[1]):
            raise BadInput("a replay runs from a month to a later month")
        desk = self._desk
        act, _ = ACTS[caller.program or ""]
        said: Body = {**desk.who(caller), "act": act, "purpose": Purpose.UPKEEP.value}
        with desk.deciding(wanted) as known:
            with connection_of(desk.pool) as connection:
                places = tail_places(connection, wanted)
                row = connection.execute(PATIENTS).fetchone()
            desk.caps.count(caller.certificate_sha256, wanted, most=row[0] if row else 0)
            said["now"] = known.now_ms
            leases, proposals, denials = [], [], []
            for facts in known.facts:
                asked = self._asked(caller, facts, replay, known.now_ms)
                decision, key = self._grants.decide(facts, asked)
                if decision.allowed:
                    lease, proposal = self._lease(facts, asked, decision, key, places.get(facts.handle, []), said)
                    leases.append(lease)
                    proposals.append(proposal)
                else:
                    denials.append((facts.handle, decision))
            leaves = desk.record(proposals)
            refused = self._deny(denials, said, known.now_ms)
            strangers = set(wanted) - {facts.handle for facts in known.facts}
            refused += [Denial(handle, "unknown-patient", 0) for handle in sorted(strangers)]
        return [replace(lease, leaf=leaf) for lease, leaf in zip(leases, leaves, strict=True)], refused

    def _asked(self, caller: Caller, facts: Facts, replay: tuple[int, int] | None, now_ms: int) -> Asked:
        categories = tuple(sorted(MODEL))
        return Asked(asker_of(caller), "upkeep", Purpose.UPKEEP, categories, _span(facts, replay, now_ms), now_ms)

    def _lease(
        self,
        facts: Facts,
        asked: Asked,
        decision: Decision,
        key: bytes,
        places: Sequence[TailPlace],
        said: Body,
    ) -> tuple[Lease, Proposal]:
        desk, lease_id = self._desk, self._desk.new_id()
        # A lease never reaches into a month whose keys it does not hold.
        end_ms = months.start_ms(months.following(month_of(asked.now_ms)))
        _, seconds = ACTS[asked.asker.program]
        until_ms = min(asked.now_ms + seconds * 1000, max(end_ms, asked.now_ms + SHORTEST_S * 1000))
        tags = desk.ring.tags(facts.handle, decision.released)
        lease = Lease(
            lease_id=lease_id.bytes,
            handle=facts.handle,
            until_ms=until_ms,
            purpose=Purpose.UPKEEP.value,
            tags=tags,
            nodes=desk.ring.nodes(key, facts, decision.released, asked.now_ms),
            tails=self._tails(key, tags, places, facts, asked.now_ms),
            manifest_root=facts.manifest_root,
            manifest_previous=facts.manifest_previous,
            leaf=0,
            version=facts.version,
            issued_ms=asked.now_ms,
        )
        row = (
            lease_id, ROLES[asked.asker.program], facts.handle, list(tags.values()), Purpose.UPKEEP.value,
            utc(asked.now_ms), utc(until_ms),
        )  # fmt: skip
        body = {
            **said, **decided(decision, desk.policies.sha256), **released(decision.released),
            "lease_s": (until_ms - asked.now_ms) // 1000, "lease": str(lease_id), "tails": len(lease.tails),
        }  # fmt: skip
        if asked.period.first < months.preceding(month_of(asked.now_ms)):
            body["replay"] = True
        writes = lambda leaf: [(INSERT_LEASE, (*row, leaf, asked.asker.name))]  # noqa: E731
        return lease, Proposal(Kind.UPKEEP, body, patient=facts.handle, writes=writes)

    def _tails(
        self, key: bytes, tags: dict[int, bytes], places: Sequence[TailPlace], facts: Facts, now_ms: int
    ) -> tuple[TailKey, ...]:
        """Keys of what lies in the tail, and of what will come in while the lease runs."""
        categories = {own: category for category, own in tags.items()}
        wanted = {(categories[one.tag], one.version, one.month) for one in places if one.tag in categories}
        inputs = (category for category in tags if category != Category.MODEL_STATE)
        wanted |= {(category, facts.version, month_of(now_ms)) for category in inputs}
        return tuple(self._desk.ring.tail(key, *one) for one in sorted(wanted))

    def _deny(self, denials: Sequence[tuple[Handle, Decision]], said: Body, now_ms: int) -> list[Denial]:
        """One leaf for a patient, reason and day: a worker that asks again is no news."""
        day = now_ms // _DAY_MS
        with self._lock:
            fresh = [(h, d) for h, d in denials if (h, d.reason, day) not in self._denied]
        proposals = [
            Proposal(Kind.DENY, {**said, **decided(decision, self._desk.policies.sha256)}, patient=handle)
            for handle, decision in fresh
        ]
        leaves = self._desk.record(proposals)
        with self._lock:
            for (handle, decision), leaf in zip(fresh, leaves, strict=True):
                self._denied[handle, decision.reason, day] = leaf
            found = [Denial(h, d.reason, self._denied[h, d.reason, day]) for h, d in denials]
            while len(self._denied) > _MOST_REMEMBERED:
                self._denied.popitem(last=False)
        return found


def _span(facts: Facts, replay: tuple[int, int] | None, now_ms: int) -> Period:
    current = month_of(now_ms)
    first = months.preceding(current)
    if facts.twin_month is None:
        years = [group.year for group in facts.groups if group.year]
        first = min([current - 100 * FIRST_BUILD_YEARS, *(year * 100 + 1 for year in years)])
    elif is_month(facts.twin_month):
        first = min(first, months.preceding(facts.twin_month))
    if replay is not None:
        first = min(first, replay[0])
    return Period(max(first, months.FIRST), current, undated=False)
