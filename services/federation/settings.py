"""Settings of the programs of this folder, one class each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinward.settings import ProgramSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings(ProgramSettings):
    """The coordinator's doors, its studies and the runs it starts."""

    join_listen: str  # host:port where hospitals with a one-time token come in
    public_host: str = "127.0.0.1"  # under which hospitals reach this machine: goes into tokens
    fleet_address: str  # host:port of the SuperLink, as hospitals reach it
    control_address: str  # host:port, loopback: the SuperLink's control listener
    control_token_file: Path  # what the control listener lets in
    site_authority_file: Path  # PEM chain: who signs hospitals' certificates
    site_authority_key_file: Path
    bundle_public_file: Path  # Ed25519, raw: who signs the code bundle
    site_certificate_hours: float = 24.0
    away_s: float = 3.0  # a hospital that was not heard of for so long is not waited for
    poll_s: float = 0.5  # how often runs are looked at
    most_attempts: int = 5  # of one run that ends by itself without being done


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperlinkSettings(ProgramSettings):
    """Flower's SuperLink. `listen` is a gRPC door for health alone."""

    database: str = ""
    database_password_file: Path = Path("/dev/null")
    fleet_listen: str  # host:port for hospitals' SuperNodes, TLS
    control_listen: str  # host:port, loopback, TLS: the coordinator's program only
    runtime_listen: str  # host:port, loopback: the executor, with the secret
    runtime_secret_file: Path
    control_token_file: Path
    bundle_key_file: Path  # Ed25519, raw: signs the code bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsSettings(ProgramSettings):
    """The executor at the coordinator: forks ServerApps, which write to the database as role `coordinator`."""

    runtime_address: str
    runtime_secret_file: Path
    away_s: float = 3.0
    poll_s: float = 0.05  # how often answers are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings(ProgramSettings):
    """A hospital's part: its door, its link to the coordinator, its studies."""

    authority_public_file: Path  # Ed25519, raw: who signs manifests and instances
    policy_file: Path  # TOML: what this hospital takes part in; missing: the defaults of policy.py
    sync_s: float = 1.0  # how often the coordinator is told and asked


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernodeSettings:
    """Flower's SuperNode, a child of the hospital's program."""

    site: str
    coordinator: str  # site id of the coordinator
    fleet_address: str
    ca_file: Path  # the coordinator's authority
    node_key_file: Path
    runtime_listen: str  # host:port, loopback
    runtime_secret_file: Path
    bundle_public_file: Path  # of the coordinator, pinned at joining
    data_dir: Path
    proxy: str = ""  # host:port of an HTTP CONNECT proxy
    poll_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSettings:
    """The executor of a hospital, a child of its program."""

    site: str
    runtime_address: str
    runtime_secret_file: Path
    work_socket: Path  # where the hospital's program answers asks
    work_secret_file: Path
    data_dir: Path
