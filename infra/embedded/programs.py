"""The programs of a node: what starts them, as whom they speak, what their settings say."""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.postgres import Postgres
from infra.embedded.secrets import INTAKE_KEY_ID, Secrets
from twinward.errors import Unready

FEEDS = ("files", "observations")
Settings = dict[str, object]


@dataclass(frozen=True, slots=True)
class Program:
    """One process of a node."""

    name: str  # also its SPIFFE id's last part and its client id
    module: str
    arguments: tuple[str, ...] = ()
    role: str = ""  # database role; empty: no database
    http: bool = False  # health over HTTPS instead of gRPC

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(f"{self.module}.__main__") is not None

    def command(self, settings: Path) -> list[str]:
        return [sys.executable, "-m", self.module, *self.arguments, "--settings", str(settings)]


SITE_IDP = Program("site-idp", "infra.embedded.site_idp", http=True)
PROGRAMS = (
    SITE_IDP,
    Program("auth", "services.auth", role="auth"),
    Program("ingest", "services.ingest", role="ingest"),
    Program("ingest-filer", "services.ingest", ("filer",), role="filer"),
    Program("compactor", "services.compactor", role="compactor"),
    Program("twin-worker", "services.twin", ("worker",), role="twin_worker"),
    Program("twin", "services.twin", role="twin"),
)
CLIENTS = ("auth", "ingest", "ingest-filer", "compactor", "twin-worker", "twin")
INSTANCES = ("ingest", "ingest-filer")  # programs that sign what they accepted
NODE = "node"  # the supervisor's own certificate: it asks for health


@dataclass(frozen=True, slots=True)
class Place:
    """A node as its programs' settings see it."""

    directory: Path
    site: str
    profile: str
    ports: Mapping[str, int]  # listener -> port on loopback
    postgres: Postgres
    secrets: Secrets

    def address(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.ports['site-idp']}/embedded/{self.site}"


def listeners(programs: Sequence[Program]) -> list[str]:
    """Every port that a node needs."""
    names = [program.name for program in programs]
    return [*names, "enrol", *(f"{name}.metrics" for name in names)]


def settings_of(program: Program, place: Place) -> Settings:
    """The settings file of `program`, paths absolute."""
    pki, secrets = place.directory / "pki", place.directory / "secrets"
    found: Settings = {
        "site": place.site,
        "profile": place.profile,
        "program": program.name,
        "listen": place.address(program.name),
        "metrics_listen": place.address(f"{program.name}.metrics"),
        "ca_file": pki / "ca.pem",
        "certificate_file": pki / "programs" / f"{program.name}.pem",
        "key_file": pki / "programs" / f"{program.name}.key",
        "issuer": place.issuer,
    }
    if program.name == SITE_IDP.name:
        return found | {
            "people_dir": secrets / "people",
            "clients_dir": secrets / "clients",
            "keys_file": secrets / "site-idp" / "keys.json",
        }
    found |= {
        "database": place.postgres.dsn(program.role),
        "database_password_file": place.postgres.password_file(program.role),
        "auth_address": place.address("auth"),
        "issuer_ca_file": pki / "ca.pem",
        "service_key_file": secrets / "clients" / f"{program.name}.key",
        "data_dir": place.directory / "run" / program.name,
    }
    return found | _own(program.name, place)


def _own(name: str, place: Place) -> Settings:
    """What one program alone is told."""
    directory, pki, secrets = place.directory, place.directory / "pki", place.directory / "secrets"
    authority: Settings = {"authority_public_file": pki / "authority.pub"}
    if name == "auth":
        return {
            "enrol_listen": place.address("enrol"), "secrets_dir": secrets, "pki_dir": pki,
            "ledger_dir": directory / "ledger",
        }  # fmt: skip
    if name in INSTANCES:
        return authority | {
            "tag_key_file": secrets / "tag.key",
            "feed_index_key_file": secrets / "feed_idx.key",
            "instance_key_file": secrets / "instance" / f"{name}.key",
            "instance_id": str(place.secrets.instance(name).id),
            "admit_public_file": pki / "admit.pub",
            "intake_public_file": pki / "intake" / f"{INTAKE_KEY_ID}.pub",
            "intake_key_id": INTAKE_KEY_ID,
        }
    if name == "twin":
        return authority | {
            "worker_address": place.address("twin-worker"),
            "numba_cache_dir": directory / "numba",
        }
    if name == "twin-worker":
        return authority | {"numba_cache_dir": directory / "numba"}
    return authority


def write_settings(programs: Sequence[Program], place: Place, further: Mapping[str, Mapping[str, object]]) -> None:
    """DIR/settings/<program>.toml for all; `further` are the operator's own keys, from node.toml."""
    folder = place.directory / "settings"
    folder.mkdir(exist_ok=True, mode=0o700)
    for program in programs:
        values = {**settings_of(program, place), **further.get(program.name, {})}
        (place.directory / "run" / program.name).mkdir(parents=True, exist_ok=True, mode=0o700)
        text = (
            "# Written at every `twinward node up`; own keys belong into node.toml, [programs." + program.name + "]\n"
        )
        (folder / f"{program.name}.toml").write_text(text + toml(values))


def toml(values: Mapping[str, object]) -> str:
    """Flat keys only. A JSON string is a TOML string when it has no raw control characters."""
    lines = []
    for name, value in values.items():
        shown = str(value) if isinstance(value, Path) else value
        lines.append(f"{name} = {json.dumps(shown, ensure_ascii=False)}\n")
    return "".join(lines)


def choose_ports(names: Sequence[str], fixed: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """A free loopback port for every name: the fixed one, else the last one, else any.

    Raises:
        Unready: a fixed port is taken.
    """
    found: dict[str, int] = {}
    with ExitStack() as held:  # all at once, so that no port is given twice
        for name in sorted(names, key=lambda one: (not fixed.get(one), not last.get(one))):
            wanted = fixed.get(name, 0)
            port = _hold(held, wanted or last.get(name, 0)) or (0 if wanted else _hold(held, 0))
            if not port:
                raise Unready(f"port {wanted} of {name} is taken: free it or change [ports] in node.toml")
            found[name] = port
    return found


def _hold(held: ExitStack, port: int) -> int:
    sock = held.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return 0
    return int(sock.getsockname()[1])
