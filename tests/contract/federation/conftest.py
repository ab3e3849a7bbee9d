"""The coordinator behind its real doors, beside a real auth; only the engine is a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.embedded.certificates import Certificates
from services.federation.books import open_pool
from services.federation.coordinator import Coordinator
from services.federation.course import Answer, Ask
from services.federation.recipes import recipe_of
from services.federation.rounds import run_attempt
from services.federation.settings import CoordinatorSettings, RoundsSettings
from services.federation.study import from_canonical
from services.federation.table import Table
from services.federation.token import read_token, text_of
from tests.conftest import Database
from tests.contract.auth.running import Running, running
from tests.site import PROGRAMS, Fixed
from tests.unit.federation.engine import Engine
from tests.unit.federation.hall import Halls
from tests.unit.federation.papers import request, sites_authority
from twinward.clock import SystemChance, SystemClock
from twinward.link.acts import LedgerCalls
from twinward.link.client import channel, open_channel
from twinward.wire.v1 import federation_pb2 as pb
from twinward.wire.v1 import federation_pb2_grpc as doors

__all__ = ["running"]

BUNDLE = b"b" * 32
Identity = tuple[bytes, bytes]  # key, chain


class Threads(Engine):
    """Runs each attempt as a ServerApp would, over hospitals that compute in this process."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__()
        self.database, self.folder = database, folder
        self.sites: Halls | None = None
        self.running: list[threading.Thread] = []

    def start(self, study: bytes, attempt: int) -> int:
        run = super().start(study, attempt)
        sites = self.hospitals(study)
        place, password = self.database.for_settings("coordinator")
        given: dict[str, Any] = dict.fromkeys(("ca_file", "certificate_file", "key_file"), self.folder)
        chosen = RoundsSettings(
            site="", profile="demo", program="rounds", database=place, database_password_file=password,
            data_dir=self.folder, runtime_address="", runtime_secret_file=self.folder, **given,
        )  # fmt: skip

        def work() -> None:
            try:
                run_attempt(study, attempt, sites, chosen)
                self.runs[run] = "finished:completed"
            except Exception:
                self.runs[run] = "finished:failed"
                raise

        thread = threading.Thread(target=work, daemon=True)
        self.running.append(thread)
        thread.start()
        return run

    def hospitals(self, hash_: bytes) -> Halls:
        with self.database.connect("coordinator") as connection:
            row = connection.execute("select canonical from fed.study where hash = %s", (hash_,)).fetchone()
        assert row is not None
        study = from_canonical(row[0])
        recipe = recipe_of(study)
        made: dict[str, Callable[[Ask], Answer | None]] = {}
        for number, (site, _) in enumerate(sorted(self.nodes.values())):
            made[site] = partial(recipe.answer, study, table=table(number))
        self.sites = Halls(made, set(made))
        return self.sites


def table(seed: int) -> Table:
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 10, 80)
    ill = (rng.random(80) < 1 / (1 + np.exp(-(age - 60) / 8))).astype(np.float64)
    return Table(("age",), age[:, None], ill, rng.random(80))


@dataclass
class Guest:
    """A hospital, as far as the coordinator sees it."""

    site: str
    identity: Identity
    door: grpc.Channel

    @property
    def stub(self) -> doors.SitesStub:
        return doors.SitesStub(self.door)

    def sync(self, decisions: Sequence[Mapping[str, Any]] = (), after: int = 0) -> pb.SyncResponse:
        made = [pb.SiteDecision(**one) for one in decisions]
        return self.stub.Sync(pb.SyncRequest(version="1", life=7, decisions=made, after=after))


@dataclass
class Place:
    """The coordinator."""

    auth: Running
    address: str
    join_address: str
    engine: Threads
    channels: list[grpc.Channel] = field(default_factory=list)

    def connect(self, identity: Identity | None, token: str | None = None, address: str = "") -> grpc.Channel:
        authority = self.auth.site.settings("auth").ca_file.read_bytes()
        name = f"coordinator.{self.auth.site.name}"
        tokens = None if token is None else Fixed(token)
        self.channels.append(channel(address or self.address, name, authority, identity, tokens))
        return self.channels[-1]

    def person(self, role: str) -> doors.CoordinatorStub:
        token = self.auth.token(role)
        return doors.CoordinatorStub(self.connect(self.auth.identities[role], token))

    def invite(self, site: str) -> str:
        return self.person("site-admin").InviteSite(pb.InviteSiteRequest(site=site)).token

    def join(self, token: str, site: str) -> Guest:
        private = ec.generate_private_key(ec.SECP256R1())
        found = doors.JoiningStub(self.connect(None, address=self.join_address)).Join(
            pb.JoinRequest(
                secret=text_of(read_token(token).secret), site=site, signing_request=request(private=private),
                node_key=f"node key of {site}".encode(), version="1",
            )
        )  # fmt: skip
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        identity = (pem, found.certificate_chain)
        return Guest(site, identity, self.connect(identity))


@pytest.fixture(scope="module")
def place(running: Running, postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = running.site.folder
    Certificates(folder, running.site.name, SystemClock(), SystemChance()).ensure(
        [*PROGRAMS, "coordinator"], ("files",)
    )
    chain, key = sites_authority(folder, running.site.name)
    (folder / "bundle.pub").write_bytes(bytes(32))
    plain = running.site.settings("coordinator")
    dsn, password = postgres.for_settings("coordinator")
    given = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    chosen = CoordinatorSettings(
        **{
            **given, "database": dsn, "database_password_file": password, "join_listen": "127.0.0.1:0",
            "fleet_address": "127.0.0.1:9", "control_address": "", "control_token_file": folder,
            "site_authority_file": chain, "site_authority_key_file": key, "bundle_public_file": folder / "bundle.pub",
            "poll_s": 0.1,
        }
    )  # fmt: skip
    engine = Threads(postgres, tmp_path_factory.mktemp("engine"))
    tokens = Fixed(running.site.service_token("coordinator"))
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(chosen, 8))
        ledger = LedgerCalls(stack.enter_context(open_channel(running.address, "auth", chosen, tokens)))
        part = Coordinator(chosen, pool, ledger, engine, BUNDLE, SystemClock(), SystemChance())
        opened = part.doors(running.site.verifier("coordinator"))
        stack.callback(part.stop)
        part.start()
        for one in opened:
            one.start()
            stack.callback(one.stop, 0.2)
        found = Place(running, *(f"127.0.0.1:{one.port}" for one in opened), engine)
        yield found
        for each in found.channels:
            each.close()
