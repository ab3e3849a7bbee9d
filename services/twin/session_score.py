"""The score of a session, 0 to 100, each point with its reason.

    won    critical actions   weight x credit: full until `within_s`, then falling straight to none at `none_s`
           outcome            weight x (share of time in target + 1 - mean depth outside) / 2
           diagnosis          1 - Brier score / 2 of the differential as last said (Brier 1950): a proper rule, so
                              saying what one believes pays best
    lost   harms, acts of no use, pauses (assessment only)
    cap    a dead patient's learner gets no more than the case says

Checklists alone are a weak measure (physiology.md 5): a score comes with its reliability or with none
(session_cohort.py). For education; it says nothing about anyone's fitness to practise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.twin.session_bedside import DIED, LOST
from services.twin.session_body import EXCHANGE_S
from services.twin.session_case import Critical, Target
from services.twin.session_command import Mode
from services.twin.session_engine import Session


@dataclass(frozen=True, slots=True)
class Line:
    part: str  # critical, outcome, diagnosis, harm, useless, pause, cap
    id: str
    text: str
    points: float  # won or (negative) lost
    most: float  # what could be won
    at_s: int = -1  # when it was decided; -1: over the whole session


@dataclass(frozen=True, slots=True)
class Score:
    total: float  # 0 to 100
    lines: tuple[Line, ...]

    def part(self, name: str) -> float:
        return sum(line.points for line in self.lines if line.part == name)

    def explained(self) -> str:
        """As a person reads it in the debrief."""
        lines = [f"{self.total:.1f} of 100"]
        lines += [f"  {line.points:+6.1f} of {line.most:4.1f}  {line.text}" for line in self.lines]
        return "\n".join(lines)


def score(session: Session) -> Score:
    """Of the session as it is now; what has not happened yet has not happened."""
    lines = [*_critical(session), *_outcome(session), *_diagnosis(session), *_lost(session)]
    total = sum(line.points for line in lines)
    most = session.case.weights.death_most
    if session.ended == DIED and total > most:
        lines.append(Line("cap", DIED, f"the patient died: at most {most:g}", most - total, 0.0))
        total = most
    return Score(float(min(max(total, 0.0), 100.0)), tuple(lines))


def credit(late_s: float, one: Critical) -> float:
    """1 until `within_s` after the clock began, then falling to 0 at `none_s`."""
    none_s = one.none_s or 2 * one.within_s
    if late_s <= one.within_s:
        return 1.0
    return max(0.0, 1.0 - (late_s - one.within_s) / (none_s - one.within_s)) if none_s > one.within_s else 0.0


def began(session: Session, one: Critical) -> int | None:
    """The second its clock began; None: it never did."""
    desk = session.desk
    if one.when is not None:
        return desk.first.get(f"clock:{one.id}")
    if one.after:
        return desk.done[one.after][0] if one.after in desk.done else desk.fired.get(one.after)
    return 0


def came(session: Session, one: Critical, begin: int) -> int | None:
    """The first second it was done so that it counts; None: not."""
    desk = session.desk
    times = [at_s for action in one.actions for at_s in desk.done.get(action, ())]
    if one.reached is not None and f"reached:{one.id}" in desk.first:
        times.append(desk.first[f"reached:{one.id}"])
    # What was done before its clock began is early, not missing: it counts at the clock's beginning, unless the
    # case wants it later (a recheck after treatment).
    late_enough = [max(at_s, begin) for at_s in times if at_s >= begin + one.earliest_s or not one.earliest_s]
    if not late_enough:
        return None
    first = min(late_enough)
    blocked = [at_s for action in one.before for at_s in desk.done.get(action, ())]
    return None if blocked and min(blocked) < min(times) else first


def _critical(session: Session) -> list[Line]:
    """An action whose condition never came about was not needed: its weight goes to the others."""
    rows = [(one, began(session, one)) for one in session.case.critical]
    needed = [(one, begin) for one, begin in rows if begin is not None or one.when is None]
    sum_ = sum(one.weight for one, _ in needed)
    lines = []
    for one, begin in rows:
        if begin is None and one.when is not None:
            lines.append(Line("critical", one.id, f"{one.label}: was not needed", 0.0, 0.0))
            continue
        most = session.case.weights.critical * one.weight / sum_
        at_s = None if begin is None else came(session, one, begin)
        if at_s is None or begin is None:
            lines.append(Line("critical", one.id, f"{one.label}: not done", 0.0, most))
            continue
        share = credit(at_s - begin, one)
        told = "in time" if share == 1.0 else "late"
        text = f"{one.label}: {told}, {at_s - begin} s after its clock began (within {one.within_s} s)"
        lines.append(Line("critical", one.id, text, most * share, most, at_s))
    return lines


def _outcome(session: Session) -> list[Line]:
    sum_ = sum(one.weight for one in session.case.targets)
    lines = []
    for one in session.case.targets:
        most = session.case.weights.outcome * one.weight / sum_
        inside, depth = target_shares(session, one)
        text = f"{one.name}: {inside:.0%} of the time in target, mean depth outside {depth:.2f}"
        lines.append(Line("outcome", one.id, text, most * (inside + 1.0 - depth) / 2.0, most))
    return lines


def target_shares(session: Session, one: Target) -> tuple[float, float]:
    """(share of time inside, mean depth outside 0 to 1) between `from_s` and `until_s`.

    The time that was not lived counts as outside, unless the session ended well: then it counts as it was at the end.
    """
    until_s = one.until_s or 60 * session.case.minutes
    begin, count = one.from_s // EXCHANGE_S, (until_s - one.from_s) // EXCHANGE_S
    values = session.series(one.name)
    low = -np.inf if one.low is None else one.low
    high = np.inf if one.high is None else one.high
    beyond = np.maximum(np.maximum(low - values, values - high), 0.0)
    depth = np.minimum(beyond / one.scale, 1.0)
    lived = depth[begin : begin + count]
    good = any(end.good for end in session.case.endings if end.id == session.ended)
    rest = np.full(count - len(lived), depth[-1] if good else 1.0)
    if session.ended in (DIED, LOST):
        return 0.0, 1.0
    everything = np.concatenate([lived, rest])
    return float((everything == 0.0).mean()), float(everything.mean())


def brier_credit(said: dict[str, float], right: set[str], names: list[str]) -> float:
    """1 - Brier / 2 over the possibilities and "something else", which has what is left of 1. 0 to 1."""
    left = max(1.0 - sum(said.values()), 0.0)
    truth = {name: (1.0 / len(right) if name in right else 0.0) for name in names}
    squares = sum((said.get(name, 0.0) - truth[name]) ** 2 for name in names) + left**2
    return 1.0 - squares / 2.0


def _diagnosis(session: Session) -> list[Line]:
    most = session.case.weights.diagnosis
    said = {one.name: one.confidence for one in session.desk.diagnosis}
    if not said:
        return [Line("diagnosis", "diagnosis", "no diagnosis was said", 0.0, most)]
    right = {one.name for one in session.case.differential if one.right}
    share = brier_credit(said, right, [one.name for one in session.case.differential])
    told = sum(said.get(name, 0.0) for name in right)
    text = f"diagnosis: {told:.0%} on {', '.join(sorted(right))}"
    return [Line("diagnosis", "diagnosis", text, most * share, most, session.desk.diagnosed_s)]


def _lost(session: Session) -> list[Line]:
    desk, case, lines = session.desk, session.case, []
    harms = {one.id: one for one in case.harms}
    for one in desk.harms:
        harm = harms[one.id]
        lines.append(Line("harm", one.id, f"{harm.label} ({harm.source})", -harm.penalty, 0.0, one.at_s))
    for useless in desk.useless:
        action = case.action(useless.action)
        label = action.label if action is not None else useless.action
        lines.append(Line("useless", useless.action, f"{label}: of no use then", -useless.cost, 0.0, useless.at_s))
    if session.mode is Mode.ASSESSMENT and desk.pauses:
        lost = case.weights.pause * (desk.pauses + desk.paused_s / 60.0)
        lines.append(Line("pause", "pause", f"{desk.pauses} pauses, {desk.paused_s:.0f} s", -lost, 0.0))
    return lines
