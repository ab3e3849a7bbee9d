"""Where vectors lie: the public ones of the data folder, and our own beside the tests."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("TWINWARD_DATA", REPO / ".." / "shared" / "data"))
OURS = REPO / "tests" / "vectors" / "ledger"


def public(name: str) -> Any:
    path = DATA / "vectors" / name
    if not path.exists():
        pytest.skip(f"vectors-absent: {name} is not in the data folder (set TWINWARD_DATA)")
    with gzip.open(path, "rt") as file:
        return json.load(file)


def ours(name: str) -> Any:
    return json.loads((OURS / name).read_text())
