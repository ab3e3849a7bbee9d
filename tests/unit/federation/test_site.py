"""The hospital's program as a whole: what it does not carry, and when it does not start."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.federation.site import run
from twinward.errors import BadInput, UnknownSetting

ROOT = Path(__file__).parents[3]


def test_it_does_not_carry_flower() -> None:
    check = "import services.federation.site, sys; sys.exit('flwr' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("text", "kind"), [("sync_s = 1.0", BadInput), ("sink_s = 1.0", UnknownSetting)])
def test_settings_that_are_none_stop_the_start(tmp_path: Path, text: str, kind: type[BadInput]) -> None:
    file = tmp_path / "federation.toml"
    file.write_text(text)
    with pytest.raises(kind):
        run(file, threading.Event())
