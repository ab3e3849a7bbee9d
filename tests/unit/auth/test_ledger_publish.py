"""Publishing: tiles on disk equal the definition, cost follows what is new, others can read them."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tlog_scales import tiles as their_tiles
from tlog_scales.backend import HttpBackend, LocalBackend, TilesBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tlog import InclusionProofInvalid

from services.auth import ledger_rows, publish
from tests.conftest import Database
from tests.unit.auth.ledger_house import SIGNER, House, grant
from twinward.errors import Tampered, Unavailable
from twinward.ledger import tiles
from twinward.ledger.tree import Edge, leaf_hash


@pytest.fixture
def house(postgres: Database, tmp_path: Path) -> House:
    house = House(lambda: postgres.connect("auth"), tmp_path)
    with postgres.connect("postgres") as owner:
        house.clear(owner)
    return house


def files(house: House) -> dict[str, bytes]:
    found = (path for path in (house.ledger / "tile").rglob("*") if path.is_file())
    return {str(path.relative_to(house.ledger)): path.read_bytes() for path in found}


def expected(entries: list[bytes]) -> dict[str, bytes]:
    """All tiles of these entries, from the definition."""
    found = {}
    leaves = [leaf_hash(entry) for entry in entries]
    for level, number, width in tiles.tiles_of(len(entries)):
        span = 256**level
        roots = [
            Edge().extended(leaves[at * span : (at + 1) * span]).root()
            for at in range(number * 256, number * 256 + width)
        ]
        found[tiles.path(level, number, width)] = b"".join(roots)
    for at in range(0, len(entries), 256):
        part = entries[at : at + 256]
        found[tiles.path("entries", at // 256, len(part))] = tiles.encode_entries(part)
    return found


def stored(house: House) -> list[bytes]:
    with house.connect() as connection:
        return [bytes(row[0]) for row in connection.execute("select entry from ledger.entry order by idx")]


def test_every_step_gives_the_tiles_of_the_definition(house: House) -> None:
    with house.sequencer(most=1000) as sequencer:
        publisher = house.publisher(sequencer)
        size = 0
        for more in (1, 2, 252, 1, 1, 255, 300, 700):
            sequencer.commit([grant(n) for n in range(more)])
            size += more
            assert publisher.publish().size == size
            wanted = expected(stored(house))
            have = files(house)
            assert {name: have.get(name) for name in wanted} == wanted
            # What is beyond are older partial tiles of tiles that are still growing.
            assert all(".p/" in name and name.split(".p/")[0] not in have for name in have.keys() - wanted.keys())
        publisher.close()
        assert house.verify().ok


def test_a_restart_reads_only_the_unfinished_tiles(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    real = ledger_rows.entries

    def counting(connection: ledger_rows.Connection, first: int, end: int) -> list[bytes]:
        asked.append((first, end))
        return real(connection, first, end)

    with house.sequencer(most=1000) as sequencer:
        sequencer.commit([grant(n) for n in range(700)])
        house.publish(sequencer)
        monkeypatch.setattr(ledger_rows, "entries", counting)
        house.publish(sequencer)
        assert asked == []
        sequencer.commit([grant(1), grant(2)])
        house.publish(sequencer)
        assert asked == [(700, 702)]
        with house.connect() as connection:
            row = connection.execute("select published_size, published_at is not null from ledger.head").fetchone()
        assert row == (702, True)
    assert house.verify().ok


def test_changed_tiles_stop_publishing_and_say_so(house: House) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([grant(n) for n in range(10)])
        house.publish(sequencer)
        path = house.ledger / "tile/0/000.p/10"
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)
        sequencer.commit([grant()])
        publisher = house.publisher(sequencer)
        with pytest.raises(Tampered, match="were changed"):
            publisher.publish()
        assert "were changed" in publisher.published.trouble
        path.unlink()
        with pytest.raises(Tampered, match="missing"):
            publisher.publish()
        publisher.close()


def test_changed_entries_in_the_database_are_not_published(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([grant(n) for n in range(10)])
        with postgres.connect("postgres") as owner:
            owner.execute("update ledger.entry set entry = set_byte(entry, 20, get_byte(entry, 20) # 1) where idx = 4")
        publisher = house.publisher(sequencer)
        with pytest.raises(Tampered, match="do not lead"):
            publisher.publish()
        assert not (house.ledger / "checkpoint").exists()
        publisher.close()


def test_a_folder_that_cannot_be_written_is_told_and_tried_again(house: House) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([grant()])
        house.publish(sequencer)
        sequencer.commit([grant()])
        publisher = house.publisher(sequencer)
        blocked = house.ledger / "tile/0/000.p/.2.new"
        blocked.mkdir()
        with pytest.raises(Unavailable):
            publisher.publish()
        assert publisher.published.trouble
        blocked.rmdir()
        assert publisher.publish().trouble == ""
        publisher.close()
    assert house.verify().ok


def test_the_thread_publishes_by_itself(house: House) -> None:
    with house.sequencer() as sequencer:
        publisher = publish.Publisher(
            sequencer.released, house.connect, house.ledger, SIGNER.verifier, house.clock, every_s=0.01
        )
        publisher.start()
        sequencer.commit([grant()])
        waited = threading.Event()
        for _ in range(500):
            if publisher.published.size == 1:
                break
            waited.wait(0.02)
        assert publisher.published.size == 1
        sequencer.commit([grant()])
        publisher.close()
        assert publisher.published.size == 2


# A verifier that is not ours -----------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(house: House) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(house.ledger))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _their_reading(backend: TilesBackend, house: House) -> None:
    """tlog-scales reads our files: signature, root from the tiles, every leaf's inclusion, consistency."""
    entries = stored(house)
    reader = TilesReader(backend)
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(Vkey.from_string(SIGNER.verifier.encode()))
    assert (checkpoint.origin, checkpoint.size) == (SIGNER.verifier.name, len(entries))
    assert reader.calculate_root_hash() == checkpoint.root_hash
    for index in range(0, len(entries), 37):
        leaf = reader.get_entry(index)
        assert leaf == entries[index]
        proof = reader.get_inclusion_proof(index, checkpoint.size)
        proof.check(their_tiles.leaf_hash(leaf), checkpoint.root_hash)
        with pytest.raises(InclusionProofInvalid):
            proof.check(their_tiles.leaf_hash(leaf + b"x"), checkpoint.root_hash)
    leaves = [leaf_hash(entry) for entry in entries]
    for old in (1, 255, 256, 257, 511):
        reader.get_consistency_proof(old, checkpoint.size).check(
            Edge().extended(leaves[:old]).root(), checkpoint.root_hash
        )


def test_tlog_scales_verifies_our_log(house: House, served: str) -> None:
    with house.sequencer(most=1000) as sequencer:
        for more in (300, 1, 220):
            sequencer.commit([grant(n) for n in range(more)])
            house.publish(sequencer)
    _their_reading(LocalBackend(house.ledger), house)
    remote = HttpBackend(served)
    try:
        _their_reading(remote, house)
    finally:
        remote.session.close()
    command = [sys.executable, "-m", "tlog_scales.cli", "get-leaf", "--check", served, "259"]
    told = subprocess.run(command, check=True, capture_output=True)
    assert told.stdout == stored(house)[259]


def test_an_empty_ledger_is_published_and_verifies(house: House) -> None:
    with house.sequencer() as sequencer:
        assert house.publish(sequencer) == 0
    report = house.verify()
    assert report.ok
    assert (report.size, report.published_size) == (0, 0)
