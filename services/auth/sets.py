"""Signed sets of public keys: what ingest seals a patient's records to.

A key follows the month of receipt: the running month's, and the next one's once
it is near, so that ingest goes on while auth is away. A set carries one
signature; keys that are added later come in a set of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.auth import months
from services.auth.keyring import KeyRing
from twinward.clock import month_of, utc
from twinward.record import Handle
from twinward.vault import hpke, keytree, publickeys

AHEAD_MS = 35 * 24 * 3_600_000
SKEW_MS = 5 * 60_000  # two machines' clocks may differ by this at a month's end

Statement = tuple[str, Sequence[object]]

# Sent in binary: a hundred patients' keys are a megabyte.
_INSERT = """
with made as (
  insert into vault.public_key_set (handle, version, valid_until, signature)
  select handle, version, valid_until, signature
  from unnest(%b::uuid[], %b::int[], %b::timestamptz[], %b::bytea[]) as s (handle, version, valid_until, signature)
  returning id, handle)
insert into vault.public_key (set_id, handle, tag, version, month, valid_from, valid_until, public_key)
select made.id, k.handle, k.tag, k.version, k.month, k.valid_from, k.valid_until, k.public_key
from unnest(%b::uuid[], %b::bytea[], %b::int[], %b::int[], %b::timestamptz[], %b::timestamptz[], %b::bytea[])
  as k (handle, tag, version, month, valid_from, valid_until, public_key)
join made using (handle)"""


def wanted_months(now_ms: int) -> list[int]:
    """The month of `now_ms`, and the next one where it begins within 35 days."""
    current = month_of(now_ms)
    following = months.following(current)
    return [current, following] if months.start_ms(following) - now_ms <= AHEAD_MS else [current]


@dataclass(frozen=True, slots=True)
class Wanted:
    category: int
    month: int


@dataclass(frozen=True, slots=True)
class Order:
    """Keys wanted for one patient; `wanted` is not empty."""

    handle: Handle
    key: bytes  # the patient's key
    version: int
    wanted: tuple[Wanted, ...]


def issue(ring: KeyRing, orders: Sequence[Order]) -> Statement:
    """The statement that stores one new signed set for each of `orders`, a patient once."""
    sets: list[tuple[object, ...]] = []
    rows: list[tuple[object, ...]] = []
    for order in orders:
        entries = []
        for one in order.wanted:
            public = hpke.public_bytes(keytree.tail_seed(order.key, one.category, order.version, one.month))
            from_ms = months.start_ms(one.month) - SKEW_MS
            until_ms = months.start_ms(months.following(one.month)) + SKEW_MS
            entries.append(publickeys.entry(one.category, one.month, from_ms, until_ms, public))
            own = ring.tag(order.handle, one.category)
            rows.append((order.handle, own, order.version, one.month, utc(from_ms), utc(until_ms), public))
        last_ms = max(entry.valid_until_ms for entry in entries)
        signed = publickeys.KeySet(ring.site, order.handle, order.version, last_ms, tuple(entries))
        sets.append((order.handle, order.version, utc(last_ms), publickeys.sign_set(ring.authority, signed)))
    return _INSERT, [list(column) for part in (sets, rows) for column in zip(*part, strict=True)]
