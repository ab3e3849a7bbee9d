"""The README's commands run, in the order in which a reader would type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_readme_shows_every_kind_of_user_a_command() -> None:
    text = "\n".join(commands())
    for verb in ("node init", "node up", "ingest", "twin forecast", "twin whatif", "session run",
                 "consent withdraw", "audit list",
                 "audit verify", "coordinator init", "coordinator invite", "site join", "ingest table", "study draft",
                 "study submit", "study approve"):  # fmt: skip
        assert re.search(rf"^twinward (--\S+( \./\S+)? )*{verb}", text, re.MULTILINE), verb


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    assert named <= targets


@pytest.mark.timeout(400)
def test_the_commands_run_in_order(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINWARD_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["COLUMNS"] = "120"
    try:
        for line in commands():
            if exported := re.fullmatch(r"export (\w+)=(\S+)", line):
                environment[exported[1]] = exported[2]
                continue
            ran = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
            )
            assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"
            assert ran.stdout.strip() or line.startswith("cp "), f"{line} printed nothing"
    finally:
        for noun, directory in (("coordinator", "registry"), ("node", "st-anne")):
            subprocess.run(
                [sys.executable, "-m", "services.cli", noun, "down", str(tmp_path / directory)],
                cwd=ROOT, env=environment, capture_output=True, timeout=120,
            )  # fmt: skip
