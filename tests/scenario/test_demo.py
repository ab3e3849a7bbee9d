"""The story of `make demo` plays to its end, and a verifier that others wrote reads its ledger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tlog_scales import tiles as their_tiles
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey

from infra.embedded.programs import COORDINATOR, HOSPITAL, KINDS

ROOT = Path(__file__).parents[2]
HERE, THERE = (len(KINDS[kind].programs) + 1 for kind in (HOSPITAL, COORDINATOR))  # and the database
PROMISES = (
    f"{HERE} programs are healthy",
    "acknowledged after the commit",
    "without consent there is no twin, only stored data",
    "at each of 24 questions the twin had the newest",
    "the treated patient's pressure holds, the untreated one's falls",
    "forecasts of the day has its entry",
    "the next read is refused",
    "every promise holds",
    "entries are whole",
    "the change is found",
    "Everything is stopped.",
)

TOGETHER = (
    *PROMISES,
    f"3 more nodes with {2 * HERE + THERE} programs are healthy",
    "every hospital is heard of, and its SuperNode runs",
    "everything that was accepted is filed",
    "rounds over 3 hospitals, and the model no longer moves",
    "St. Clare was never asked for a number",
    "learning together gives what pooling would have given",
    "coordinator: ",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_demo_plays(tmp_path: Path) -> None:
    told = " ".join(played(tmp_path, 880).split())
    assert [promise for promise in TOGETHER if promise not in told] == []
    assert left(tmp_path) == []


def played(folder: Path, timeout_s: float, *options: str) -> str:
    """What the demo tells."""
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "demo", *options, "--dir", str(folder / "demo"), "--exit"],
        cwd=ROOT, env={**os.environ, "COLUMNS": "110"}, capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def left(folder: Path) -> list[int]:
    """Processes of the demo that still run."""
    return [one.pid for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or [])]


@pytest.mark.timeout(400)
def test_the_demo_plays_and_others_verify_its_ledger(tmp_path: Path) -> None:
    told = " ".join(played(tmp_path, 380, "--one-hospital").split())
    assert [promise for promise in PROMISES if promise not in told] == []
    assert left(tmp_path) == []
    node = tmp_path / "demo" / "node"
    # Stopped cleanly, so everything is published: signature, root from the tiles, inclusion of every entry.
    reader = TilesReader(LocalBackend(node / "ledger"))
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(Vkey.from_string((node / "pki" / "ledger.vkey").read_text().strip()))
    assert checkpoint.size > 100
    assert reader.calculate_root_hash() == checkpoint.root_hash
    for index in range(checkpoint.size):
        leaf = reader.get_entry(index)
        reader.get_inclusion_proof(index, checkpoint.size).check(their_tiles.leaf_hash(leaf), checkpoint.root_hash)
