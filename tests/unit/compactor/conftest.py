from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.conftest import Database
from tests.unit.vault.store import Store

settings.register_profile("unhurried", deadline=None)  # no timed asserts: the machine may be busy
settings.load_profile("unhurried")


@pytest.fixture(scope="module")
def store(postgres: Database) -> Iterator[Store]:
    opened = Store.open(postgres)
    yield opened
    opened.close()
