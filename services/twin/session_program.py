"""The sessions program put together: store, register, door. Its streams need a loop, so it is a door for streams."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from services.twin.database import open_pool
from services.twin.session_api import TeachingDoor, served_teaching
from services.twin.session_body import BodyMaker
from services.twin.session_case import Case, read_case, shipped
from services.twin.session_patient import Patients
from services.twin.session_register import Ledger, Register
from services.twin.session_running import Means
from services.twin.session_store import SessionStore
from services.twin.settings import SessionSettings
from twinward.clock import Chance, Clock
from twinward.link.acts import LedgerCalls
from twinward.link.client import open_channel
from twinward.link.service import ServiceTokens
from twinward.link.streams import Limits, StreamDoor, serve_streams
from twinward.link.tokens import TokenVerifier

GRACE_S = 2.0
WARM_S = 4.0
RECORD_S = 5.0  # a learner waits for it


@contextmanager
def serve_sessions(
    chosen: SessionSettings,
    clock: Clock,
    chance: Chance,
    *,
    bodies: BodyMaker | None = None,
    ledger: Ledger | None = None,
    verifier: TokenVerifier | None = None,
) -> Iterator[StreamDoor]:
    """A started door that does not serve yet. `bodies`, `ledger`, `verifier` in the place of the program's own: for
    the tests of the door.

    Raises:
        Unready: a file cannot be read, or the address is taken.
        Malformed: a case that is none.
    """
    cases = cases_of(chosen.cases_dir)
    if ledger is None:
        tokens = ServiceTokens.of(chosen, clock, chance)
        ledger = LedgerCalls(open_channel(chosen.auth_address, "auth", chosen, tokens), RECORD_S)
    workers = ThreadPoolExecutor(chosen.threads, thread_name_prefix="session")
    with open_pool(chosen, most=chosen.threads + 8) as pool:
        means = Means(SessionStore(pool), workers, clock, chance, chosen.vanish_seconds)
        register = Register(
            means, bodies or Patients(), cases, ledger, most=chosen.sessions_most, idle_s=chosen.idle_seconds,
            keep_days=chosen.keep_days,
        )  # fmt: skip
        teaching = TeachingDoor(register)
        door = serve_streams(
            [served_teaching(teaching)], chosen, verifier or TokenVerifier.of(chosen, clock), clock,
            limits=Limits(chosen.streams_most, chosen.streams_per_person), chance=chance,
        )  # fmt: skip
        teaching.loop = door.loop
        watching = asyncio.run_coroutine_threadsafe(register.watch(chosen.place_seconds), door.loop)
        try:
            door.start(serving=False)
            yield door
        finally:
            watching.cancel()
            door.run(register.close())
            door.stop(GRACE_S)
            workers.shutdown(wait=True, cancel_futures=True)


def cases_of(further: Path | None) -> Mapping[str, Case]:
    """Shipped ones and those of the folder. Raises Malformed."""
    files = dict(shipped())
    if further is not None:
        files |= {path.stem: path for path in sorted(further.glob("*.yaml"))}
    found = (read_case(path.read_bytes()) for path in files.values())
    return {case.id: case for case in found}


def warm() -> None:
    """Compiles what a body needs before the first learner waits for it."""
    body = Patients().start("adult", {})
    body.advance(WARM_S, 250)
