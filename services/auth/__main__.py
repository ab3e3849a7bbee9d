"""Starts auth.

    python -m services.auth --settings FILE

1. the key ring, the policies and the certificates are read; what is missing stops the start
2. the sequencer compares database, bundles and head guard (`sequencer.py`)
3. consents and care teams that wait are applied
4. only then the doors open; receipts are folded and the ledger published beside
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable

import psycopg

from services.auth import feeds, keyring
from services.auth.acts import Acts
from services.auth.admit import Admit
from services.auth.api import AuthDoor, EnrolmentDoor, served_auth, served_enrolment
from services.auth.audit import Audit
from services.auth.caps import Caps
from services.auth.cohort import Cohorts
from services.auth.compaction import Compaction
from services.auth.consents import Consents
from services.auth.desk import Desk
from services.auth.enrol import Enrolment
from services.auth.entries import EntryReader
from services.auth.facts import Connection, Pool
from services.auth.fold import ReceiptFolder
from services.auth.gate import Gate
from services.auth.genuine import Instances
from services.auth.grants import Grants
from services.auth.intake import Intake
from services.auth.kek import FileProvider
from services.auth.leases import Leases
from services.auth.listing import Listing
from services.auth.night import Night
from services.auth.older_readers import OlderReaders
from services.auth.permits import Permits
from services.auth.policy import Policies
from services.auth.pruning import Pruner
from services.auth.publish import Publisher
from services.auth.refusals import Refusals
from services.auth.rounds import Rounds
from services.auth.sequencer import Proposal, Sequencer
from services.auth.settings import AuthSettings
from services.auth.status import Status
from services.auth.studies import Studies
from services.auth.upkeep import Upkeep
from services.auth.waiting import Waiting
from twinward import program, settings, telemetry
from twinward.clock import Chance, Clock, SystemChance, SystemClock
from twinward.database import RECONNECT_S
from twinward.errors import Unready
from twinward.ledger.kinds import Kind
from twinward.ledger.note import Signer
from twinward.link.enrolment import EnrolmentAuthority
from twinward.link.server import serve
from twinward.link.tokens import TokenVerifier

GRACE_S = 5.0
# Every statement of a decision looks rows up by index; planning it anew would cost more than running it.
PLANS = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"


def main(arguments: list[str] | None = None) -> int:
    parts: dict[str, program.Run] = {"auth": lambda file, stop: run(settings.load(AuthSettings, file), stop)}
    return program.begin("auth", __doc__, parts, arguments)


def run(chosen: AuthSettings, stop: threading.Event) -> None:
    """Serves until `stop`.

    Raises:
        TwinwardError: why it does not start; nothing was served.
    """
    clock, chance = SystemClock(), SystemChance()
    with contextlib.ExitStack() as stack:
        connect = connector(chosen)
        desk = build(chosen, connect, stack, clock, chance)
        sequencer = desk.sequencer
        instances = Instances(connect, chosen.site, desk.ring.authority.public_key())
        folder = ReceiptFolder(sequencer, connect, instances.genuine, every_s=chosen.fold_s)
        publisher = Publisher(
            sequencer.released, connect, chosen.ledger_dir, sequencer.signer.verifier, clock, chosen.publish_s
        )
        refusals = Refusals(sequencer, clock)
        verifier = TokenVerifier.of(chosen, clock)
        auth = served_auth(door(desk, publisher, chosen))
        authority = EnrolmentAuthority.of(chosen.pki_dir, chosen.secrets_dir, clock, chance)
        enrolment = Enrolment(authority, sequencer, chosen.issuer, clock)
        enrol = served_enrolment(EnrolmentDoor(enrolment))
        main_door = serve([auth], chosen, verifier, workers=chosen.workers, refused_token=refusals.count)
        enrol_door = serve(
            [enrol], chosen, verifier, workers=4, enrolment=True, listen=chosen.enrol_listen,
            refused_token=refusals.count,
        )  # fmt: skip
        telemetry.start(chosen, clock)
        begin(desk)
        for part in (folder, publisher, refusals, Pruner(desk.pool, clock), OlderReaders(connect)):
            part.start()
            stack.callback(part.close)
        for one in (main_door, enrol_door):
            one.start()
            stack.callback(one.stop, GRACE_S)
        telemetry.note(telemetry.STARTED, profile=chosen.profile, port=main_door.port)
        stop.wait()
    telemetry.note(telemetry.STOPPED)


def connector(chosen: AuthSettings) -> Callable[[], Connection]:
    """Opens connections of role auth.

    Raises:
        Unready: the password cannot be read.
    """
    try:
        password = chosen.database_password_file.read_text().strip()
    except OSError as error:
        raise Unready("cannot read the database password; check the file's owner", detail=str(error)) from None
    return lambda: psycopg.connect(chosen.database, password=password)


def build(
    chosen: AuthSettings, connect: Callable[[], Connection], stack: contextlib.ExitStack, clock: Clock, chance: Chance
) -> Desk:
    """Everything a decision needs; the sequencer has started when it returns, `stack` ends it.

    Raises:
        Unready, Unavailable, Tampered: what is missing or does not fit.
    """
    provider = FileProvider(chosen.secrets_dir / "kek", chosen.site)
    ring = keyring.load(chosen.site, chosen.secrets_dir, provider, chance)
    policies = Policies(chosen.profile)
    try:
        signing = (chosen.secrets_dir / "ledger.key").read_bytes()
        search = (chosen.secrets_dir / "aidx.key").read_bytes()
    except OSError as error:
        raise Unready("a key of the ledger cannot be read; restore secrets/", detail=str(error)) from None
    sequencer = Sequencer(
        connect,
        chosen.ledger_dir,
        site=chosen.site,
        signer=Signer(f"{chosen.site}/ledger", signing),
        provider=provider,
        search_key=search,
        clock=clock,
        chance=chance,
        most=chosen.group_commit_most,
    )
    stack.enter_context(sequencer)
    pool: Pool = Pool(
        chosen.database,
        # One statement is one transaction: no BEGIN and COMMIT on the way to a decision.
        kwargs={
            "password": chosen.database_password_file.read_text().strip(),
            "autocommit": True,
            "prepare_threshold": 1,
            "options": PLANS,
        },
        min_size=2,
        max_size=chosen.connections,
        timeout=2.0,
        reconnect_timeout=RECONNECT_S,
        open=False,
    )
    pool.open()
    stack.callback(pool.close)
    gate = Gate()
    return Desk(
        pool=pool,
        ring=ring,
        policies=policies,
        sequencer=sequencer,
        gate=gate,
        waiting=Waiting(pool, ring, sequencer, gate, clock),
        caps=Caps(clock),
        clock=clock,
        chance=chance,
        issuer=chosen.issuer,
    )


def door(desk: Desk, publisher: Publisher, chosen: AuthSettings) -> AuthDoor:
    grants, permits = Grants(desk), Permits(desk)
    cohorts = Cohorts(desk, permits)
    sequencer = desk.sequencer
    return AuthDoor(
        grants=grants,
        listing=Listing(desk, grants),
        upkeep=Upkeep(desk, grants),
        compaction=Compaction(desk, Night(chosen.sensitive_from_utc_h, chosen.sensitive_until_utc_h)),
        admission=Admit(desk),
        intake=Intake(desk),
        leases=Leases(desk),
        consents=Consents(desk),
        audit=Audit(desk, EntryReader(sequencer.site, sequencer.terms, sequencer.keys)),
        status=Status(desk, publisher, chosen.pki_dir),
        studies=Studies(desk),
        cohorts=cohorts,
        rounds=Rounds(desk, cohorts, permits),
        acts=Acts(desk),
    )


def begin(desk: Desk) -> None:
    """What waits is applied, the start is an entry, and so is each new feed: nobody was decided upon before."""
    applied = desk.waiting.apply()
    body = {"policy": desk.policies.sha256, "applied": applied, "now": desk.clock.now_ms()}
    desk.sequencer.commit([Proposal(Kind.START, body)])
    feeds.record(desk)


if __name__ == "__main__":
    sys.exit(main())
