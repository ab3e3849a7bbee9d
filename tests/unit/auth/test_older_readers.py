"""A reader cannot keep what it saw by keeping its transaction."""

from __future__ import annotations

import time
from uuid import NAMESPACE_OID, uuid5

import psycopg
import pytest

from services.auth.older_readers import OlderReaders
from tests.conftest import Database

HANDLE = uuid5(NAMESPACE_OID, "patient of older readers")
LEASE = uuid5(NAMESPACE_OID, "lease of older readers")
BLOCKS = "select count(*) from vault.block"


@pytest.fixture(params=["twin", "federation"])
def leased(postgres: Database, request: pytest.FixtureRequest) -> str:
    """The role whose lease it is."""
    with postgres.connect("twinward", autocommit=True) as owner:
        owner.execute("delete from vault.lease")
        owner.execute("delete from vault.block")
        owner.execute("insert into vault.block values (%s, 'tag', 1, 20260101, 1, 1, 'x')", (HANDLE,))
        owner.execute(
            "insert into vault.lease values (%s, %s, %s, '{tag}', 'treatment', now(), now() + '1 h', 0, 'x')",
            (LEASE, request.param, HANDLE),
        )
    return str(request.param)


def _revoke(postgres: Database) -> None:
    with postgres.connect("auth", autocommit=True) as auth:
        auth.execute("update vault.lease set until = clock_timestamp() where id = %s", (LEASE,))
        auth.execute("select pg_notify('lease_revoked', %s)", (str(LEASE),))


def _until_ended(reader: psycopg.Connection) -> int:
    """Reads until the server ends the transaction; how often rows were still served."""
    deadline, served = time.monotonic() + 30, 0
    while time.monotonic() < deadline:
        try:
            row = reader.execute(BLOCKS).fetchone()
        except psycopg.OperationalError:
            return served
        served += bool(row and row[0])
        time.sleep(0.05)
    raise AssertionError("the old transaction is still served")


def test_a_transaction_from_before_the_revocation_is_ended(postgres: Database, leased: str) -> None:
    ending = OlderReaders(lambda: postgres.connect("auth"), grace_s=0.3)
    hoarder = postgres.connect(leased)
    hoarder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with hoarder:
        assert hoarder.execute(BLOCKS).fetchone() == (1,)
        _revoke(postgres)
        # Without help the old snapshot goes on showing the lease as it was: that is the danger.
        assert hoarder.execute(BLOCKS).fetchone() == (1,)
        ending.start()  # as an auth that was down: what was revoked before it listened counts too
        try:
            _until_ended(hoarder)
        finally:
            ending.close()
    assert ending.ended >= 1
    with postgres.connect(leased) as fresh:
        assert fresh.execute(BLOCKS).fetchone() == (0,)


def test_a_notice_ends_older_transactions_and_spares_later_ones(postgres: Database, leased: str) -> None:
    ending = OlderReaders(lambda: postgres.connect("auth"), grace_s=0.3)
    ending.start()
    try:
        time.sleep(1.0)  # past the sweep of its start
        older = postgres.connect(leased)
        older.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert older.execute(BLOCKS).fetchone() == (1,)
        _revoke(postgres)
        time.sleep(0.2)
        with postgres.connect(leased) as later:
            assert later.execute(BLOCKS).fetchone() == (0,)
            _until_ended(older)
            assert later.execute(BLOCKS).fetchone() == (0,)
        older.close()
    finally:
        ending.close()


def test_programs_cannot_end_each_other(postgres: Database) -> None:
    for role in ("twin", "twin_worker", "ingest", "filer", "compactor", "federation", "coordinator"):
        with postgres.connect(role) as program, pytest.raises(psycopg.errors.InsufficientPrivilege):
            program.execute("select vault.end_readers_before(now())")
