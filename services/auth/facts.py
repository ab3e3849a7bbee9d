"""Everything that a decision about a patient needs, in one statement.

One round trip and one snapshot of the database: a decision never mixes the
consent of one moment with the key version of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from twinward.clock import utc
from twinward.database import LivePool
from twinward.errors import Unavailable
from twinward.record import Handle

Connection = psycopg.Connection[tuple[Any, ...]]
Pool = LivePool[Connection]

# Consents or care teams of known patients that came in and are not applied yet.
ANY_WAITING = """
select exists (select from vault.intake_consent i where i.applied is null
  and (i.handle is not null or exists (select from vault.feed_index f where f.idx = i.feed_index)))"""
_FACTS = """
with wanted as (
  select unnest(%(handles)s::uuid[]) as handle
  union select handle from vault.blind_index where idx = %(index)s)
select s.handle, s.version, s.erased or coalesce(k.state, 'erased') = 'erased', k.epoch, k.wrapped,
  h.root, h.previous, c.hashes, c.received, c.sources, c.verified, c.sealed, g.groups,
  exists (select from vault.care_team t where t.handle = s.handle and t.actor = any (%(names)s)
          and t.starts <= %(now)s and (t.ends is null or t.ends > %(now)s)),
  (select p.month from twin.position p where p.handle = s.handle),
  exists (select from vault.intake_consent i where i.applied is null
          and (i.handle is not null or exists (select from vault.feed_index f where f.idx = i.feed_index)))
from wanted join vault.patient_state s using (handle)
left join vault.patient_key k using (handle)
left join vault.manifest_head h using (handle)
left join lateral (
  select array_agg(sha256 order by received, sha256) as hashes,
    array_agg((extract(epoch from received) * 1000)::bigint order by received, sha256) as received,
    array_agg(source order by received, sha256) as sources,
    array_agg(verified order by received, sha256) as verified,
    array_agg(sealed order by received, sha256) as sealed
  from vault.consent where handle = s.handle and active) c on true
left join lateral (
  select array_agg(encode(tag, 'hex') || ':' || version || ':' || year) as groups
  from vault.manifest_group where handle = s.handle) g on true"""


@dataclass(frozen=True, slots=True)
class OnFile:
    """One row of vault.consent, still sealed."""

    sha256: bytes
    received_ms: int
    source: str
    verified: bool
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks exist for this tag, version and year."""

    tag: bytes
    version: int
    year: int


@dataclass(frozen=True, slots=True)
class Facts:
    handle: Handle
    version: int
    erased: bool
    epoch: int  # of the wrapped data key
    wrapped: bytes
    manifest_root: bytes  # empty before the first compaction
    manifest_previous: bytes
    consents: tuple[OnFile, ...]
    groups: tuple[Group, ...]
    care_team: bool
    twin_month: int | None  # of the twin's newest snapshot; None: no twin yet
    waiting: bool  # consents or care teams wait to be applied, of any patient


@contextmanager
def connection_of(pool: Pool) -> Iterator[Connection]:
    """A connection; whatever goes wrong with the database becomes Unavailable."""
    try:
        with pool.connection() as connection:
            yield connection
    except (psycopg.Error, PoolTimeout) as error:
        raise Unavailable(
            "auth's database does not answer as it must, so nothing was released; see `twinward node status`",
            detail=f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}",
        ) from error


def facts_of(
    connection: Connection, handles: Sequence[Handle], index: UUID | None, names: Sequence[str], now_ms: int
) -> list[Facts]:
    """Facts of `handles`, or of the patient behind the blind index; unknown patients are left out.

    Args:
        names: what the asking person goes by in care teams.
    """
    values = {"handles": list(handles), "index": index, "names": list(names), "now": utc(now_ms)}
    rows = connection.execute(_FACTS, values, binary=True).fetchall()
    return [_facts(row) for row in rows]


def _facts(row: tuple[Any, ...]) -> Facts:
    handle, version, erased, epoch, wrapped, root, previous = row[:7]
    hashes, received, sources, verified, sealed, groups = (column or [] for column in row[7:13])
    care_team, twin_month, waiting = row[13:]
    return Facts(
        handle=handle,
        version=version,
        erased=erased,
        epoch=epoch or 0,
        wrapped=bytes(wrapped or b""),
        manifest_root=bytes(root or b""),
        manifest_previous=bytes(previous or b""),
        consents=tuple(map(OnFile, hashes, received, sources, verified, sealed)),
        groups=tuple(_group(text) for text in groups),
        care_team=care_team,
        twin_month=twin_month,
        waiting=waiting,
    )


def _group(text: str) -> Group:
    tag, version, year = text.split(":")
    return Group(bytes.fromhex(tag), int(version), int(year))
