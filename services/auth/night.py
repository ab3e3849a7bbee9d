"""When keys of sensitive categories are released for compaction (docs/decisions/0007).

A patient whose tail holds a row of a sensitive category is deferred, with all of its
tail: until the site's night, until a reader asks for the patient, or until its oldest
row has waited a day, so that a node which is off at night files as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from services.auth.facts import Connection
from services.auth.keyring import KeyRing
from services.auth.upkeep import TailPlace
from twinward.errors import BadInput
from twinward.record import SENSITIVE, Handle

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LONGEST_WAIT_MS = DAY_MS

# Rows are accepted in order of seq, so the first one has waited longest: two index look-ups a patient.
_OLDEST = """
select w.handle, round(extract(epoch from b.at) * 1000)::bigint
from unnest(%s::uuid[]) as w (handle)
cross join lateral (select receipt from vault.tail t where t.handle = w.handle order by t.seq limit 1) as oldest
join ingest.receipt_batch b on b.id = oldest.receipt"""


@dataclass(frozen=True, slots=True)
class Night:
    """Hours of the day in UTC, across midnight where `until_utc_h` is the smaller one.

    The same hour twice is no night at all: then rows wait until they are asked for or
    a day old. 0 and 24 is always night: nothing is deferred.

    Raises:
        BadInput: hours that no day has.
    """

    from_utc_h: int = 1
    until_utc_h: int = 4

    def __post_init__(self) -> None:
        if not (0 <= self.from_utc_h <= 23 and 0 <= self.until_utc_h <= 24):
            raise BadInput("the night of sensitive categories is from hour 0 to 23 until hour 0 to 24, UTC")

    @property
    def length_ms(self) -> int:
        hours = self.until_utc_h - self.from_utc_h
        return (hours if hours >= 0 else hours + 24) * HOUR_MS

    def holds(self, now_ms: int) -> bool:
        return self._into_ms(now_ms) < self.length_ms

    def next_ms(self, now_ms: int) -> int | None:
        """When the next one begins; None where there is none."""
        return now_ms - self._into_ms(now_ms) + DAY_MS if self.length_ms else None

    def _into_ms(self, now_ms: int) -> int:
        return (now_ms - self.from_utc_h * HOUR_MS) % DAY_MS


def deferred(
    connection: Connection,
    ring: KeyRing,
    night: Night,
    places: Mapping[Handle, Sequence[TailPlace]],
    asked: Collection[Handle],
    now_ms: int,
) -> dict[Handle, int]:
    """Handle -> when the patient may be filed unasked, for those who may not now.

    A patient whose oldest row has no batch is not deferred: the compactor refuses it and says so.
    """
    if night.holds(now_ms):
        return {}
    waiting = [handle for handle, found in places.items() if handle not in asked and _sensitive(ring, handle, found)]
    if not waiting:
        return {}
    night_ms = night.next_ms(now_ms)
    until = {}
    for handle, oldest_ms in connection.execute(_OLDEST, (waiting,), binary=True).fetchall():
        old_ms = oldest_ms + LONGEST_WAIT_MS
        if old_ms > now_ms:
            until[handle] = old_ms if night_ms is None else min(old_ms, night_ms)
    return until


def _sensitive(ring: KeyRing, handle: Handle, found: Sequence[TailPlace]) -> bool:
    return not {place.tag for place in found}.isdisjoint(ring.tags(handle, SENSITIVE).values())
