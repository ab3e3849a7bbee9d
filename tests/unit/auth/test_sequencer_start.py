"""Starting: database, bundles and guard are compared, and only one of them may be ahead."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.unit.auth.ledger_house import SIGNER, House, grant
from twinward.clock import SetClock
from twinward.errors import Incomplete, Tampered, TwinwardError
from twinward.ledger.bundles import Frame, Torn, frames
from twinward.ledger.note import Signer
from twinward.ledger.tree import Edge, leaf_hash


@pytest.fixture
def house(postgres: Database, tmp_path: Path) -> House:
    house = House(lambda: postgres.connect("auth"), tmp_path, SetClock(1_795_334_399_999))
    with postgres.connect("postgres") as owner:
        house.clear(owner)
    return house


def record(house: House, calls: int) -> None:
    with house.sequencer() as sequencer:
        for number in range(calls):
            sequencer.commit([grant(number), grant(number)])


def keep(house: House) -> Path:
    """A copy of the ledger folder as it is now."""
    return Path(shutil.copytree(house.ledger, house.folder / f"kept-{len(list(house.folder.iterdir()))}"))


def put_back(house: House, kept: Path, *names: str) -> None:
    for name in names or tuple(path.name for path in kept.iterdir()):
        target = house.ledger / name
        if target.is_dir():
            shutil.rmtree(target)
            shutil.copytree(kept / name, target)
        else:
            shutil.copyfile(kept / name, target)


def rewind(postgres: Database, house: House, size: int) -> None:
    """The database as an older backup would hold it: everything from `size` on is gone."""
    note = next(
        item[1].note.decode()
        for path in sorted((house.ledger / "bundles").iterdir())
        for item in frames(path.read_bytes())
        if not isinstance(item, Torn) and item[1].size == size
    )
    with postgres.connect("postgres") as owner:
        rows = owner.execute("select entry from ledger.entry where idx < %s order by idx", [size]).fetchall()
        edge = Edge().extended(leaf_hash(bytes(row[0])) for row in rows)
        owner.execute("delete from ledger.term where idx >= %s", [size])
        owner.execute("delete from ledger.body where idx >= %s", [size])
        owner.execute("delete from ledger.entry where idx >= %s", [size])
        owner.execute(
            "update ledger.head set size = %s, root = %s, edge = %s, note = %s",
            [size, edge.root(), edge.encode(), note],
        )


def good(house: House, size: int) -> None:
    with house.sequencer() as sequencer:
        assert sequencer.commit([grant()]) == [size]
        house.publish(sequencer)
    report = house.verify()
    assert report.findings == []
    assert report.size == size + 1


@pytest.mark.parametrize("names", [(), ("bundles", "guard.sqlite"), ("guard.sqlite",)])
def test_bundles_and_guard_are_caught_up(house: House, names: tuple[str, ...]) -> None:
    """A crash after step 1 (all behind) and between 2 and 3 (the guard alone)."""
    record(house, 3)
    kept = keep(house)
    record(house, 1)
    put_back(house, kept, *names)
    (house.ledger / "guard.sqlite-wal").unlink(missing_ok=True)
    good(house, 8)


def test_an_unfinished_frame_is_cut_off(house: House) -> None:
    record(house, 2)
    path = next((house.ledger / "bundles").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole + Frame(4, (b"e" * 43,), b"note").encode()[:-1])
    with house.sequencer():
        assert path.read_bytes() == whole
    path.write_bytes(whole + bytes(5000))
    good(house, 4)


def test_an_older_database_is_refused(house: House, postgres: Database) -> None:
    record(house, 4)
    rewind(postgres, house, 6)
    with pytest.raises(Tampered, match="the database is behind the ledger's head guard: it knows 6 entries and 8"):
        house.sequencer().start()


def test_an_older_database_is_refused_by_the_bundles_too(house: House, postgres: Database) -> None:
    """Somebody put back database and guard, and forgot the bundles."""
    record(house, 3)
    kept = keep(house)
    record(house, 1)
    put_back(house, kept, "guard.sqlite")
    (house.ledger / "guard.sqlite-wal").unlink(missing_ok=True)
    rewind(postgres, house, 6)
    with pytest.raises(Tampered, match="behind"):
        house.sequencer().start()


def test_an_empty_database_beside_an_old_ledger_is_refused(house: House, postgres: Database) -> None:
    record(house, 2)
    with postgres.connect("postgres") as owner:
        house.clear(owner)
    with pytest.raises(Tampered, match="behind"):
        house.sequencer().start()


def test_a_missing_guard_is_refused(house: House) -> None:
    record(house, 2)
    for path in house.ledger.glob("guard.sqlite*"):
        path.unlink()
    with pytest.raises(Tampered, match="guard is missing"):
        house.sequencer().start()


def test_bundles_cut_below_the_guard_are_refused(house: House) -> None:
    record(house, 3)
    path = next((house.ledger / "bundles").iterdir())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Incomplete, match="break off at entry 4"):
        house.sequencer().start()
    path.unlink()
    with pytest.raises(Incomplete):
        house.sequencer().start()


def test_another_history_of_the_same_length_is_refused(house: House, postgres: Database, tmp_path: Path) -> None:
    record(house, 3)
    with postgres.connect("postgres") as owner:
        house.clear(owner)
    other = House(house.connect, tmp_path / "other", house.clock)
    record(other, 3)
    with pytest.raises(Tampered):
        house.sequencer().start()


def test_a_longer_other_history_is_refused(house: House, postgres: Database, tmp_path: Path) -> None:
    record(house, 3)
    with postgres.connect("postgres") as owner:
        house.clear(owner)
    record(House(house.connect, tmp_path / "other", house.clock), 5)
    with pytest.raises(Tampered, match="different entries"):
        house.sequencer().start()


def test_another_key_cannot_go_on_with_the_ledger(house: House) -> None:
    record(house, 2)
    with pytest.raises(TwinwardError, match=r"signed|signature"):
        house.sequencer(signer=Signer(SIGNER.verifier.name, bytes(32))).start()


def test_a_refused_start_can_be_mended(house: House) -> None:
    """Nothing is changed by a start that was refused."""
    record(house, 3)
    kept = keep(house)
    path = next((house.ledger / "bundles").iterdir())
    path.unlink()
    with pytest.raises(Incomplete):
        house.sequencer().start()
    put_back(house, kept, "bundles")
    good(house, 6)


def test_start_reads_the_last_bundle_file_only(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.auth import bundles

    monkeypatch.setattr(bundles.BundleFiles.__init__, "__defaults__", (4,))
    record(house, 9)
    found = sorted((house.ledger / "bundles").iterdir())
    assert [path.name for path in found] == [f"{first:020d}.bundle" for first in (0, 4, 8, 12, 16)]
    first = found[0].read_bytes()
    found[0].write_bytes(b"damaged long ago")
    good_start = house.sequencer()
    good_start.start()
    good_start.close()
    found[0].write_bytes(first)
    good(house, 18)
