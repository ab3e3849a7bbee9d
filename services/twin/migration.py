"""A twin made again from the record, because its model or its prior changed; and what else happened to it.

The report (`twin.migration`) has a row a change and numbers over all twins; it grows in the transaction that
writes the new state, so a twin is counted once, whatever is killed. Two states are compared by the forecast for
60 minutes ahead that the old one made last: the new one made one at the same reading, if it is among the newest
that are kept; else they are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from twinward.record import Handle

KEPT = 30  # events of a twin
MIGRATION, CORRECTION = "migration", "correction"

_REPORT = """
insert into twin.migration (from_made, to_made, twins, readings, compared, greatest) values (%s, %s, 1, %s, %s, %s)
on conflict (from_made, to_made) do update set twins = twin.migration.twins + 1, last = clock_timestamp(),
  readings = twin.migration.readings + excluded.readings, compared = twin.migration.compared + excluded.compared,
  greatest = greatest(twin.migration.greatest, excluded.greatest)"""
_EVENT = "insert into twin.event (handle, what, from_ms, note) values (%s, %s, %s, %s) on conflict do nothing"
_BOUND = """
delete from twin.event where handle = %s and at < (
  select at from twin.event where handle = %s order by at desc offset %s limit 1)"""
_RUNS = """
select m.from_made, m.to_made, (extract(epoch from m.begun) * 1000)::bigint,
  (extract(epoch from m.last) * 1000)::bigint, m.twins, m.readings, m.compared, m.greatest,
  (select count(*) from twin.position p where p.made = m.from_made)
from twin.migration m order by m.last desc limit %s"""
_EVENTS = """
select (extract(epoch from at) * 1000)::bigint, what, from_ms, note from twin.event where handle = %s order by at"""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """From the first row on; `difference` (mg/dL) None: not comparable."""

    was: str  # "model prior-hash"
    now: str
    readings: int
    difference: float | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """Rows had changed under the state: it went on from `from_ms` again."""

    from_ms: int
    note: str


Told = Rebuilt | Replayed


@dataclass(frozen=True, slots=True)
class Run:
    """A row of the report."""

    was: str
    now: str
    begun_ms: int
    last_ms: int
    twins: int
    readings: int
    compared: int
    greatest: float
    left: int  # still kept as they were: no consent, no reading, or not come to yet


@dataclass(frozen=True, slots=True)
class Happened:
    at_ms: int  # when, by the database's clock
    what: str
    from_ms: int
    note: str


def short(made: str) -> str:
    """Model and the first eight digits of the prior's hash."""
    model, _, prior = made.partition(" ")
    return f"{model} and prior {prior[:8]}" if prior else model


Connection = psycopg.Connection[tuple[object, ...]]


def write(cursor: psycopg.Cursor[tuple[object, ...]], handle: Handle, told: Sequence[Told]) -> None:
    """Within the transaction that writes the state."""
    for one in told:
        if isinstance(one, Rebuilt):
            compared, greatest = int(one.difference is not None), one.difference or 0.0
            cursor.execute(_REPORT, (one.was, one.now, one.readings, compared, greatest))
            note = f"made again with {short(one.now)}, before with {short(one.was)}; {one.readings} readings replayed"
            cursor.execute(_EVENT, (handle, MIGRATION, 0, note))
        else:
            cursor.execute(_EVENT, (handle, CORRECTION, one.from_ms, one.note))
    if told:
        cursor.execute(_BOUND, (handle, handle, KEPT))


def runs(connection: Connection, most: int) -> list[Run]:
    """The report, newest first."""
    return [Run(*row) for row in connection.execute(_RUNS, (most,)).fetchall()]  # type: ignore[arg-type]


def happened(connection: Connection, handle: Handle) -> list[Happened]:
    """In order of their time; under a live lease only."""
    return [Happened(*row) for row in connection.execute(_EVENTS, (handle,)).fetchall()]  # type: ignore[arg-type]
