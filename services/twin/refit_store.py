"""Refits in PostgreSQL: sealed like the twin's state, shown under a live lease only."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import psycopg

from services.twin import refit
from services.twin.eaten import Inputs
from services.twin.model_inputs import FIRST_REFIT
from services.twin.refit import Refit
from twinward.clock import Chance
from twinward.errors import Denied
from twinward.record import Category
from twinward.vault import snapshots
from twinward.vault.lease import Lease

Connection = psycopg.Connection[tuple[object, ...]]
_READ = "select month, version, seq, state_ms, blob from twin.refit where handle = %s order by state_ms"
_WRITE = """
insert into twin.refit (handle, tag, month, version, seq, state_ms, job, blob) values (%s, %s, %s, %s, %s, %s, %s, %s)
on conflict (handle, state_ms) do nothing"""


def refits_of(connection: Connection, site: str, lease: Lease) -> list[Refit]:
    """The patient's refits, oldest first; those whose key the lease lacks are left out.

    Raises:
        Tampered: a stored refit is not what was written.
    """
    found = []
    for month, version, seq, state_ms, blob in connection.execute(_READ, (lease.handle,), binary=True).fetchall():
        place = snapshots.Place(lease.handle, int(month), int(version), int(seq), int(state_ms))  # type: ignore[call-overload]
        try:
            plain = snapshots.open_sealed(lease, site, place, bytes(blob))  # type: ignore[call-overload]
        except Denied:
            continue
        one = refit.load(plain)
        if one.state_ms == state_ms:
            found.append(one)
    return found


def joined(connection: Connection, site: str, lease: Lease, inputs: Inputs) -> Inputs:
    """`inputs` with the patient's refits from their first row on, each at its place."""
    if not len(inputs):
        return inputs
    first_ms = int(inputs.effective_ms[0])
    return refit.with_refits(
        inputs, [one for one in refits_of(connection, site, lease) if one.state_ms >= first_ms], FIRST_REFIT
    )


def write(
    connection: Connection, site: str, lease: Lease, one: Refit, seq: int, month: int, job: UUID, chance: Chance
) -> None:
    """Within the caller's transaction. A refit that stands at the same place already stays."""
    place = snapshots.Place(lease.handle, month, lease.version, seq, one.state_ms)
    blob = snapshots.seal(lease, site, place, one.dump(), chance)
    tag = lease.tags[Category.MODEL_STATE]
    values: Sequence[object] = (lease.handle, tag, month, lease.version, seq, one.state_ms, job, blob)
    connection.execute(_WRITE, values)
    connection.execute("select pg_notify('twin_refit', %s)", (str(lease.handle),))  # the worker looks again
