"""The programs of a node: what starts them, as whom they speak, what their settings say.

A node is a hospital's or a coordinator's (`KINDS`): the same directory, other programs.
"""

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
    alone: bool = False  # it forks and must have no threads, so no door: it is healthy while it is alive
    doors: tuple[str, ...] = ()  # listeners beside the one that bears its name

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(f"{self.module}.__main__") is not None

    def command(self, settings: Path) -> list[str]:
        return [sys.executable, "-m", self.module, *self.arguments, "--settings", str(settings)]


SITE_IDP = Program("site-idp", "infra.embedded.site_idp", http=True)
AUTH = Program("auth", "services.auth", role="auth", doors=("enrol",))
PROGRAMS = (
    SITE_IDP,
    AUTH,
    Program("ingest", "services.ingest", role="ingest"),
    Program("ingest-filer", "services.ingest", ("filer",), role="filer"),
    Program("compactor", "services.compactor", role="compactor"),
    Program("twin-worker", "services.twin", ("worker",), role="twin_worker"),
    Program("twin", "services.twin", role="twin"),
    Program("sessions", "services.twin", ("sessions",), role="sessions"),
    Program("twin-jobs", "services.twin", ("jobs",), role="twin_jobs"),
    Program("federation", "services.federation", ("site",), role="federation"),
)
INSTANCES = ("ingest", "ingest-filer")  # programs that sign what they accepted


@dataclass(frozen=True, slots=True)
class Kind:
    """What a node directory is for."""

    programs: tuple[Program, ...]
    feeds: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()

    @property
    def clients(self) -> tuple[str, ...]:
        """Programs with a service token."""
        return tuple(program.name for program in self.programs if program is not SITE_IDP)


HOSPITAL, COORDINATOR = "hospital", "coordinator"
KINDS: Mapping[str, Kind] = {
    HOSPITAL: Kind(PROGRAMS, FEEDS, INSTANCES),
    COORDINATOR: Kind((
        SITE_IDP,
        AUTH,
        Program("coordinator", "services.federation", ("coordinator",), role="coordinator", doors=("join",)),
        Program("superlink", "services.federation", ("superlink",), doors=("fleet", "control", "runtime")),
        Program("rounds", "services.federation", ("rounds",), role="coordinator", alone=True),
    )),
}  # fmt: skip
CLIENTS = KINDS[HOSPITAL].clients
PUBLIC = frozenset({"coordinator", "join", "fleet"})  # listeners that joined hospitals come to
LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what an operator may say, not a default
NODE = "node"  # the supervisor's own certificate: it asks for health


@dataclass(frozen=True, slots=True)
class Place:
    """A node as its programs' settings see it."""

    directory: Path
    site: str
    profile: str
    ports: Mapping[str, int]  # listener -> port
    postgres: Postgres
    secrets: Secrets
    listen_host: str = LOOPBACK  # of the listeners in PUBLIC; all others stay on loopback
    public_host: str = LOOPBACK  # under which hospitals reach them

    def address(self, listener: str) -> str:
        """Where this machine's own programs find a listener."""
        return f"{reached_at(self.listen_host if listener in PUBLIC else LOOPBACK)}:{self.ports[listener]}"

    def listen(self, listener: str) -> str:
        """What its program binds."""
        return f"{self.listen_host if listener in PUBLIC else LOOPBACK}:{self.ports[listener]}"

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.ports['site-idp']}/embedded/{self.site}"


def reached_at(listen_host: str) -> str:
    return LOOPBACK if listen_host in EVERYWHERE else listen_host


def listeners(programs: Sequence[Program]) -> list[str]:
    """Every port that a node needs."""
    names = [program.name for program in programs if not program.alone]
    doors = [door for program in programs for door in program.doors]
    return [*names, *doors, *(f"{name}.metrics" for name in names)]


def settings_of(program: Program, place: Place) -> Settings:
    """The settings file of `program`, paths absolute."""
    pki, secrets = place.directory / "pki", place.directory / "secrets"
    found: Settings = {
        "site": place.site,
        "profile": place.profile,
        "program": program.name,
        **({} if program.alone else {
            "listen": place.listen(program.name), "metrics_listen": place.listen(f"{program.name}.metrics"),
        }),
        "ca_file": pki / "ca.pem",
        "certificate_file": pki / "programs" / f"{program.name}.pem",
        "key_file": pki / "programs" / f"{program.name}.key",
        "issuer": place.issuer,
    }  # fmt: skip
    if program.name == SITE_IDP.name:
        return found | {
            "people_dir": secrets / "people",
            "clients_dir": secrets / "clients",
            "keys_file": secrets / "site-idp" / "keys.json",
        }
    if program.role:
        found |= {
            "database": place.postgres.dsn(program.role),
            "database_password_file": place.postgres.password_file(program.role),
        }
    found |= {
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
    if name in ("twin-worker", "twin-jobs"):
        return authority | {"numba_cache_dir": directory / "numba"}
    if name == "sessions":
        return {"numba_cache_dir": directory / "numba"}
    if name == "federation":
        return authority | {"policy_file": directory / "policy.toml"}
    return _of_coordinator(name, place) or authority


def _of_coordinator(name: str, place: Place) -> Settings:
    """What the programs that only a coordinator has are told; empty for others."""
    pki, secrets = place.directory / "pki", place.directory / "secrets"
    if name == "coordinator":
        return {
            "join_listen": place.listen("join"),
            "public_host": place.public_host,
            "fleet_address": f"{place.public_host}:{place.ports['fleet']}",
            "control_address": place.address("control"),
            "control_token_file": secrets / "control.token",
            "site_authority_file": pki / "sites.pem",
            "site_authority_key_file": secrets / "sites.key",
            "bundle_public_file": pki / "bundle.pub",
        }
    runtime: Settings = {"runtime_secret_file": secrets / "runtime.secret"}
    if name == "superlink":
        return runtime | {
            "fleet_listen": place.listen("fleet"),
            "control_listen": place.listen("control"),
            "runtime_listen": place.listen("runtime"),
            "control_token_file": secrets / "control.token",
            "bundle_key_file": secrets / "bundle.key",
        }
    return runtime | {"runtime_address": place.address("runtime")} if name == "rounds" else {}


def write_settings(programs: Sequence[Program], place: Place, further: Mapping[str, Mapping[str, object]]) -> None:
    """DIR/settings/<program>.toml for all; `further` are the operator's own keys, from node.toml."""
    folder = place.directory / "settings"
    folder.mkdir(exist_ok=True, mode=0o700)
    for program in programs:
        values = {**settings_of(program, place), **further.get(program.name, {})}
        (place.directory / "run" / program.name).mkdir(parents=True, exist_ok=True, mode=0o700)
        text = "# Written at every start of the node; own keys belong into node.toml, [programs." + program.name + "]\n"
        (folder / f"{program.name}.toml").write_text(text + toml(values))


def toml(values: Mapping[str, object]) -> str:
    """Flat keys only. A JSON string is a TOML string when it has no raw control characters."""
    lines = []
    for name, value in values.items():
        shown = str(value) if isinstance(value, Path) else value
        lines.append(f"{name} = {json.dumps(shown, ensure_ascii=False)}\n")
    return "".join(lines)


def choose_ports(
    names: Sequence[str], fixed: Mapping[str, int], last: Mapping[str, int], public: str = LOOPBACK
) -> dict[str, int]:
    """A free port for every name: the fixed one, else the last one, else any.

    On loopback, and on the host `public` for those that hospitals come to.

    Raises:
        Unready: a fixed port is taken.
    """
    found: dict[str, int] = {}
    with ExitStack() as held:  # all at once, so that no port is given twice
        for name in sorted(names, key=lambda one: (not fixed.get(one), not last.get(one))):
            wanted, host = fixed.get(name, 0), public if name in PUBLIC else LOOPBACK
            port = _hold(held, host, wanted or last.get(name, 0)) or (0 if wanted else _hold(held, host, 0))
            if not port:
                raise Unready(f"port {wanted} of {name} is taken: free it or change [ports] in node.toml")
            found[name] = port
    return found


def _hold(held: ExitStack, host: str, port: int) -> int:
    sock = held.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        return 0
    return int(sock.getsockname()[1])
