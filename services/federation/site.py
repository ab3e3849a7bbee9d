"""A hospital's program: its door, the line to its coordinator, its studies, Flower's two processes.

Three threads work beside the door's: the line (site_link.py), the private socket (flower/relay.py), and the first
one, which starts and watches the processes. Tables and keys live in this program alone, and Flower is not imported
by it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.federation.children import Children
from services.federation.cohort import Cohorts, Pool
from services.federation.decisions import Decisions
from services.federation.flower.bundle import bundle_sha256
from services.federation.flower.relay import serve_work
from services.federation.held import Tables
from services.federation.membership import MembershipFile
from services.federation.policy import PolicyFile
from services.federation.recipes import recipe_of
from services.federation.settings import SiteSettings
from services.federation.site_api import AuthDecisions, CoordinatorCalls, FederationDoor, served_federation
from services.federation.site_joining import Joining
from services.federation.site_link import Link
from services.federation.site_studies import SiteStudies
from services.federation.work import Work
from twinward import settings, telemetry
from twinward.clock import SystemChance, SystemClock
from twinward.database import RECONNECT_S, LivePool
from twinward.errors import Unready
from twinward.link.client import open_channel
from twinward.link.server import serve
from twinward.link.service import ServiceTokens
from twinward.link.tokens import TokenVerifier
from twinward.wire.codec.cohort import CohortCalls

TICK_S = 0.1
GRACE_S = 5.0
POOL_TIMEOUT_S = 5.0
END_S = 15.0  # that line and socket may take to end


def run(file: Path, stop: threading.Event) -> None:
    """Until `stop`.

    Raises:
        Unready, BadInput: settings, policy, membership or a key that cannot be read, or a taken address.
    """
    chosen = settings.load(SiteSettings, file)
    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    policy = PolicyFile(chosen.policy_file, chosen.profile)
    policy.now()  # a hospital hears of a misspelt policy when it starts
    bundle_sha256()  # of the code that this program runs, not of what an upgrade lays under it later
    membership = MembershipFile(chosen.data_dir)
    auth = CohortCalls(open_channel(chosen.auth_address, "auth", chosen, ServiceTokens.of(chosen, clock, chance)))
    coordinator = CoordinatorCalls(version("twinward"))
    studies = SiteStudies(chosen.data_dir / "studies")
    tables = Tables(chosen.data_dir / "cohorts")
    decisions = Decisions(AuthDecisions(auth), studies, policy, bundle_sha256, clock)
    children = Children(chosen.site, chosen.data_dir, clock, chance)
    changed = threading.Event()

    def look() -> None:
        changed.set()
        link.wake.set()

    def parted() -> None:
        studies.forget()
        tables.forget_all()

    joining = Joining(chosen.site, chosen.profile, membership, coordinator, auth, clock, look, parted)
    with _pool(chosen) as pool:
        cohorts = Cohorts(auth, pool, chosen.site, _authority(chosen.authority_public_file), clock, stop.wait)
        work = Work(
            chosen.site, studies, decisions, policy, bundle_sha256, _member(membership), cohorts, auth, tables,
            recipe_of, clock, chance,
        )  # fmt: skip
        link = Link(
            chosen.site, membership, joining, coordinator, studies, decisions, children.life, work.ended, clock, chance,
            chosen.sync_s,
        )  # fmt: skip
        decisions.changed = link.decided
        door = serve(
            [served_federation(FederationDoor(joining, membership, link, studies, decisions, children))],
            chosen, TokenVerifier.of(chosen, clock), chance=chance,
        )  # fmt: skip
        threads = _threads(
            stop,
            lambda: link.run(stop),
            lambda: serve_work(children.work_socket, children.work_secret, work.answer, stop, chance=chance),
        )
        door.start()
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port)
        try:
            while not stop.is_set():
                children.tick(membership.now())
                changed.wait(TICK_S)
                changed.clear()
        finally:
            stop.set()
            children.stop()
            link.wake.set()
            door.stop(GRACE_S)
            for thread in threads:
                thread.join(END_S)
            coordinator.close()
            telemetry.note(telemetry.STOPPED)


def _threads(stop: threading.Event, *bodies: Callable[[], None]) -> Sequence[threading.Thread]:
    """One of them that fails ends the program: half a program is started again by nobody."""

    def whole(body: Callable[[], None]) -> None:
        try:
            body()
        finally:
            stop.set()

    threads = [threading.Thread(target=whole, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    return threads


def _member(membership: MembershipFile) -> Callable[[], bool]:
    def member() -> bool:
        held = membership.now()
        return held is not None and held.open

    return member


def _pool(chosen: SiteSettings) -> Pool:
    """Of the program's own role. Autocommit, because the reader chooses its own transactions."""
    return LivePool(
        chosen.database,
        kwargs={"password": chosen.database_password_file.read_text().strip(), "autocommit": True},
        min_size=1,
        max_size=2,
        timeout=POOL_TIMEOUT_S,
        reconnect_timeout=RECONNECT_S,
        open=True,
    )


def _authority(file: Path) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Unready(
            "the authority's public key cannot be read: check authority_public_file", detail=str(error)
        ) from None
