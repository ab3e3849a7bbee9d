"""The head guard moves forward only, and only to what it has hashed itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from services.auth.guard import Guard
from tests.conftest import Database
from tests.unit.auth.ledger_house import SIGNER, House, grant
from twinward.errors import Tampered, TwinwardError, Unavailable
from twinward.ledger import checkpoint as checkpoints
from twinward.ledger.checkpoint import Checkpoint
from twinward.ledger.guardfile import Guarded, read_copy
from twinward.ledger.note import Signer
from twinward.ledger.tree import Edge, leaf_hash

LEAVES = [leaf_hash(b"%d" % at) for at in range(20)]


def note(size: int, leaves: list[bytes] = LEAVES, signer: Signer = SIGNER) -> str:
    edge = Edge().extended(leaves[:size])
    return checkpoints.sign(Checkpoint(SIGNER.verifier.name, size, edge.root()), signer).encode()


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    guard = Guard(tmp_path / "guard.sqlite", SIGNER.verifier)
    guard.begin(Guarded(Edge(), note(0)))
    return guard


def held(guard: Guard) -> Guarded:
    found = guard.read()
    assert found is not None
    return found


def test_it_moves_to_what_extends_it_and_keeps_it(guard: Guard, tmp_path: Path) -> None:
    step = guard.advance(held(guard), LEAVES[:3], note(3))
    guard.advance(step, LEAVES[3:11], note(11))
    guard.close()
    again = Guard(tmp_path / "guard.sqlite", SIGNER.verifier)
    assert held(again) == Guarded(Edge().extended(LEAVES[:11]), note(11))
    again.close()
    assert read_copy(tmp_path / "guard.sqlite") == Guarded(Edge().extended(LEAVES[:11]), note(11))


@pytest.mark.parametrize(
    ("leaves", "text"),
    [
        (LEAVES[3:5], note(6)),  # fewer entries than signed
        (LEAVES[3:7], note(6)),  # more
        (LEAVES[4:7], note(6)),  # others
        (LEAVES[3:6], note(6, LEAVES[::-1])),  # another history
        (LEAVES[3:6], note(6, signer=Signer(SIGNER.verifier.name, bytes(32)))),  # another key
        ([], note(2)),  # back
    ],
)
def test_it_refuses_what_does_not_extend_it(guard: Guard, leaves: list[bytes], text: str) -> None:
    step = guard.advance(held(guard), LEAVES[:3], note(3))
    with pytest.raises(Tampered):
        guard.advance(step, leaves, text)
    assert held(guard) == step
    guard.close()


def test_compare_and_swap(guard: Guard, tmp_path: Path) -> None:
    start = held(guard)
    other = Guard(tmp_path / "guard.sqlite", SIGNER.verifier)
    other.advance(start, LEAVES[:2], note(2))
    with pytest.raises(Tampered, match="another head"):
        guard.advance(start, LEAVES[:3], note(3))
    with pytest.raises(Tampered):
        guard.begin(start)
    assert held(guard).edge.size == 2
    guard.close()
    other.close()


def test_each_step_waits_for_the_disk(guard: Guard) -> None:
    connection = guard._connection
    assert connection.execute("pragma synchronous").fetchone() == (2,)
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    guard.close()


def test_a_guard_edited_by_hand_is_refused(guard: Guard, tmp_path: Path) -> None:
    guard.advance(held(guard), LEAVES[:3], note(3))
    guard.close()
    with sqlite3.connect(tmp_path / "guard.sqlite") as connection:
        connection.execute("update guard set size = 2")
    connection.close()
    again = Guard(tmp_path / "guard.sqlite", SIGNER.verifier)
    with pytest.raises(TwinwardError):
        again.read()
    again.close()


def test_a_file_that_is_no_guard(tmp_path: Path) -> None:
    (tmp_path / "guard.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(Unavailable):
        Guard(tmp_path / "guard.sqlite", SIGNER.verifier)


def test_a_guard_that_moved_by_itself_stops_the_ledger(postgres: Database, tmp_path: Path) -> None:
    house = House(lambda: postgres.connect("auth"), tmp_path)
    with postgres.connect("postgres") as owner:
        house.clear(owner)
    with house.sequencer() as sequencer:
        sequencer.commit([grant()])
        with sqlite3.connect(house.ledger / "guard.sqlite") as connection:
            connection.execute("update guard set size = 0, root = x'00'")
        connection.close()
        with pytest.raises(Unavailable, match="another head"):
            sequencer.commit([grant()])
        assert sequencer.state().stopped
