"""A sequencer on a real database and a real folder, for the ledger's tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from services.auth.entries import EntryReader, Found, Question
from services.auth.grouping import Proposal
from services.auth.kek import FileProvider
from services.auth.publish import Publisher
from services.auth.sequencer import Sequencer
from twinward.clock import Clock, SystemChance, SystemClock
from twinward.ledger.kinds import Kind
from twinward.ledger.note import Signer
from twinward.ledger.verify import Report, verify

SITE = "demo-a"
SIGNER = Signer("demo-a.example/ledger", bytes(range(32)))
SEARCH_KEY = bytes(32)


def make_kek(folder: Path, epoch: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{epoch}"
    path.write_bytes(bytes([epoch]) * 32)
    path.chmod(0o600)
    return folder


@dataclass
class House:
    """One site's ledger; `sequencer()` makes one that is not started yet."""

    connect: Callable[[], psycopg.Connection[Any]]
    folder: Path
    clock: Clock = field(default_factory=SystemClock)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def sequencer(self, **options: Any) -> Sequencer:
        provider = FileProvider(make_kek(self.folder / "kek"), SITE)
        values: dict[str, Any] = {
            "site": SITE, "signer": SIGNER, "provider": provider, "search_key": SEARCH_KEY,
            "clock": self.clock, "chance": SystemChance(),
        }  # fmt: skip
        return Sequencer(self.connect, self.ledger, **(values | options))

    def publisher(self, sequencer: Sequencer) -> Publisher:
        return Publisher(sequencer.released, self.connect, self.ledger, SIGNER.verifier, self.clock)

    def publish(self, sequencer: Sequencer) -> int:
        publisher = self.publisher(sequencer)
        try:
            return publisher.publish().size
        finally:
            publisher.close()

    def verify(self) -> Report:
        return verify(self.ledger, SIGNER.verifier)

    def find(self, sequencer: Sequencer, **question: Any) -> list[Found]:
        with self.connect() as connection:
            return EntryReader(SITE, sequencer.terms, sequencer.keys).find(connection, Question(**question))

    def clear(self, owner: psycopg.Connection[Any]) -> None:
        """An empty ledger in the database."""
        owner.execute("truncate ledger.body, ledger.term, ledger.entry, ledger.head, vault.audit_key, vault.lease")
        owner.commit()


def grant(number: int = 0, **more: Any) -> Proposal:
    return Proposal(Kind.GRANT, {"actor": f"person-{number % 7}", "decision": "permit", "trace": str(number)}, **more)


def together(work: Sequence[Callable[[], object]]) -> None:
    """Runs all at once and waits; the first error is raised here."""
    errors: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def free_name() -> str:
    return os.urandom(6).hex()
