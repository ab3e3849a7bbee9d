from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.federation.books import Pool
from tests.conftest import Database
from twinward.database import LivePool

TABLES = "fed.due, fed.result, fed.event, fed.checkpoint, fed.round, fed.run, fed.answer, fed.study, fed.join_token, \
fed.site, fed.pulse"


@pytest.fixture
def books(postgres: Database) -> Iterator[Database]:
    """The coordinator's books, empty."""
    with postgres.connect("twinward") as connection:
        connection.execute(f"truncate {TABLES}")
    return postgres


@pytest.fixture
def pool(books: Database) -> Iterator[Pool]:
    with LivePool(books.dsn("coordinator"), min_size=1, max_size=6, timeout=5, open=True) as opened:
        yield opened
