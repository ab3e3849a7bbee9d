"""The database every other test stands on."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Database


def test_a_role_sees_only_what_the_schema_grants(postgres: Database) -> None:
    with postgres.connect("ingest") as connection:
        assert connection.execute("select count(*) from vault.feed").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from vault.patient_key")


def test_a_wrong_password_is_refused(postgres: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.server.dsn("auth", postgres.name), password="guess")
