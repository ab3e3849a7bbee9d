"""A worker's keeper on the real store, with leases from the issuer that made the keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.twin import living
from services.twin.keeper import Keeper
from services.twin.leases import Refused, UpkeepAnswer, UpkeepLeases
from services.twin.retention import HOUR_MS
from services.twin.sealed import SnapshotSeals, StoredInputs
from services.twin.store import Pool, SnapshotReader, TwinStore
from tests.unit.vault.store import NOW_MS, Store, batch, reading
from twinward.clock import SystemChance, month_of
from twinward.record import TWIN_INPUTS, Category, Handle, Measurement
from twinward.vault.acceptance import SealedPart
from twinward.vault.keytree import Period
from twinward.vault.lease import Lease

STEP = 300_000
CATEGORIES = (*TWIN_INPUTS, Category.MODEL_STATE)


@dataclass
class Desk:
    """Grants like auth does, by the same issuer that made the keys; counts what was asked."""

    store: Store
    refuse: set[Handle] = field(default_factory=set)
    wide: bool = False  # a patient without a twin yet: every month
    asked: list[tuple[tuple[Handle, ...], tuple[int, int] | None]] = field(default_factory=list)
    uses: list[tuple[bytes, int]] = field(default_factory=list)

    def grant_upkeep(self, handles: Sequence[Handle], replay: tuple[int, int] | None = None) -> UpkeepAnswer:
        self.asked.append((tuple(handles), replay))
        now = month_of(NOW_MS)
        first = 202001 if self.wide else (replay[0] if replay else now - 1)
        leases = [
            self.store.issuer.lease(
                one, "twin_worker", CATEGORIES, Period(first, now, False), tails=True, seconds=86_400, purpose="upkeep"
            )
            for one in handles
            if one not in self.refuse
        ]
        return UpkeepAnswer(leases, [Refused(one, "no-consent") for one in handles if one in self.refuse])

    def report_use(self, uses: Sequence[tuple[bytes, int]]) -> None:
        self.uses += uses

    def return_leases(self, lease_ids: Sequence[bytes]) -> None:
        pass


@dataclass
class House:
    store: Store
    pool: Pool
    desk: Desk
    leases: UpkeepLeases
    keeper: Keeper
    twins: TwinStore

    def send(self, handle: Handle, rows: Sequence[Measurement]) -> None:
        self.store.writer().write(batch([SealedPart(handle, Category.DEVICES, rows, ())]))

    def bring_up(self, handle: Handle, *, save: bool = False) -> living.Living:
        """The state in memory after everything stored was taken."""
        self.leases.obtain([handle])
        self.keeper.bring_up(handle, save=save)
        found = self.keeper._slots[handle].living
        assert found is not None
        return found

    def stored(self, handle: Handle) -> living.Living:
        """The state of the newest snapshot."""
        lease: Lease = self.leases.lease(handle)
        sealed, _ = SnapshotReader(self.pool).newest(handle)
        assert sealed is not None
        plain = SnapshotSeals(self.store.issuer.site, SystemChance()).open(lease, sealed)
        assert plain is not None
        found = living.load(handle, plain)
        assert found is not None
        return found


def house(store: Store, pool: Pool, live_most: int = 10) -> House:
    desk = Desk(store)
    leases = UpkeepLeases(desk, store.clock, cohort=500, renew_before_ms=HOUR_MS)
    twins = TwinStore(pool)
    inputs = StoredInputs(pool, store.issuer.site, store.issuer.authority_public, store.clock)
    seals = SnapshotSeals(store.issuer.site, SystemChance())
    keeper = Keeper(twins, inputs, seals, leases, store.clock, live_most=live_most, snapshot_readings=12)
    return House(store, pool, desk, leases, keeper, twins)


def rows_from(first_ms: int, n: int, seed: int = 0) -> list[Measurement]:
    return [
        reading(first_ms + k * STEP, 110.0 + (k * 7 + seed) % 60, (seed * 100_000 + k + 1).to_bytes(16, "big"))
        for k in range(n)
    ]
