from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.unit.auth.office import Office, opened


@pytest.fixture(scope="module")
def office(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder: Path = tmp_path_factory.mktemp("office")
    with opened(folder, postgres) as found:
        yield found
