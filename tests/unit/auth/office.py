"""auth without its door: real keys, real PostgreSQL, real ledger, a clock that can be set."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg

from infra.embedded.certificates import Certificates
from infra.embedded.secrets import Secrets
from services.auth.__main__ import begin, build, connector
from services.auth.acts import Acts
from services.auth.admit import Admit, Applicant, admit_info
from services.auth.cohort import Cohorts
from services.auth.compaction import Compaction
from services.auth.consents import Consents
from services.auth.desk import Desk, Patient
from services.auth.grants import Grants, Wish
from services.auth.intake import Intake
from services.auth.leases import Leases
from services.auth.listing import Listing
from services.auth.night import Night
from services.auth.permits import Permits
from services.auth.rounds import Rounds
from services.auth.settings import AuthSettings
from services.auth.studies import Studies
from services.auth.upkeep import Upkeep
from tests.conftest import Database
from twinward.clock import Chance, SystemChance, SystemClock, utc
from twinward.link.caller import Caller, Person
from twinward.record import TWIN_INPUTS, Category, Handle
from twinward.vault import hpke
from twinward.vault.acceptance import consent_info
from twinward.vault.identifiers import Admission
from twinward.vault.lease import Lease

SITE = "st-anne-demo"
SYSTEM = "urn:st-anne:mrn"
PURPOSES = "urn:twinward:purpose"
FORECAST = (*TWIN_INPUTS, Category.MODEL_STATE)


@dataclass
class Shifted:
    """The machine's clock, put forward or back by `shift_ms`."""

    shift_ms: int = 0
    real: SystemClock = field(default_factory=SystemClock)

    def now_ms(self) -> int:
        return self.real.now_ms() + self.shift_ms

    def monotonic(self) -> float:
        return self.real.monotonic()


def node_files(folder: Path, site: str = SITE) -> None:
    secrets = Secrets(folder, site, SystemChance())
    secrets.ensure(("clinician",), ("auth", "twin"), ("ingest",))
    Certificates(folder, site, SystemClock(), SystemChance()).ensure(("auth", "twin"), ("files",))
    (folder / "ledger").mkdir(exist_ok=True)


def settings_of(folder: Path, database: Database, **more: Any) -> AuthSettings:
    dsn, password = database.for_settings("auth")
    return AuthSettings(
        site=SITE,
        profile="demo",
        program="auth",
        ca_file=folder / "pki/ca.pem",
        certificate_file=folder / "pki/programs/auth.pem",
        key_file=folder / "pki/programs/auth.key",
        database=dsn,
        database_password_file=password,
        data_dir=folder,
        enrol_listen="127.0.0.1:0",
        secrets_dir=folder / "secrets",
        pki_dir=folder / "pki",
        ledger_dir=folder / "ledger",
        **more,
    )


@dataclass
class Office:
    desk: Desk
    clock: Shifted
    database: Database
    folder: Path

    def __post_init__(self) -> None:
        self.grants = Grants(self.desk)
        self.admission = Admit(self.desk)
        self.consents = Consents(self.desk)
        self.upkeep = Upkeep(self.desk, self.grants)
        self.listing = Listing(self.desk, self.grants)
        self.compaction = Compaction(self.desk, Night())
        self.intake = Intake(self.desk)
        self.leases = Leases(self.desk)
        self.studies = Studies(self.desk)
        permits = Permits(self.desk)
        self.cohorts = Cohorts(self.desk, permits)
        self.rounds = Rounds(self.desk, self.cohorts, permits)
        self.acts = Acts(self.desk)
        self._numbers = 0

    def sql(self, statement: str, *values: object, role: str = "postgres") -> list[tuple[Any, ...]]:
        with self.database.connect(role, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def approve(self, feed: str, *approvals: str) -> None:
        self.sql(
            "insert into vault.feed (name, approvals) values (%s, %s) on conflict (name) do update "
            "set approvals = excluded.approvals",
            feed,
            list(approvals),
        )

    def patient(self, categories: Sequence[int] = TWIN_INPUTS, mrn: str | None = None) -> Handle:
        self._numbers += 1
        answer = self.admission.admit("files", [self.applicant(mrn or f"P-{self._numbers}", categories)])[0]
        assert answer.handle is not None, answer.refused
        return answer.handle

    def applicant(self, mrn: str, categories: Sequence[int] = TWIN_INPUTS) -> Applicant:
        plain = Admission(((SYSTEM, mrn),), tuple(map(int, categories))).encode()
        return Applicant(hpke.seal(self.admit_key, plain, admit_info(SITE)), None, ())

    @property
    def admit_key(self) -> hpke.PublicKey:
        return hpke.public_key((self.folder / "pki/admit.pub").read_bytes())

    def say(self, feed: str, handle: Handle, resource: dict[str, Any]) -> None:
        """What a feed says comes in through ingest: sealed, waiting."""
        kind = {"Consent": "consent", "CareTeam": "care_team"}[resource["resourceType"]]
        blob = hpke.seal(self.admit_key, orjson.dumps(resource), consent_info(SITE))
        self.sql(
            "insert into vault.intake_consent (handle, feed, kind, received, blob) values (%s, %s, %s, %s, %s)",
            handle,
            feed,
            kind,
            utc(self.clock.now_ms()),
            blob,
        )

    def team(self, handle: Handle, *actors: str, feed: str = "files") -> None:
        members = [{"member": {"reference": f"Practitioner/{actor}"}} for actor in actors]
        team = {"resourceType": "CareTeam", "id": "t", "status": "active", "participant": members}
        self.say(feed, handle, team)

    def consent(self, handle: Handle, *purposes: str, kind: str = "permit", **more: Any) -> None:
        self.consents.set(person("data-steward"), Patient(handle=handle), consent(*purposes, kind=kind, **more))

    def ask(
        self, handle: Handle, role: str = "clinician", purpose: str = "treatment", sub: str = "dr-1", **more: Any
    ) -> Lease:
        wish = {
            "patient": Patient(handle=handle),
            "categories": FORECAST,
            "first": None,
            "last": None,
            "act": "forecast",
            "reason": "",
        }
        return self.grants.grant(person(role, purpose, sub, "twin"), Wish(**{**wish, **more}))

    def kinds(self) -> list[int]:
        return [kind for (kind,) in self.sql("select kind from ledger.entry order by idx")]


def consent(*purposes: str, kind: str = "permit", **more: Any) -> bytes:
    provision: dict[str, Any] = {"type": kind, **more}
    if purposes:
        provision["purpose"] = [{"system": PURPOSES, "code": purpose} for purpose in purposes]
    return orjson.dumps({"resourceType": "Consent", "id": "c", "status": "active", "provision": provision})


def person(role: str, purpose: str = "treatment", sub: str = "dr-1", through: str | None = None) -> Caller:
    who = Person(sub, (role,), purpose, "twinward-cli", "jti-1", "sid-1", "pwd")
    return Caller(through, who, "token", b"c" * 32, f"spiffe://{SITE}/{through}" if through else "certificate:cc")


def program(name: str) -> Caller:
    return Caller(name, None, "token", name.encode().ljust(32, b"."), f"spiffe://{SITE}/{name}")


@contextlib.contextmanager
def opened(folder: Path, database: Database, clock: Shifted | None = None, chance: Chance | None = None) -> Any:
    """An office on `folder`, with the feeds of profile demo."""
    clock = clock or Shifted()
    if not (folder / "secrets").exists():
        node_files(folder)
    chosen = settings_of(folder, database)
    with contextlib.ExitStack() as stack:
        desk = build(chosen, connector(chosen), stack, clock, chance or SystemChance())
        begin(desk)
        office = Office(desk, clock, database, folder)
        office.approve("files", "identity", "care_team", "consent")
        office.approve("observations")
        yield office


def row_count(database: Database, role: str, statement: str) -> int:
    with psycopg.connect(database.dsn(role)) as connection:
        row = connection.execute(statement.encode()).fetchone()
        return int(row[0]) if row else 0
