"""Settings of the compactor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinward.settings import ProgramSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactorSettings(ProgramSettings):
    authority_public_file: Path  # 32 bytes: who signs instances and manifest heads
    poll_s: float = 1.0  # how often it looks for tail by itself
    least_rows: int = 16  # tail rows of a unit that make it worth a run before the next sweep
    sweep_s: float = 20.0  # every so often the smallest tail is filed, too
    run_units: int = 200  # most leases of one run
    run_rows: int = 20_000  # most tail rows of one run
