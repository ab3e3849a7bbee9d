"""A kernel's cache must see an edit of what the kernel calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twinward.physiology.compiled import ROOT, SOURCES, fingerprint

RUN = """
import numpy as np
from twinward.physiology import glucose
x = np.zeros(13); dx = np.zeros(13); p = np.ones(32)
x[3] = 500.0; p[22] = 0.0005; p[23] = 339.0
glucose.derivative(x, p, 0.0, 0.0, 0.0, 0.0, dx)
print(repr(float(dx[3])))
"""


def run(tree: Path, home: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    answer = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=tree, capture_output=True, text=True, check=True
    )
    return float(answer.stdout)


def copied(to: Path) -> Path:
    for part in ("twinward/__init__.py", "twinward/errors.py", "twinward/physiology", "twinward/learning"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (to / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / part, to / part)
    return to


def test_an_edited_constant_is_seen_and_every_source_counts(tmp_path: Path) -> None:
    tree, home = copied(tmp_path / "tree"), tmp_path / "home"
    before, digest = run(tree, home), fingerprint(tree)
    assert run(tree, home) == before
    source = tree / "twinward/physiology/glucose.py"
    source.write_text(source.read_text().replace("E = ke1 * max(", "E = 2 * ke1 * max("))
    assert fingerprint(tree) != digest
    assert run(tree, home) < before - 0.05
    assert len(SOURCES) == 3
