"""One decision: which months of which categories, for this asker, this purpose, now.

1. The consents are asked month by month, or rather from edge to edge: between
   two edges no answer changes.
2. What looks the same to a policy is ruled on once (`policy.py`).
3. Months that were allowed and touch become one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.auth import months
from services.auth.consent import Answer, Question, Statement, edges, judge
from services.auth.policy import Asker, Policies, Slice
from twinward.errors import ConsentDenied, Denied
from twinward.record import Category, Purpose
from twinward.vault.keytree import Period

Runs = dict[Category, tuple[Period, ...]]


@dataclass(frozen=True, slots=True)
class Asked:
    """The question, complete. `now_ms` is the one moment that the whole decision is about."""

    asker: Asker
    act: str  # read, list, upkeep, study or compact
    purpose: Purpose
    categories: tuple[Category, ...]
    period: Period
    now_ms: int


@dataclass(frozen=True, slots=True)
class Decision:
    released: Runs  # empty: denied
    policies: tuple[str, ...]  # ids that decided
    consents: tuple[bytes, ...]  # sha256 of the documents that spoke
    reason: str  # word; "" where everything asked was released

    @property
    def allowed(self) -> bool:
        return bool(self.released)


def decide(
    policies: Policies, asked: Asked, statements: Sequence[Statement], *, care_team: bool, erased: bool
) -> Decision:
    """What is released of what was asked; a part that is denied is left out."""
    starts = _starts(asked.period, statements)
    who = frozenset({asked.asker.name})
    slices: dict[tuple[Category, int], Slice] = {}
    because: dict[bytes, None] = {}
    for category in asked.categories:
        for month in starts:
            judgement = judge(statements, Question(asked.purpose, category, month, asked.now_ms, who))
            because.update(dict.fromkeys(judgement.because))
            slices[category, month] = Slice.of(category, judgement.answer, care_team=care_team, erased=erased)
    rulings = policies.rule(asked.asker, asked.act, asked.purpose, slices.values())
    released: Runs = {}
    for category in asked.categories:
        allowed = [month for month in starts if rulings[slices[category, month]].allowed]
        runs = tuple(_runs(asked.period, starts, allowed))
        if runs:
            released[category] = runs
    refused = [one for one in slices.values() if not rulings[one].allowed]
    ids = sorted({name for ruling in rulings.values() for name in ruling.policies})
    return Decision(released, tuple(ids), tuple(because), _reason(asked, refused))


def _starts(period: Period, statements: Sequence[Statement]) -> list[int]:
    """First months of the stretches with one answer; 0 in front where undated records were asked for."""
    found = [months.UNDATED] if period.undated else []
    if period.first <= period.last:
        found += [period.first, *(month for month in edges(statements) if period.first < month <= period.last)]
    return found


def _runs(period: Period, starts: Sequence[int], allowed: Sequence[int]) -> Iterable[Period]:
    """`allowed` stretches as periods, neighbours joined; an empty period carries undated alone."""
    undated = months.UNDATED in allowed
    dated = [month for month in starts if month != months.UNDATED]
    first: int | None = None
    found: list[tuple[int, int]] = []
    for place, month in enumerate(dated):
        following = dated[place + 1] if place + 1 < len(dated) else None
        last = period.last if following is None else months.preceding(following)
        if month not in allowed:
            first = None
            continue
        if first is None:
            first = month
            found.append((first, last))
        else:
            found[-1] = (first, last)
    if undated and not found:
        yield Period(months.LAST, months.FIRST, undated=True)
    for place, (start, end) in enumerate(found):
        yield Period(start, end, undated=undated and place == 0)


def _reason(asked: Asked, refused: Sequence[Slice]) -> str:
    """The most telling word for what was left out; "" where nothing was."""
    if not refused:
        return ""
    plain = [one for one in refused if not one.sensitive and not one.reserved] or refused
    if any(one.erased for one in plain):
        return "erased"
    if any(one.consent in (Answer.DENY, Answer.CLOSED) for one in plain):
        return "consent-denies"
    if asked.purpose is Purpose.TREATMENT and not any(one.care_team for one in plain):
        return "no-care-team"
    if all(one.reserved for one in plain):
        return "reserved"
    if all(one.sensitive for one in plain):
        return "sensitive"
    if asked.purpose is not Purpose.TREATMENT and any(one.consent is Answer.SILENT for one in plain):
        return "no-consent"
    return "no-policy"


_SENTENCES = {
    "erased": "this patient's data were erased; there is nothing left to release",
    "no-care-team": "you are not in this patient's care team at present; ask to be added to it, or check the number",
    "reserved": "these records are never given to a person; ask for clinical categories",
    "sensitive": "only specially protected categories were asked for; they need a consent that names them",
    "no-policy": "no policy lets these roles ask for this purpose; log in with the role and purpose that fit",
}


def refusal(reason: str, purpose: Purpose) -> Denied:
    """The error for whoever asked: what was decided, and what can be done."""
    if reason == "consent-denies":
        return ConsentDenied(
            f"the patient's consent does not permit {purpose.value}; the data steward can show which consent is on file"
        )
    if reason == "no-consent":
        return ConsentDenied(
            f"no consent on file permits {purpose.value}; where the patient has given one, "
            "the data steward records it with `twinward consent set`"
        )
    return Denied(_SENTENCES.get(reason, _SENTENCES["no-policy"]))
