"""Upkeep leases: cohorts, renewal with a report, a denial remembered, an end obeyed at once.

The real auth stands behind these calls in tests/scenario; here it is a ledger of
what was asked, so that the number of decisions can be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from services.twin.leases import Refused, UpkeepAnswer, UpkeepLeases
from twinward.clock import SetClock
from twinward.errors import ConsentDenied, Unavailable
from twinward.record import Handle
from twinward.vault.lease import Lease

HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass
class Asked:
    clock: SetClock
    refuse: set[Handle] = field(default_factory=set)
    down: bool = False
    cohorts: list[list[Handle]] = field(default_factory=list)
    uses: list[tuple[bytes, int]] = field(default_factory=list)
    returned: list[bytes] = field(default_factory=list)

    def grant_upkeep(self, handles: Sequence[Handle], replay: tuple[int, int] | None = None) -> UpkeepAnswer:
        if self.down:
            raise Unavailable("auth does not answer")
        self.cohorts.append(list(handles))
        granted = [handle for handle in handles if handle not in self.refuse]
        return UpkeepAnswer(
            [self._lease(handle) for handle in granted],
            [Refused(handle, "no consent") for handle in handles if handle in self.refuse],
        )

    def _lease(self, handle: Handle) -> Lease:
        number = len(self.cohorts) * 10_000 + handle.int
        return Lease(
            lease_id=number.to_bytes(16, "big"),
            handle=handle,
            until_ms=self.clock.ms + DAY,
            purpose="upkeep",
            tags={},
            nodes=(),
            tails=(),
            manifest_root=b"",
            manifest_previous=b"",
            leaf=1,
            version=1,
            issued_ms=self.clock.ms,
        )

    def report_use(self, uses: Sequence[tuple[bytes, int]]) -> None:
        self.uses.extend(uses)

    def return_leases(self, lease_ids: Sequence[bytes]) -> None:
        self.returned.extend(lease_ids)


def made() -> tuple[UpkeepLeases, Asked, SetClock]:
    clock = SetClock(1_790_000_000_000)
    asked = Asked(clock)
    return UpkeepLeases(asked, clock, cohort=3, renew_before_ms=HOUR), asked, clock


ONE, TWO = UUID(int=1), UUID(int=2)


def test_cohorts_are_no_larger_than_stated_and_asked_once() -> None:
    leases, asked, _ = made()
    handles = [UUID(int=n) for n in range(1, 8)]
    leases.obtain(handles)
    leases.obtain(handles)
    assert [len(cohort) for cohort in asked.cohorts] == [3, 3, 1]


def test_a_denial_is_remembered_until_something_new_arrives() -> None:
    leases, asked, _ = made()
    asked.refuse = {ONE}
    assert leases.obtain([ONE, TWO]) == [ONE]
    for _ in range(5):
        assert leases.obtain([ONE, TWO]) == []
    assert len(asked.cohorts) == 1
    with pytest.raises(ConsentDenied):
        leases.lease(ONE)
    asked.refuse = set()
    leases.forget_denials([ONE])
    leases.obtain([ONE])
    assert leases.lease(ONE).handle == ONE
    assert asked.cohorts[1:] == [[ONE]]


def test_renewal_reports_the_rows_served_and_returns_the_old_lease() -> None:
    leases, asked, clock = made()
    leases.obtain([ONE])
    first = leases.lease(ONE).lease_id
    leases.count(ONE, 40)
    leases.count(ONE, 2)
    clock.ms += DAY - HOUR // 2
    assert leases.near_end() == [ONE]
    leases.obtain([ONE])
    assert asked.uses == [(first, 42)]
    assert asked.returned == [first]
    assert leases.lease(ONE).lease_id != first
    assert leases.near_end() == []


def test_without_auth_what_is_held_stays_and_ends_at_its_time() -> None:
    leases, asked, clock = made()
    leases.obtain([ONE])
    asked.down = True
    clock.ms += DAY - HOUR // 2
    with pytest.raises(Unavailable):
        leases.obtain([ONE])
    assert leases.held(ONE)
    assert leases.lease(ONE).handle == ONE
    clock.ms += HOUR
    assert not leases.held(ONE)
    with pytest.raises(KeyError):
        leases.lease(ONE)


def test_an_ended_lease_leaves_no_key() -> None:
    leases, asked, _ = made()
    leases.obtain([ONE, TWO])
    assert leases.ended(leases.lease(ONE).lease_id) == ONE
    assert leases.ended(b"\0" * 16) is None
    with pytest.raises(KeyError):
        leases.lease(ONE)
    leases.count(TWO, 3)
    second = leases.lease(TWO).lease_id
    leases.give_back()
    assert asked.uses == [(second, 3)]
    assert asked.returned == [second]
    assert leases.counts == (0, 0)
