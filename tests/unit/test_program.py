"""Every program begins alike."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from twinward import program
from twinward.errors import Unready


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_part_that_is_named_runs_else_the_first(tmp_path: Path) -> None:
    ran: list[tuple[str, Path]] = []
    parts: dict[str, program.Run] = {
        "door": lambda file, _: ran.append(("door", file)),
        "filer": lambda file, _: ran.append(("filer", file)),
    }
    assert program.begin("x", None, parts, ["--settings", str(tmp_path)]) == 0
    assert program.begin("x", None, parts, ["filer", "--settings", str(tmp_path)]) == 0
    assert ran == [("door", tmp_path), ("filer", tmp_path)]


def test_a_signal_sets_the_event() -> None:
    def run(_: Path, stop: threading.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)

    assert program.begin("x", None, {"x": run}, ["--settings", "f"]) == 0


def test_why_it_does_not_start_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def run(_: Path, __: threading.Event) -> None:
        raise Unready("the key is missing: restore it")

    assert program.begin("x", None, {"x": run}, ["--settings", "f"]) == 1
    assert capfd.readouterr().err == "the key is missing: restore it\n"


@pytest.mark.parametrize("service", ["auth", "ingest", "compactor", "twin"])
def test_a_program_without_settings_says_which(service: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main = import_module(f"services.{service}.__main__").main
    assert main(["--settings", str(tmp_path / "none.toml")]) == 1
    assert "cannot read settings file none.toml" in capfd.readouterr().err
