"""What people do with studies, and what hospitals say of them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from services.federation import study_books
from services.federation.books import Pool
from services.federation.events import add_event
from services.federation.hearing import Bell
from services.federation.studies import MOST_WATCHING, Studies
from services.federation.syncing import MOST_OFFERED, Decided, Syncing
from tests.conftest import Database
from tests.unit.federation.hall import NOW_MS, SITES, Ledgered, add_sites, add_study, study
from twinward.clock import SetClock, SystemClock, utc
from twinward.errors import BadInput, Busy, NotFound, TooLarge, Unauthenticated, Unavailable, Unready

DAY_MS = 86_400_000
BUNDLE = b"b" * 32
FILE = """
title = "{title}"
question = "Does age predict ischaemic heart disease?"
purpose = "research"
recipe = "logistic"
rounds = 8
minimum_sites = 2
{more}
[[columns]]
name = "age"
code = "patient|age"
[outcome]
name = "ill"
code = "condition|snomed|53741008"
"""


def file(title: str = "Hearts", more: str = "") -> bytes:
    return FILE.format(title=title, more=more).encode()


class Members:
    """Whoever shows the SHA-256 of its name is that hospital."""

    def member(self, connection: object, site: str, certificate: bytes, *, lock: bool = False) -> None:
        if certificate != hashlib.sha256(site.encode()).digest():
            raise Unauthenticated("this hospital is not a member any more", detail="site")


class Desk:
    def __init__(self, pool: Pool, books: Database, *, demo: bool = True) -> None:
        add_sites(books)
        self.pool, self.books = pool, books
        self.clock, self.ledger, self.bell = SetClock(NOW_MS), Ledgered(), Bell()
        self.studies = Studies(pool, self.ledger, self.bell, self.clock, bundle=BUNDLE, demo=demo)
        self.syncing = Syncing(pool, Members(), self.clock)  # type: ignore[arg-type]

    def decide(self, site: str, hash_: bytes, decision: str = "approve", leaf: int = 1, days: int = 90) -> Any:
        made = Decided(hash_, decision, "", NOW_MS, NOW_MS + days * DAY_MS, leaf)
        return self.sync(site, [made])

    def sync(self, site: str, decisions: list[Decided] | None = None, after: int = 0) -> Any:
        shown = hashlib.sha256(site.encode()).digest()
        return self.syncing.sync(site, shown, "1", decisions or [], after, life=7)

    def approved(self, title: str = "Hearts", sites: tuple[str, ...] = SITES) -> bytes:
        hash_, _ = self.studies.submit(file(title), "r-1")
        for site in sites:
            self.decide(site, hash_)
        return hash_

    def set(self, hash_: bytes, **columns: object) -> None:
        with self.books.connect("coordinator") as connection:
            for name, value in columns.items():
                connection.execute(f"update fed.study set {name} = %s where hash = %s", (value, hash_))  # noqa: S608

    def state(self, hash_: bytes) -> str:
        return self.studies.show(hash_)[0].study.state

    def kinds(self, hash_: bytes) -> list[str]:
        return [one.kind for one in self.studies.watch(hash_, 0, 0)[0]]


@pytest.fixture
def desk(pool: Pool, books: Database) -> Desk:
    return Desk(pool, books)


def test_a_check_says_what_is_wrong_and_keeps_nothing(desk: Desk) -> None:
    assert desk.studies.check(b"title = 5", "r-1").problems
    assert "was never invited" in desk.studies.check(file(more='sites = ["a.demo", "x.demo"]'), "r-1").problems[0]
    found = desk.studies.check(file(), "r-1")
    assert found.problems == []
    assert found.study == hashlib.sha256(found.canonical).digest()
    assert found.sites == SITES
    assert "sees this hospital's update in clear" in found.text
    assert desk.studies.page(0, "") == ([], "")
    assert desk.ledger.entries == []


def test_a_submitted_study_has_a_leaf_and_is_the_same_study_the_second_time(desk: Desk) -> None:
    hash_, leaf = desk.studies.submit(file(), "r-1")
    assert desk.studies.submit(file(), "r-1") == (hash_, leaf)
    assert desk.studies.submit(file(), "r-2")[0] != hash_  # who wrote it is part of it
    kind, body = desk.ledger.entries[0]
    assert kind == "study_approval"
    assert body == {
        "act": "study_submit", "study": hash_.hex(), "person": "r-1", "bundle": BUNDLE.hex(), "privacy": "NON-PRIVATE",
    }  # fmt: skip


@pytest.mark.parametrize("bad", [b"", b"title = ", b"\xff", b"x" * 70_000, file(more="rounds_ = 5")])
def test_a_bad_file_is_not_submitted(desk: Desk, bad: bytes) -> None:
    with pytest.raises(BadInput):
        desk.studies.submit(bad, "r-1")
    assert desk.ledger.entries == []


def test_every_act_needs_the_ledger_and_does_nothing_without_it(desk: Desk) -> None:
    submitted, stopped, running = (desk.approved(title) for title in ("one", "two", "three"))
    desk.set(stopped, state="stopped")
    desk.set(running, state="running")
    desk.ledger.away = Unavailable("auth does not answer")
    acts: list[Callable[[], object]] = [
        lambda: desk.studies.submit(file("four"), "r-1"),
        lambda: desk.studies.run(submitted, "r-1"),
        lambda: desk.studies.resume(stopped, "r-1"),
        lambda: desk.studies.stop(running, "r-1", ""),
    ]
    before = [desk.studies.page(0, ""), *(desk.kinds(one) for one in (submitted, stopped, running))]
    for act in acts:
        with pytest.raises(Unavailable):
            act()
    assert [desk.studies.page(0, ""), *(desk.kinds(one) for one in (submitted, stopped, running))] == before


def test_a_study_that_too_few_approve_does_not_run(desk: Desk) -> None:
    hash_, _ = desk.studies.submit(file(), "r-1")
    with pytest.raises(Unready, match="0 of at least 2"):
        desk.studies.run(hash_, "r-1")
    desk.decide("a.demo", hash_)
    desk.decide("b.demo", hash_, "refuse")
    desk.decide("c.demo", hash_, days=1)
    desk.clock.ms += 2 * DAY_MS  # c's approval is over
    with pytest.raises(Unready, match="1 of at least 2"):
        desk.studies.run(hash_, "r-1")
    assert desk.state(hash_) == "submitted"
    assert desk.ledger.acts() == ["study_submit"]
    answers = {one.site: one.decision for one in desk.studies.show(hash_)[0].answers}
    assert answers == {"a.demo": "approve", "b.demo": "refuse", "c.demo": "expired"}


def test_a_hospital_that_was_removed_approves_nothing(desk: Desk) -> None:
    hash_ = desk.approved(sites=("a.demo", "b.demo"))
    with desk.books.connect("coordinator") as connection:
        connection.execute("update fed.site set state = 'removed' where id = 'b.demo'")
    with pytest.raises(Unready):
        desk.studies.run(hash_, "r-1")


def test_a_study_runs_stops_and_resumes_each_with_its_leaf(desk: Desk) -> None:
    hash_ = desk.approved()
    assert desk.studies.run(hash_, "r-1")[0] == list(SITES)
    with pytest.raises(Unready, match="it goes on"):
        desk.studies.run(hash_, "r-1")
    with pytest.raises(Unready):
        desk.studies.resume(hash_, "r-1")
    leaf = desk.studies.stop(hash_, "r-1", "enough")
    assert desk.studies.stop(hash_, "r-1", "enough") == leaf  # once more is the same wish
    assert desk.state(hash_) == "stopping"
    desk.set(hash_, state="stopped", round=3)
    assert desk.studies.resume(hash_, "r-1")[0] == 4
    assert desk.state(hash_) == "running"
    assert desk.ledger.acts() == ["study_submit", "study_run", "study_stop", "study_resume"]
    assert desk.kinds(hash_) == ["approved"] * 3 + ["started", "stopping", "started"]
    assert desk.ledger.entries[2][1]["why"] == "enough"


@pytest.mark.parametrize("state", ["submitted", "stopped", "done", "failed"])
def test_only_what_runs_is_stopped(desk: Desk, state: str) -> None:
    hash_ = desk.approved()
    desk.set(hash_, state=state)
    with pytest.raises(Unready):
        desk.studies.stop(hash_, "r-1", "")


def test_a_study_without_privacy_runs_in_profile_demo_only(pool: Pool, books: Database) -> None:
    desk = Desk(pool, books, demo=False)
    hash_ = desk.approved()
    with pytest.raises(Unready, match="profile demo"):
        desk.studies.run(hash_, "r-1")


def test_a_study_is_named_by_its_hash_or_enough_of_it(desk: Desk) -> None:
    hash_, _ = desk.studies.submit(file(), "r-1")
    assert desk.studies.show(hash_[:4])[0].study.hash == hash_
    for wrong in (b"", hash_[:3], hash_ + b"x"):
        with pytest.raises(BadInput, match="first 8"):
            desk.studies.show(wrong)
    for unknown in (bytes(4), hash_[:31] + bytes([hash_[31] ^ 1])):
        with pytest.raises(NotFound):
            desk.studies.show(unknown)
    twin = hash_[:6] + b"\0" * 26
    add_study(desk.books, study(title="other"), state="submitted")
    with desk.books.connect("coordinator") as connection:
        connection.execute("update fed.study set hash = %s where title = 'other'", (twin,))
    with pytest.raises(BadInput, match="several"):
        desk.studies.show(hash_[:6])
    assert desk.studies.show(hash_[:7])[0].study.hash == hash_


def test_pages_of_studies_hold_each_once(desk: Desk) -> None:
    made = [desk.studies.submit(file(f"study {at}"), "r-1")[0] for at in range(7)]
    seen, token = [], ""
    while True:
        found, token = desk.studies.page(3, token)
        seen += [one.study.hash for one in found]
        if not token:
            break
    assert seen == made[::-1]
    for bad in ("x", "-1", "9" * 30, "²"):
        with pytest.raises(BadInput):
            desk.studies.page(3, bad)


def test_a_decision_is_taken_once_and_acknowledged(desk: Desk) -> None:
    hash_, _ = desk.studies.submit(file(), "r-1")
    for _ in range(3):  # the acknowledgement got lost
        assert desk.decide("a.demo", hash_, leaf=9).acknowledged == [hash_]
    assert desk.kinds(hash_) == ["approved"]
    assert desk.decide("a.demo", hash_, "refuse", leaf=12).acknowledged == [hash_]
    assert desk.decide("a.demo", hash_, "approve", leaf=9).acknowledged == [hash_]  # late, and older
    [answer] = [one for one in desk.studies.show(hash_)[0].answers if one.site == "a.demo"]
    assert (answer.decision, answer.leaf) == ("refuse", 12)
    assert desk.kinds(hash_) == ["approved", "refused"]


def test_a_decision_about_what_was_not_asked_is_not_taken(desk: Desk) -> None:
    hash_, _ = desk.studies.submit(file(more='sites = ["a.demo", "b.demo"]'), "r-1")
    assert desk.decide("c.demo", hash_).acknowledged == []
    assert desk.decide("a.demo", bytes(32)).acknowledged == []
    assert {one.site for one in desk.studies.show(hash_)[0].answers} == {"a.demo", "b.demo"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "perhaps"},
        {"reason": "because Ms Muster said so: no!"},
        {"decided_ms": 2**62},
        {"expires_ms": -1},
        {"leaf": 2**64 - 1},
    ],
)
def test_a_decision_that_cannot_be_one_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    hash_, _ = desk.studies.submit(file(), "r-1")
    given = {"study": hash_, "decision": "approve", "reason": "", "decided_ms": 1, "expires_ms": 2, "leaf": 3}
    with pytest.raises(BadInput):
        desk.sync("a.demo", [Decided(**{**given, **wrong})])
    with pytest.raises(TooLarge):
        desk.sync("a.demo", [Decided(**given)] * 501)


def test_a_hospital_hears_of_the_studies_that_name_it_in_their_order(desk: Desk) -> None:
    for at in range(MOST_OFFERED + 5):
        desk.studies.submit(file(f"study {at}", 'sites = ["a.demo", "b.demo"]' if at % 2 else ""), "r-1")
    for site, expected in (("a.demo", MOST_OFFERED + 5), ("c.demo", (MOST_OFFERED + 6) // 2)):
        after, heard = 0, []
        while found := desk.sync(site, after=after).studies:
            heard += found
            after = found[-1].number
        assert len(heard) == expected
        assert [one.number for one in heard] == sorted({one.number for one in heard})
    assert heard[0].bundle == BUNDLE
    assert heard[0].author == "r-1"
    assert hashlib.sha256(heard[0].canonical).digest() == heard[0].study


def test_a_hospital_that_is_no_member_is_neither_heard_nor_told(desk: Desk) -> None:
    with pytest.raises(Unauthenticated):
        desk.syncing.sync("a.demo", b"another's", "1", [], 0, life=7)


def test_states_are_told_of_what_runs_or_ended_lately(desk: Desk) -> None:
    old, runs = desk.approved("old"), desk.approved("runs")
    desk.set(old, state="done", changed=utc(NOW_MS - 30 * DAY_MS))
    desk.set(runs, state="running", changed=utc(NOW_MS - 30 * DAY_MS))
    assert desk.sync("a.demo").states == {runs.hex(): "running"}


def test_whoever_watches_hears_of_an_event_when_it_is_there(desk: Desk) -> None:
    hash_, _ = desk.studies.submit(file(), "r-1")
    patient = Studies(desk.pool, desk.ledger, desk.bell, SystemClock(), bundle=BUNDLE, demo=True)
    heard: list[Any] = []
    watching = threading.Thread(target=lambda: heard.append(patient.watch(hash_, 0, 10_000)))
    watching.start()
    while desk.bell._changed._waiters.__len__() == 0:  # type: ignore[attr-defined]
        pass
    with desk.pool.connection() as connection:
        number = study_books.find(connection, hash_).number
        add_event(connection, number, "started", "it begins", utc(NOW_MS))
    desk.bell.ring()
    watching.join(10)
    [(events, state)] = heard
    assert [(one.number, one.kind) for one in events] == [(1, "started")]
    assert state == "submitted"
    assert patient.watch(hash_, 1, 50)[0] == []  # nothing came: so it ends
    with pytest.raises(BadInput):
        patient.watch(hash_, 0, 10_001)


def test_watchers_do_not_take_every_worker(desk: Desk) -> None:
    hash_, _ = desk.studies.submit(file(), "r-1")
    for _ in range(MOST_WATCHING):
        assert desk.studies._watching.acquire(blocking=False)
    with pytest.raises(Busy):
        desk.studies.watch(hash_, 0, 0)


def test_events_of_many_writers_have_numbers_without_gaps(desk: Desk) -> None:
    hash_, _ = desk.studies.submit(file(), "r-1")
    with desk.pool.connection() as connection:
        number = study_books.find(connection, hash_).number

    def write(who: int) -> None:
        for at in range(20):
            with desk.books.connect("coordinator") as connection:
                add_event(connection, number, "round", f"{who} {at}", utc(NOW_MS))
                if at % 5 == 4:
                    connection.rollback()  # killed before its commit

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    found = desk.studies.watch(hash_, 0, 0)[0]
    assert [one.number for one in found] == list(range(1, 65))
    for who in range(4):
        mine = [int(one.text.split()[1]) for one in found if one.text.startswith(f"{who} ")]
        assert mine == [at for at in range(20) if at % 5 != 4]


def test_results_are_there_when_the_study_is_done(desk: Desk) -> None:
    hash_ = desk.approved()
    with pytest.raises(Unready, match="submitted"):
        desk.studies.results(hash_)
