"""A coordinator and two more hospitals start, join, and take in a table each."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded import control
from infra.embedded.node import Node, init
from infra.embedded.programs import COORDINATOR, HOSPITAL
from services.cli import virtual_tables
from services.cli.story import Stage
from services.cli.story_hospital import set_aside, share_compiled_kernels
from twinward.clock import SystemChance
from twinward.wire.v1 import federation_pb2, federation_pb2_grpc, ingest_pb2, ingest_pb2_grpc

REGISTRY = "Registry"
JOIN_S = 60.0


@dataclass
class Federation:
    """Who takes part. The first hospital is the one of the story's first part."""

    stage: Stage
    hospitals: dict[str, Path] = field(default_factory=dict)  # name -> its node
    tables: list[Path] = field(default_factory=list)
    models: dict[str, Mapping[str, object]] = field(default_factory=dict)  # short hash of a study -> its model

    @property
    def coordinator(self) -> Path:
        return self.stage.directory / "coordinator"

    @property
    def files(self) -> Path:
        return self.stage.directory / "tables"

    @property
    def look(self) -> str:
        return (
            f"look at `twinward --node {shlex.quote(str(self.coordinator))} coordinator logs`, and run the demo again"
        )

    def site(self, hospital: str) -> str:
        return Node.open(self.hospitals[hospital]).site

    def desk(self, role: str) -> federation_pb2_grpc.CoordinatorStub:
        """The coordinator's door, for somebody in this role there."""
        return federation_pb2_grpc.CoordinatorStub(self.stage.session(role, self.coordinator).channel("coordinator"))

    def steward(self, hospital: str) -> federation_pb2_grpc.FederationStub:
        session = self.stage.session("data-steward", self.hospitals[hospital])
        return federation_pb2_grpc.FederationStub(session.channel("federation"))


def start(federation: Federation) -> None:
    stage = federation.stage
    others = list(virtual_tables.CLINICS[1:])
    stage.teller.say(
        f"{virtual_tables.CLINICS[0].name} is not alone. {others[0].name} and {others[1].name} are hospitals of their "
        f"own, with their own keys, people and ledgers, and a coordinator, {REGISTRY}, that holds no patient at all. "
        "All of them run on this machine now; nothing but their addresses would change if they did not."
    )
    federation.hospitals[virtual_tables.CLINICS[0].name] = stage.node
    made = {federation.coordinator: (REGISTRY, COORDINATOR)}
    for clinic in others:
        federation.hospitals[clinic.name] = node = stage.directory / clinic.slug
        made[node] = (clinic.name, HOSPITAL)
    for node, (name, kind) in made.items():
        set_aside(stage, node)
        noun = "coordinator" if kind == COORDINATOR else "node"
        stage.teller.typed(f"twinward {noun} init {shlex.quote(str(node))} --name {shlex.quote(name)}")
        stage.teller.typed(f"twinward {noun} up {shlex.quote(str(node))}")
    stage.also += list(made)
    _begin(stage, made)
    healthy = sum(one.healthy for node in made for one in control.status(Node.open(node), stage.clock).programs)
    stage.teller.fact(f"{len(made)} more nodes with {healthy} programs are healthy")


def _begin(stage: Stage, made: Mapping[Path, tuple[str, str]]) -> None:
    """All at once: most of a start is waiting."""

    def begin(node: Path) -> None:
        name, kind = made[node]
        found = init(node, name, "demo", stage.clock, SystemChance(), kind)
        if kind == HOSPITAL:
            share_compiled_kernels(stage, node)
        control.start(found)
        for _ in control.progress(Node.open(node), stage.clock):
            pass

    with ThreadPoolExecutor(len(made)) as pool:
        list(pool.map(begin, made))


def join(federation: Federation) -> None:
    stage, teller = federation.stage, federation.stage.teller
    teller.say(
        "Each hospital gets a one-time token on paper, so to speak: one line with the coordinator's address, its "
        "authority and a secret. The hospital makes its own key and gets a certificate of 24 hours that renews "
        "itself. It calls out only; no port of a hospital is opened."
    )
    desk = federation.desk("site-admin")
    for hospital, node in federation.hospitals.items():
        site = federation.site(hospital)
        at = f"twinward --node {shlex.quote(str(federation.coordinator))}"
        teller.typed(f"{at} coordinator invite {site} | twinward --node {shlex.quote(str(node))} site join -")
        token = desk.InviteSite(federation_pb2.InviteSiteRequest(site=site)).token
        session = stage.session("site-admin", node)
        done = federation_pb2_grpc.FederationStub(session.channel("federation")).JoinCoordinator(
            federation_pb2.JoinCoordinatorRequest(token=token), timeout=JOIN_S
        )
        teller.fact(f"{hospital} joined {done.coordinator}; entry {done.leaf} of its own ledger")

    def online() -> bool:
        found = desk.ListSites(federation_pb2.ListSitesRequest()).sites
        return sum(one.online for one in found) == len(federation.hospitals)

    teller.until(online, "every hospital is heard of, and its SuperNode runs", federation.look, timeout_s=90)
    stage.run("coordinator", "sites", node=federation.coordinator)


def load(federation: Federation) -> None:
    stage, teller = federation.stage, federation.stage.teller
    shutil.rmtree(federation.files, ignore_errors=True)
    federation.tables = virtual_tables.write(federation.files, stage.seed)
    counts = [clinic.patients for clinic in virtual_tables.CLINICS]
    teller.say(
        f"Each hospital has a table of patients examined for coronary disease: {counts[0]}, {counts[1]} and "
        f"{counts[2]} people who do not exist. The hospitals see different people: older here, more women there. The "
        "effects in the tables are invented. A declared mapping says what each column is, and every row goes through "
        "the front door as FHIR, with a Consent that permits research."
    )
    consent = federation.files / "consent.json"
    for table, node in zip(federation.tables, federation.hospitals.values(), strict=True):
        stage.run("ingest", "table", str(table), "--consent", str(consent), "--yes-deidentified", node=node)

    def filed() -> bool:
        return not any(_waiting(stage, node) for node in federation.hospitals.values())

    teller.until(filed, "everything that was accepted is filed", stage.look, timeout_s=90)


def _waiting(stage: Stage, node: Path) -> int:
    """Accepted items that wait for auth to answer."""
    door = ingest_pb2_grpc.IngestStub(stage.session("data-steward", node).channel("ingest"))
    return int(door.IngestStatus(ingest_pb2.IngestStatusRequest()).intake_waiting)


def options(path: Path) -> str:
    """--node and its path, for a command shown to somebody."""
    return f"--node {shlex.quote(str(path))}"


def parsed(text: bytes) -> Mapping[str, object]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}
