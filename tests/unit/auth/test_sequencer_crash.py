"""Kills and full disks: whatever was released has its entry, and the ledger never forks."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from infra.embedded.postgres import OWNER, Postgres
from infra.postgres.migrate import migrate
from tests.conftest import Database
from tests.unit.auth.ledger_house import SIGNER, House, grant
from twinward.clock import SystemChance
from twinward.errors import Unavailable
from twinward.ledger.tree import Edge, leaf_hash

ROUNDS = 4


@dataclass
class Load:
    """Processes under load, one after another, and all that they released."""

    house: House
    dsn: str
    rounds: int = 0
    released: dict[int, str] = field(default_factory=dict)
    heads: dict[int, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        self.rounds += 1
        command = [
            sys.executable,
            "-m",
            "tests.unit.auth.ledger_load",
            self.dsn,
            str(self.house.folder),
            str(self.rounds),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
            assert process.returncode == -signal.SIGKILL, err.decode()[-2000:]
            self._take(out.decode())

    def _take(self, out: str) -> None:
        for line in out.split("\n")[:-1]:  # a last line without its end was never said
            word, number, value = line.split()
            known = self.released if word == "R" else self.heads
            assert known.setdefault(int(number), value) == value, "one place was given out twice, or two heads signed"

    def check(self) -> None:
        """After a restart: every release has its entry, body and lease; every head is a prefix of this log."""
        with self.house.sequencer() as sequencer:
            (index,) = sequencer.commit([grant()], timeout_s=30)
            self.house.publish(sequencer)
            bodies: dict[int, str] = {}
            before: int | None = None
            while found := self.house.find(sequencer, limit=500, before=before):
                bodies |= {one.index: json.loads(one.body)["trace"] for one in found}
                assert {one.state for one in found} == {"valid"}
                before = found[-1].index
        report = self.house.verify()
        assert report.findings == []
        assert sorted(bodies) == list(range(index + 1))
        assert {place: bodies.get(place) for place in self.released} == self.released
        with psycopg.connect(self.dsn) as connection:
            leases: dict[int, str] = dict(connection.execute("select leaf, actor from vault.lease").fetchall())
            entries = [bytes(row[0]) for row in connection.execute("select entry from ledger.entry order by idx")]
        assert leases == {place: trace for place, trace in bodies.items() if place in leases}
        assert set(self.released) <= set(leases)
        edge = Edge()
        for size, entry in enumerate(entries, 1):
            edge = edge.extended([leaf_hash(entry)])
            if size in self.heads:
                assert self.heads[size] == edge.root().hex(), "a released head is no prefix of the ledger: a fork"


@pytest.fixture
def house(postgres: Database, tmp_path: Path) -> House:
    house = House(lambda: postgres.connect("auth"), tmp_path)
    with postgres.connect("postgres") as owner:
        house.clear(owner)
    return house


def _wait_for(load: Load, process: subprocess.Popen[bytes], more: int) -> None:
    """Until the database holds `more` entries beyond what it held: load, not start-up, is what we kill."""
    deadline = time.monotonic() + 60
    with psycopg.connect(load.dsn, autocommit=True) as connection:

        def size() -> int:
            row = connection.execute("select size from ledger.head").fetchone()
            return 0 if row is None else int(row[0])

        target = size() + more
        while size() < target:
            assert process.poll() is None, "the process under load ended by itself"
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.01)


def test_auth_killed_under_load(house: House, postgres: Database) -> None:
    load = Load(house, postgres.dsn("auth"))
    for round_ in range(ROUNDS):
        with load.running() as process:
            _wait_for(load, process, 150)
            time.sleep(0.013 * round_)
    assert len(load.released) > 100
    load.check()


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A PostgreSQL of this test's own, because it is killed."""
    folder = Path(tempfile.mkdtemp(prefix="tw-led-"))
    folder.chmod(0o711)
    server = Postgres(folder / "postgres", folder / "secrets", folder / "postgres.log", SystemChance())
    try:
        server.initialise()
        server.start()
        server.make_roles()
        server.make_database()
        migrate(server.dsn(OWNER), server.password_file(OWNER).read_text())
        yield server
    finally:
        server.stop()
        if server.home.is_symlink():
            shutil.rmtree(server.home.resolve(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _kill(server: Postgres) -> None:
    pid = server.running()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    if server.process is not None:
        server.process.wait(30)


def test_postgres_killed_under_load(own_server: Postgres, tmp_path: Path) -> None:
    """The process under load lives on: it refuses while the database is away, and goes on after."""
    dsn = f"{own_server.dsn('auth')} password={own_server.password_file('auth').read_text()}"
    house = House(lambda: psycopg.connect(dsn, connect_timeout=5), tmp_path)
    load = Load(house, dsn)
    with load.running() as process:
        for round_ in range(ROUNDS):
            _wait_for(load, process, 100)
            time.sleep(0.011 * round_)
            _kill(own_server)
            own_server.start()
        _wait_for(load, process, 100)
    assert len(load.released) > 100
    load.check()


# Full disks -------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A real small file system at `folder` where we may mount one; says whether."""
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    try:
        yield made.returncode == 0
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path, mounted: bool) -> Iterator[None]:
    """No byte more for the files in `folder`: the disk filled up, or a limit on the size of files."""
    if mounted:
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))
        yield
        ballast.unlink()
        return
    size = max(path.stat().st_size for path in folder.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_bundle_disk_releases_nothing_and_recovers(house: House, postgres: Database) -> None:
    bundles = house.ledger / "bundles"
    with small_disk(bundles) as mounted, house.sequencer() as sequencer:
        assert sequencer.commit([grant(n) for n in range(9)]) == list(range(9))
        with full(bundles, mounted):
            refused: list[str] = []
            for number in range(40):
                try:
                    # Whatever still fits into the last block of the disk is released rightly.
                    sequencer.commit([grant(number) for _ in range(20)])
                except Unavailable as error:
                    refused.append(error.public)
            assert len(refused) >= 20
            assert all("make room" in sentence for sentence in refused)
            assert "make room" in sequencer.state().trouble
            held = sequencer.released().edge.size
        with postgres.connect("auth") as connection:
            (size,) = connection.execute("select size from ledger.head").fetchone() or (0,)
        assert held < size <= held + 20, "after the first failure nothing more goes into the database"
        # Room again: what stood in the database and was not released is caught up, and it goes on.
        (index,) = sequencer.commit([grant()], timeout_s=30)
        assert index == size
        assert sequencer.state().trouble == ""
        house.publish(sequencer)
        report = house.verify()
        assert report.findings == []
        assert report.size == index + 1
        assert SIGNER.verifier.name == report.origin


def test_a_full_disk_at_the_kill_is_no_fork(house: House) -> None:
    """Full, then the process ends with the database one group ahead; the next start catches up."""
    bundles = house.ledger / "bundles"
    with small_disk(bundles) as mounted:
        with house.sequencer() as sequencer:
            sequencer.commit([grant(n) for n in range(9)])
            with full(bundles, mounted):
                for _ in range(40):
                    with contextlib.suppress(Unavailable):
                        sequencer.commit([grant() for _ in range(20)])
                sequencer.close()
        with house.sequencer() as sequencer:
            sequencer.commit([grant()])
            house.publish(sequencer)
        assert house.verify().findings == []
