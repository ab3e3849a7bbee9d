"""Priors in PostgreSQL: kept by hash, one in force. Adopting is one row and one entry of the ledger.

The row is written, the entry asked for, then both are committed: without the entry there is no row. Should the
commit fail after the entry, a second entry says that nothing came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from services.twin import prior_file
from services.twin.glucose_prior import Prior, file_of, prior
from twinward.errors import BadInput, NotFound, TwinwardError, Unavailable, Unready

Connection = psycopg.Connection[tuple[object, ...]]
Record = Callable[[str, Mapping[str, object]], int]  # kind of entry, body; the leaf

_IN_FORCE = "select p.body from twin.adoption a join twin.prior p using (hash) order by a.n desc limit 1"
_KEEP = "insert into twin.prior (hash, body) values (%s, %s) on conflict (hash) do nothing"
_LIST = """
select p.body, (extract(epoch from p.at) * 1000)::bigint,
  coalesce((select (extract(epoch from max(a.at)) * 1000)::bigint from twin.adoption a where a.hash = p.hash), 0),
  coalesce((select max(a.leaf) from twin.adoption a where a.hash = p.hash), 0)
from twin.prior p order by p.at"""
_ADOPT = "insert into twin.adoption (hash, back) values (%s, %s) returning n"
_JOB = "insert into twin.job (kind, key, handle) values ('rebuild', %s, '00000000-0000-0000-0000-000000000000')"
_HISTORY = """
select (extract(epoch from at) * 1000)::bigint, hash, leaf, back from twin.adoption order by n desc limit %s"""
CONFIG_CHANGE = "config_change"


@dataclass(frozen=True, slots=True)
class Listed:
    prior: Prior
    imported_ms: int  # 0: shipped with the program, never adopted
    adopted_ms: int  # last; 0 never
    leaf: int
    in_force: bool


@dataclass(frozen=True, slots=True)
class Adoption:
    at_ms: int
    sha256: bytes
    leaf: int
    back: bool


def in_force(connection: Connection) -> Prior:
    """The adopted prior; the shipped one where none was ever adopted."""
    row = connection.execute(_IN_FORCE).fetchone()
    return prior_file.load(bytes(row[0])) if row else prior()  # type: ignore[call-overload]


def keep(connection: Connection, body: bytes) -> Prior:
    """A file into the node; nothing believes it yet. Raises as `prior_file.load` and `tried`."""
    found = prior_file.load(body)
    prior_file.tried(found)
    connection.execute(_KEEP, (found.sha256, body))
    return found


def listed(connection: Connection) -> list[Listed]:
    """The shipped one first, then in the order of their import."""
    now = in_force(connection).sha256
    rows = [
        Listed(one := prior_file.load(bytes(body)), at, adopted, leaf, one.sha256 == now)
        for body, at, adopted, leaf in _rows(connection, _LIST)
    ]
    if prior().sha256 not in {one.prior.sha256 for one in rows}:
        rows.insert(0, Listed(prior(), 0, 0, 0, prior().sha256 == now))
    return rows


def _rows(connection: Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(sql.encode(), values).fetchall()


def named(connection: Connection, text: str) -> Listed:
    """By the beginning of its hash, at least 8 digits, or by its version where only one has it.

    Raises:
        NotFound; BadInput: it fits more than one.
    """
    found = [
        one
        for one in listed(connection)
        if one.prior.version == text or (len(text) >= 8 and one.prior.sha256.hex().startswith(text.lower()))
    ]
    if not found:
        raise NotFound("there is no such prior: `twinward twin prior list` prints their hashes")
    if len(found) > 1:
        raise BadInput("more than one prior is called so: name it by its hash")
    return found[0]


def file(connection: Connection, one: Listed) -> bytes:
    """As it was imported; empty where it is shipped and was never adopted."""
    rows = _rows(connection, "select body from twin.prior where hash = %s", one.prior.sha256)
    return bytes(rows[0][0]) if rows else b""


def history(connection: Connection, most: int) -> list[Adoption]:
    """Newest first."""
    return [Adoption(at, bytes(sha), leaf or 0, back) for at, sha, leaf, back in _rows(connection, _HISTORY, most)]


def adopt(connection: Connection, text: str, *, back: bool, by: str, record: Record) -> tuple[Listed, int]:
    """Puts a prior in force, and a job that makes the twins again. Commits.

    Args:
        back: to one that was in force before.
        by: who decided (the subject of a token).

    Raises:
        NotFound, BadInput, Unready: it is in force already, or (back) never was.
        Unavailable: not recorded; nothing changed.
    """
    connection.execute("select pg_advisory_xact_lock(hashtextextended('twin.adoption', 0))")  # one after the other
    wanted, before = named(connection, text), in_force(connection)
    if wanted.in_force:
        raise Unready("this prior is in force already")
    ever = wanted.adopted_ms > 0 or wanted.imported_ms == 0 or wanted.prior.sha256 == prior().sha256
    if back and not ever:
        raise Unready("this prior was never in force: `twinward twin prior adopt` puts it in force")
    if not wanted.imported_ms:
        connection.execute(_KEEP, (wanted.prior.sha256, file_of(prior())))
    row = connection.execute(_ADOPT, (wanted.prior.sha256, back)).fetchone()
    n = int(row[0]) if row else 0  # type: ignore[call-overload]
    connection.execute(_JOB, (f"prior:{n}",))
    body = {
        "act": "prior.revert" if back else "prior.adopt", "by": by[:200], "prior": wanted.prior.sha256.hex(),
        "version": wanted.prior.version, "before": before.sha256.hex(), "number": n,
    }  # fmt: skip
    leaf = record(CONFIG_CHANGE, body)
    try:
        connection.execute("update twin.adoption set leaf = %s where n = %s", (leaf, n))
        connection.execute("select pg_notify('twin_prior', '')")
        connection.commit()
    except psycopg.Error as error:
        with suppress(TwinwardError):
            record(CONFIG_CHANGE, {**body, "outcome": "failed"})
        raise Unavailable("the store did not take the adoption; look at `twinward twin prior list`") from error
    return wanted, leaf
