from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.contract.ingest import ward as wards
from tests.contract.ingest.ward import Ward
from tests.unit.auth import office as offices


@pytest.fixture(scope="module")
def ward_of_module(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with offices.opened(tmp_path_factory.mktemp("office"), postgres) as office, wards.opened(office, postgres) as ward:
        yield ward


@pytest.fixture
def ward(ward_of_module: Ward) -> Iterator[Ward]:
    """Empty, with auth up."""
    ward_of_module.clear()
    ward_of_module.auth.down = False
    yield ward_of_module
    ward_of_module.auth.down = False
