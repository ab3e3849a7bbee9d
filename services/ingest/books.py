"""What ingest reads and writes in PostgreSQL besides the sealed rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from services.ingest.entry import Unmapped
from twinward.record import Handle

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class State:
    """What auth says of a patient: tags it refuses, and whether anything may be kept."""

    refused_tags: frozenset[bytes]
    erased: bool


def feeds(connection: Connection) -> dict[str, frozenset[str]]:
    """Feed -> what a steward approved it for."""
    rows = connection.execute("select name, approvals from vault.feed").fetchall()
    return {str(name): frozenset(approvals) for name, approvals in rows}


def handles(connection: Connection, indexes: Collection[bytes]) -> dict[bytes, Handle]:
    """Feed index -> handle of those that are known."""
    rows = connection.execute(
        "select idx, handle from vault.feed_index where idx = any(%s)", [[UUID(bytes=index) for index in indexes]]
    ).fetchall()
    return {idx.bytes: handle for idx, handle in rows}


def states(connection: Connection, wanted: Collection[Handle]) -> dict[Handle, State]:
    """Locked until the transaction ends, in the order of handles: what is decided of a patient stays true."""
    rows = connection.execute(
        "select handle, refused_tags, erased from vault.patient_state where handle = any(%s) "
        "order by handle for update",
        [list(wanted)],
    ).fetchall()
    return {handle: State(frozenset(map(bytes, tags)), bool(erased)) for handle, tags, erased in rows}


def behind(connection: Connection, wanted: Collection[Handle]) -> set[Handle]:
    """Patients with unfiled intake: what comes later waits behind it."""
    rows = connection.execute(
        "select distinct f.handle from ingest.intake i join vault.feed_index f on f.idx = i.feed_index "
        "where i.state = 'waiting' and i.kind = 'intake' and f.handle = any(%s)",
        [list(wanted)],
    ).fetchall()
    return {handle for (handle,) in rows}


def receipts(connection: Connection, keys: Collection[bytes]) -> dict[bytes, bytes]:
    """Receipt key -> body hash of those that are there."""
    rows = connection.execute(
        "select key, body_hash from ingest.receipt where key = any(%s)", [[UUID(bytes=key) for key in keys]]
    ).fetchall()
    return {key.bytes: digest.bytes for key, digest in rows}


def lineages(connection: Connection, wanted: Collection[bytes]) -> dict[bytes, set[bytes]]:
    """Lineages of which some version is there, each with the tags that its versions lie under."""
    rows = connection.execute(
        "select distinct lineage, tag from ingest.receipt where lineage = any(%s)",
        [[UUID(bytes=lineage) for lineage in wanted]],
    ).fetchall()
    found: dict[bytes, set[bytes]] = {}
    for lineage, tag in rows:
        found.setdefault(lineage.bytes, set()).update([] if tag is None else [bytes(tag)])
    return found


def answer(connection: Connection, key: bytes) -> tuple[bytes, bytes] | None:
    """(hash of the message, stored answer) of an idempotency key."""
    row = connection.execute("select body_hash, answer from ingest.answer where key = %s", [UUID(bytes=key)]).fetchone()
    return None if row is None else (bytes(row[0]), bytes(row[1]))


def keep_answers(connection: Connection, told: Sequence[tuple[bytes | None, bytes, bytes]], at_ms: int) -> None:
    """(idempotency key, hash of the message, answer) of each message that had a key."""
    if told:
        connection.execute(
            "insert into ingest.answer (key, body_hash, answer, at) "
            "select k, h, a, to_timestamp(%s / 1000.0) from unnest(%s::uuid[], %s::bytea[], %s::bytea[]) as t(k, h, a)",
            [
                at_ms,
                [UUID(bytes=key) for key, _, _ in told if key is not None],
                [digest for key, digest, _ in told if key is not None],
                [answer for key, _, answer in told if key is not None],
            ],
        )


def forget_answers(connection: Connection, before_ms: int, most: int = 5_000) -> int:
    """Answers older than `before_ms` are told no more, the oldest `most` of them; how many.
    Receipts still know the data."""
    return connection.execute(
        "delete from ingest.answer where key = any (array("
        "select key from ingest.answer where at < to_timestamp(%s / 1000.0) order by at limit %s))",
        [before_ms, most],
    ).rowcount


def note_unmapped(connection: Connection, feed: str, found: Mapping[Unmapped, int], at_ms: int) -> None:
    """Adds to the list of codes and units that no table maps; in one order, so that nobody deadlocks."""
    rows = sorted(found.items(), key=lambda item: (item[0].system, item[0].code, item[0].unit))
    connection.execute(
        "insert into ingest.unmapped (system, code, unit, feed, count, first, last) "
        "select s, c, u, %(feed)s, n, to_timestamp(%(at)s / 1000.0), to_timestamp(%(at)s / 1000.0) "
        "from unnest(%(systems)s::text[], %(codes)s::text[], %(units)s::text[], %(counts)s::bigint[]) as t(s, c, u, n) "
        "on conflict (system, code, unit, feed) do update "
        "set count = ingest.unmapped.count + excluded.count, last = excluded.last",
        {
            "feed": feed,
            "at": at_ms,
            "systems": [line.system for line, _ in rows],
            "codes": [line.code for line, _ in rows],
            "units": [line.unit for line, _ in rows],
            "counts": [count for _, count in rows],
        },
    )


@dataclass(frozen=True, slots=True)
class UnmappedRow:
    line: Unmapped
    feed: str
    count: int
    first_ms: int
    last_ms: int


def unmapped(connection: Connection, most: int, offset: int) -> list[UnmappedRow]:
    """The list, most frequent first."""
    rows = connection.execute(
        "select system, code, unit, feed, count, extract(epoch from first) * 1000, extract(epoch from last) * 1000 "
        "from ingest.unmapped order by count desc, system, code, unit, feed limit %s offset %s",
        [most, offset],
    ).fetchall()
    return [
        UnmappedRow(Unmapped(str(system), str(code), str(unit)), str(feed), int(count), int(first), int(last))
        for system, code, unit, feed, count, first, last in rows
    ]


@dataclass(frozen=True, slots=True)
class Totals:
    feed: str
    accepted: int
    dropped: int
    duplicates: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Status:
    feeds: Sequence[Totals]
    intake_waiting: int
    quarantine: int
    oldest_intake_ms: int


def status(connection: Connection) -> Status:
    totals = connection.execute(
        "select feed, sum(accepted), sum(dropped), sum(duplicates), sum(quarantined) "
        "from ingest.receipt_batch group by feed order by feed"
    ).fetchall()
    row = connection.execute(
        "select count(*) filter (where kind = 'intake'), count(*) filter (where kind = 'quarantine'), "
        "coalesce(extract(epoch from min(received) filter (where kind = 'intake')) * 1000, 0) "
        "from ingest.intake where state = 'waiting'"
    ).fetchone()
    waiting, quarantine, oldest = row or (0, 0, 0)
    return Status(
        [Totals(str(feed), *(int(number) for number in numbers)) for feed, *numbers in totals],
        int(waiting),
        int(quarantine),
        int(oldest),
    )


def redrive(connection: Connection, reason: str) -> int:
    """Quarantined items go back to intake, where the filer finds them; how many."""
    return connection.execute(
        "update ingest.intake set kind = 'intake', reason = 'redrive' "
        "where state = 'waiting' and kind = 'quarantine' and (%(reason)s = '' or reason = %(reason)s)",
        {"reason": reason},
    ).rowcount


@dataclass(frozen=True, slots=True)
class Item:
    """One waiting item of intake, sealed."""

    id: int
    feed_index: UUID | None
    key_id: int
    blob: bytes


def to_file(connection: Connection, most: int) -> list[Item]:
    """Items in order of arrival; who waits for an unknown patient waits until that patient is known."""
    rows = connection.execute(
        "select i.id, i.feed_index, i.key_id, i.blob from ingest.intake i "
        "where i.state = 'waiting' and i.kind = 'intake' and (i.reason <> 'unknown-patient' "
        "or exists (select from vault.feed_index f where f.idx = i.feed_index)) order by i.id limit %s",
        [most],
    ).fetchall()
    return [Item(int(number), index, int(key_id), bytes(blob)) for number, index, key_id, blob in rows]


def mark_filed(connection: Connection, numbers: Sequence[int]) -> None:
    connection.execute("update ingest.intake set state = 'filed' where id = any(%s)", [list(numbers)])


def set_aside(connection: Connection, number: int, reason: str) -> None:
    """To quarantine: it needs somebody, then `redrive`."""
    connection.execute("update ingest.intake set kind = 'quarantine', reason = %s where id = %s", [reason, number])


def give_reason(connection: Connection, number: int, reason: str) -> None:
    connection.execute("update ingest.intake set reason = %s where id = %s and reason <> %s", [reason, number, reason])
