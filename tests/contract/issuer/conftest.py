"""Every issuer that the suite runs against: here the embedded one, over real TLS on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.embedded.certificates import Certificates
from infra.embedded.programs import CLIENTS, choose_ports
from infra.embedded.secrets import Secrets
from infra.embedded.site_idp.door import Door
from infra.embedded.site_idp.issuer import SiteIdp
from infra.embedded.site_idp.settings import IdpSettings
from tests.site import Site
from twinward.clock import SetClock, SystemChance, SystemClock
from twinward.link.https import Https
from twinward.link.tokens import Issuer
from twinward.record import Role


@dataclass
class Running:
    site: Site
    issuer: str
    clock: SetClock
    folder: Path

    def https(self, identity: tuple[bytes, bytes] | None = None, name: str = "identity") -> Https:
        """A client, with a certificate where `identity` (key, chain) is given."""
        if identity is None:
            return Https(self.site.pki / "ca.pem")
        file = self.folder / f"{name}.both.pem"
        file.write_bytes(identity[0] + identity[1])
        return Https(self.site.pki / "ca.pem", file)

    def endpoint(self, name: str) -> str:
        return Issuer(self.issuer, self.https()).endpoint(name)

    def password(self, role: str) -> str:
        return (self.folder / "secrets" / "people" / role).read_text()


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("issuer")
    site = Site(folder)
    Certificates(folder, site.name, site.clock, site.chance).ensure(("site-idp",), ())
    Secrets(folder, site.name, SystemChance()).ensure(tuple(Role), CLIENTS, ())
    port = choose_ports(["site-idp"], {}, {})["site-idp"]
    settings = IdpSettings(
        site=site.name, profile="demo", listen=f"127.0.0.1:{port}",
        issuer=f"https://localhost:{port}/embedded/{site.name}", ca_file=site.pki / "ca.pem",
        certificate_file=site.pki / "programs" / "site-idp.pem", key_file=site.pki / "programs" / "site-idp.key",
        people_dir=folder / "secrets" / "people", clients_dir=folder / "secrets" / "clients",
        keys_file=folder / "keys.json",
    )  # fmt: skip
    clock = SetClock(SystemClock().now_ms())
    door = Door(settings, SiteIdp(settings, clock, SystemChance()))
    thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield Running(site, settings.issuer, clock, folder)
    door.shutdown()
    thread.join()
    door.server_close()
