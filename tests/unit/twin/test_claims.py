"""Shares of the twins: even among the living, taken over from the dead, written by their holder only."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.twin.claims import HOLD_S, SHARES, Claims, share_of
from services.twin.keeper import Place
from services.twin.retention import Kept
from services.twin.routes import Routes
from services.twin.store import Pool, SealedSnapshot, TwinStore
from tests.conftest import Database
from twinward.clock import SetClock
from twinward.errors import Unavailable
from twinward.record import Handle

HANDLES = [UUID(bytes=bytes([first]) + bytes(15)) for first in range(0, 256, 3)]


@pytest.fixture
def clean(postgres: Database) -> Database:
    with postgres.connect("postgres", autocommit=True) as owner:
        owner.execute("delete from twin.worker")
        owner.execute("update twin.claim set worker = null, until = '-infinity'")
    return postgres


def died(database: Database, worker: Claims) -> None:
    """As if its time had passed."""
    with database.connect("postgres", autocommit=True) as owner:
        owner.execute("update twin.worker set until = clock_timestamp() - interval '1 s' where id = %s", (worker.me,))
        owner.execute(
            "update twin.claim set until = clock_timestamp() - interval '1 s' where worker = %s", (worker.me,)
        )


def worker(pool: Pool, number: int, clock: SetClock | None = None) -> Claims:
    return Claims(pool, UUID(int=number), f"127.0.0.1:{number}", clock or SetClock(0))


def test_shares_are_the_same_here_and_in_the_database(pool: Pool, clean: Database) -> None:
    with pool.connection() as connection:
        for handle in HANDLES:
            assert connection.execute("select twin.share_of(%s)", (handle,)).fetchone() == (share_of(handle),)
    assert {share_of(handle) for handle in HANDLES} == set(range(SHARES))


def test_even_among_the_living_and_taken_over_from_the_dead(pool: Pool, clean: Database) -> None:
    first, second, third = (worker(pool, number) for number in (1, 2, 3))
    first.renew()
    assert first.mine == frozenset(range(SHARES)) == first.taken()
    assert first.taken() == frozenset()
    second.renew()
    assert second.mine == frozenset()
    first.renew()
    assert len(first.leaving) == len(first.mine) == SHARES // 2
    first.give_back(first.leaving)
    second.renew()
    assert second.mine == frozenset(range(SHARES)) - first.mine
    died(clean, first)
    third.renew()
    second.renew()
    third.renew()
    assert len(second.mine) == len(third.mine) == SHARES // 2
    assert not second.mine & third.mine
    first.renew()  # it slept through its time
    assert first.mine == frozenset()
    assert first.taken() == frozenset()


def test_what_is_not_renewed_is_not_worked_for_and_not_forgotten(pool: Pool, clean: Database) -> None:
    clock = SetClock(0)
    one = worker(pool, 1, clock)
    one.renew()
    clock.ms = int(HOLD_S * 1000)
    assert one.mine == frozenset()
    assert len(one.held) == SHARES
    one.renew()
    assert len(one.mine) == SHARES
    assert len(one.taken()) == SHARES  # of the first renewal; the second took nothing new
    one.give_back()
    assert one.held == frozenset()


def test_only_the_holder_writes(pool: Pool, clean: Database) -> None:
    first, second = worker(pool, 1), worker(pool, 2)
    first.renew()
    handle = HANDLES[0]
    sealed = SealedSnapshot(handle, b"t" * 8, 202611, 1, 5, 5, "latest", b"x")
    died(clean, first)
    second.renew()
    with pytest.raises(Unavailable, match="another worker"):
        TwinStore(pool, first.me).write([sealed], [Kept(1, 1, "hour")])


def test_a_question_goes_to_the_holder(postgres: Database, pool: Pool, clean: Database) -> None:
    first, second = worker(pool, 1), worker(pool, 2)
    first.renew()
    second.renew()
    first.renew()
    first.give_back(first.leaving)
    second.renew()
    asked: list[str] = []

    class Calls:
        def __init__(self, address: str) -> None:
            self.address = address

        def freshen(self, handle: Handle) -> Place:
            asked.append(self.address)
            if self.address == "127.0.0.1:1" and len(asked) > 2:
                died(clean, first)
                second.renew()
                raise Unavailable("gone")
            return Place(1, True)

    with Pool(postgres.dsn("twin"), min_size=1, open=True) as door:
        routes = Routes(door, Calls, "usual:1")
        of_first = next(one for one in HANDLES if share_of(one) in first.mine)
        of_second = next(one for one in HANDLES if share_of(one) in second.mine)
        routes.freshen(of_first)
        routes.freshen(of_second)
        assert asked == ["127.0.0.1:1", "127.0.0.1:2"]
        routes.freshen(of_first)  # its holder dies meanwhile
        assert asked[2:] == ["127.0.0.1:1", "127.0.0.1:2"]
        died(clean, second)
        routes.freshen(of_second)
        assert asked[-1] == "usual:1"
