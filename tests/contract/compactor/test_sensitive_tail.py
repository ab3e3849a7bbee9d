"""A day and a night of tail with something sensitive in it: real ingest, real auth behind its door, real compactor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.compactor.run import Compaction, Counts
from tests.conftest import Database
from tests.contract.auth.running import Running, run
from tests.contract.ingest import ward as wards
from tests.contract.ingest.ward import Ward, observation, patient
from tests.unit.auth.office import SITE
from twinward.clock import SystemChance, SystemClock
from twinward.ledger.kinds import Kind
from twinward.record import Category, Handle
from twinward.wire.codec.compaction import CompactionCalls

HOUR_MS = 3_600_000
UNMAPPED = {"code": {"coding": [{"system": "urn:st-anne:own", "code": "X-17"}]}}


def hour_from_now(hours: int) -> int:
    return (SystemClock().now_ms() // HOUR_MS + hours) % 24


@pytest.fixture(scope="module")
def auth(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Its night begins in the hour after next and lasts two, whenever the test runs."""
    night = {"sensitive_from_utc_h": hour_from_now(2), "sensitive_until_utc_h": hour_from_now(4)}
    with run(tmp_path_factory.mktemp("auth"), postgres, **night) as found:
        yield found


@pytest.fixture
def ward(auth: Running, postgres: Database) -> Iterator[Ward]:
    with wards.opened(auth.office, postgres) as found:
        yield found


class Node:
    def __init__(self, auth: Running, ward: Ward, database: Database) -> None:
        self.auth, self.ward = auth, ward
        authority = Ed25519PublicKey.from_public_bytes((ward.office.folder / "pki/authority.pub").read_bytes())
        self.connection = database.connect("compactor", autocommit=True)
        door = CompactionCalls(auth.program("compactor"))
        self.compaction = Compaction(self.connection, door, SITE, authority, ward.office.clock, SystemChance())

    def admit(self, mrn: str) -> Handle:
        """A patient with one ordinary value."""
        before = {handle for (handle,) in self.ward.office.sql("select handle from vault.patient_state")}
        self.ward.put(patient(mrn), observation(f"{mrn}-1", mrn))
        ((handle,),) = self.ward.office.sql(
            "select handle from vault.patient_state where not handle = any(%s)", list(before)
        )
        return Handle(str(handle))

    def sensitive(self, mrn: str) -> None:
        """A value under a code that nobody mapped: restricted."""
        self.ward.put(patient(mrn), observation(f"{mrn}-2", mrn, **UNMAPPED))

    def tail(self, *handles: Handle) -> list[bool]:
        rows = self.ward.office.sql("select distinct handle from vault.tail")
        return [handle in {one for (one,) in rows} for handle in handles]

    def leaves(self) -> int:
        return self.ward.office.kinds().count(Kind.COMPACT)

    def sweep(self) -> Counts:
        """What one sweep files and defers, in as many runs as it takes."""
        filed = deferred = 0
        while (counts := self.compaction.run()) != Counts():
            assert counts.refused == counts.put_aside == 0
            filed, deferred = filed + counts.patients, deferred + counts.deferred
        return Counts(patients=filed, deferred=deferred)


def test_a_day_and_a_night(auth: Running, ward: Ward, postgres: Database) -> None:
    node = Node(auth, ward, postgres)
    ordinary, one, other = (node.admit(mrn) for mrn in ("D-1", "D-2", "D-3"))
    node.sensitive("D-2")
    node.sensitive("D-3")
    restricted = ward.office.desk.ring.tag(one, Category.RESTRICTED)
    assert restricted in {bytes(tag) for (tag,) in ward.office.sql("select tag from vault.tail where handle = %s", one)}

    # By day the ordinary patient is filed; the others wait with all of their tail, and no leaf tells of them.
    assert node.sweep() == Counts(patients=1, deferred=2)
    assert node.tail(ordinary, one, other) == [False, True, True]
    assert node.leaves() == 1
    assert node.compaction.run() == Counts()

    # A reader asks for one of them, and gets that one only. What comes next for it is nothing sensitive.
    assert node.compaction.run(asked=[one]).patients == 1
    assert node.tail(one, other) == [False, True]
    ward.put(patient("D-2"), observation("D-2-3", "D-2"))
    assert node.sweep() == Counts(patients=1)
    assert node.tail(one, other) == [False, True]

    # At night the rest goes, and what comes meanwhile.
    ward.office.clock.shift_ms = 2 * HOUR_MS
    node.sensitive("D-1")
    assert node.sweep() == Counts(patients=2)
    assert node.tail(ordinary, one, other) == [False] * 3

    # A node that is off in the next night finds a row that is a day old.
    ward.office.clock.shift_ms = 4 * HOUR_MS
    late = node.admit("D-4")
    node.sensitive("D-4")
    assert node.sweep() == Counts(deferred=1)
    ward.office.clock.shift_ms += 24 * HOUR_MS
    assert node.sweep() == Counts(patients=1)
    assert node.tail(late) == [False]
    node.connection.close()
