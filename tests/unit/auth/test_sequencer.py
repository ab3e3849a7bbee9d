"""Recording: what one commit promises to its caller."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from services.auth.grouping import Proposal
from tests.conftest import Database
from tests.unit.auth.ledger_house import House, grant, together
from twinward.clock import SetClock
from twinward.errors import BadInput, Conflict, Tampered, TooLarge, TwinwardError, Unavailable, Unready
from twinward.ledger.entry import Entry
from twinward.ledger.kinds import Kind

ANNA, BEN = UUID(int=1), UUID(int=2)
INSERT_INDEX = "insert into vault.blind_index (idx, handle) values (%s, %s)"


@pytest.fixture
def house(postgres: Database, tmp_path: Path) -> House:
    house = House(lambda: postgres.connect("auth"), tmp_path, SetClock(1_795_334_399_999))
    with postgres.connect("postgres") as owner:
        house.clear(owner)
        owner.execute("truncate vault.blind_index")
    return house


def claim(key: int, patient: UUID = ANNA) -> Proposal:
    """A proposal whose write fails where `key` was claimed before."""
    return grant(key, writes=lambda index: [(INSERT_INDEX, [UUID(int=key), UUID(int=index)])])


def claims(postgres: Database) -> dict[int, int]:
    with postgres.connect("auth") as connection:
        return {key.int: at.int for key, at in connection.execute("select idx, handle from vault.blind_index")}


def test_entries_get_gapless_places_and_their_bodies_open(house: House) -> None:
    with house.sequencer() as sequencer:
        assert sequencer.commit([]) == []
        assert sequencer.commit([grant(0, patient=ANNA), grant(1, patient=BEN)]) == [0, 1]
        assert sequencer.commit([Proposal(Kind.DENY, {"reason": "no consent"})]) == [2]
        found = house.find(sequencer)
    assert [one.index for one in found] == [2, 1, 0]
    assert {one.state for one in found} == {"valid"}
    assert json.loads(found[2].body) == {
        "v": 1, "t": 1_795_334_399_999, "site": "demo-a", "kind": "grant", "actor": "person-0",
        "decision": "permit", "trace": "0", "patient": str(ANNA),
    }  # fmt: skip
    assert found[0].time_s % 60 == 0


def test_the_tree_entry_holds_nothing_personal(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([grant(0, patient=ANNA, terms=("study:7c1e",))])
    with postgres.connect("auth") as connection:
        (data,) = connection.execute("select entry from ledger.entry").fetchone() or ()
        (sealed,) = connection.execute("select sealed from ledger.body").fetchone() or ()
        terms = [bytes(term) for (term,) in connection.execute("select term from ledger.term")]
    assert Entry.decode(data).kind == Kind.GRANT
    assert len(data) == 43
    assert len(terms) == 4
    written = b"".join(path.read_bytes() for path in house.ledger.rglob("*") if path.is_file())
    for secret in (b"person-0", str(ANNA).encode(), ANNA.bytes, b"permit"):
        assert secret not in data
        assert secret not in sealed
        assert secret not in b"".join(terms)
        assert secret not in written


def test_search_by_patient_actor_kind_and_time(house: House) -> None:
    clock = house.clock
    assert isinstance(clock, SetClock)
    with house.sequencer() as sequencer:
        for number in range(20):
            kind = Kind.GRANT if number % 3 else Kind.DENY
            sequencer.commit([Proposal(kind, {"actor": f"p{number % 2}"}, patient=ANNA if number % 4 else BEN)])
            clock.ms += 60_000

        def places(**question: object) -> list[int]:
            return [one.index for one in house.find(sequencer, **question)]

        assert places(patient=BEN) == [16, 12, 8, 4, 0]
        assert places(patient=BEN, kind=Kind.DENY) == [12, 0]
        assert places(actor="p1", kind=Kind.DENY) == [15, 9, 3]
        assert places(actor="nobody") == []
        assert places(since_ms=clock.ms - 3 * 60_000) == [19, 18, 17]
        assert places(limit=2) == [19, 18]
        assert places(limit=2, before=18) == [17, 16]
        assert places(since_ms=clock.ms + 1) == []


def test_missing_destroyed_and_changed_bodies_are_told_apart(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        for number in range(6):
            sequencer.commit([grant(number)])
        sequencer.commit([Proposal(Kind.RETENTION, {"ranges": [[1, 2]]})])
        with postgres.connect("auth") as connection:
            connection.execute("delete from ledger.body where idx in (1, 2)")
            connection.execute(
                "update ledger.body set sealed = (select sealed from ledger.body where idx = 3) where idx = 4"
            )
        states = {one.index: one.state for one in house.find(sequencer)}
    assert states == {0: "valid", 1: "destroyed", 2: "missing", 3: "valid", 4: "tampered", 5: "valid", 6: "valid"}


def test_an_act_and_its_entry_are_one(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        (index,) = sequencer.commit([claim(7)])
        assert claims(postgres) == {7: index}
        with pytest.raises(Conflict):
            sequencer.commit([claim(7)])
        assert sequencer.state().size == 1
        assert sequencer.commit([claim(8)]) == [1]
    assert claims(postgres) == {7: 0, 8: 1}


def test_one_refused_write_does_not_touch_its_neighbours(house: House, postgres: Database) -> None:
    """Many callers at once, every fourth with a write that fails: each is told about its own."""
    with house.sequencer() as sequencer:
        sequencer.commit([claim(0)])
        places: dict[int, int] = {}
        refused: list[int] = []

        def call(number: int) -> None:
            try:
                (places[number],) = sequencer.commit([claim(0 if number % 4 == 0 else number)])
            except Conflict:
                refused.append(number)

        together([lambda number=number: call(number) for number in range(1, 41)])  # type: ignore[misc]
        state = sequencer.state()
        assert not state.trouble
        assert state.size == 31
        house.publish(sequencer)
    assert sorted(refused) == list(range(4, 41, 4))
    assert claims(postgres) == {0: 0, **places}
    assert sorted(places.values()) == list(range(1, 31))
    assert house.verify().ok


def test_the_proposals_of_one_call_are_recorded_together_or_not_at_all(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([claim(5)])
        with pytest.raises(Conflict):
            sequencer.commit([claim(6), claim(5)])
        assert sequencer.state().size == 1
    assert claims(postgres) == {5: 0}


def test_a_broken_statement_is_the_callers_own_trouble(house: House) -> None:
    def broken(index: int) -> list[tuple[str, list[object]]]:
        raise RuntimeError("a mistake of the caller")

    with house.sequencer() as sequencer:
        with pytest.raises(RuntimeError):
            sequencer.commit([grant(writes=broken)])
        with pytest.raises(TwinwardError, match="could not be recorded"):
            sequencer.commit([grant(writes=lambda index: [("select nothing from nowhere", [])])])
        with pytest.raises(TwinwardError, match="could not be recorded"):
            sequencer.commit([grant(writes=lambda index: [("delete from ledger.entry", [])])])
        assert sequencer.commit([grant()]) == [0]


@pytest.mark.parametrize(
    ("proposal", "error"),
    [
        (Proposal(Kind.GRANT, {"share": 0.5}), BadInput),
        (Proposal(Kind.GRANT, {"text": "x" * 5000}), TooLarge),
        (Proposal(Kind.GRANT, {"t": 1}), BadInput),
        (Proposal(Kind.GRANT, {"patient": str(BEN)}, patient=ANNA), BadInput),
    ],
)
def test_a_body_that_cannot_be_recorded_is_refused_before_anything(
    house: House, proposal: Proposal, error: type[Exception]
) -> None:
    with house.sequencer() as sequencer:
        with pytest.raises(error):
            sequencer.commit([grant(), proposal])
        assert sequencer.state().size == 0


def test_log_time_never_goes_back(house: House) -> None:
    clock = house.clock
    assert isinstance(clock, SetClock)
    with house.sequencer() as sequencer:
        sequencer.commit([grant()])
        first = clock.ms
        clock.ms -= 3_600_000
        sequencer.commit([grant()])
        sequencer.commit([grant()])
        assert sequencer.state().clock_steps_back == 1
        clock.ms = first + 120_000
        sequencer.commit([grant()])
        times = [json.loads(one.body)["t"] for one in house.find(sequencer)]
    assert times == [first + 120_000, first, first, first]
    clock.ms = first - 86_400_000
    with house.sequencer() as sequencer:
        sequencer.commit([grant()])
        found = house.find(sequencer)
    assert found[0].time_s == found[1].time_s


def test_a_call_that_waits_too_long_gets_nothing(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer, postgres.connect("postgres") as other:
        other.execute("lock table vault.blind_index in access exclusive mode")
        with pytest.raises(Unavailable, match="in time"):
            sequencer.commit([claim(1)], timeout_s=0.3)
        other.rollback()
        assert sequencer.commit([grant()], timeout_s=20) in ([0], [1])


def test_a_callers_lock_holds_the_others_up_for_two_seconds_at_most(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer, postgres.connect("postgres") as other:
        other.execute("lock table vault.blind_index in access exclusive mode")
        with pytest.raises(TwinwardError) as caught:
            sequencer.commit([claim(1)], timeout_s=30)
        assert caught.value.reason == "BUSY"
        assert sequencer.commit([grant()]) == [0]
        other.rollback()


def test_a_restart_goes_on_where_the_last_one_ended(house: House) -> None:
    for start in range(4):
        with house.sequencer() as sequencer:
            assert sequencer.commit([grant(n) for n in range(3)]) == [start * 3, start * 3 + 1, start * 3 + 2]
            house.publish(sequencer)
    report = house.verify()
    assert report.ok
    assert report.size == 12


def test_only_one_process_holds_the_folder(house: House) -> None:
    with house.sequencer(), pytest.raises(Unready, match="another auth"):
        house.sequencer().start()


def test_the_fence_stops_whoever_was_overtaken(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([grant()])
        with postgres.connect("auth") as other:
            other.execute("update ledger.head set fence = fence + 1")
        with pytest.raises(Unavailable, match="taken this ledger over"):
            sequencer.commit([claim(9)])
        with pytest.raises(Unavailable, match="taken this ledger over"):
            sequencer.commit([grant()])
        assert sequencer.state().stopped
    assert claims(postgres) == {}


def test_a_stopped_sequencer_refuses(house: House) -> None:
    sequencer = house.sequencer()
    with sequencer:
        sequencer.commit([grant()])
    with pytest.raises(Unavailable):
        sequencer.commit([grant()])


@pytest.mark.parametrize("setting", ["synchronous_commit"])
def test_no_start_on_a_database_that_may_forget(house: House, postgres: Database, setting: str) -> None:
    with postgres.connect("postgres", autocommit=True) as owner:
        owner.execute(f"alter role auth in database {postgres.name} set {setting} = off")
        try:
            with pytest.raises(Unready, match=setting):
                house.sequencer().start()
        finally:
            owner.execute(f"alter role auth in database {postgres.name} reset {setting}")
    with house.sequencer():
        pass


def test_a_ledger_that_cannot_be_written_releases_nothing_and_says_so(house: House, postgres: Database) -> None:
    """A1: the schema read-only. Nobody gets an index, and it recovers by itself."""
    with house.sequencer() as sequencer:
        sequencer.commit([grant()])
        with postgres.connect("postgres", autocommit=True) as owner:
            owner.execute("revoke insert on ledger.entry from auth")
            try:
                with pytest.raises(TwinwardError, match="nothing is released"):
                    sequencer.commit([claim(1)])
            finally:
                owner.execute("grant insert on ledger.entry to auth")
        assert sequencer.commit([claim(2)]) == [1]
    assert claims(postgres) == {2: 1}


def test_a_database_that_went_read_only(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([grant()])
        with postgres.connect("postgres", autocommit=True) as owner:
            owner.execute(f"alter database {postgres.name} set default_transaction_read_only = on")
            try:
                owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'auth'")
                for _ in range(3):
                    with pytest.raises(Unavailable):
                        sequencer.commit([grant()])
            finally:
                owner.execute("set default_transaction_read_only = off")
                owner.execute(f"alter database {postgres.name} reset default_transaction_read_only")
            owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'auth'")
        places = []
        for _ in range(3):
            try:
                places += sequencer.commit([grant()])
            except Unavailable:
                continue
        assert places
        assert sequencer.state().trouble == ""


def test_a_head_edited_in_the_database_stops_the_start(house: House, postgres: Database) -> None:
    with house.sequencer() as sequencer:
        sequencer.commit([grant(), grant()])
    with postgres.connect("auth") as connection:
        connection.execute("update ledger.head set root = %s", [bytes(32)])
    with pytest.raises(Tampered, match="does not hold together"):
        house.sequencer().start()


def test_psycopg_errors_do_not_leak(house: House) -> None:
    """Whoever reads an error of ours reads no parameter of theirs."""
    with house.sequencer() as sequencer:
        sequencer.commit([claim(3)])
        with pytest.raises(TwinwardError) as caught:
            sequencer.commit([claim(3)])
    assert not isinstance(caught.value, psycopg.Error)
    assert str(UUID(int=3)) not in caught.value.public + caught.value.detail
