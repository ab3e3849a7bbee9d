"""Receipts become leaves: each batch in exactly one, whatever happens in between."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from psycopg import sql

from services.auth.fold import COUNTS, Lag, ReceiptBatch, ReceiptFolder, root_over
from tests.conftest import Database
from tests.unit.auth.ledger_house import House
from twinward.clock import utc
from twinward.errors import Unavailable

START_MS = 1_795_334_399_123


@pytest.fixture
def house(postgres: Database, tmp_path: Path) -> House:
    house = House(lambda: postgres.connect("auth"), tmp_path)
    with postgres.connect("postgres") as owner:
        owner.execute("truncate ingest.receipt_batch")
        house.clear(owner)
    return house


def receive(postgres: Database, batch: int, feed: str, good: bool = True, at_ms: int = START_MS) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, COUNTS))
    with postgres.connect("ingest") as connection:
        connection.execute(
            sql.SQL(
                "insert into ingest.receipt_batch (id, feed, instance, at, {}, rows, root, signature)"
                " values (%s, %s, %s, %s, 10, 1, 2, 3, 4, %s, %s, %s)"
            ).format(names),
            [
                batch,
                feed,
                UUID(int=batch % 2 + 1),
                utc(at_ms),
                b"r" * 16,
                bytes([batch % 250]) * 32,
                b"ok" if good else b"no",
            ],
        )


def signed(batch: ReceiptBatch) -> bool:
    return batch.signature == b"ok"


def folded(postgres: Database) -> dict[int, int | None]:
    with postgres.connect("auth") as connection:
        return dict(connection.execute("select id, folded from ingest.receipt_batch").fetchall())


def test_one_leaf_a_feed_with_root_counts_and_instances(house: House, postgres: Database) -> None:
    for batch in range(1, 8):
        receive(postgres, batch, "files" if batch % 2 else "observations", at_ms=START_MS + batch)
    with house.sequencer() as sequencer:
        folder = ReceiptFolder(sequencer, house.connect, signed)
        assert folder.fold() == 7
        assert folder.fold() == 0
        found = {json.loads(one.body)["feed"]: json.loads(one.body) for one in house.find(sequencer)}
        folder.close()
    assert folded(postgres) == {1: 0, 2: 1, 3: 0, 4: 1, 5: 0, 6: 1, 7: 0}
    body = found["files"]
    assert (body["kind"], body["batches"], body["first"], body["last"]) == ("ingest", 4, 1, 7)
    assert [body[name] for name in COUNTS] == [40, 4, 8, 12, 16]
    assert (body["from_ms"], body["until_ms"]) == (START_MS + 1, START_MS + 7)
    assert body["instances"] == [str(UUID(int=2))]
    files = [ReceiptBatch(at, "files", UUID(int=2), 0, (), b"", bytes([at]) * 32, b"") for at in (1, 3, 5, 7)]
    assert body["root"] == root_over(files).hex()


def test_a_batch_with_a_false_signature_is_an_incident(house: House, postgres: Database) -> None:
    receive(postgres, 1, "files")
    receive(postgres, 2, "files", good=False)
    with house.sequencer() as sequencer:
        folder = ReceiptFolder(sequencer, house.connect, signed)
        folder.fold()
        bodies = [json.loads(one.body) for one in house.find(sequencer)]
        folder.close()
    assert [(body["kind"], body["outcome"], body["first"]) for body in bodies] == [
        ("incident", "signature-refused", 2),
        ("ingest", "accepted", 1),
    ]
    assert folder.refused == 1
    assert folded(postgres) == {1: 0, 2: 1}


def test_what_waited_long_is_folded_late_and_whole(house: House, postgres: Database) -> None:
    for batch in range(1, 31):
        receive(postgres, batch, "files")
    with house.sequencer() as sequencer:
        folder = ReceiptFolder(sequencer, house.connect, signed, most=12)
        with house.connect() as connection:
            assert folder.lag(connection) == Lag(30, START_MS)
        assert [folder.fold() for _ in range(4)] == [12, 12, 6, 0]
        with house.connect() as connection:
            assert folder.lag(connection) == Lag(0, 0)
        folder.close()
    assert set(folded(postgres).values()) == {0, 1, 2}


def test_no_leaf_no_mark(house: House, postgres: Database) -> None:
    """The ledger refuses: the batches stay as they were and are folded later."""
    receive(postgres, 1, "files")
    with house.sequencer() as sequencer:
        folder = ReceiptFolder(sequencer, house.connect, signed)
    with pytest.raises(Unavailable):
        folder.fold()
    assert folder.trouble
    assert folded(postgres) == {1: None}
    folder.close()
    with house.sequencer() as sequencer:
        again = ReceiptFolder(sequencer, house.connect, signed)
        assert again.fold() == 1
        again.close()
    assert folded(postgres) == {1: 0}


def test_the_thread_folds_by_itself(house: House, postgres: Database) -> None:
    import threading

    with house.sequencer() as sequencer:
        folder = ReceiptFolder(sequencer, house.connect, signed, every_s=0.01)
        folder.start()
        receive(postgres, 1, "files")
        for _ in range(500):
            if folded(postgres) == {1: 0}:
                break
            threading.Event().wait(0.02)
        folder.close()
    assert folded(postgres) == {1: 0}
