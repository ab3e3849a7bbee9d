"""Settings of the two programs of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinward.settings import ProgramSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinSettings(ProgramSettings):
    """The door people's questions come through."""

    worker_address: str  # host:port of the twin worker
    authority_public_file: Path  # Ed25519, raw: who signs public keys and instances
    numba_cache_dir: Path  # compiled kernels; one folder per source state below it
    report_seconds: float = 5.0  # how often the use of leases is reported and leases given back
    plan_bolus_most: float = 25.0  # IU in one treatment plan that is looked at
    plan_carbohydrate_most: float = 200.0  # g


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(ProgramSettings):
    """The program that holds the living states."""

    authority_public_file: Path
    numba_cache_dir: Path
    poll_seconds: float = 1.0  # besides the database's notifications
    live_most: int = 2000  # living states kept in memory; the others come back from their snapshots
    snapshot_readings: int = 12  # a sealed snapshot every so many readings
    take_most: int = 500  # patients taken from the queue at once, also the most of one upkeep cohort
    renew_before_minutes: int = 60  # an upkeep lease is renewed this long before it ends
    threads: int = 2  # twins brought up to date side by side
