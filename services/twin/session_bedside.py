"""What happens in a session: commands change the desk, exchanges move the body.

The order of an exchange: what is done reaches the body, free hands take up what waits, events happen, the body lives
2 s, then everything that watches looks: totals, conditions, harms, sensors, alarms, results, ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from services.twin.session_body import EXCHANGE_S, BodyMaker, TeachingBody
from services.twin.session_case import Action, Case, Event, Fixed
from services.twin.session_command import (
    Act,
    Bookmark,
    Diagnose,
    End,
    Entry,
    EntryKind,
    Hide,
    Inject,
    Logged,
    Message,
    Pause,
    Rate,
    Resume,
    Rewind,
    Silence,
    Speed,
)
from services.twin.session_condition import Condition, holds
from services.twin.session_desk import Desk, Harmed, Order, Truth, check_act, dose, useful
from twinward.errors import BadInput, Malformed, Unready

DIED, STOPPED, TIME, LOST = "died", "stopped", "time", "lost"


class Bedside:
    """A body, a desk and the log of both."""

    def __init__(self, case: Case, bodies: BodyMaker, body: TeachingBody, desk: Desk) -> None:
        self.case, self.bodies, self.body, self.desk = case, bodies, body, desk
        self.vocabulary = bodies.vocabulary()
        self.numerics: dict[str, float] = {}
        self.labs: dict[str, float] = {}
        self._read()
        self.names, self.lab_names = tuple(self.numerics), tuple(self.labs)
        self.rows: list[tuple[float, ...]] = []  # numerics every exchange, from 0 s on
        self.lab_rows: list[tuple[float, ...]] = []
        self.entries: list[Entry] = []
        self.course: list[Logged] = []  # the commands that made the present
        self.paused, self.speed = False, 1.0

    @property
    def now_s(self) -> int:
        return self.desk.now_s

    @property
    def ended(self) -> str:
        return self.desk.ended

    # How a command changes the desk.

    def _apply(self, logged: Logged) -> None:
        command, by, desk = logged.command, logged.by, self.desk
        self.course.append(logged)
        match command:
            case Act():
                action = check_act(self.case, desk, command)
                self.entries.append(desk.order(action, command, by, useful(action, desk, self._truth())))
            case Inject():
                self._happen(_event(self.case, command.event), by)
            case Pause():
                self.paused, desk.pauses = True, desk.pauses + 1
                self._note(EntryKind.CLOCK, "pause", "paused", by)
            case Resume():
                self.paused, desk.paused_s = False, desk.paused_s + command.paused_s
                self._note(EntryKind.CLOCK, "resume", f"resumed after {command.paused_s:.0f} s", by)
            case Speed():
                self.speed = command.factor
                self._note(EntryKind.CLOCK, "speed", f"speed {command.factor:g}", by)
            case Rewind():
                self._note(EntryKind.CLOCK, "rewind", "rewound to here", by)
            case Bookmark():
                self._note(EntryKind.BOOKMARK, "bookmark", command.text, by)
            case Message():
                self._note(EntryKind.MESSAGE, "message", command.text, by)
            case Silence():
                desk.silenced[command.alarm] = desk.now_s + command.seconds
                self._note(EntryKind.SILENCED, command.alarm, f"silenced for {command.seconds} s", by)
            case Hide():
                desk.hidden = sorted(command.names)
                self._note(EntryKind.HIDDEN, "hide", ", ".join(desk.hidden) or "nothing hidden", by)
            case Diagnose():
                desk.diagnosis, desk.diagnosed_s = command.differential, desk.now_s
                told = ", ".join(f"{one.name} {one.confidence:.0%}" for one in command.differential)
                self._note(EntryKind.DIAGNOSIS, "diagnosis", told, by)
            case Rate():
                desk.ratings.append((command.rater, command.rating))
                self._note(EntryKind.RATING, "rating", f"global rating {command.rating}", by)
            case End():
                self._end(STOPPED, "the session was ended", by)

    def _note(self, kind: EntryKind, what: str, text: str, by: str = "") -> None:
        self.entries.append(Entry(self.now_s, kind, what, text, by))

    def _end(self, id: str, text: str, by: str = "") -> None:
        if not self.desk.ended:
            self.desk.ended = id
            self._note(EntryKind.ENDED, id, text, by)

    # Time.

    def _exchange(self, hz: int = 0) -> Mapping[str, NDArray[Any]]:
        desk = self.desk
        self._work()
        for event in self.case.events:
            due = event.at_s is not None and event.at_s <= desk.now_s
            if event.id not in desk.fired and (due or f"event:{event.id}" in desk.first):
                self._happen(event)
        try:
            seen = self.body.advance(EXCHANGE_S, hz)
        except Unready as error:
            self._end(LOST if self.body.alive else DIED, error.public)
            return {}
        desk.flow()
        desk.now_s += EXCHANGE_S
        self._read()
        self._record()
        self._watch()
        return seen.waves

    def _work(self) -> None:
        """Finishes what is done and begins what can be, until nothing more takes no time."""
        while True:
            for order in self.desk.finished():
                self._finish(order)
            begun = self.desk.begun(self.case)
            for order in begun:
                if order.ends_s > self.now_s:
                    action = self.case.action(order.action)
                    label = action.label if action else order.action
                    self.entries.append(
                        Entry(self.now_s, EntryKind.STARTED, order.action, label, order.by, order.number)
                    )
            if not any(order.ends_s <= self.now_s for order in begun):
                return

    def _finish(self, order: Order) -> None:
        desk, action, truth = self.desk, self.case.action(order.action), self._truth()
        if action is None:  # a case does not change under a session
            raise Malformed("this session is of another case")
        for harm in self.case.harms:
            fresh = harm.each_time or all(one.id != harm.id for one in desk.harms)
            if action.id in harm.actions and fresh and (harm.when is None or holds(harm.when, truth)):
                desk.harms.append(Harmed(desk.now_s, harm.id, action.id))
        values, units = {}, {}
        for giving in action.gives:
            amount, over_s = dose(giving, order.fields)
            if self._give(Fixed(giving.what, amount, giving.unit, over_s), action.id):
                values[giving.what], units[giving.what] = amount, giving.unit
        if action.gives and not values:
            return  # the body took nothing of it, so nothing was done; the log says why
        desk.done.setdefault(action.id, []).append(desk.now_s)
        desk.sensors.update(action.monitors)
        for name in action.monitors:  # a new sensor measures at once
            desk.measured.pop(name, None)
        desk.waves += [one for one in action.waves if one not in desk.waves]
        number = order.number
        self.entries.append(Entry(desk.now_s, EntryKind.DONE, action.id, action.label, order.by, number, values, units))
        self._sample(action, number, truth)

    def _sample(self, action: Action, number: int, truth: Truth) -> None:
        if not action.shows and not action.findings:
            return
        everything = self.numerics | self.labs
        values = {name: everything[name] for name in action.shows if name in everything}
        units = {name: self.vocabulary.unit(name) for name in values}
        found = next((one.text for one in action.findings if one.when is None or holds(one.when, truth)), "")
        at_s = self.now_s + action.result_s
        kind = EntryKind.RESULT
        self.desk.coming.append(
            Entry(at_s, kind, action.id, found or action.label, "", number, values, units, self.now_s)
        )

    def _give(self, one: Fixed, what: str) -> bool:
        try:
            self.body.give(self.bodies.gift(one.what, one.amount, one.unit, one.over_s))
        except BadInput as error:
            self._note(EntryKind.REFUSED, what, error.public)
            return False
        self.desk.count(one.what, one.amount, one.unit, one.over_s)
        return True

    def _happen(self, event: Event, by: str = "") -> None:
        self.desk.fired.setdefault(event.id, self.now_s)
        for one in event.gives:
            self._give(one, event.id)
        self.entries.append(Entry(self.now_s, EntryKind.EVENT, event.id, event.message, by))

    def _watch(self) -> None:
        desk, case, truth = self.desk, self.case, self._truth()
        for event in case.events:
            if event.when is not None:
                self._hold(f"event:{event.id}", event.when, truth)
        for one in case.critical:
            if one.when is not None:
                self._hold(f"clock:{one.id}", one.when, truth)
            if one.reached is not None:
                self._hold(f"reached:{one.id}", one.reached, truth)
        for harm in case.harms:
            if not harm.actions and harm.when is not None:
                new = f"harm:{harm.id}" not in desk.first
                if self._hold(f"harm:{harm.id}", harm.when, truth) and new:
                    desk.harms.append(Harmed(desk.now_s, harm.id, ""))
        desk.measure(self.numerics)
        self.entries += desk.watch_alarms(case.alarms)
        self.entries += desk.results()
        ending = next((one for one in case.endings if self._hold(f"end:{one.id}", one.when, truth)), None)
        if not self.body.alive:
            self._end(DIED, "the patient has died")
        elif ending is not None:
            self._end(ending.id, ending.label)
        elif desk.now_s >= 60 * case.minutes:
            self._end(TIME, "time is over")

    def _hold(self, key: str, condition: Condition, truth: Truth) -> bool:
        if key not in self.desk.first and self.desk.holds_long(key, condition, truth):
            self.desk.first[key] = self.desk.now_s
        return key in self.desk.first

    def _truth(self) -> Truth:
        return Truth(self.numerics, self.labs, self.desk)

    def _read(self) -> None:
        self.numerics = {name: float(value) for name, value in self.body.numerics().items()}
        self.labs = {name: float(value) for name, value in self.body.laboratory().items()}

    def _record(self) -> None:
        self.rows.append(tuple(self.numerics[name] for name in self.names))
        self.lab_rows.append(tuple(self.labs[name] for name in self.lab_names))
        if self.now_s == 0:
            self.desk.measure(self.numerics)


def _event(case: Case, id: str) -> Event:
    found = case.event(id)
    if found is None:
        raise BadInput("this case has no such event")
    return found
