"""ingest and its filer with real keys, a real auth (without its door) and a real PostgreSQL."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.embedded.secrets import INTAKE_KEY_ID, Secrets
from services.auth.admit import Applicant
from services.ingest import books
from services.ingest.accept import Acceptor
from services.ingest.answer import Answer
from services.ingest.ask_auth import AskAuth
from services.ingest.backpressure import Budget
from services.ingest.commit import Committer, Pen
from services.ingest.filer import Done, Filer
from services.ingest.receipts import Names
from services.ingest.work import Planner
from tests.conftest import Database
from tests.unit.auth.office import SITE, Office, program
from twinward.clock import Chance, SystemChance
from twinward.database import RECONNECT_S, LivePool
from twinward.errors import Unavailable
from twinward.record import Category, Document, Handle, Measurement
from twinward.vault import contents, hpke, keytree, tail
from twinward.vault.batches import TailRow
from twinward.vault.tags import by_tag
from twinward.vault.writer import Instance, IntakeKeys, TailWriter
from twinward.wire.codec.admission import IntakeLease, ToAdmit, WasAdmitted

MRN = "urn:ward:mrn"


@dataclass
class Auth:
    """`AuthCalls` without the wire: the same requests, the same decisions; can be down."""

    office: Office
    down: bool = False
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, feed: str, patients: Sequence[ToAdmit], deadline_s: float) -> list[WasAdmitted]:
        with self.lock:
            self.asked += len(patients)
            if self.down:
                raise Unavailable("auth is down")
        applicants = [Applicant(one.sealed_identifiers, one.handle, one.categories) for one in patients]
        return [WasAdmitted(one.handle, one.refused) for one in self.office.admission.admit(feed, applicants)]

    def grant_intake(self, intake_ids: Sequence[int]) -> IntakeLease:
        if self.down:
            raise Unavailable("auth is down")
        found = self.office.intake.grant(program("ingest-filer"), intake_ids)
        return IntakeLease(found.lease_id, found.until_ms, dict(found.seeds), found.leaf)

    def give_back(self, lease_id: UUID, rows: int) -> None:
        self.office.leases.give_back(program("ingest-filer"), [lease_id])


@dataclass
class Stored:
    """Everything that lies sealed, opened with the patients' own keys: what a test may do and no program."""

    measurements: list[tuple[Handle, Category, Measurement]] = field(default_factory=list)
    documents: list[tuple[Handle, Category, Document]] = field(default_factory=list)

    @property
    def items(self) -> int:
        return len(self.measurements) + len(self.documents)

    def essence(self) -> Counter[tuple[object, ...]]:
        """What is stored without when and under which handle it came."""
        rows = (
            (category, row.code, row.effective_ms, str(row.value), row.unit, row.text, row.status, row.lineage)
            for _, category, row in self.measurements
        )
        papers = (
            (category, one.resource, one.effective_ms, one.body, one.lineage) for _, category, one in self.documents
        )
        return Counter([*rows, *papers])


class Ward:
    def __init__(self, office: Office, database: Database, chance: Chance | None = None) -> None:
        self.office = office
        self.database = database
        self.auth = Auth(office)
        secrets = Secrets(office.folder, SITE, SystemChance())
        secrets.ensure(("clinician",), ("auth",), ("ingest", "ingest-filer"))
        self.secrets = secrets
        self.names = Names((office.folder / "secrets/feed_idx.key").read_bytes())
        self.tag_key = (office.folder / "secrets/tag.key").read_bytes()
        self.planner = Planner(self.names, self.tag_key)
        self.pool = LivePool(  # as the program's own
            database.dsn("ingest"),
            min_size=1,
            max_size=6,
            kwargs={"autocommit": True},
            reconnect_timeout=RECONNECT_S,
            open=True,
        )
        self.committer = Committer(lambda: self.pen("ingest"), self.planner)
        self.committer.start()
        self.acceptor = self._acceptor()
        self.filer = Filer(
            site=SITE,
            acceptor=self.acceptor,
            planner=self.planner,
            open_pen=lambda: self.pen("ingest-filer"),
            leasing=self.auth,
            clock=office.clock,
            chance=chance or SystemChance(),
        )
        for name in ("ingest", "ingest-filer"):
            one = secrets.instance(name)
            office.sql(
                "insert into vault.instance (id, program, public_key, signature, since) values (%s, %s, %s, %s, now()) "
                "on conflict do nothing",
                one.id, one.program, one.public_key, one.signature,
            )  # fmt: skip

    def _acceptor(self) -> Acceptor:
        return Acceptor(
            borrow=self.pool.connection,
            names=self.names,
            admitting=AskAuth(self.auth, self.office.admit_key, SITE),  # type: ignore[arg-type]
            committer=self.committer,
            clock=self.office.clock,
            budget=Budget(),
        )

    def pen(self, name: str) -> Pen:
        connection = psycopg.connect(self.database.dsn({"ingest-filer": "filer"}.get(name, name)), autocommit=True)
        pki = self.office.folder / "pki"
        key = (self.office.folder / "secrets/instance" / f"{name}.key").read_bytes()
        writer = TailWriter(
            connection,
            site=SITE,
            instance=Instance(self.secrets.instance(name).id, Ed25519PrivateKey.from_private_bytes(key)),
            tag_key=self.tag_key,
            authority=Ed25519PublicKey.from_public_bytes((pki / "authority.pub").read_bytes()),
            intake=IntakeKeys(
                INTAKE_KEY_ID,
                hpke.public_key((pki / f"intake/{INTAKE_KEY_ID}.pub").read_bytes()),
                self.office.admit_key,
            ),
            clock=self.office.clock,
            chance=SystemChance(),
        )
        return Pen(connection, writer)

    def put(self, *resources: dict[str, Any] | bytes, feed: str = "files", key: str = "") -> Answer:
        """One message: a single resource, or a batch of several."""
        bodies = [one if isinstance(one, bytes) else orjson.dumps(one) for one in resources]
        if len(bodies) == 1:
            return self.acceptor.fhir(feed, key, bodies[0])
        entries = b",".join(b'{"resource":' + body + b"}" for body in bodies)
        return self.acceptor.fhir(feed, key, b'{"resourceType":"Bundle","type":"batch","entry":[' + entries + b"]}")

    def file(self) -> Done:
        return self.filer.round()

    def stored(self) -> Stored:
        """Opens every tail row with the key of its patient."""
        found = Stored()
        ring = self.office.desk.ring
        rows = self.office.sql(
            "select t.handle, t.seq, t.tag, t.version, t.received_month, t.n, t.receipt, t.place, t.blob, "
            "k.epoch, k.wrapped from vault.tail t join vault.patient_key k using (handle) order by t.receipt, t.place"
        )
        for *row, blob, epoch, wrapped in rows:
            handle, seq, tag, version, month, n, receipt, place = row
            sealed = TailRow(handle, seq, bytes(tag), version, month, n, receipt, place, bytes(blob))
            data_key = ring.provider.unwrap(handle.bytes, epoch, bytes(wrapped))
            category = Category(by_tag(self.tag_key, handle, Category)[sealed.tag])
            seed = keytree.tail_seed(data_key, category, version, month)
            info = hpke.INFO_TAIL + tail.associated(SITE, sealed, category)
            inside = contents.decode(hpke.open_sealed(hpke.private_key(seed), sealed.blob, info))
            found.measurements += [(handle, category, one) for one in inside.rows.measurements()]
            found.documents += [(handle, category, one) for one in inside.documents]
        return found

    def counts(self) -> dict[str, int]:
        """The books: sums over receipt batches, and what waits."""
        row = self.office.sql(
            "select coalesce(sum(accepted), 0), coalesce(sum(dropped), 0), coalesce(sum(duplicates), 0), "
            "coalesce(sum(intake), 0), coalesce(sum(quarantined), 0) from ingest.receipt_batch"
        )[0]
        return dict(zip(("accepted", "dropped", "duplicates", "intake", "quarantined"), map(int, row), strict=True))

    def waiting(self) -> list[tuple[str, str, str]]:
        """(kind, state, reason) of every intake item in order."""
        return [tuple(row) for row in self.office.sql("select kind, state, reason from ingest.intake order by id")]

    def clear(self) -> None:
        """As on the first day: no patient, no data; feeds and keys of the node stay."""
        self.office.sql(
            "truncate vault.tail, vault.patient_key, vault.blind_index, vault.feed_index, vault.public_key_set, "
            "vault.public_key, vault.patient_state, vault.intake_consent, vault.consent, vault.care_team, vault.lease, "
            "ingest.receipt, ingest.answer, ingest.receipt_batch, ingest.intake, ingest.unmapped, twin.pending"
        )

    def status(self) -> books.Status:
        with self.pool.connection() as connection:
            return books.status(connection)

    def close(self) -> None:
        self.committer.stop()
        self.filer.close()
        self.pool.close()


@contextmanager
def opened(office: Office, database: Database) -> Iterator[Ward]:
    ward = Ward(office, database)
    try:
        yield ward
    finally:
        ward.close()


def patient(mrn: str, number: str = "") -> dict[str, Any]:
    return {"resourceType": "Patient", "id": number or mrn, "identifier": [{"system": MRN, "value": mrn}]}


def observation(number: str, patient: str, value: float = 120.0, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": number,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-01-02T03:04:05Z",
        "valueQuantity": {"value": value, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
    } | more
