"""What verification says of a true copy and of every way to falsify one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ledger.written import SIGNER, Written, a_log, entry, salted, verifier
from twinward.errors import BadInput
from twinward.ledger import opened, tiles
from twinward.ledger.bundles import Frame
from twinward.ledger.kinds import Kind
from twinward.ledger.note import Signer
from twinward.ledger.tilecheck import Finding
from twinward.ledger.verify import Report, verify


def found(directory: Path) -> list[Finding]:
    report = verify(directory, verifier())
    assert not report.ok
    return report.findings


@pytest.mark.parametrize("size", [1, 6, 7, 255, 256, 257, 600])
def test_a_true_copy_is_true(tmp_path: Path, size: int) -> None:
    log = a_log(size, rotate=100)
    report = verify(log.write(tmp_path), verifier())
    assert report.findings == []
    assert (report.size, report.entries_checked, report.published_size, report.guard_size) == (size, size, size, size)
    assert report.notes_checked == len(log.groups) + 2


def test_third_level_of_tiles(tmp_path: Path) -> None:
    log = a_log(66_000, group=22_000)
    assert verify(log.write(tmp_path), verifier()).ok
    path = tmp_path / "tile/1/000"
    data = bytearray(path.read_bytes())
    data[32 * 100] ^= 1
    path.write_bytes(data)
    assert [(one.first, one.end) for one in found(tmp_path)] == [(25_600, 25_856)]


def test_published_may_lie_behind(tmp_path: Path) -> None:
    report = verify(a_log(400).write(tmp_path, published=300), verifier())
    assert report.ok
    assert (report.size, report.published_size) == (400, 300)


def _entry_edited(log: Written, directory: Path) -> None:
    log.entries[123] = entry(123, body=b'{"actor":"somebody else","kind":"grant","v":1}')
    frames = a_log(400).frames()
    wrong = [Frame(f.first, tuple(log.entries[f.first : f.size]), f.note) for f in frames]
    log.write_bundles(directory, wrong)


def _reordered(log: Written, directory: Path) -> None:
    log.entries[123], log.entries[124] = log.entries[124], log.entries[123]
    frames = a_log(400).frames()
    log.write_bundles(directory, [Frame(f.first, tuple(log.entries[f.first : f.size]), f.note) for f in frames])


@pytest.mark.parametrize("change", [_entry_edited, _reordered])
def test_a_changed_entry_is_named(tmp_path: Path, change: Callable[[Written, Path], None]) -> None:
    log = a_log(400)
    log.write(tmp_path)
    change(log, tmp_path)
    first = found(tmp_path)[0]
    assert (first.first, first.end) == (123, 124)
    assert "first where entries and tiles disagree" in first.sentence


def test_with_rebuilt_tiles_the_smallest_signed_range_is_named(tmp_path: Path) -> None:
    log = a_log(400)
    log.write(tmp_path)
    checkpoint = (tmp_path / "checkpoint").read_text()
    _entry_edited(log, tmp_path)
    log.write_tiles(tmp_path, 400)
    (tmp_path / "checkpoint").write_text(checkpoint)
    first = found(tmp_path)[0]
    assert (first.first, first.end) == (119, 126)
    assert "rebuilt" in first.sentence


def test_everything_rebuilt_without_the_key_is_seen(tmp_path: Path) -> None:
    log = a_log(400)
    log.write(tmp_path)
    forger = Signer(SIGNER.verifier.name, bytes(32))
    log.entries[123] = entry(123, body=b'{"actor":"somebody else","kind":"grant","v":1}')
    frames = [Frame(f.first, f.entries, log.note(f.size, forger).encode()) for f in log.frames()]
    log.write_bundles(tmp_path, frames)
    log.write_tiles(tmp_path, 400)
    (tmp_path / "checkpoint").write_text(log.note(400, forger))
    findings = found(tmp_path)
    # The guard alone is still signed: all that it covers is in doubt.
    assert (findings[0].first, findings[0].end) == (0, 400)
    assert any(one.where == "checkpoint" for one in findings)


def test_a_deleted_entry_is_seen(tmp_path: Path) -> None:
    log = a_log(400)
    log.write(tmp_path)
    frames = log.frames()
    cut = frames[17]
    frames[17] = Frame(cut.first, cut.entries[:-1], cut.note)
    log.write_bundles(tmp_path, frames)
    assert any(one.first == cut.size - 1 and "does not continue" in one.sentence for one in found(tmp_path))


def test_a_deleted_bundle_file_is_seen(tmp_path: Path) -> None:
    a_log(400, rotate=100).write(tmp_path)
    sorted((tmp_path / "bundles").iterdir())[1].unlink()
    assert any("does not continue at entry 105" in one.sentence for one in found(tmp_path))


def test_a_rewound_copy_is_seen_by_its_guard(tmp_path: Path) -> None:
    log = a_log(400)
    log.write(tmp_path)
    log.write_bundles(tmp_path, [frame for frame in log.frames() if frame.size <= 301])
    shutil.rmtree(tmp_path / "tile")
    log.write_tiles(tmp_path, 301)
    first = found(tmp_path)[0]
    assert (first.first, first.end) == (301, 400)
    assert "missing" in first.sentence


def test_two_signed_heads_of_one_size_are_a_fork(tmp_path: Path) -> None:
    log = a_log(400)
    log.write(tmp_path)
    other = a_log(400)
    other.entries[399] = entry(399, kind=2)
    (tmp_path / "checkpoint").write_text(other.note(400))
    assert any(one.where == "fork" and one.end == 400 for one in found(tmp_path))


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/001.p/144", "tile/1/000.p/1", "tile/entries/001.p/144"])
def test_a_changed_or_missing_tile_is_named(tmp_path: Path, name: str) -> None:
    a_log(400).write(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[-1] ^= 1
    (tmp_path / name).write_bytes(data)
    findings = found(tmp_path)
    assert len(findings) == 1
    assert name in findings[0].sentence
    (tmp_path / name).unlink()
    assert "missing" in found(tmp_path)[0].sentence


def test_a_swapped_tile_is_named_by_its_first_entry(tmp_path: Path) -> None:
    a_log(700).write(tmp_path)
    first, second = tmp_path / "tile/0/000", tmp_path / "tile/0/001"
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert found(tmp_path)[0].first == 0


def test_an_unfinished_commit_at_the_end_is_told_and_is_no_fault(tmp_path: Path) -> None:
    log = a_log(400)
    log.write(tmp_path)
    path = next((tmp_path / "bundles").iterdir())
    path.write_bytes(path.read_bytes() + Frame(400, (entry(400),), b"note").encode()[:-3])
    report = verify(tmp_path, verifier())
    assert report.ok
    assert report.unfinished_bytes > 0


def test_a_missing_or_broken_guard_or_checkpoint_is_a_fault(tmp_path: Path) -> None:
    a_log(50).write(tmp_path)
    (tmp_path / "guard.sqlite").write_bytes(b"not a database")
    (tmp_path / "checkpoint").write_bytes(b"\xff")
    assert {one.where for one in found(tmp_path)} == {"guard", "checkpoint"}
    (tmp_path / "guard.sqlite").unlink()
    (tmp_path / "checkpoint").unlink()
    assert {one.where for one in found(tmp_path)} == {"guard", "checkpoint"}


def test_a_folder_that_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        verify(tmp_path, verifier())


def test_another_key_verifies_nothing(tmp_path: Path) -> None:
    a_log(20).write(tmp_path)
    assert not verify(tmp_path, Signer("demo-b.example/ledger", bytes(32)).verifier).ok


def test_bodies_are_valid_destroyed_missing_or_false(tmp_path: Path) -> None:
    log = a_log(20)
    retention = b'{"kind":"retention","ranges":[[3,6]],"v":1}'
    log.entries[19] = entry(19, Kind.RETENTION, retention)
    log.write(tmp_path)
    bodies = {at: salted(at) for at in range(19) if at not in (3, 4, 9)} | {19: salted(19, retention)}
    (tmp_path / opened.NAME).write_text(opened.encode(bodies))
    report = verify(tmp_path, verifier())
    assert report.ok
    assert report.bodies is not None
    assert (report.bodies.valid, report.bodies.destroyed, report.bodies.missing) == (17, 2, 1)
    bodies[7], bodies[8] = bodies[8], bodies[7]
    (tmp_path / opened.NAME).write_text(opened.encode(bodies))
    assert [(one.where, one.first) for one in found(tmp_path)] == [("bodies", 7)]


def test_verification_writes_nothing_into_the_copy(tmp_path: Path) -> None:
    def all_files() -> dict[str, tuple[int, bytes]]:
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    a_log(300).write(tmp_path)
    before = all_files()
    verify(tmp_path, verifier())
    assert all_files() == before


COPY = a_log(300, group=30, rotate=150)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return COPY.write(tmp_path_factory.mktemp("ledger"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_changed_byte_anywhere_is_found(copy: Path, data: st.DataObject) -> None:
    """Bundles, tiles and checkpoint hold nothing that could be changed unseen."""
    files = sorted(path for path in copy.rglob("*") if path.is_file() and path.name != "guard.sqlite")
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    changed = bytearray(whole)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    try:
        report: Report = verify(copy, verifier())
    finally:
        path.write_bytes(whole)
    assert not report.ok, f"{path.relative_to(copy)} byte {at}"
    assert verify(copy, verifier()).ok


def test_a_published_size_read_from_a_fuller_tile(tmp_path: Path) -> None:
    """A node that runs on has replaced the partial tile; an older checkpoint still verifies."""
    log = a_log(256)
    log.write(tmp_path)
    (tmp_path / "checkpoint").write_text(log.note(200))
    assert (tmp_path / tiles.path(0, 0)).exists()
    assert verify(tmp_path, verifier()).ok
