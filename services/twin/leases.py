"""The upkeep leases a worker holds.

A lease is asked for in cohorts, kept while it runs, renewed before its end with
a report of the rows it served, and dropped the moment its end is announced. A
denial is remembered until something new about that patient arrives, so that a
patient without consent costs one decision, not one a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from twinward.clock import Clock
from twinward.errors import ConsentDenied, Denied, NotFound
from twinward.record import Handle
from twinward.vault.lease import Lease


@dataclass(frozen=True, slots=True)
class Refused:
    handle: Handle
    reason: str


@dataclass(frozen=True, slots=True)
class UpkeepAnswer:
    leases: Sequence[Lease]
    denials: Sequence[Refused]


class Authority(Protocol):
    """What a worker asks of `auth`."""

    def grant_upkeep(self, handles: Sequence[Handle], replay: tuple[int, int] | None = None) -> UpkeepAnswer:
        """Leases and denials for at most 500 patients; raises Unavailable.

        `replay`: first and last of older months (year * 100 + month) that are needed again."""
        ...

    def report_use(self, uses: Sequence[tuple[bytes, int]]) -> None:
        """Rows served per lease since the last report."""
        ...

    def return_leases(self, lease_ids: Sequence[bytes]) -> None: ...


@dataclass
class Held:
    lease: Lease
    rows: int = 0


@dataclass
class UpkeepLeases:
    """Thread-safe. `cohort` is the most handles of one decision."""

    authority: Authority
    clock: Clock
    cohort: int
    renew_before_ms: int
    _held: dict[Handle, Held] = field(default_factory=dict)
    _by_id: dict[bytes, Handle] = field(default_factory=dict)
    _denied: dict[Handle, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def obtain(self, handles: Sequence[Handle]) -> list[Handle]:
        """Sees to it that each of `handles` has a lease or a remembered denial; those newly denied.

        Raises:
            Unavailable: auth does not answer; what was held before stays held.
        """
        now = self.clock.now_ms()
        with self._lock:
            wanted = [
                handle
                for handle in dict.fromkeys(handles)
                if handle not in self._denied and not self._long_enough(handle, now)
            ]
        return [
            refused
            for first in range(0, len(wanted), self.cohort)
            for refused in self._ask(wanted[first:][: self.cohort])
        ]

    def _long_enough(self, handle: Handle, now: int) -> bool:
        held = self._held.get(handle)
        if held is None:
            return False
        # A lease ends with the month whose keys it holds; the next one may be just as
        # short, so the tenth of its own length keeps renewals from chasing each other.
        before = min(self.renew_before_ms, (held.lease.until_ms - held.lease.issued_ms) // 10)
        return held.lease.until_ms - now > before

    def widen(self, handle: Handle, first: int, last: int) -> Lease:
        """A lease that also opens the older months `first` to `last`; the ledger says why.

        Raises:
            ConsentDenied, Unavailable.
        """
        self._ask([handle], (first, last))
        return self.lease(handle)

    def _ask(self, part: Sequence[Handle], replay: tuple[int, int] | None = None) -> list[Handle]:
        self.report(part)  # a renewal needs the use report of what it replaces
        answer = self.authority.grant_upkeep(part, replay)
        with self._lock:
            replaced = [self._drop(lease.handle) for lease in answer.leases]
            for lease in answer.leases:
                self._held[lease.handle] = Held(lease)
                self._by_id[lease.lease_id] = lease.handle
            for refusal in answer.denials:
                replaced.append(self._drop(refusal.handle))
                self._denied[refusal.handle] = refusal.reason
        spent = [held.lease.lease_id for held in replaced if held is not None]
        if spent:
            self.authority.return_leases(spent)
        return [refusal.handle for refusal in answer.denials]

    def held(self, handle: Handle) -> bool:
        """Whether a lease runs now or a denial is remembered."""
        with self._lock:
            held = self._held.get(handle)
            return handle in self._denied or (held is not None and held.lease.until_ms > self.clock.now_ms())

    @property
    def handles(self) -> list[Handle]:
        """Patients with a lease or a remembered denial."""
        with self._lock:
            return [*self._held, *self._denied]

    def ids_of(self, handles: Iterable[Handle]) -> dict[Handle, bytes]:
        """The lease of each of `handles` who has one."""
        with self._lock:
            return {handle: self._held[handle].lease.lease_id for handle in handles if handle in self._held}

    @property
    def ids(self) -> list[bytes]:
        with self._lock:
            return list(self._by_id)

    def lease(self, handle: Handle) -> Lease:
        """The lease that runs now.

        Raises:
            ConsentDenied: decided, and the answer was no.
            KeyError: never asked for, or over; `obtain` first.
        """
        with self._lock:
            if handle in self._denied:
                raise ConsentDenied(f"no twin is kept of this patient: {self._denied[handle]}")
            held = self._held[handle]
            if held.lease.until_ms <= self.clock.now_ms():
                self._drop(handle)
                raise KeyError(handle)
            return held.lease

    def count(self, handle: Handle, rows: int) -> None:
        """Notes that `rows` rows were served under the patient's lease."""
        with self._lock:
            held = self._held.get(handle)
            if held is not None:
                held.rows += rows

    def forget_denials(self, handles: Iterable[Handle]) -> None:
        """Something new arrived for them (data or consent): the question is open again."""
        with self._lock:
            for handle in handles:
                self._denied.pop(handle, None)

    def ended(self, lease_id: bytes) -> Handle | None:
        """Drops the keys of a lease that auth ended; the patient it belonged to, if ours."""
        with self._lock:
            handle = self._by_id.get(lease_id)
            if handle is not None:
                self._drop(handle)
            return handle

    def forget(self, handle: Handle) -> None:
        """The database does not honour its lease any more; it is asked for anew."""
        with self._lock:
            self._drop(handle)

    def near_end(self) -> list[Handle]:
        now = self.clock.now_ms()
        with self._lock:
            return [handle for handle in self._held if not self._long_enough(handle, now)]

    def report(self, handles: Iterable[Handle] | None = None) -> None:
        """Reports rows served and not yet reported; all patients where `handles` is None."""
        with self._lock:
            chosen = list(self._held) if handles is None else [handle for handle in handles if handle in self._held]
            uses = [(self._held[handle].lease.lease_id, self._held[handle].rows) for handle in chosen]
        uses = [(lease_id, rows) for lease_id, rows in uses if rows]
        if not uses:
            return
        for first in range(0, len(uses), self.cohort):
            with suppress(Denied, NotFound):  # auth does not know one of them any more: nothing to reconcile
                self.authority.report_use(uses[first : first + self.cohort])
        with self._lock:
            for lease_id, rows in uses:
                held = self._held.get(self._by_id.get(lease_id, Handle(int=0)))
                if held is not None and held.lease.lease_id == lease_id:
                    held.rows -= rows

    def give_back(self) -> None:
        """Reports and returns every lease; afterwards no key is left here."""
        self.report()
        with self._lock:
            ids = list(self._by_id)
            self._held.clear()
            self._by_id.clear()
        self._return(ids)

    def give_back_of(self, handles: Iterable[Handle]) -> None:
        """As `give_back`, of patients that another worker keeps from now on."""
        chosen = list(handles)
        self.report(chosen)
        with self._lock:
            spent = [held.lease.lease_id for handle in chosen if (held := self._drop(handle)) is not None]
            for handle in chosen:
                self._denied.pop(handle, None)
        self._return(spent)

    def _return(self, ids: Sequence[bytes]) -> None:
        for first in range(0, len(ids), self.cohort):
            self.authority.return_leases(ids[first : first + self.cohort])

    def _drop(self, handle: Handle) -> Held | None:
        held = self._held.pop(handle, None)
        if held is not None:
            self._by_id.pop(held.lease.lease_id, None)
        return held

    @property
    def counts(self) -> tuple[int, int]:
        """Leases held, denials remembered."""
        with self._lock:
            return len(self._held), len(self._denied)
