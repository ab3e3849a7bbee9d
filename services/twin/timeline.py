"""One twin from its first record on: what its state, the refits, the priors and the worker's notes tell.

Most times are the twin's own (data time); an adoption, a migration and a correction also have a time of the node,
and the source says which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.twin import migration, prior_store, refit_store
from services.twin.living import Living
from services.twin.refit import Refit
from services.twin.store import Pool
from twinward.errors import LeaseEnded
from twinward.vault.lease import Lease

MOST = 200
ADOPTIONS_MOST = 50
FROM_DATA, FROM_REFIT, FROM_NODE, FROM_LEDGER = "the twin's data", "a refit job", "the node's worker", "ledger entry"


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry of a timeline; `until_ms` of a gap, or up to where something was replayed from."""

    at_ms: int
    what: str
    note: str
    source: str
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    moments: tuple[Moment, ...]  # in order of time
    more: bool  # older ones were left out


@dataclass
class Timelines:
    pool: Pool
    site: str

    def line(self, lease: Lease, living: Living, now_ms: int, most: int = MOST) -> Line:
        """The newest `most` entries.

        Raises:
            LeaseEnded.
        """
        if lease.until_ms <= now_ms:
            raise LeaseEnded("the lease ended before the answer was ready; ask again")
        with self.pool.connection() as connection:
            refits = refit_store.refits_of(connection, self.site, lease)
            adoptions = prior_store.history(connection, ADOPTIONS_MOST)
            events = migration.happened(connection, lease.handle)
        found = sorted(moments(living, refits, adoptions, events), key=lambda one: one.at_ms)
        first, rest = found[:1], found[1:]
        return Line((*first, *rest[-(most - 1) :]), len(found) > most)


def moments(
    living: Living,
    refits: Sequence[Refit],
    adoptions: Sequence[prior_store.Adoption],
    events: Sequence[migration.Happened],
) -> list[Moment]:
    twin = living.twin
    found = [Moment(twin.first_ms, "first_record", "the twin's time begins", FROM_DATA)]
    found += [Moment(first, "gap", "no reading", FROM_DATA, last) for first, last in twin.gaps]
    for one in refits:
        own = ", ".join(one.personal) or "nothing"
        note = f"{one.days:.1f} days of readings; personal: {own}"
        found.append(Moment(one.state_ms, "refit", note, FROM_REFIT))
    for each in adoptions:
        if each.at_ms >= twin.first_ms:
            way = "gone back to" if each.back else "adopted"
            note = f"the node has {way} the prior {each.sha256.hex()[:8]}"
            found.append(Moment(each.at_ms, "prior", note, f"{FROM_LEDGER} {each.leaf}"))
    for event in events:
        found.append(Moment(event.at_ms, event.what, event.note, FROM_NODE, event.from_ms))
    return found
