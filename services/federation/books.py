"""The coordinator's books about hospitals: who joined, with which certificate, what was last heard.

`seen` is written and compared by the database's clock, so that programs with clocks of their own agree on who is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from twinward.clock import utc
from twinward.database import RECONNECT_S, LivePool
from twinward.errors import BadInput, NotFound, Unready
from twinward.settings import ProgramSettings

Connection = psycopg.Connection[Any]
Pool = LivePool[Connection]

POOL_TIMEOUT_S = 5.0
LATEST_MS = 4_102_444_800_000  # the year 2100: later is no time that anybody means


@dataclass(frozen=True, slots=True)
class Place:
    """One hospital."""

    site: str
    state: str  # invited | joined | left | removed
    node: int | None
    certificate: bytes | None
    previous: bytes | None
    certificate_until: datetime | None
    seen: datetime | None
    online: bool
    version: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A one-time token, without its secret."""

    sha256: bytes
    site: str
    until: datetime
    used: datetime | None


PLACE = (
    "select id, state, node, certificate, previous, certificate_until, seen, coalesce(state = 'joined' and life <> 0"
    " and seen > clock_timestamp() - make_interval(secs => %(away)s), false), version from fed.site"
)


def open_pool(settings: ProgramSettings, most: int) -> Pool:
    """Connections of the program's own role. While the database is away work is refused, not the start.

    Raises:
        Unready: the password cannot be read.
    """
    try:
        password = settings.database_password_file.read_text().strip()
    except OSError as error:
        raise Unready("cannot read the database password; check the file's owner", detail=str(error)) from None
    return LivePool(
        settings.database,
        kwargs={"password": password},
        min_size=1,
        max_size=most,
        timeout=POOL_TIMEOUT_S,
        reconnect_timeout=RECONNECT_S,
        open=True,
    )


def at(ms: int) -> datetime:
    """The time of a message.

    Raises:
        BadInput: no time that can be meant.
    """
    if not 0 <= ms <= LATEST_MS:
        raise BadInput("a time in the message is none")
    return utc(ms)


def ms_of(moment: datetime | None) -> int:
    return 0 if moment is None else round(moment.timestamp() * 1000)


def place_of(connection: Connection, site: str, *, lock: bool = False, away_s: float = 0.0) -> Place | None:
    text = f"{PLACE} where id = %(site)s{' for update' if lock else ''}"
    found = connection.execute(text, {"site": site, "away": away_s}).fetchone()
    return None if found is None else _place(found)


def places(connection: Connection, away_s: float) -> list[Place]:
    return [_place(row) for row in connection.execute(f"{PLACE} order by id", {"away": away_s}).fetchall()]


def _place(row: tuple[Any, ...]) -> Place:
    site, state, node, *more = row
    return Place(site, state, None if node is None else int(node), *more)


def known_place(connection: Connection, site: str) -> Place:
    """The hospital's row, locked.

    Raises:
        NotFound: no such hospital.
    """
    found = place_of(connection, site, lock=True)
    if found is None:
        raise NotFound("no hospital of that name was invited here: see `twinward coordinator sites`")
    return found


def invite(connection: Connection, site: str, sha256: bytes, now: datetime, until: datetime) -> None:
    """A new token for a hospital. Those before it end: one line at a time opens the door."""
    connection.execute(
        "insert into fed.site (id, state) values (%s, 'invited') on conflict (id) do update"
        " set state = case when fed.site.state = 'joined' then 'joined' else 'invited' end",
        (site,),
    )
    connection.execute(
        "update fed.join_token set until = %s where site = %s and used is null and until > %s", (now, site, now)
    )
    connection.execute(
        "insert into fed.join_token (sha256, site, issued, until) values (%s, %s, %s, %s)", (sha256, site, now, until)
    )


def token_of(connection: Connection, sha256: bytes) -> Kept | None:
    """Locked until the transaction's end: of two that show it at once the second finds it used."""
    found = connection.execute(
        "select sha256, site, until, used from fed.join_token where sha256 = %s for update", (sha256,)
    ).fetchone()
    return None if found is None else Kept(*found)


def count_refusal(connection: Connection, sha256: bytes) -> None:
    connection.execute("update fed.join_token set refused = refused + 1 where sha256 = %s", (sha256,))


def joined(
    connection: Connection, site: str, *, node_key: bytes, node: int, certificate: bytes, until: datetime,
    version: str, leaf: int,
) -> None:  # fmt: skip
    connection.execute(
        "update fed.site set state = 'joined', node_key = %s, node = %s, certificate = %s, previous = null,"
        " certificate_until = %s, version = %s, leaf = %s, seen = null, life = 0 where id = %s",
        (node_key, node, certificate, until, version, leaf, site),
    )


def use(connection: Connection, sha256: bytes, now: datetime) -> None:
    connection.execute("update fed.join_token set used = %s where sha256 = %s", (now, sha256))


def renewed(connection: Connection, site: str, certificate: bytes, shown: bytes, until: datetime) -> None:
    """The new one, and the one that asked for it: its answer may get lost."""
    connection.execute(
        "update fed.site set certificate = %s, previous = %s, certificate_until = %s where id = %s",
        (certificate, shown, until, site),
    )


def parted(connection: Connection, site: str, state: str, leaf: int, now: datetime) -> None:
    """`left` or `removed`: its certificate opens nothing any more, and so does a token that it did not use."""
    connection.execute(
        "update fed.site set state = %s, certificate = null, previous = null, certificate_until = null,"
        " life = 0, leaf = %s where id = %s",
        (state, leaf, site),
    )
    connection.execute(
        "update fed.join_token set until = least(until, %s) where site = %s and used is null", (now, site)
    )


def nodes_to_unregister(connection: Connection) -> list[tuple[str, int]]:
    """Nodes of hospitals that are gone for good: the engine was away when they went."""
    found = connection.execute(
        "select id, node from fed.site where state in ('left', 'removed') and node is not null order by id limit 50"
    ).fetchall()
    return [(site, int(node)) for site, node in found]


def node_keys(connection: Connection) -> list[tuple[str, bytes]]:
    return connection.execute("select id, node_key from fed.site where state = 'joined' order by id").fetchall()


def registered(connection: Connection, site: str, key: bytes, node: int) -> None:
    connection.execute(
        "update fed.site set node = %s where id = %s and node_key = %s and state = 'joined'", (node, site, key)
    )


def unregistered(connection: Connection, site: str, node: int) -> None:
    connection.execute("update fed.site set node = null where id = %s and node = %s", (site, node))


def heard(connection: Connection, site: str, version: str, *, life: int) -> None:
    connection.execute(
        "update fed.site set seen = clock_timestamp(), life = %s, version = %s where id = %s",
        (life, version, site),
    )
