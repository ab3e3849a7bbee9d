"""The coordinator's books about studies: what was submitted, who approved, how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.federation.books import Connection
from services.federation.events import DUE
from twinward.errors import BadInput, NotFound

SHORTEST_PREFIX = 4  # bytes of a hash that name a study
HASH_BYTES = 32
SUBMITTING = 0x7477_7375  # advisory lock
MOST_EVENTS = 200  # of one answer
FIELDS = (
    "number, hash, title, author, privacy, sites, minimum_sites, most_rounds, state, note, submitted, leaf, round,"
    " attempt, canonical, run_leaf, bundle"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A study's row."""

    number: int
    hash: bytes
    title: str
    author: str
    privacy: str
    sites: list[str]  # empty: every joined hospital
    minimum_sites: int
    most_rounds: int
    state: str
    note: str
    submitted: datetime
    leaf: int
    round: int
    attempt: int
    canonical: bytes
    run_leaf: int | None
    bundle: bytes


@dataclass(frozen=True, slots=True)
class SiteAnswer:
    """What a hospital that is asked says."""

    site: str
    decision: str  # waiting | approve | refuse | expired
    reason: str = ""
    decided: datetime | None = None
    leaf: int = 0


@dataclass(frozen=True, slots=True)
class RoundRow:
    number: int
    step: str
    asked: list[str]
    answered: list[str]
    refused: dict[str, str]
    seconds: float
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Happened:
    """One event."""

    number: int
    at: datetime
    kind: str
    text: str
    round: RoundRow | None


@dataclass(frozen=True, slots=True)
class Shown:
    study: Kept
    answers: list[SiteAnswer] = field(default_factory=list)


def find(connection: Connection, prefix: bytes, *, lock: bool = False) -> Kept:
    """The one study whose hash begins so.

    Raises:
        BadInput: too short, too long, or it begins several.
        NotFound: none.
    """
    if not SHORTEST_PREFIX <= len(prefix) <= HASH_BYTES:
        raise BadInput(f"name the study by its hash, or by at least its first {2 * SHORTEST_PREFIX} characters")
    last = prefix + b"\xff" * (HASH_BYTES - len(prefix))
    found = connection.execute(
        f"select {FIELDS} from fed.study where hash between %s and %s limit 2",  # noqa: S608
        (prefix, last),
    ).fetchall()
    if not found:
        raise NotFound("no study with this hash was submitted here: see `twinward study list`")
    if len(found) > 1:
        raise BadInput("several studies begin with this hash: give more of it")
    kept = Kept(*found[0])
    if lock:
        again = connection.execute(
            f"select {FIELDS} from fed.study where number = %s for update",  # noqa: S608
            (kept.number,),
        ).fetchone()
        assert again is not None  # noqa: S101  rows are never deleted
        kept = Kept(*again)
    return kept


def by_hash(connection: Connection, hash_: bytes) -> Kept | None:
    found = connection.execute(
        f"select {FIELDS} from fed.study where hash = %s",  # noqa: S608
        (hash_,),
    ).fetchone()
    return None if found is None else Kept(*found)


def page(connection: Connection, before: int, size: int) -> list[Kept]:
    """The newest first."""
    found = connection.execute(
        f"select {FIELDS} from fed.study where number < %s order by number desc limit %s",  # noqa: S608
        (before, size),
    ).fetchall()
    return [Kept(*row) for row in found]


def answers(connection: Connection, kept: Sequence[Kept], now: datetime) -> dict[int, list[SiteAnswer]]:
    """Study number -> a line for each hospital that is asked, whether it answered or not."""
    numbers = [one.number for one in kept]
    rows = connection.execute(
        "select study, site, case when decision = 'approve' and expires <= %s then 'expired' else decision end,"
        " reason, decided, leaf from fed.answer where study = any(%s) order by site",
        (now, numbers),
    ).fetchall()
    said: dict[int, dict[str, SiteAnswer]] = {number: {} for number in numbers}
    for study, site, *more in rows:
        said[study][site] = SiteAnswer(site, *more)
    members = joined_sites(connection)
    found = {}
    for one in kept:
        asked = set(one.sites or members) | said[one.number].keys()
        found[one.number] = [said[one.number].get(site) or SiteAnswer(site, "waiting") for site in sorted(asked)]
    return found


def approving(connection: Connection, study: int, now: datetime) -> list[str]:
    """Joined hospitals whose approval holds."""
    found = connection.execute(
        "select answer.site from fed.answer answer join fed.site site on site.id = answer.site"
        " where answer.study = %s and answer.decision = 'approve' and answer.expires > %s and site.state = 'joined'"
        " order by 1",
        (study, now),
    ).fetchall()
    return [site for (site,) in found]


def rounds(connection: Connection, study: int, numbers: Sequence[int] | None = None) -> list[RoundRow]:
    found = connection.execute(
        "select number, step, asked, answered, refused, seconds, metrics from fed.round"
        " where study = %s and (%s::int[] is null or number = any(%s::int[])) order by number",
        (study, numbers, numbers),
    ).fetchall()
    return [RoundRow(*row) for row in found]


def events(connection: Connection, study: int, after: int) -> list[Happened]:
    rows = connection.execute(
        "select number, at, kind, text, round from fed.event where study = %s and number > %s order by number limit %s",
        (study, after, MOST_EVENTS),
    ).fetchall()
    wanted = [row[4] for row in rows if row[4] is not None]
    found = {one.number: one for one in rounds(connection, study, wanted)} if wanted else {}
    return [Happened(number, at, kind, text, found.get(number_of)) for number, at, kind, text, number_of in rows]


def result(connection: Connection, study: int) -> tuple[bytes, bytes, bytes] | None:
    """Model and card (JSON), report (HTML)."""
    row = connection.execute("select model, card, report from fed.result where study = %s", (study,)).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def unknown_sites(connection: Connection, sites: Sequence[str]) -> list[str]:
    """Those that were never invited."""
    known = {site for (site,) in connection.execute("select id from fed.site where id = any(%s)", (list(sites),))}
    return [site for site in sites if site not in known]


def insert(connection: Connection, kept: dict[str, object]) -> None:
    """A submitted study; the same one twice is there once.

    One at a time: a hospital asks for numbers after the last it knows, so they have to appear in their order.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", (SUBMITTING,))
    connection.execute(
        "insert into fed.study (hash, canonical, bundle, title, author, privacy, sites, minimum_sites, most_rounds,"
        " submitted, changed, leaf) values (%(hash)s, %(canonical)s, %(bundle)s, %(title)s, %(author)s, %(privacy)s,"
        " %(sites)s, %(minimum_sites)s, %(most_rounds)s, %(now)s, %(now)s, %(leaf)s) on conflict (hash) do nothing",
        kept,
    )


def wish(connection: Connection, study: int, state: str, leaf: int, now: datetime) -> None:
    """A person's: `running` or `stopping`.

    To run takes a new attempt's number at once, so that an attempt before, which may be at its very end, is neither
    taken for this wish's nor missed by it.
    """
    connection.execute(
        "update fed.study set state = %(state)s, run_leaf = %(leaf)s, changed = %(now)s, failures = 0,"
        " attempt = attempt + (%(state)s = 'running')::int,"
        " note = case when %(state)s = 'running' then '' else note end where number = %(study)s",
        {"state": state, "leaf": leaf, "now": now, "study": study},
    )
    connection.execute("select pg_notify(%s, '')", (DUE,))


def joined_sites(connection: Connection) -> list[str]:
    return [site for (site,) in connection.execute("select id from fed.site where state = 'joined' order by id")]
