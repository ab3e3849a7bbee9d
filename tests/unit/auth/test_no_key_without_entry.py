"""Where the ledger cannot be written, no key goes out, and the refusal says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from services.auth.desk import Patient
from tests.unit.auth.office import Office, consent, person, program
from tests.unit.auth.test_studies import FEDERATION, approve, study
from twinward.errors import TwinwardError, Unavailable
from twinward.record import Handle


@contextmanager
def read_only(office: Office) -> Iterator[None]:
    """The whole server refuses writes, as a standby or a full disk's guard would."""

    def switch(state: str) -> None:
        office.sql(f"alter system set default_transaction_read_only = {state}")
        office.sql("select pg_reload_conf()")

    switch("on")
    try:
        yield
    finally:
        with office.database.connect("postgres", autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute("alter system reset default_transaction_read_only")
            connection.execute("select pg_reload_conf()")


@contextmanager
def full(office: Office) -> Iterator[None]:
    """The ledger's tables answer as with a full tablespace: SQLSTATE 53100."""
    office.sql(
        """create function ledger.no_room() returns trigger language plpgsql as
        $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$"""
    )
    office.sql("create trigger no_room before insert on ledger.body execute function ledger.no_room()")
    try:
        yield
    finally:
        office.sql("drop trigger no_room on ledger.body")
        office.sql("drop function ledger.no_room")


@contextmanager
def bundles_away(office: Office) -> Iterator[None]:
    """The folder of the bundle files is no folder any more."""
    sequencer = office.desk.sequencer
    bundles = sequencer.directory / "bundles"
    durable = sequencer._durable
    assert durable is not None
    durable._files.close()
    bundles.rename(bundles.with_name("elsewhere"))
    bundles.touch()
    try:
        yield
    finally:
        bundles.unlink()
        bundles.with_name("elsewhere").rename(bundles)


def calls(office: Office, handle: Handle) -> dict[str, Callable[[], object]]:
    """Everything that would release a key or change who may have one."""
    steward = person("data-steward")
    return {
        "grant": lambda: office.ask(handle),
        "upkeep": lambda: office.upkeep.grant(program("twin-worker"), [handle], None),
        "set": lambda: office.consents.set(steward, Patient(handle=handle), consent("research")),
        "withdraw": lambda: office.consents.withdraw(steward, Patient(handle=handle), [], ""),
        "denial": lambda: office.ask(handle, "researcher", "research"),
        "decide": lambda: approve(office, "other"),
        "screen": lambda: office.cohorts.screen(FEDERATION, study("one"), None),
        "read": lambda: office.cohorts.read(FEDERATION, study("one"), [handle]),
        "round": lambda: office.rounds.enter(FEDERATION, study("one"), 1, "counts", [handle]),
    }


@pytest.mark.parametrize("trouble", [read_only, full, bundles_away])
def test_nothing_is_released_and_all_is_well_afterwards(
    office: Office, trouble: Callable[[Office], AbstractContextManager[None]]
) -> None:
    handle = office.patient()
    office.team(handle, "dr-1")
    office.consent(handle, "upkeep", "research")
    approve(office, "one")
    office.ask(handle)
    before = office.kinds()
    rows = office.sql("select id from vault.lease where handle = %s", handle)
    documents = office.sql("select sha256 from vault.consent where handle = %s and active", handle)
    with trouble(office):
        for name, call in calls(office, handle).items():
            with pytest.raises(TwinwardError) as caught:
                call()
            assert isinstance(caught.value, Unavailable), name
            assert str(handle) not in caught.value.public
    if trouble is not bundles_away:  # there PostgreSQL had committed; what it holds was released to nobody
        assert office.kinds() == before
        assert office.sql("select id from vault.lease where handle = %s", handle) == rows
        assert office.sql("select sha256 from vault.consent where handle = %s and active", handle) == documents
        assert office.ask(handle).leaf >= len(before)
    office.patient()
    fresh = office.patient()
    office.team(fresh, "dr-1")
    assert office.ask(fresh).handle == fresh
