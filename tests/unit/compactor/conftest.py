from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.unit.vault.store import Store


@pytest.fixture(scope="module")
def store(postgres: Database) -> Iterator[Store]:
    opened = Store.open(postgres)
    yield opened
    opened.close()
