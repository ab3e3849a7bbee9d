"""What this hospital decided about studies.

A study is the SHA-256 of its canonical bytes. A data steward approves or refuses that
hash; the row and its `study_approval` leaf are one transaction, and the last decision
counts. Whoever wrote the study does not decide on it. An approval says what may be read
(categories, months), by which code, under which privacy class, and until when.

A refusal ends the study's leases that run: decisions about cohorts share the gate from
reading the approval to their commit, and a new decision has the gate alone. A new
approval counts from the next grant on; what the one before released ends within a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.auth import months
from services.auth.desk import Desk, person_of
from services.auth.facts import Connection, connection_of
from services.auth.leaf import Body
from services.auth.policy import RESERVED
from services.auth.sequencer import Proposal
from services.auth.terms import STUDY
from twinward.clock import utc
from twinward.errors import BadInput, Denied
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Category
from twinward.vault.keytree import is_month

APPROVE, REFUSE = "approve", "refuse"
HASH_BYTES = 32
MOST_REASON = 200  # characters
MOST_WORD = 40
DAY_MS = 86_400_000
DEFAULT_DAYS, MOST_DAYS = 90, 366
MOST_LISTED = 5_000

_COLUMNS = """study, leaf, (extract(epoch from decided) * 1000)::bigint, decision, reason, privacy, requester,
  categories, first_month, last_month, (extract(epoch from expires) * 1000)::bigint, bundle"""
_LAST = f"select {_COLUMNS} from vault.study_decision where study = %s order by leaf desc limit 1"  # noqa: S608
_NAMED = f"""
select {_COLUMNS} from unnest(%s::bytea[]) as w (hash) cross join lateral (
  select * from vault.study_decision where study = w.hash order by leaf desc limit 1) d"""  # noqa: S608
_EVERY = f"""
select distinct on (study) {_COLUMNS} from vault.study_decision order by study, leaf desc limit {MOST_LISTED}"""  # noqa: S608
_INSERT = """
insert into vault.study_decision (study, leaf, decided, decision, reason, privacy, actor, requester, categories,
  first_month, last_month, expires, bundle) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
_END_LEASES = """
with ended as (
  update vault.lease set until = clock_timestamp()
  where role = 'federation' and actor = %s and until > clock_timestamp() returning id)
select pg_notify('lease_revoked', id::text) from ended"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a data steward says of a study."""

    study: bytes
    decision: str  # approve | refuse
    reason: str
    privacy: str  # the class that was shown, for example "NON-PRIVATE"
    requester: str
    categories: tuple[int, ...]
    first_month: int | None  # year * 100 + month; None: from the first record on
    last_month: int | None
    expires_ms: int  # 0: in 90 days
    bundle: bytes


@dataclass(frozen=True, slots=True)
class Decided:
    """One row of vault.study_decision."""

    study: bytes
    leaf: int
    decided_ms: int
    decision: str
    reason: str
    privacy: str
    requester: str
    categories: tuple[Category, ...]
    first_month: int | None
    last_month: int | None
    expires_ms: int
    bundle: bytes

    def require(self, now_ms: int) -> None:
        """Raises Denied unless it is an approval that runs."""
        if self.decision != APPROVE:
            raise Denied("this study was refused here; a data steward can approve it anew")
        if now_ms >= self.expires_ms:
            raise Denied("this study's approval has ended; a data steward can approve it anew")


class Studies:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def decide(self, caller: Caller, wish: Decision) -> tuple[int, int]:
        """The leaf, and when the decision ends.

        Raises:
            Denied: who decides wrote the study; the leaf `deny` is written.
            BadInput: the decision does not make sense.
            Busy, Unavailable: nothing was decided.
        """
        desk, person = self._desk, person_of(caller)
        with desk.gate.change():
            now_ms = desk.clock.now_ms()
            expires_ms = _checked(wish, now_ms)
            said = self._said(caller, wish, now_ms, expires_ms)
            if wish.requester == person.sub:
                refused = {**said, "decision": "deny", "reason": "requester-decides"}
                desk.record([Proposal(Kind.DENY, refused, terms=terms_of(wish.study))])
                raise Denied("who wrote a study does not decide on it; ask another data steward")

            def writes(leaf: int) -> list[tuple[str, Sequence[object]]]:
                row = (
                    wish.study, leaf, utc(now_ms), wish.decision, wish.reason, wish.privacy, person.sub,
                    wish.requester, sorted(set(wish.categories)), wish.first_month, wish.last_month,
                    utc(expires_ms), wish.bundle,
                )  # fmt: skip
                ended = [(_END_LEASES, (actor_of(wish.study),))] if wish.decision == REFUSE else []
                return [(_INSERT, row), *ended]

            proposal = Proposal(Kind.STUDY_APPROVAL, said, terms=terms_of(wish.study), writes=writes)
            return desk.record([proposal])[0], expires_ms

    def _said(self, caller: Caller, wish: Decision, now_ms: int, expires_ms: int) -> Body:
        ends = {"first_month": wish.first_month, "last_month": wish.last_month}
        return {
            **self._desk.who(caller),
            "act": "study_approval",
            "study": wish.study.hex(),
            "decision": wish.decision,
            "why": wish.reason,
            "privacy": wish.privacy,
            "requester": wish.requester,
            "categories": sorted(set(wish.categories)),
            **{name: month for name, month in ends.items() if month is not None},
            "expires_ms": expires_ms,
            "bundle": wish.bundle.hex(),
            "now": now_ms,
        }

    def decisions(self, studies: Sequence[bytes]) -> list[Decided]:
        """The last decision about each; where none is named, about every study (5,000 at most)."""
        for study in studies:
            _hash(study)
        if len(studies) > MOST_LISTED:
            raise BadInput(f"one call names {MOST_LISTED} studies at most; ask for the rest apart")
        with connection_of(self._desk.pool) as connection:
            if studies:
                wanted = list(dict.fromkeys(map(bytes, studies)))
                rows = connection.execute(_NAMED.encode(), (wanted,), binary=True).fetchall()
            else:
                rows = connection.execute(_EVERY.encode(), binary=True).fetchall()
        return [_decided(row) for row in rows]


def approved(connection: Connection, study: bytes, now_ms: int) -> Decided:
    """The approval of a study. Hold the gate from here to the commit of what is decided on it.

    Raises:
        Denied: not decided, refused, or over.
        BadInput: no hash.
    """
    _hash(study)
    row = connection.execute(_LAST.encode(), (study,), binary=True).fetchone()
    if row is None:
        raise Denied("nobody has decided on this study here; a data steward decides with `twinward study approve`")
    found = _decided(row)
    found.require(now_ms)
    return found


def actor_of(study: bytes) -> str:
    """Whom a study's leases are of."""
    return f"study:{study.hex()}"


def terms_of(study: bytes) -> tuple[str, ...]:
    """What the ledger's entries about a study are found by."""
    return (f"{STUDY}:{study.hex()}",)


def _decided(row: tuple[Any, ...]) -> Decided:
    study, leaf, decided_ms, decision, reason, privacy, requester, categories, first, last, expires_ms, bundle = row
    return Decided(
        bytes(study), leaf, decided_ms, decision, reason, privacy, requester,
        tuple(Category(number) for number in categories), first, last, expires_ms, bytes(bundle),
    )  # fmt: skip


def _checked(wish: Decision, now_ms: int) -> int:
    """When it ends, in ms. Raises BadInput."""
    _hash(wish.study)
    if wish.decision not in (APPROVE, REFUSE):
        raise BadInput("a decision about a study is approve or refuse")
    if len(wish.reason) > MOST_REASON or len(wish.privacy) > MOST_WORD or not 0 < len(wish.requester) <= MOST_REASON:
        raise BadInput(
            f"a reason has {MOST_REASON} characters at most, a privacy class {MOST_WORD}; a study has an author"
        )
    if not all(text.isprintable() for text in (wish.reason, wish.privacy, wish.requester)):
        raise BadInput("a reason, a privacy class and an author are each one line of text")
    if wish.decision == APPROVE:
        if not wish.privacy:
            raise BadInput("who approves a study agrees to its privacy class: send the word that was shown")
        if len(wish.bundle) != HASH_BYTES or not wish.categories:
            raise BadInput("who approves a study approves a code bundle (32 bytes) and the categories it reads")
    elif len(wish.bundle) not in (0, HASH_BYTES):
        raise BadInput("a code bundle is named by 32 bytes")
    _categories(wish.categories)
    bounds = [month for month in (wish.first_month, wish.last_month) if month is not None]
    if not all(map(is_month, bounds)) or bounds != sorted(bounds):
        raise BadInput("a study's period runs from a month to a later month")
    expires_ms = wish.expires_ms or now_ms + DEFAULT_DAYS * DAY_MS
    if not now_ms < expires_ms <= now_ms + MOST_DAYS * DAY_MS:
        raise BadInput(f"an approval ends in the future, within {MOST_DAYS} days")
    return expires_ms


def _categories(numbers: Iterable[int]) -> None:
    try:
        wanted = {Category(number) for number in numbers}
    except ValueError:
        raise BadInput("a category has a number from docs/formats.md") from None
    if wanted & (RESERVED | {Category.TEACHING, Category.MODEL_STATE}):
        raise BadInput("a study reads clinical categories; raw, intake, index, teaching and model state are none")


def _hash(study: bytes) -> None:
    if len(study) != HASH_BYTES:
        raise BadInput("a study is named by the 32 bytes of its hash")


def first_and_last(found: Decided, now_month: int) -> tuple[int, int]:
    """The months that an approval covers, nothing after `now_month`; none where first > last."""
    last = now_month if found.last_month is None else min(found.last_month, now_month)
    return max(found.first_month or months.FIRST, months.FIRST), last
