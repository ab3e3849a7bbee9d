"""A full disk: nothing is acknowledged that is not stored, and it goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import invariants
from tests.hospital import Hospital
from tests.scenario.ward import Ward, patiently, until
from twinward.errors import Busy, TwinwardError, Unavailable
from twinward.record import CGM_GLUCOSE

SIZE_MB = 400
LEFT_BYTES = 1_500_000


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path]:
    """A file system of its own with 400 MB, where this machine lets us make one."""
    folder = Path(tempfile.mkdtemp(prefix="tw-disk-"))
    made = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "tmpfs", str(folder)],
            check=False,
            capture_output=True,
        ).returncode
    )
    if not made:
        folder.rmdir()
        pytest.skip("no-small-disk: a file system of its own needs root and mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


@pytest.fixture(scope="module")
def hospital(small_disk: Path) -> Iterator[Hospital]:
    numba = Path(tempfile.gettempdir()) / f"twinward-numba-{os.geteuid()}"
    numba.mkdir(exist_ok=True, mode=0o700)
    further = {name: {"numba_cache_dir": str(numba)} for name in ("twin", "twin-worker", "sessions")}
    usual, tempfile.tempdir = tempfile.gettempdir(), str(small_disk)
    try:
        running = Hospital("St. Small", further)
    finally:
        tempfile.tempdir = usual
    try:
        yield running
    finally:
        running.close()


def fill(disk: Path) -> Path:
    """Leaves `LEFT_BYTES` of the disk."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with filler.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, max(1, room.f_bavail * room.f_frsize - LEFT_BYTES))
    return filler


def test_what_is_acknowledged_is_there_after_a_full_disk(hospital: Hospital, small_disk: Path) -> None:
    ward = Ward(hospital, patients=1, days=2, seed=51)
    ward.admit()
    readings = [row for row in ward.rows[0] if row.glucose is not None]
    stub = ward.stub()
    acknowledged: dict[int, float] = {}
    refused: list[TwinwardError] = []

    def send(at: int) -> None:
        rows = readings[at : at + 2]
        ward.put(stub, rows, key=f"disk {at}")
        acknowledged.update({row.at_ms: row.glucose or 0.0 for row in rows})

    for at in range(0, 60, 2):
        send(at)
    filler = fill(small_disk)
    places = list(range(60, len(readings), 2))
    try:
        for at in places:
            try:
                send(at)
            except (Unavailable, Busy) as error:
                refused.append(error)
                if len(refused) > 3:
                    break
    finally:
        filler.unlink()
    assert refused, "the disk never was full"
    assert all("space" in one.public or "answer" in one.public or "again" in one.public for one in refused)
    hospital.wait_healthy()
    until(lambda: patiently(ward.status) is not None, "ingest takes data again")
    for at in places:
        patiently(lambda at=at: send(at))  # type: ignore[misc]
    rows = invariants.open_store(hospital.directory).of(ward.handle(0)).every().with_code(CGM_GLUCOSE).measurements()
    assert sorted((one.effective_ms, one.value) for one in rows) == sorted(acknowledged.items())
    assert patiently(lambda: ward.forecast(0)).last_reading.time_ms == readings[-1].at_ms
    ward.holds()
