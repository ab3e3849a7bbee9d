"""The coordinator's program: doors for people, hospitals and those who join; it keeps studies running.

1. files and settings are read; what is missing stops the start
2. the director picks up what ran when the program ended: whoever was killed, the studies' rows say what should run
3. the doors open
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.federation.api import (
    CoordinatorDoor,
    JoiningDoor,
    SitesDoor,
    served_coordinator,
    served_joining,
    served_sites,
)
from services.federation.books import Pool, open_pool
from services.federation.director import Director
from services.federation.hearing import Bell, listen
from services.federation.joining import Doors, Joining
from services.federation.neighbours import Control, Ledger
from services.federation.settings import CoordinatorSettings
from services.federation.studies import Studies
from services.federation.syncing import Syncing
from twinward import settings, telemetry
from twinward.clock import Chance, Clock, SystemChance, SystemClock
from twinward.errors import Unready
from twinward.link.acts import LedgerCalls
from twinward.link.client import open_channel
from twinward.link.enrolment import SiteAuthority
from twinward.link.server import Door, serve
from twinward.link.service import ServiceTokens
from twinward.link.tokens import TokenVerifier

GRACE_S = 5.0
CONNECTIONS = 12
WORKERS = 32  # some of them wait with people for events
JOIN_WORKERS = 4
KEY_BYTES = 32


def run(file: Path, stop: threading.Event) -> None:
    """Serves until `stop`.

    Raises:
        TwinwardError: why it does not start; nothing was served.
    """
    from services.federation.flower.bundle import bundle_sha256
    from services.federation.flower.control import Control as SuperlinkControl

    chosen = settings.load(CoordinatorSettings, file)
    clock, chance = SystemClock(), SystemChance()
    with contextlib.ExitStack() as stack:
        control = SuperlinkControl(chosen.control_address, chosen.ca_file, chosen.control_token_file)
        stack.callback(control.close)
        pool = stack.enter_context(open_pool(chosen, CONNECTIONS))
        tokens = ServiceTokens.of(chosen, clock, chance)
        ledger = LedgerCalls(stack.enter_context(open_channel(chosen.auth_address, "auth", chosen, tokens)))
        part = Coordinator(chosen, pool, ledger, control, bundle_sha256(), clock, chance)
        opened = part.doors(TokenVerifier.of(chosen, clock))
        telemetry.start(chosen, clock)
        stack.callback(part.stop)
        part.start()
        for one in opened:
            one.start()
            stack.callback(one.stop, GRACE_S)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=opened[0].port)
        stop.wait()
    telemetry.note(telemetry.STOPPED)


class Coordinator:
    """Everything behind the doors, and the two threads beside them."""

    def __init__(
        self, chosen: CoordinatorSettings, pool: Pool, ledger: Ledger, control: Control, bundle: bytes,
        clock: Clock, chance: Chance,
    ) -> None:  # fmt: skip
        self._chosen = chosen
        self._stop = threading.Event()
        self._bell = Bell()
        authority = SiteAuthority.of(
            chosen.site_authority_file, chosen.site_authority_key_file, chosen.site, chosen.site_certificate_hours,
            clock, chance,
        )  # fmt: skip
        places = doors_of(chosen)
        self._fleet = places.fleet
        self.joining = Joining(pool, ledger, authority, control, places, clock, chance, away_s=chosen.away_s)
        self.syncing = Syncing(pool, self.joining, clock)
        self.studies = Studies(pool, ledger, self._bell, clock, bundle=bundle, demo=chosen.profile == "demo")
        self.director = Director(pool, ledger, control, clock, poll_s=chosen.poll_s, most_attempts=chosen.most_attempts)
        self._threads = [
            threading.Thread(target=self.director.run, args=(self._stop,), name="director", daemon=True),
            threading.Thread(
                target=listen, args=(chosen, self._stop, self._bell, self.director.wake), name="hearing", daemon=True
            ),
        ]

    def doors(self, verifier: TokenVerifier) -> list[Door]:
        """The door of people and hospitals, and the one of those who join."""
        people = served_coordinator(CoordinatorDoor(self.studies, self.joining))
        sites = served_sites(SitesDoor(self.joining, self.syncing, self._fleet))
        join = served_joining(JoiningDoor(self.joining))
        chosen = self._chosen
        return [
            serve([people, sites], chosen, verifier, workers=WORKERS),
            serve([join], chosen, verifier, workers=JOIN_WORKERS, enrolment=True, listen=chosen.join_listen),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Runs go on without us; who watches is sent home."""
        self._stop.set()
        self.director.wake()
        self._bell.ring()
        for thread in self._threads:
            thread.join(GRACE_S)


def doors_of(chosen: CoordinatorSettings) -> Doors:
    """Where hospitals reach us, and what they trust.

    Raises:
        Unready: a file cannot be read.
    """
    try:
        authority = chosen.ca_file.read_bytes()
        bundle_key = chosen.bundle_public_file.read_bytes()
        roots = [one for one in x509.load_pem_x509_certificates(authority) if one.issuer == one.subject]
    except (OSError, ValueError) as error:
        raise Unready("the authority or the bundle's key cannot be read", detail=str(error)) from None
    if len(roots) != 1 or len(bundle_key) != KEY_BYTES:
        raise Unready("the authority's file needs one root, and the bundle's key 32 bytes")
    return Doors(
        coordinator=chosen.site,
        door=f"{chosen.public_host}:{_port(chosen.listen)}",
        join=f"{chosen.public_host}:{_port(chosen.join_listen)}",
        fleet=chosen.fleet_address,
        authority=roots[0].public_bytes(Encoding.PEM),
        bundle_key=bundle_key,
    )


def _port(address: str) -> str:
    return address.rpartition(":")[2]
