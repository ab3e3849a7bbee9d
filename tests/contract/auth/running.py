"""auth behind its real doors: mTLS, tokens of a site's own issuer, PostgreSQL, ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.auth.__main__ import door
from services.auth.api import EnrolmentDoor
from services.auth.enrol import Enrolment
from services.auth.publish import Publisher
from services.auth.refusals import Refusals
from tests.conftest import Database
from tests.site import Fixed, Site
from tests.unit.auth.office import SITE, opened, settings_of
from twinward.errors import BadInput, Denied, NotFound
from twinward.link.client import channel, open_channel
from twinward.link.enrolment import EnrolmentAuthority
from twinward.link.server import serve
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc

AUTH = auth_pb2.DESCRIPTOR.services_by_name["Auth"]
ENROLMENT = auth_pb2.DESCRIPTOR.services_by_name["Enrolment"]


class Running:
    def __init__(self, site: Site, address: str, enrol: str, refusals: Refusals, office: Any) -> None:
        self.site, self.address, self.enrol, self.refusals, self.office = site, address, enrol, refusals, office
        self.identities: dict[str, tuple[bytes, bytes]] = {}
        self.channels: dict[str, grpc.Channel] = {}

    def program(self, name: str) -> grpc.Channel:
        """A channel of a program with its own token."""
        if name not in self.channels:
            tokens = Fixed(self.site.service_token(name))
            self.channels[name] = open_channel(self.address, "auth", self.site.settings(name), tokens)
        return self.channels[name]

    def person(self, role: str, token: str | None = None) -> grpc.Channel:
        """A channel of a person with a bound token."""
        key, chain = self.identities.setdefault(role, self.site.person_identity(role))
        said = token or self.token(role)
        place = f"{role} {said}"
        if place not in self.channels:
            authority = self.site.settings("auth").ca_file.read_bytes()
            self.channels[place] = channel(self.address, f"auth.{SITE}", authority, (key, chain), Fixed(said))
        return self.channels[place]

    def token(self, role: str, **more: Any) -> str:
        chain = self.identities.setdefault(role, self.site.person_identity(role))[1]
        return self.site.signed(self.site.claims(chain, **{"sub": role, "roles": [role], **more}))

    def call(self, over: grpc.Channel, rpc: str, metadata: Any = None, **fields: Any) -> Any:
        request = getattr(auth_pb2, f"{rpc}Request")(**fields)
        return getattr(auth_pb2_grpc.AuthStub(over), rpc)(request, metadata=metadata, timeout=10)

    def lets_in(self, over: grpc.Channel, rpc: str, metadata: Any = None) -> bool:
        """An empty request: whoever is let in hears of the request, not of the right to make it."""
        try:
            self.call(over, rpc, metadata)
        except Denied:
            return False
        except (BadInput, NotFound):
            return True
        return True


@contextmanager
def run(folder: Path, postgres: Database, **settings: Any) -> Iterator[Running]:
    with ExitStack() as stack:
        office = stack.enter_context(opened(folder, postgres))
        site = Site(folder, SITE)
        chosen = replace(settings_of(folder, postgres, **settings), listen="127.0.0.1:0", issuer=site.issuer)
        sequencer, desk = office.desk.sequencer, replace(office.desk, issuer=site.issuer)
        publisher = Publisher(
            sequencer.released, lambda: postgres.connect("auth"), chosen.ledger_dir, sequencer.signer.verifier,
            desk.clock,
        )  # fmt: skip
        refusals = Refusals(sequencer, desk.clock)
        auth = (auth_pb2_grpc.add_AuthServicer_to_server, door(desk, publisher, chosen), AUTH)
        authority = EnrolmentAuthority.of(chosen.pki_dir, chosen.secrets_dir, desk.clock, desk.chance)
        enrol = (
            auth_pb2_grpc.add_EnrolmentServicer_to_server,
            EnrolmentDoor(Enrolment(authority, sequencer, site.issuer, desk.clock)),
            ENROLMENT,
        )
        verifier = site.verifier("auth")
        one = serve([auth], chosen, verifier, refused_token=refusals.count)
        two = serve([enrol], chosen, verifier, enrolment=True, listen="127.0.0.1:0", refused_token=refusals.count)
        for each in (one, two):
            each.start()
            stack.callback(each.stop, 0.2)
        found = Running(site, f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}", refusals, office)
        yield found
        for opened_channel in found.channels.values():
            opened_channel.close()


@pytest.fixture(scope="module")
def running(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("auth")
    with run(folder, postgres) as found:
        yield found
