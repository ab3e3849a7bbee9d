from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.twin.store import Pool
from tests.conftest import Database
from tests.unit.twin.house import House, house
from tests.unit.vault.store import Store


@pytest.fixture(scope="module")
def store(postgres: Database) -> Iterator[Store]:
    opened = Store.open(postgres)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pool(postgres: Database) -> Iterator[Pool]:
    """A worker's."""
    with Pool(postgres.dsn("twin_worker"), min_size=1, max_size=4, open=True) as found:
        yield found


@pytest.fixture
def of(store: Store, pool: Pool) -> House:
    return house(store, pool)
