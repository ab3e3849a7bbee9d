"""Keeps living states current: in memory while there is room, from snapshots otherwise.

One way in, `bring_up`, for a notified reading, a restart, a Freshen and a
correction alike. Plain growth (footing.py) is taken as it comes, many patients'
in one question (`grown`). Anything else, and the first rows under every lease, go
the full way: read what is stored now, continue the newest state that has eaten
exactly a beginning of it. A snapshot is written when one is due.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.twin import living as states
from services.twin.footing import Footing
from services.twin.glucose import GlucoseTwin
from services.twin.glucose_prior import Prior
from services.twin.glucose_prior import prior as shipped
from services.twin.leases import UpkeepLeases
from services.twin.living import Living, Made, View, rebuilt
from services.twin.migration import Replayed, Told
from services.twin.retention import Kept, kind_of, superfluous
from services.twin.store import SealedSnapshot, TwinStore
from twinward.clock import Clock, month_of
from twinward.errors import Unready
from twinward.record import TWIN_INPUTS, Handle
from twinward.vault.growth import Asked, Grown
from twinward.vault.keytree import LAST_MONTH
from twinward.vault.lease import Lease


class Stored(Protocol):
    site: str

    def view(self, lease: Lease, first_month: int) -> View:
        """Rows of `first_month` (year * 100 + month) and later.

        Raises Unavailable, LeaseEnded, Tampered or Incomplete."""
        ...

    def first_new_month(self, lease: Lease, after_seq: int) -> int:
        """The earliest month that rows accepted after `after_seq` speak of; 0: cannot be told."""
        ...

    def grown(self, asked: Asked) -> dict[Handle, Grown]:
        """New rows of those patients that have plain growth. Raises Unavailable."""
        ...


class Seals(Protocol):
    def seal(self, lease: Lease, kept: Kept, month: int, plain: bytes) -> SealedSnapshot:
        """Under the model-state key of `month`."""
        ...

    def open(self, lease: Lease, sealed: SealedSnapshot) -> bytes | None:
        """None where the lease has no key for it. Raises Tampered."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a patient's twin stands after `bring_up`."""

    seq: int
    has_twin: bool
    reason: str = ""
    month: int = 0  # of the snapshot's key


Saved = tuple[int, int, int]  # state_ms, seq and key month of the newest snapshot


@dataclass
class _Slot:
    """A patient's place in memory."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    living: Living | None = None
    saved_readings: int = 0  # model readings that the newest snapshot holds
    saved_at: Saved | None = None
    footing: Footing | None = None  # of `living`, under the lease of its last full reading
    told: list[Told] = field(default_factory=list)  # of this twin, to be written with its next snapshot
    dropped: bool = False


def opened_from(lease: Lease) -> int:
    """The first month (year * 100 + month) of the model's inputs that `lease` opens."""
    months = [node.year * 100 + (node.month or 1) for node in lease.nodes if node.category in TWIN_INPUTS and node.year]
    return min(months, default=LAST_MONTH)


REPLAYED = "late, corrected or withdrawn data, or a refit that stands earlier: replayed from here"
NO_READING = "no glucose reading is stored yet; send some, then ask again"


class Keeper:
    """Thread-safe; one patient's states are touched by one thread at a time."""

    def __init__(
        self,
        store: TwinStore,
        stored: Stored,
        seals: Seals,
        leases: UpkeepLeases,
        clock: Clock,
        *,
        live_most: int,
        snapshot_readings: int,
        prior: Prior | None = None,
    ) -> None:
        """`prior` None: the one that is shipped."""
        self._store, self._stored, self._seals, self._leases, self._clock = store, stored, seals, leases, clock
        self._live_most, self._snapshot_readings = live_most, snapshot_readings
        self._prior = prior or shipped()
        self._slots: OrderedDict[Handle, _Slot] = OrderedDict()
        self._lock = threading.Lock()
        self.replays = 0  # states restored because stored rows had changed under them
        self.full_readings = 0

    def believe(self, prior: Prior) -> None:
        """From now on states are made with `prior`; those made with another are made again when they are brought up."""
        self._prior = prior

    @property
    def made(self) -> str:
        """What states are made with: "model prior-hash"."""
        return Made(GlucoseTwin.MODEL_VERSION, self._prior.sha256.hex()).name

    def grown(self, handles: Iterable[Handle]) -> dict[Handle, Grown]:
        """New rows of the living twins among `handles`, for `bring_up`, in one question.

        Raises:
            Unavailable.
        """
        with self._lock:
            footings = [(handle, self._slots[handle].footing) for handle in handles if handle in self._slots]
        leases = self._leases.ids_of(handle for handle, _ in footings)
        asked = {
            handle: (one.verified, one.opener)
            for handle, one in footings
            if one is not None and leases.get(handle) == one.verified.lease_id
        }
        return self._stored.grown(asked) if asked else {}

    def bring_up(self, handle: Handle, *, save: bool, grown: Grown | None = None) -> Place:
        """Brings one twin up to what is stored; with `save` its snapshot is current afterwards.

        Args:
            grown: what `grown` found; asked for here where it is missing or out of date.

        Raises:
            ConsentDenied, LeaseEnded, Unavailable, Tampered, Incomplete.
        """
        lease = self._leases.lease(handle)
        slot = self._slot(handle)
        with slot.lock:
            if slot.living is not None and slot.living.twin.prior_sha256 != self._prior.sha256:
                slot.living = slot.footing = None
            if not self._extend(slot, handle, lease, grown):
                wanted = self._store.stored_seq(handle)
                if slot.living is None or slot.living.seq < wanted:
                    self._catch_up(slot, handle, lease)
                if slot.living is None:
                    return Place(wanted, False, NO_READING)
            if save:
                self._save(slot, lease, [], [])
            if slot.dropped:  # the lease ended while we worked: nothing stays
                slot.living = slot.footing = None
            saved = slot.saved_at
            assert saved is not None  # noqa: S101  a twin is saved when it starts
            return Place(saved[1], True, month=saved[2])

    def _extend(self, slot: _Slot, handle: Handle, lease: Lease, grown: Grown | None) -> bool:
        """Takes plain growth; False where a full reading is needed, and nothing was taken."""
        base, footing = slot.living, slot.footing
        if base is None or footing is None or footing.verified.lease_id != lease.lease_id:
            return False
        if grown is None or grown.since != footing.verified:
            grown = self._stored.grown({handle: (footing.verified, footing.opener)}).get(handle)
        if grown is None:
            return False
        self._leases.count(handle, grown.served)
        more = footing.plain(grown, base.through_ms)
        if more is None:
            return False
        slot.living = slot.footing = None  # should the model refuse, nothing half-fed stays behind
        base.seq = grown.now.seq
        rungs = [(base.through_ms, plain) for plain in base.extend(more)]
        footing.take(grown)
        slot.living, slot.footing = base, footing
        if base.twin.readings - slot.saved_readings >= self._snapshot_readings or slot.saved_at is None:
            self._save(slot, lease, rungs, [])
        return True

    def _catch_up(self, slot: _Slot, handle: Handle, lease: Lease) -> None:
        base, gone, other = slot.living, list[Kept](), None
        lease, new_month = self._reaching(handle, lease, base)
        view = self._view(lease, min(new_month, month_of(base.through_ms))) if base else None
        if base is None or view is None or not base.fits(view):
            narrow = lease
            lease, view = self._widest(lease, handle)
            if base is None or not base.fits(view):
                lived = base is not None
                base, gone, slot.saved_at, other = self._restore(handle, lease, view)
                slot.saved_readings = base.twin.readings if base else 0
                if base is not None and other is None and (lived or gone):
                    slot.told.append(Replayed(base.through_ms, REPLAYED))
            if lease is not narrow:
                slot.saved_at = None  # what older months were replayed for is written down at once
        slot.living = slot.footing = None
        if base is None:
            return
        base.seq, base.blocks = view.seq, view.blocks
        rungs = [(base.through_ms, plain) for plain in base.eat(view.inputs)]
        base.ready(view.inputs)
        slot.living = base
        if other is not None:
            slot.told = [rebuilt(other, base)]
        if view.verified is not None:
            slot.footing = Footing.of(self._stored.site, lease, view.verified, view.lineages)
        due = base.twin.readings - slot.saved_readings >= self._snapshot_readings
        if gone or due or slot.saved_at is None:
            self._save(slot, lease, rungs, gone)

    def _reaching(self, handle: Handle, lease: Lease, base: Living | None) -> tuple[Lease, int]:
        """A lease that opens every month that new rows speak of, and the earliest of these
        months (0: cannot be told)."""
        stored = (kept.seq for kept in self._store.ladder(handle))
        after = base.seq if base is not None else max(stored, default=-1)
        new_month = self._stored.first_new_month(lease, after) if after >= 0 else 0
        opened = opened_from(lease)
        if 0 < new_month < opened:
            lease = self._leases.widen(handle, new_month, opened)
        return lease, new_month

    def _view(self, lease: Lease, first_month: int) -> View:
        self.full_readings += 1
        view = self._stored.view(lease, max(first_month, opened_from(lease)))
        self._leases.count(lease.handle, view.rows)
        return view

    def _widest(self, lease: Lease, handle: Handle) -> tuple[Lease, View]:
        """All that the lease opens; more, by a decision of its own, where no state can go on
        without older months."""
        view = self._view(lease, 0)
        older = [month for month in view.blocks if month < view.first_month]
        if older and not self._any_fits(handle, lease, view):
            lease = self._leases.widen(handle, min(older), max(older))
            view = self._view(lease, 0)
        return lease, view

    def _any_fits(self, handle: Handle, lease: Lease, view: View) -> bool:
        return any(self._opened(handle, lease, kept, view)[0] for kept in self._store.ladder(handle))

    def _restore(
        self, handle: Handle, lease: Lease, view: View
    ) -> tuple[Living | None, list[Kept], Saved | None, Made | None]:
        """The newest stored state that may go on with `view`, the snapshots that may not, which snapshot it was,
        and what the newest was made with where that is not what states are made with now."""
        gone: list[Kept] = []
        other: Made | None = None
        for kept in self._store.ladder(handle):
            found, saved, made = self._opened(handle, lease, kept, view)
            if found is not None:
                self.replays += bool(gone)
                return found, gone, saved, other
            gone.append(kept)
            if other is None and made is not None and made.name != self.made:
                other = made
        self.replays += bool(gone)
        return states.start(handle, view, self._prior), gone, None, other

    def _opened(
        self, handle: Handle, lease: Lease, kept: Kept, view: View
    ) -> tuple[Living | None, Saved | None, Made | None]:
        """The state of a snapshot, if the lease opens it and it may go on with `view`; what it was made with."""
        sealed = self._store.snapshot(handle, kept)
        plain = self._seals.open(lease, sealed) if sealed is not None else None
        if sealed is None or plain is None:
            return None, None, None
        made = states.made_with(plain)
        found = states.load(handle, plain) if made.name == self.made else None
        if found is None or not found.fits(view):
            return None, None, made
        return found, (kept.state_ms, kept.seq, sealed.month), made

    def _save(self, slot: _Slot, lease: Lease, rungs: Sequence[tuple[int, bytes]], gone: Sequence[Kept]) -> None:
        base = slot.living
        assert base is not None  # noqa: S101  callers hold a state
        month = month_of(self._clock.now_ms())
        if slot.saved_at == (base.through_ms, base.seq, month) and not gone and not slot.told:
            return
        ladder = [kept for kept in self._store.ladder(base.handle) if kept not in gone]
        previous = ladder[0].state_ms if ladder else None
        new: list[SealedSnapshot] = []
        for state_ms, plain in [*rungs, (base.through_ms, base.dump())]:
            kind = kind_of(state_ms, previous)
            new.append(self._seals.seal(lease, Kept(state_ms, base.seq, kind), month, plain))
            previous = state_ms
        newest = new[-1].kept
        keys = {(one.state_ms, one.seq) for one in new}
        replaced = [kept for kept in ladder if (kept.state_ms, kept.seq) in keys]
        old = superfluous([*ladder, *(one.kept for one in new)], newest)
        made = base.made.name
        self._store.write([one for one in new if one.kept not in old], {*gone, *replaced, *old}, made, slot.told)
        slot.told = []
        slot.saved_readings = base.twin.readings
        slot.saved_at = (newest.state_ms, newest.seq, month)

    def drop(self, handle: Handle) -> None:
        """Forgets a living state at once, without writing it: its lease is over."""
        with self._lock:
            slot = self._slots.pop(handle, None)
        if slot is not None:
            slot.dropped = True
            slot.living = slot.footing = None

    def forget(self, handle: Handle) -> None:
        """Lets a living state go where something was stored that no row tells of (a refit): the next
        `bring_up` reads in full and goes on from the newest snapshot that may."""
        with self._lock:
            slot = self._slots.get(handle)
        if slot is not None:
            with slot.lock:
                slot.living = slot.footing = None

    @property
    def handles(self) -> list[Handle]:
        """Whose states are, or may be, in memory."""
        with self._lock:
            return list(self._slots)

    def save_all(self, handles: Collection[Handle] | None = None) -> None:
        """Writes every state (None), or those of `handles`, that moved since its snapshot: before
        leases are given back."""
        with self._lock:
            slots = [(handle, slot) for handle, slot in self._slots.items() if handles is None or handle in handles]
        for handle, slot in slots:
            with slot.lock:
                try:
                    if slot.living is not None:
                        self._save(slot, self._leases.lease(handle), [], [])
                except (Unready, KeyError):
                    continue

    def _slot(self, handle: Handle) -> _Slot:
        with self._lock:
            slot = self._slots.setdefault(handle, _Slot())
            self._slots.move_to_end(handle)
            while len(self._slots) > self._live_most:
                oldest, other = next(iter(self._slots.items()))
                if other.lock.locked():  # at work: it stays a little longer
                    break
                del self._slots[oldest]
            return slot

    @property
    def live(self) -> int:
        with self._lock:
            return sum(slot.living is not None for slot in self._slots.values())
