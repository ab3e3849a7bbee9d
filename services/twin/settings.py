"""Settings of the programs of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinward.settings import ProgramSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinSettings(ProgramSettings):
    """The door people's questions come through."""

    worker_address: str  # host:port of a twin worker: asked while nobody holds the patient's share
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
    announce: str = ""  # host:port under which the door finds this worker; empty: where it listens
    live_most: int = 16_000  # living states kept in memory, about 100 kB each; the others come back from snapshots
    snapshot_readings: int = 12  # a sealed snapshot every so many readings
    take_most: int = 500  # patients taken from the queue at once, also the most of one upkeep cohort
    renew_before_minutes: int = 60  # an upkeep lease is renewed this long before it ends
    threads: int = 1  # twins brought up side by side: Python lives them one at a time, so more cores want more workers


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings(ProgramSettings):
    """The program learners practise with."""

    numba_cache_dir: Path
    cases_dir: Path | None = None  # further cases, YAML files; one of a shipped case's name takes its place
    threads: int = 2  # exchanges lived side by side
    sessions_most: int = 200  # in memory
    streams_most: int = 200
    streams_per_person: int = 4
    vanish_seconds: float = 30.0  # without its learner for so much of the patient's time (2 s at least), it pauses
    idle_seconds: float = 600.0  # paused or ended and unseen for so long, it leaves memory; its log stays
    place_seconds: float = 2.0  # how often is written how far running ones are
    keep_days: int = 365  # untouched for so long, a session is erased


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsSettings(ProgramSettings):
    """The program that works off long jobs: the nightly refit."""

    authority_public_file: Path
    numba_cache_dir: Path
    broker_file: Path | None = None  # RabbitMQ's address; None: the queue in the node's own database
    night_from_utc_h: int = 1  # refits are planned within these hours, as auth's night
    night_until_utc_h: int = 4
    refit_days: float = 5.0  # of the twin's own time since its last refit
    refit_most: int = 500  # planned in one night
    relay_seconds: float = 0.5  # how often the table is looked at for what is not sent
    plan_seconds: float = 60.0
