"""A coordinator's books with hospitals in them, and a course and hospitals simple enough to check by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.federation.course import Answer, Ask, Floats, Json, Step
from services.federation.study import Column, Study, canonical
from tests.conftest import Database
from twinward.clock import utc

NOW_MS = 1_780_000_000_000
SITES = ("a.demo", "b.demo", "c.demo")


def study(**more: object) -> Study:
    given: dict[str, object] = {
        "title": "Sums", "question": "Do sums add up?", "author": "researcher", "purpose": "research",
        "recipe": "logistic", "rounds": 4, "deadline_s": 60.0, "minimum_sites": 2,
        "columns": (Column("age", "patient|age"),),
        "outcome": Column("ill", "condition|snomed|53741008", take="present"),
    }  # fmt: skip
    return Study(**{**given, **more})  # type: ignore[arg-type]


class Sums:
    """Each round adds the hospitals' vectors to the state: order, a lost or a doubled round all change the end."""

    def __init__(self, rounds: int, state: bytes | None) -> None:
        kept = {"round": 0, "sum": [0.0, 0.0]} if state is None else json.loads(state)
        self.rounds, self.round, self.sum = rounds, kept["round"], np.array(kept["sum"])

    def next(self) -> Step | None:
        return None if self.round == self.rounds else Step("add", self.sum, {"round": self.round + 1}, size=2)

    def take(self, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        self.round += 1
        self.sum = 0.5 * self.sum + np.sum([one.vector for one in answers.values()], axis=0)
        return {"n": float(len(answers)), "none": float("nan")}

    def state(self) -> bytes:
        return json.dumps({"round": self.round, "sum": self.sum.tolist()}).encode()

    def result(self) -> Json:
        return {"sum": self.sum.tolist()}


def reply(site: str, ask: Ask) -> Answer:
    """What a hospital says: depends on who, when and on the model."""
    return Answer(ask.vector * 0.1 + ask.round + len(site) + ord(site[0]) / 7, {"n": 20.0})


@dataclass
class Halls:
    """Hospitals in this process: each answers by its own function, None: it does not (yet)."""

    answers: dict[str, Callable[[Ask], Answer | None]]
    connected: set[str] = field(default_factory=set)
    asked: list[tuple[str, int]] = field(default_factory=list)
    _waiting: dict[str, Ask] = field(default_factory=dict)

    @classmethod
    def honest(cls, sites: Sequence[str] = SITES) -> Halls:
        made: dict[str, Callable[[Ask], Answer | None]] = {}
        for site in sites:
            made[site] = lambda ask, site=site: reply(site, ask)  # type: ignore[misc]
        return cls(made, set(sites))

    def online(self) -> Sequence[str]:
        return sorted(self.connected)

    def send(self, asks: Mapping[str, Ask]) -> None:
        for site, ask in asks.items():
            self.asked.append((site, ask.round))
            self._waiting[site] = ask

    def lose(self, site: str) -> None:
        """It is killed: what it was asked is gone with it."""
        self._waiting.pop(site, None)

    def receive(self) -> Mapping[str, Answer]:
        found = {}
        for site, ask in list(self._waiting.items()):
            if site in self.connected and (answer := self.answers[site](ask)) is not None:
                found[site] = answer
                del self._waiting[site]
        return found


def refusing(word: str) -> Callable[[Ask], Answer]:
    return lambda _: Answer(np.zeros(0), {}, word)


def saying(vector: Floats, **numbers: float) -> Callable[[Ask], Answer]:
    return lambda _: Answer(vector, numbers)


@dataclass
class Ledgered:
    """A ledger that remembers; `away` refuses, as auth does when it is killed."""

    entries: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    away: Exception | None = None

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        if self.away is not None:
            raise self.away
        self.entries.append((kind, dict(body)))
        return len(self.entries)

    def acts(self) -> list[object]:
        return [body["act"] for _, body in self.entries]


def add_sites(database: Database, sites: Sequence[str] = SITES) -> None:
    """Joined, heard of just now, their certificate's SHA-256 that of their name."""
    with database.connect("coordinator") as connection:
        for site in sites:
            connection.execute(
                "insert into fed.site (id, state, certificate, seen, life) values (%s, 'joined', %s,"
                " clock_timestamp() + interval '1 hour', 7)",
                (site, hashlib.sha256(site.encode()).digest()),
            )


def add_study(database: Database, given: Study, state: str = "running", attempt: int = 1) -> tuple[int, bytes]:
    """(number, hash) of a study that every site approved."""
    text = canonical(given)
    hash_ = hashlib.sha256(text).digest()
    with database.connect("coordinator") as connection:
        found = connection.execute(
            "insert into fed.study (hash, canonical, bundle, title, author, privacy, sites, minimum_sites, most_rounds,"
            " submitted, changed, leaf, state, attempt) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 1, %s, %s)"
            " returning number",
            (
                hash_, text, bytes(32), given.title, given.author, given.privacy, list(given.sites),
                given.minimum_sites, given.rounds, utc(NOW_MS), utc(NOW_MS), state, attempt,
            ),
        ).fetchone()  # fmt: skip
        assert found is not None
        number: int = found[0]
        connection.execute(
            "insert into fed.answer (study, site, decision, reason, decided, expires, leaf)"
            " select %s, id, 'approve', '', %s, %s, 5 from fed.site where state = 'joined'",
            (number, utc(NOW_MS), utc(NOW_MS + 86_400_000)),
        )
    return number, hash_
