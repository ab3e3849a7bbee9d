"""What cannot work in a case, each problem with its place. An empty list: it can be played.

A form that is right can still name an action that is not there, ask for hands the ward does not have, give what the
body does not take, or expect a number without saying who does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from services.twin.session_body import EXCHANGE_S, BodyMaker, Vocabulary
from services.twin.session_case import DESIGN_TARGET, Action, Case, Critical, Fixed, Giving, Step, Target
from services.twin.session_condition import Condition, parts
from services.twin.session_desk import dose
from twinward.errors import BadInput


@dataclass(frozen=True, slots=True)
class Problem:
    place: str  # as a path into the file
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def lint(case: Case, bodies: BodyMaker) -> list[Problem]:
    """Every problem; of the form of the case and of its patient against the body."""
    return list(_Lint(case, bodies.vocabulary(), bodies).problems())


class _Lint:
    def __init__(self, case: Case, vocabulary: Vocabulary, bodies: BodyMaker) -> None:
        self.case, self.words, self.bodies = case, vocabulary, bodies
        self.actions = {one.id for one in case.actions}
        self.doings = self.actions | {one.id for one in case.events}

    def problems(self) -> Iterator[Problem]:
        case = self.case
        yield from self._whole()
        yield from self._patient()
        for i, action in enumerate(case.actions):
            yield from self._action(f"actions[{i}]", action)
        for i, event in enumerate(case.events):
            place = f"events[{i}]"
            yield from self._moment(place, event.at_s or 0)
            if event.at_s is not None and event.when is not None:
                yield Problem(place, "has both a time and a condition")
            yield from self._condition(f"{place}.when", event.when)
            yield from self._gives(place, event.gives)
        for i, one in enumerate(case.critical):
            yield from self._critical(f"critical[{i}]", one)
        for i, harm in enumerate(case.harms):
            place = f"harms[{i}]"
            yield from self._known(f"{place}.actions", harm.actions, self.actions)
            yield from self._condition(f"{place}.when", harm.when, held=not harm.actions)
            yield from self._source(place, harm.source)
            if not harm.actions and harm.when is None:
                yield Problem(place, "has neither an action nor a condition")
            if not harm.penalty > 0.0:
                yield Problem(place, "a penalty is above 0")
        for i, target in enumerate(case.targets):
            yield from self._target(f"targets[{i}]", target)
        for i, ending in enumerate(case.endings):
            yield from self._condition(f"endings[{i}].when", ending.when)
        for i, expected in enumerate(case.expected):
            place = f"expected[{i}]"
            yield from self._value(place, expected.name)
            yield from self._source(place, expected.source)
            yield from self._moment(place, expected.at_s)
            if not expected.low < expected.high:
                yield Problem(place, "low is below high")
        for name, steps in (("expert", case.expert), ("wrong", case.wrong)):
            for i, step in enumerate(steps):
                yield from self._step(f"{name}[{i}]", step)

    def _whole(self) -> Iterator[Problem]:
        case = self.case
        if not 1 <= case.minutes <= 24 * 60:
            yield Problem("minutes", "a case lasts 1 min to a day")
        groups: dict[str, Iterable[str]] = {
            "actions and events": [*(one.id for one in case.actions), *(one.id for one in case.events)],
            "critical": [one.id for one in case.critical],
            "harms": [one.id for one in case.harms],
            "targets": [one.id for one in case.targets],
            "endings": [one.id for one in case.endings],
            "differential": [one.name for one in case.differential],
        }
        for place, ids in groups.items():
            for id, count in Counter(ids).items():
                if count > 1:
                    yield Problem(place, f"{id} is there {count} times")
        for place, found in (("critical", case.critical), ("targets", case.targets), ("objectives", case.objectives),
                             ("debrief", case.debrief), ("expert", case.expert), ("wrong", case.wrong)):  # fmt: skip
            if not found and case.scored:
                yield Problem(place, "is empty")
        if case.scored and not any(one.right for one in case.differential):
            yield Problem("differential", "none is right")
        if (
            case.scored
            and not 0.0 < case.weights.critical + case.weights.outcome + case.weights.diagnosis <= 100.0 + 1e-9
        ):
            yield Problem("weights", "what can be won is at most 100 points")
        for name, limit in case.alarms.items():
            yield from self._numeric(f"alarms.{name}", name)
            if limit.low is not None and limit.high is not None and limit.low >= limit.high:
                yield Problem(f"alarms.{name}", "low is below high")
        yield from self._sensors("setting.monitor", case.setting.monitor)
        if any(n < 0 for n in case.setting.staff.values()):
            yield Problem("setting.staff", "there are 0 or more people of a kind")

    def _patient(self) -> Iterator[Problem]:
        patient = self.case.patient
        for name, share in patient.vary.items():
            if name not in patient.values or not 0.0 <= share <= 1.0:
                yield Problem(f"patient.vary.{name}", "varies a value that is given, by a share of 0 to 1")
        try:
            body = self.bodies.start(patient.kind, patient.values)
        except BadInput as error:
            yield Problem("patient", error.public)
            return
        for i, one in enumerate(patient.given):
            yield from self._gives(f"patient.given[{i}]", [one])
        doses = [(f"actions[{i}].gives[{k}]", Fixed(g.what, amount, g.unit, g.over_s))
                 for i, action in enumerate(self.case.actions)
                 for k, g in enumerate(action.gives) for amount in (g.low, g.high)]  # fmt: skip
        doses += [(f"events[{i}].gives[{k}]", one) for i, event in enumerate(self.case.events)
                  for k, one in enumerate(event.gives)]  # fmt: skip
        for place, one in doses:
            try:
                body.give(self.bodies.gift(one.what, one.amount, one.unit, one.over_s))
            except BadInput as error:
                yield Problem(place, f"the body refuses {one.amount:g}: {error.public}")

    def _action(self, place: str, action: Action) -> Iterator[Problem]:
        for kind, n in action.staff.items():
            if n > self.case.setting.staff.get(kind, 0):
                yield Problem(f"{place}.staff", f"needs {n} {kind}, there are {self.case.setting.staff.get(kind, 0)}")
        for name, seconds in (("takes_s", action.takes_s), ("result_s", action.result_s)):
            if seconds < 0 or seconds % EXCHANGE_S:
                yield Problem(f"{place}.{name}", "is an even number of seconds")
        if action.cost < 0.0:
            yield Problem(f"{place}.cost", "is 0 or more")
        yield from self._known(f"{place}.requires", action.requires, self.actions - {action.id})
        yield from self._condition(f"{place}.useful_when", action.useful_when, held=False)
        yield from self._sensors(f"{place}.monitors", action.monitors)
        for name in action.shows:
            yield from self._value(f"{place}.shows", name)
        for i, finding in enumerate(action.findings):
            yield from self._condition(f"{place}.findings[{i}].when", finding.when, held=False)
        for i, giving in enumerate(action.gives):
            yield from self._giving(f"{place}.gives[{i}]", giving)

    def _giving(self, place: str, one: Giving) -> Iterator[Problem]:
        if not (isfinite(one.low) and isfinite(one.high) and one.low <= one.usual <= one.high):
            yield Problem(place, "the usual dose lies between low and high")
        if one.over_most_s and one.over_s > one.over_most_s:
            yield Problem(place, "the usual duration is at most over_most_s")
        if one.field in ("over_s", "route"):
            yield Problem(place, f"a dose is not called {one.field}")

    def _gives(self, place: str, gives: Iterable[Fixed]) -> Iterator[Problem]:
        for one in gives:
            allowed = self.words.givable.get(one.what)
            if allowed is None:
                yield Problem(place, f"the body is not given {one.what}")
            elif one.unit not in allowed:
                yield Problem(place, f"{one.what} is given in {' or '.join(u or 'no unit' for u in allowed)}")

    def _critical(self, place: str, one: Critical) -> Iterator[Problem]:
        yield from self._known(f"{place}.actions", one.actions, self.actions)
        yield from self._known(f"{place}.before", one.before, self.actions)
        yield from self._condition(f"{place}.when", one.when)
        yield from self._condition(f"{place}.reached", one.reached)
        yield from self._source(place, one.source)
        if one.after:
            yield from self._known(f"{place}.after", [one.after], self.doings)
        if one.after and one.when is not None:
            yield Problem(place, "its clock has two beginnings")
        if not one.actions and one.reached is None:
            yield Problem(place, "has neither an action nor something to be reached")
        if not one.weight > 0.0:
            yield Problem(place, "a weight is above 0")
        if one.within_s <= 0 or one.earliest_s > one.within_s or (one.none_s and one.none_s < one.within_s):
            yield Problem(place, "0 < within_s, earliest_s <= within_s <= none_s")
        if one.objective and one.objective not in self.case.objectives:
            yield Problem(f"{place}.objective", f"there is no objective {one.objective}")

    def _target(self, place: str, one: Target) -> Iterator[Problem]:
        yield from self._value(place, one.name)
        yield from self._source(place, one.source)
        until_s = one.until_s or 60 * self.case.minutes
        if not 0 <= one.from_s < until_s <= 60 * self.case.minutes:
            yield Problem(place, "from_s comes before until_s, and that before the end")
        if one.low is None and one.high is None:
            yield Problem(place, "has no limit")
        if one.low is not None and one.high is not None and one.low >= one.high:
            yield Problem(place, "low is below high")
        if not (one.weight > 0.0 and one.scale > 0.0):
            yield Problem(place, "weight and scale are above 0")

    def _step(self, place: str, step: Step) -> Iterator[Problem]:
        action = self.case.action(step.do)
        if bool(step.do) == bool(step.diagnose):
            yield Problem(place, "does one action or says a diagnosis")
        if step.do and action is None:
            yield Problem(f"{place}.do", f"there is no action {step.do}")
        if step.after:
            yield from self._known(f"{place}.after", [step.after], self.actions)
        yield from self._known(f"{place}.diagnose", step.diagnose, {one.name for one in self.case.differential})
        yield from self._condition(f"{place}.when", step.when, held=False)
        if step.most > 1 and step.every_s <= 0:
            yield Problem(place, "says how long it waits before it does it again")
        try:
            for giving in action.gives if action is not None else ():
                dose(giving, step.fields)
        except BadInput as error:
            yield Problem(f"{place}.fields", error.public)

    def _condition(self, place: str, condition: Condition | None, held: bool = True) -> Iterator[Problem]:
        for one in parts(condition):
            tests = [one.numeric, one.lab, one.total, one.done, one.not_done, one.all, one.any]
            if sum(bool(test) for test in tests) != 1:
                yield Problem(place, "tests exactly one thing")
            if (one.numeric or one.lab or one.total) and one.below is None and one.above is None:
                yield Problem(place, "says below or above")
            if one.for_s and (one is not condition or not held):
                yield Problem(place, "for_s is not looked at here")
            if one.numeric:
                yield from self._numeric(place, one.numeric)
            if one.lab and one.lab not in self.words.laboratory:
                yield Problem(place, f"the laboratory has no {one.lab}")
            if one.total and one.total not in self.words.givable:
                yield Problem(place, f"the body is not given {one.total}")
            yield from self._known(place, [name for name in (one.done, one.not_done) if name], self.doings)

    def _sensors(self, place: str, sensors: Mapping[str, object]) -> Iterator[Problem]:
        for name in sensors:
            yield from self._numeric(place, name)

    def _numeric(self, place: str, name: str) -> Iterator[Problem]:
        if name not in self.words.numerics:
            yield Problem(place, f"the monitor has no {name}")

    def _value(self, place: str, name: str) -> Iterator[Problem]:
        if name not in self.words.numerics and name not in self.words.laboratory:
            yield Problem(place, f"neither monitor nor laboratory has {name}")

    def _known(self, place: str, names: Iterable[str], known: Iterable[str]) -> Iterator[Problem]:
        for name in sorted(set(names) - set(known)):
            yield Problem(place, f"there is no {name}")

    def _source(self, place: str, source: str) -> Iterator[Problem]:
        if source != DESIGN_TARGET and source not in self.case.sources:
            yield Problem(place, f"names a source of the case, or says {DESIGN_TARGET}")

    def _moment(self, place: str, at_s: int) -> Iterator[Problem]:
        if at_s < 0 or at_s % EXCHANGE_S or at_s > 60 * self.case.minutes:
            yield Problem(place, "happens at an even second of the session")
