"""Scripted learners: what a case must tell apart.

A policy sees what a learner sees (the frame, results so far, what is done) and says commands. Each maker gives a fresh
one; it remembers what it has said. Cases are tested with them (bench/cases.py): expert at least 85, inaction at
most 25, order-everything at most 60, wrong-drug at most 40, never better for being later, and chance below the 10th
percentile of perturbed experts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.twin.session_body import BodyMaker
from services.twin.session_case import Action, Case, Step
from services.twin.session_command import Act, Command, Diagnose, Entry, EntryKind, Frame, Guess, Mode
from services.twin.session_condition import holds
from services.twin.session_engine import Session
from services.twin.session_score import Score, score
from twinward.errors import BadInput, Unready

STEP_S = 10  # how often a scripted learner looks


@dataclass(slots=True)
class View:
    """What a learner knows; also the facts of a script's conditions."""

    case: Case
    frame: Frame
    results: dict[str, float] = field(default_factory=dict)  # latest of each name
    done: dict[str, int] = field(default_factory=dict)  # latest second of each action
    events: set[str] = field(default_factory=set)
    totals: dict[str, float] = field(default_factory=dict)  # amounts said done

    @property
    def now_s(self) -> int:
        return self.frame.at_s

    def take(self, frame: Frame) -> None:
        self.frame = frame
        for entry in frame.entries:
            self._read(entry)

    def _read(self, entry: Entry) -> None:
        if entry.kind is EntryKind.RESULT:
            self.results.update(entry.values)
        elif entry.kind is EntryKind.DONE:
            self.done[entry.what] = entry.at_s
            for name, amount in entry.values.items():
                self.totals[name] = self.totals.get(name, 0.0) + amount
        elif entry.kind is EntryKind.EVENT:
            self.events.add(entry.what)

    def since(self, at_s: int) -> View:
        """The same bedside by the watch of one who came in at `at_s`."""
        done = {name: s - at_s for name, s in self.done.items()}
        frame = replace(self.frame, at_s=self.frame.at_s - at_s)
        return View(self.case, frame, self.results, done, self.events, self.totals)

    def numeric(self, name: str) -> float | None:
        seen = self.frame.numerics.get(name)
        return None if seen is None else seen.value

    def lab(self, name: str) -> float | None:
        return self.results.get(name)

    def total(self, name: str) -> float | None:
        return self.totals.get(name, 0.0)

    def happened(self, name: str) -> bool:
        return name in self.done or name in self.events


Policy = Callable[[View], Sequence[Command]]


def scripted(steps: Sequence[Step]) -> Policy:
    """Follows steps in their order; each as often as it says."""
    said = [0] * len(steps)
    last_s = [-(10**9)] * len(steps)
    doses: dict[str, float] = {}

    def policy(view: View) -> list[Command]:
        commands = []
        for i, step in enumerate(steps):
            if said[i] >= step.most or view.now_s < step.at_s or view.now_s - last_s[i] < step.every_s:
                continue
            if step.after and view.now_s < view.done.get(step.after, 10**9) + step.after_s:
                continue
            if step.when is not None and not holds(step.when, view):
                continue
            command = _step(step, view, doses)
            if command is not None:
                commands.append(command)
                said[i] += 1
                last_s[i] = view.now_s
        return commands

    return policy


def _step(step: Step, view: View, doses: dict[str, float]) -> Command | None:
    if step.diagnose:
        return Diagnose(tuple(Guess(name, share) for name, share in step.diagnose.items()))
    fields = dict(step.fields)
    if step.titrate is not None:
        one = step.titrate
        value = view.numeric(one.name)
        value = view.lab(one.name) if value is None else value
        if value is None or one.low <= value <= one.high:
            return None
        now = doses.get(step.do, one.least)
        wanted = min(max(now + (one.by if value < one.low else -one.by), one.least), one.most)
        if wanted == now and step.do in doses:
            return None
        fields["dose"] = wanted
    if "dose" in fields:
        doses[step.do] = float(fields["dose"])
    return Act(step.do, fields)


def expert(case: Case) -> Policy:
    return scripted(case.expert)


def wrong_drug(case: Case) -> Policy:
    return scripted(case.wrong)


def inaction(case: Case) -> Policy:
    return lambda view: ()


def order_everything(case: Case) -> Policy:
    """All there is, at once, in the order of the case, at usual doses; what needs something first, when it can be."""
    waiting = list(case.actions)

    def policy(view: View) -> list[Command]:
        ready = [one for one in waiting if all(first in view.done for first in one.requires)]
        for one in ready:
            waiting.remove(one)
        return [Act(one.id) for one in ready]

    return policy


def delayed(policy: Policy, minutes: float) -> Policy:
    """The same person, who comes in so much later: nothing until then, and a clock that starts then."""
    late_s = round(60.0 * minutes)

    def later(view: View) -> Sequence[Command]:
        return policy(view.since(late_s)) if view.now_s >= late_s else ()

    return later


def without(case: Case, actions: Sequence[str]) -> Policy:
    """An expert who never thinks of some actions."""
    return scripted([step for step in case.expert if step.do not in actions])


def random(case: Case, seed: int, per_min: float = 1.0) -> Policy:
    """Any action at any dose, about `per_min` a minute, and a diagnosis out of the hat."""
    chance = np.random.Generator(np.random.Philox(key=seed))

    def policy(view: View) -> list[Command]:
        if view.now_s and view.now_s % 600 == 0:
            names = [one.name for one in case.differential]
            shares = chance.dirichlet(np.ones(len(names)))
            return [Diagnose(tuple(Guess(n, float(min(s, 1.0))) for n, s in zip(names, shares / 1.0001, strict=True)))]
        if chance.random() >= per_min * STEP_S / 60.0:
            return []
        action = case.actions[int(chance.integers(len(case.actions)))]
        return [Act(action.id, _any_dose(action, chance))]

    return policy


def _any_dose(action: Action, chance: np.random.Generator) -> dict[str, float | str]:
    return {one.field: float(chance.uniform(one.low, one.high)) for one in action.gives if one.low < one.high}


def perturbed(case: Case, policy: Policy, seed: int) -> Policy:
    """An expert on another day: each command some 30 s later, one in twenty forgotten, doses 15 % off [G]."""
    chance = np.random.Generator(np.random.Philox(key=seed))
    kept: list[tuple[float, Command]] = []

    def other_day(view: View) -> list[Command]:
        for command in policy(view):
            late, forgotten, off = chance.exponential(30.0), chance.random() < 0.05, chance.normal(0.0, 0.15)
            if not forgotten:
                kept.append((view.now_s + late, _off(case, command, float(np.exp(off)))))
        due = [command for at_s, command in kept if at_s <= view.now_s]
        kept[:] = [one for one in kept if one[0] > view.now_s]
        return due

    return other_day


def _off(case: Case, command: Command, factor: float) -> Command:
    action = case.action(command.action) if isinstance(command, Act) else None
    if not isinstance(command, Act) or action is None:
        return command
    fields = dict(command.fields)
    for one in action.gives:
        if one.low < one.high:
            fields[one.field] = min(max(float(fields.get(one.field, one.usual)) * factor, one.low), one.high)
    return Act(command.action, fields)


def run(
    case: Case,
    policy: Policy,
    seed: int,
    bodies: BodyMaker,
    mode: Mode = Mode.ASSESSMENT,
    refused: list[str] | None = None,
) -> tuple[Session, Score]:
    """A whole session under a policy. Commands that are refused go into `refused`, as a learner would read them."""
    session = Session.open(case, seed, mode, bodies)
    return session, onwards(session, policy, refused)


def onwards(session: Session, policy: Policy, refused: list[str] | None = None, until_s: int = 1 << 40) -> Score:
    """The rest of a session under a policy, to its end or until then."""
    view = View(session.case, session.frame())
    view.take(replace(view.frame, entries=tuple(one for one in session.entries if one.text)))  # what was told so far
    while not session.ended and session.now_s < until_s:
        for command in policy(view):
            try:
                session.do(command)
            except (BadInput, Unready) as error:
                if refused is not None:
                    refused.append(f"{view.now_s} s: {error.public}")
        view.take(session.advance(STEP_S))
    return score(session)


def named(case: Case) -> Mapping[str, Callable[[], Policy]]:
    """The policies each case is tested with, by name."""
    return {
        "expert": lambda: expert(case),
        "inaction": lambda: inaction(case),
        "order-everything": lambda: order_everything(case),
        "wrong-drug": lambda: wrong_drug(case),
    }
