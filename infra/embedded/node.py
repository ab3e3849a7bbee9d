"""A node on disk: its directory, what `init` makes there and what everybody reads of it.

A node is a hospital's, or with `kind = "coordinator"` in node.toml a coordinator's. What may stand in node.toml
beside what `init` wrote: `[ports]`, `[programs.<name>]`, and for a coordinator `listen_host` (an address of this
machine, or 0.0.0.0, for what joined hospitals come to) and `public_host` (under which they reach it).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from infra.embedded.certificates import Certificates
from infra.embedded.postgres import OWNER, ROLES, SUPERUSER, Postgres
from infra.embedded.programs import COORDINATOR, HOSPITAL, KINDS, LOOPBACK, NODE, Kind, Place, toml
from infra.embedded.secrets import Secrets
from twinward.clock import Chance, Clock
from twinward.errors import BadInput, Conflict, Malformed, NotFound, Unready
from twinward.record import Role

FILE = "node.toml"
PROFILES = ("demo", "research-teaching", "clinical")
FOLDERS = ("pki", "secrets", "ledger", "run", "logs", "settings", "numba")
KNOWN = frozenset(
    {"name", "site", "profile", "version", "made_ms", "ports", "programs", "kind", "listen_host", "public_host"}
)
COORDINATOR_COMMENT = """
# For hospitals on other machines; without these only this machine reaches it.
# listen_host = "0.0.0.0"
# public_host = "coordinator.example.org"
# [ports]
# coordinator = 8443     hospitals that joined, and people
# join = 8444            hospitals with a one-time token
# fleet = 8445           hospitals' SuperNodes
"""


@dataclass(frozen=True, slots=True)
class Node:
    """What node.toml says."""

    directory: Path
    name: str
    site: str
    profile: str
    ports: Mapping[str, int]  # set by the operator; 0 or missing: any free one
    further: Mapping[str, Mapping[str, object]]  # own settings of programs
    kind_name: str = HOSPITAL
    listen_host: str = LOOPBACK  # of what joined hospitals come to
    public_host: str = LOOPBACK

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_name]

    @property
    def noun(self) -> str:
        """The command line's word for it: `twinward <noun> up`."""
        return "coordinator" if self.kind_name == COORDINATOR else "node"

    @classmethod
    def open(cls, directory: Path) -> Node:
        """
        Raises:
            NotFound: no node there.
            Malformed: node.toml cannot be read.
        """
        file = directory.absolute() / FILE
        try:
            found = tomllib.loads(file.read_text())
        except FileNotFoundError:
            raise NotFound(
                f"{directory} is no node: make one with `twinward node init`, a coordinator with `twinward coordinator "
                "init`, or name it with --node"
            ) from None
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Malformed(f"{FILE} cannot be read: {error}") from None
        unknown = found.keys() - KNOWN
        if unknown:
            raise Malformed(f"{FILE} has unknown keys: {', '.join(sorted(unknown))}")
        name, site, profile = found.get("name"), found.get("site"), found.get("profile")
        ports, programs = found.get("ports", {}), found.get("programs", {})
        if not (isinstance(name, str) and isinstance(site, str) and profile in PROFILES):
            raise Malformed(f"{FILE} must have name, site and profile")
        if not all(isinstance(port, int) for port in ports.values()):
            raise Malformed(f"{FILE}: every port is a number; 0 for any free one")
        hosts: dict[str, str] = {key: found[key] for key in ("listen_host", "public_host") if key in found}
        return cls(file.parent, name, site, str(profile), ports, programs, _kind(found, hosts), **hosts)

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def postgres(self, chance: Chance) -> Postgres:
        directory = self.directory
        return Postgres(
            directory / "postgres", directory / "secrets" / "pg", directory / "logs" / "postgres.log", chance
        )

    def secrets(self, chance: Chance) -> Secrets:
        return Secrets(self.directory, self.site, chance)

    def certificates(self, clock: Clock, chance: Chance) -> Certificates:
        return Certificates(
            self.directory, self.site, clock, chance,
            sites=self.kind_name == COORDINATOR, public_host=self.public_host,
        )  # fmt: skip

    def renew(self, clock: Clock, chance: Chance) -> None:
        """Makes what is missing: secrets, keys, certificates near their end."""
        kind, secrets = self.kind, self.secrets(chance)
        secrets.ensure(tuple(Role), (*kind.clients, *(f"feed/{feed}" for feed in kind.feeds)), kind.instances)
        if self.kind_name == COORDINATOR:
            secrets.ensure_coordinator()
        programs = [program.name for program in kind.programs]
        self.certificates(clock, chance).ensure((*programs, NODE), kind.feeds)

    def place(self, ports: Mapping[str, int], chance: Chance) -> Place:
        return Place(
            self.directory, self.site, self.profile, ports, self.postgres(chance), self.secrets(chance),
            self.listen_host, self.public_host,
        )  # fmt: skip

    def last_ports(self) -> dict[str, int]:
        """The ports of the run now or before; empty before the first."""
        return {name: port for name, port in self._read("ports.json").items() if isinstance(port, int)}

    def state(self) -> dict[str, object]:
        """What the supervisor last wrote of itself and its programs; empty before the first run."""
        return self._read("state.json")

    def _read(self, name: str) -> dict[str, object]:
        try:
            found = json.loads((self.run / name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, name: str, content: Mapping[str, object]) -> None:
        half = self.run / f".{name}.new"
        half.write_text(json.dumps(content))
        half.rename(self.run / name)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """True for the one process that runs this node; the lock ends with the process."""
        with (self.run / "supervisor.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True

    @property
    def up(self) -> bool:
        if not self.run.is_dir():
            return False
        with self.alone() as free:
            return not free


def _kind(found: Mapping[str, object], hosts: Mapping[str, object]) -> str:
    kind = found.get("kind", HOSPITAL)
    if kind not in KINDS:
        raise Malformed(f"{FILE}: kind is one of {', '.join(KINDS)}")
    if hosts and kind != COORDINATOR:
        raise Malformed(f"{FILE}: only a coordinator has listen_host and public_host; a hospital calls out only")
    if not all(isinstance(host, str) and re.fullmatch(r"[0-9A-Za-z.:-]{1,253}", host) for host in hosts.values()):
        raise Malformed(f"{FILE}: listen_host and public_host are an address or a host name without a port")
    return str(kind)


def init(directory: Path, name: str, profile: str, clock: Clock, chance: Chance, kind: str = HOSPITAL) -> Node:
    """Makes a node: directory, keys, certificates, an empty database.

    Raises:
        BadInput: a name, profile or kind that cannot be.
        Conflict: there is something in the directory already.
        Unready: the profile needs what this machine alone cannot give.
    """
    if profile not in PROFILES:
        raise BadInput(f"the profile must be one of {', '.join(PROFILES)}")
    if kind not in KINDS:
        raise BadInput(f"the kind must be one of {', '.join(KINDS)}")
    if profile != "demo":
        raise Unready(
            f"profile {profile} needs an external identity provider and a key provider other than files, "
            "which this version does not set up: use --profile demo"
        )
    site = site_id(name, profile)
    directory = directory.absolute()
    if (directory / FILE).exists():
        noun = Node.open(directory).noun
        raise Conflict(f"{directory} is a node already: start it with `twinward {noun} up`")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Conflict(f"{directory} is not empty: name an empty or a new directory")
    try:
        return _make(directory, name, site, profile, kind, clock, chance)
    except BaseException:
        # Half a node would stand in the way of the next attempt.
        home = directory / "postgres"
        if home.is_symlink():
            shutil.rmtree(home.resolve(), ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _make(directory: Path, name: str, site: str, profile: str, kind: str, clock: Clock, chance: Chance) -> Node:
    directory.mkdir(parents=True, exist_ok=True)
    # As root the database runs as another account, which must pass through; every folder below is closed.
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for folder in FOLDERS:
        (directory / folder).mkdir(mode=0o700)
    node = Node(directory, name, site, profile, {}, {}, kind)
    node.renew(clock, chance)
    postgres = node.postgres(chance)
    postgres.initialise()
    for role in (SUPERUSER, OWNER, *ROLES):
        postgres.password(role)
    head: dict[str, object] = {
        "name": name, "site": site, "profile": profile, "version": version("twinward"), "made_ms": clock.now_ms(),
    }  # fmt: skip
    comment = "\n# [ports]\n# auth = 0        0 or missing: any free one\n"
    if kind == COORDINATOR:
        head["kind"] = kind
        comment = COORDINATOR_COMMENT
    half = directory / f".{FILE}.new"
    half.write_text(toml(head) + comment)
    half.rename(directory / FILE)  # last: without it the directory is no node
    return node


def site_id(name: str, profile: str) -> str:
    """ "St. Anne" -> "st-anne.demo": a DNS name, the trust domain of SPIFFE ids; the profile demo shows in it.

    Raises:
        BadInput: no letter or digit of ASCII in the name, or too long.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not slug or len(slug) > 40 or len(name) > 80:
        raise BadInput("the name needs at least one Latin letter or digit and at most 40 of them")
    return f"{slug}.demo" if profile == "demo" else f"{slug}.site"
