"""Where a node's doors are, as its directory says: for whoever calls them from outside its programs."""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from twinward.errors import BadInput, Malformed, NotFound, Unready

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - read, never bound
HOSPITAL_DOORS = ("ingest", "twin", "sessions", "federation")


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a node's doors are, a hospital's or a coordinator's."""

    site: str
    kind: str  # hospital | coordinator
    ports: dict[str, int]
    authority: bytes  # PEM
    ca_file: Path
    people: Path
    sessions: Path  # where this person's sessions are kept
    public_host: str = "127.0.0.1"  # where the doors are that other organisations come to

    @classmethod
    def of(cls, directory: Path) -> Self:
        """
        Raises:
            NotFound: no node there.
            Malformed: its node.toml cannot be read.
            Unready: it is not up.
        """
        directory = directory.absolute()
        said = _said(directory)
        kind = str(said.get("kind", "hospital"))
        ports = _ports(directory)
        if "site-idp" not in ports or not _up(directory):
            noun = "coordinator" if kind == "coordinator" else "node"
            raise Unready(f"the {noun} is not up: start it with `twinward {noun} up`")
        ca_file = directory / "pki" / "ca.pem"
        people = directory / "secrets" / "people"
        demo = os.access(people, os.R_OK | os.X_OK) and os.access(directory / "run", os.W_OK)
        host = str(said.get("listen_host", "127.0.0.1"))
        return cls(
            str(said["site"]), kind, ports, ca_file.read_bytes(), ca_file, people,
            directory / "run" if demo else _state(), "127.0.0.1" if host in EVERYWHERE else host,
        )  # fmt: skip

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.ports['site-idp']}/embedded/{self.site}"

    def address(self, program: str) -> str:
        """host:port of a program's door.

        Raises:
            BadInput: a node of this kind has no such program.
        """
        if program not in self.ports:
            if program in HOSPITAL_DOORS and self.kind == "coordinator":
                raise BadInput(f"{self.site} is a coordinator: this command is for a hospital's node (--node DIR)")
            if program == "coordinator" and self.kind != "coordinator":
                raise BadInput(f"{self.site} is a hospital: this command is for the coordinator (--node DIR)")
            raise Unready(f"the program {program} is not there: start the node anew with this version")
        host = self.public_host if program == "coordinator" else "127.0.0.1"
        return f"{host}:{self.ports[program]}"


def default_directory() -> Path:
    """$TWINWARD_NODE, else here."""
    return Path(os.environ.get("TWINWARD_NODE") or ".")


def _said(directory: Path) -> dict[str, object]:
    try:
        found = tomllib.loads((directory / "node.toml").read_text())
    except FileNotFoundError:
        raise NotFound(
            f"{directory} is no node: make one with `twinward node init`, a coordinator with `twinward coordinator "
            "init`, or name it with --node"
        ) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"node.toml cannot be read: {error}") from None
    if not isinstance(found.get("site"), str):
        raise Malformed("node.toml must have name, site and profile")
    return found


def _ports(directory: Path) -> dict[str, int]:
    """Of the run now or before; empty before the first."""
    try:
        found = json.loads((directory / "run" / "ports.json").read_text())
    except (OSError, ValueError):
        return {}
    return {name: port for name, port in found.items() if isinstance(port, int)} if isinstance(found, dict) else {}


def _up(directory: Path) -> bool:
    """Whether a supervisor holds the node's lock."""
    try:
        with (directory / "run" / "supervisor.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _state() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "twinward"
