"""Settings: a frozen dataclass per program, from TOML, overridden by the environment.

Every key names a field; an unknown key is refused, because a misspelt security
setting that is silently ignored is worse than a program that does not start.
Secrets are never values here, only paths of files.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TypeVar, get_type_hints

from twinward.errors import BadInput, UnknownSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSettings:
    """What every program of a node needs."""

    site: str  # site id, also the trust domain of SPIFFE ids
    profile: str  # demo | research-teaching | clinical
    program: str  # auth, ingest, ingest-filer, compactor, twin, twin-worker, sessions
    listen: str = ""  # host:port of the mTLS door; empty: no door
    metrics_listen: str = ""  # host:port of Prometheus metrics; empty: none
    ca_file: Path  # who may have signed the other side
    certificate_file: Path
    key_file: Path
    database: str  # libpq connection string without a password
    database_password_file: Path
    auth_address: str = ""  # host:port
    issuer: str = ""  # of people's and services' tokens
    issuer_ca_file: Path | None = None
    service_key_file: Path | None = None  # private_key_jwt
    data_dir: Path  # where the program may write
    log_level: str = "info"


S = TypeVar("S")


def load(kind: type[S], path: Path, environment: Mapping[str, str] = os.environ) -> S:
    """`kind` from the TOML file at `path`; TWINWARD_<FIELD> overrides a field.

    Relative paths in the file are relative to the file's folder.

    Raises:
        UnknownSetting: a key that is no field of `kind`.
        BadInput: unreadable file, missing key or a value of the wrong type.
    """
    try:
        found: dict[str, object] = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"cannot read settings file {path.name}", detail=str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path.name} is not TOML: {error}") from None
    return build(kind, found, environment, base=path.parent)


def build(kind: type[S], found: Mapping[str, object], environment: Mapping[str, str], base: Path) -> S:
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, object] = {}
    for name, value in found.items():
        if name not in known:
            raise UnknownSetting(f"unknown setting {name!r}; known are {', '.join(sorted(known))}")
        values[name] = value
    for name in known:
        override = environment.get(f"TWINWARD_{name.upper()}")
        if override is not None:
            values[name] = override
    ready = {name: _as(hints[name], name, value, base) for name, value in values.items()}
    missing = [
        name
        for name, field in known.items()
        if name not in ready and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise BadInput(f"settings are missing: {', '.join(missing)}")
    return kind(**ready)


def _as(kind: object, name: str, value: object, base: Path) -> object:
    if kind in (Path, Path | None) and isinstance(value, str):
        return base / value
    if kind is bool and isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if kind in (int, float) and isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            raise BadInput(f"setting {name!r} must be a number") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise BadInput(f"setting {name!r} must be {kind.__name__}, not {type(value).__name__}")
    return value
