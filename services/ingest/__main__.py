"""Takes data (`python -m services.ingest`) or files what waited (`... filer`).

python -m services.ingest [filer] --settings FILE
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from services.ingest import books
from services.ingest.accept import Acceptor, Putting
from services.ingest.answer import Answer
from services.ingest.api import IngestDoor, door_of
from services.ingest.ask_auth import AskAuth
from services.ingest.backpressure import Budget
from services.ingest.commit import Committer, Pen
from services.ingest.fhir import validators
from services.ingest.filer import Filer
from services.ingest.receipts import Names
from services.ingest.settings import IngestSettings, key
from services.ingest.work import Planner, Work
from twinward import program, telemetry
from twinward.clock import SystemChance, SystemClock
from twinward.database import RECONNECT_S, LivePool
from twinward.errors import BadInput
from twinward.link.client import open_channel
from twinward.link.server import serve
from twinward.link.service import ServiceTokens
from twinward.link.tokens import TokenVerifier
from twinward.settings import load
from twinward.vault import hpke
from twinward.vault.writer import Instance, IntakeKeys, TailWriter
from twinward.wire.codec.admission import AuthCalls

LOOKUPS = 6  # pooled connections for look-ups before the commit
GRACE_S = 10.0
ANSWERS_KEPT_MS = 7 * 86_400_000  # how long the same idempotency key gets the stored answer
SWEEP_S = 600.0


def main(arguments: list[str] | None = None) -> int:
    parts: dict[str, program.Run] = {
        "door": lambda file, stop: run_door(load(IngestSettings, file), stop),
        "filer": lambda file, stop: run_filer(load(IngestSettings, file), stop),
    }
    return program.begin("ingest", __doc__, parts, arguments)


def run_door(chosen: IngestSettings, stop: threading.Event) -> None:
    """Feeds and people, until `stop`; what was taken is committed before it ends."""
    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    planner = Planner(Names(key(chosen.feed_index_key_file)), key(chosen.tag_key_file))
    with lookups(chosen) as pool:
        committer = Committer(pens(chosen), planner)
        acceptor = acceptor_of(chosen, pool, planner, committer, auth_calls(chosen))
        served = door_of(IngestDoor(acceptor, pool.connection, chosen.profile))
        door = serve([served], chosen, TokenVerifier.of(chosen, clock), workers=chosen.door_workers, chance=chance)
        committer.start()
        door.start(serving=False)
        validators()
        door.ready(True)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port)
        while not stop.wait(SWEEP_S):
            try:
                with pool.connection() as connection:
                    while books.forget_answers(connection, clock.now_ms() - ANSWERS_KEPT_MS) and not stop.is_set():
                        pass
            except psycopg.Error as error:
                telemetry.LOG.unexpected(error, 0)
        door.stop(GRACE_S)
        committer.stop()
        telemetry.note(telemetry.STOPPED)


def run_filer(chosen: IngestSettings, stop: threading.Event) -> None:
    """Rounds of filing, until `stop`."""
    clock, chance = SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    planner = Planner(Names(key(chosen.feed_index_key_file)), key(chosen.tag_key_file))
    calls = auth_calls(chosen)
    with lookups(chosen) as pool:
        filer = Filer(
            site=chosen.site,
            acceptor=acceptor_of(chosen, pool, planner, _NoDoor(), calls),
            planner=planner,
            open_pen=pens(chosen),
            leasing=calls,
            clock=clock,
            chance=chance,
        )
        door = serve([], chosen, TokenVerifier.of(chosen, clock), chance=chance) if chosen.listen else None
        if door is not None:
            door.start()
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port if door else 0)
        filer.run(stop, chosen.poll_s)
        if door is not None:
            door.stop(GRACE_S)
        telemetry.note(telemetry.STOPPED)


class _NoDoor:
    """The filer writes by itself: its acceptor only finds patients."""

    def put(self, work: Work) -> Answer:
        raise BadInput("the filer takes no messages: send them to ingest")


def acceptor_of(
    chosen: IngestSettings,
    pool: ConnectionPool[books.Connection],
    planner: Planner,
    committer: Putting,
    calls: AuthCalls,
) -> Acceptor:
    admit = hpke.public_key(key(chosen.admit_public_file, hpke.PUBLIC_BYTES))
    return Acceptor(
        borrow=pool.connection,
        names=planner.names,
        admitting=AskAuth(calls, admit, chosen.site),
        committer=committer,
        clock=SystemClock(),
        budget=Budget(chosen.in_flight_bytes),
    )


def auth_calls(chosen: IngestSettings) -> AuthCalls:
    tokens = ServiceTokens.of(chosen, SystemClock())
    return AuthCalls(open_channel(chosen.auth_address, "auth", chosen, tokens))


def lookups(chosen: IngestSettings) -> ConnectionPool[books.Connection]:
    return LivePool(
        dsn(chosen),
        min_size=1,
        max_size=LOOKUPS,
        kwargs={"autocommit": True},
        timeout=5.0,
        reconnect_timeout=RECONNECT_S,
        open=True,
    )


def dsn(chosen: IngestSettings) -> str:
    try:
        password = chosen.database_password_file.read_text().strip()
    except OSError as error:
        raise BadInput("cannot read the database password file: check its owner", detail=str(error)) from None
    return make_conninfo(chosen.database, password=password, application_name=chosen.program)


def pens(chosen: IngestSettings) -> Callable[[], Pen]:
    """Opens a connection and the writer that seals through it."""
    public = hpke.public_key(key(chosen.intake_public_file, hpke.PUBLIC_BYTES))
    admit = hpke.public_key(key(chosen.admit_public_file, hpke.PUBLIC_BYTES))
    instance = Instance(chosen.instance, Ed25519PrivateKey.from_private_bytes(key(chosen.instance_key_file)))
    authority = Ed25519PublicKey.from_public_bytes(key(chosen.authority_public_file))
    tag_key = key(chosen.tag_key_file)

    def open_pen() -> Pen:
        connection = psycopg.connect(dsn(chosen), autocommit=True)
        writer = TailWriter(
            connection,
            site=chosen.site,
            instance=instance,
            tag_key=tag_key,
            authority=authority,
            intake=IntakeKeys(chosen.intake_key_id, public, admit),
            clock=SystemClock(),
            chance=SystemChance(),
        )
        return Pen(connection, writer)

    return open_pen


if __name__ == "__main__":
    sys.exit(main())
