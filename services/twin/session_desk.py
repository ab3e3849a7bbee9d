"""All of a session but the body: who is busy, what is ordered, under way and coming back, what is measured.

A desk is plain data that is kept with every snapshot. It knows session seconds only.
Orders wait until hands are free: the first that can begin does, an order for a doctor does not hold up the nurse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from services.twin.session_body import EXCHANGE_S
from services.twin.session_case import Action, AlarmLimits, Case, Giving, Sensor
from services.twin.session_command import Act, Alarm, Entry, EntryKind, Guess, Reading
from services.twin.session_condition import Condition, holds
from twinward.errors import BadInput, Unready

FOREVER_S = 1 << 40
ALARM_AFTER_S = 10  # outside its limits for this long [G]
PER = {"s": 1.0, "min": 60.0, "h": 3600.0}


class Order(msgspec.Struct):
    number: int
    action: str
    fields: dict[str, float | str]
    by: str
    ordered_s: int
    ends_s: int = -1  # when it is done; -1: nobody is at it


class Flow(msgspec.Struct):
    what: str
    per_s: float
    until_s: int
    rate: bool  # until changed, and replaced by the next rate


class Harmed(msgspec.Struct, frozen=True):
    at_s: int
    id: str
    action: str


class Useless(msgspec.Struct, frozen=True):
    at_s: int
    action: str
    cost: float


class Desk(msgspec.Struct):
    now_s: int = 0
    orders: int = 0
    queue: list[Order] = []
    running: list[Order] = []
    coming: list[Entry] = []  # results on their way, with the time they come
    ordered: dict[str, int] = {}  # how many times
    done: dict[str, list[int]] = {}  # seconds
    fired: dict[str, int] = {}  # events
    first: dict[str, int] = {}  # when a watched condition came to hold
    held: dict[str, int] = {}  # since when it holds now
    totals: dict[str, float] = {}
    flows: list[Flow] = []
    sensors: dict[str, Sensor] = {}
    measured: dict[str, tuple[float, int]] = {}  # value, second
    waves: list[str] = []
    outside: dict[str, int] = {}  # since when a numeric is outside its limits
    alarms: dict[str, int] = {}
    silenced: dict[str, int] = {}  # until
    hidden: list[str] = []
    harms: list[Harmed] = []
    useless: list[Useless] = []
    diagnosis: tuple[Guess, ...] = ()
    diagnosed_s: int = -1
    ratings: list[tuple[str, int]] = []
    pauses: int = 0
    paused_s: float = 0.0
    ended: str = ""

    @classmethod
    def open(cls, case: Case) -> Desk:
        return cls(sensors=dict(case.setting.monitor), waves=list(case.setting.waves))

    def happened(self, name: str) -> bool:
        return name in self.done or name in self.fired

    def order(self, action: Action, act: Act, by: str, useful: bool) -> Entry:
        self.orders += 1
        self.ordered[action.id] = self.ordered.get(action.id, 0) + 1
        self.queue.append(Order(self.orders, action.id, dict(act.fields), by, self.now_s))
        if not useful and action.cost:
            self.useless.append(Useless(self.now_s, action.id, action.cost))
        values = {name: float(value) for name, value in act.fields.items() if not isinstance(value, str)}
        return Entry(self.now_s, EntryKind.ORDERED, action.id, action.label, by, self.orders, values)

    def finished(self) -> list[Order]:
        """Orders that are done by now, in the order they were given; their people are free again."""
        ready = [one for one in self.running if one.ends_s <= self.now_s]
        self.running = [one for one in self.running if one.ends_s > self.now_s]
        return sorted(ready, key=lambda one: (one.ends_s, one.number))

    def begun(self, case: Case) -> list[Order]:
        """Orders that somebody takes up now."""
        busy: dict[str, int] = {}
        for one in self.running:
            _engage(busy, _action(case, one.action).staff)
        begun, left = [], []
        for one in self.queue:
            action = _action(case, one.action)
            if all(busy.get(kind, 0) + n <= case.setting.staff.get(kind, 0) for kind, n in action.staff.items()):
                _engage(busy, action.staff)
                one.ends_s = self.now_s + action.takes_s
                begun.append(one)
            else:
                left.append(one)
        self.queue, self.running = left, self.running + begun
        return begun

    def results(self) -> list[Entry]:
        """Results that come now."""
        due = [one for one in self.coming if one.at_s <= self.now_s]
        self.coming = [one for one in self.coming if one.at_s > self.now_s]
        return sorted(due, key=lambda one: (one.at_s, one.number))

    def count(self, what: str, amount: float, unit: str, over_s: float) -> None:
        """Takes up what was given, so that it can be added up."""
        base, _, per = unit.rpartition("/")
        if base and per in PER:
            self.flows = [one for one in self.flows if not (one.what == what and one.rate)]
            until = self.now_s + round(over_s) if over_s else FOREVER_S
            if amount:
                self.flows.append(Flow(what, amount / PER[per], until, True))
        elif over_s:
            self.flows.append(Flow(what, amount / over_s, self.now_s + round(over_s), False))
        else:
            self.totals[what] = self.totals.get(what, 0.0) + amount

    def flow(self) -> None:
        """Adds up one exchange, before the clock moves."""
        for one in self.flows:
            seconds = min(EXCHANGE_S, one.until_s - self.now_s)
            self.totals[one.what] = self.totals.get(one.what, 0.0) + one.per_s * seconds
        self.flows = [one for one in self.flows if one.until_s > self.now_s + EXCHANGE_S]

    def holds_long(self, key: str, condition: Condition, facts: Truth) -> bool:
        """Whether a condition has held for as long as it says; looked at every exchange."""
        if not holds(condition, facts):
            self.held.pop(key, None)
            return False
        return self.now_s - self.held.setdefault(key, self.now_s) >= condition.for_s

    def measure(self, numerics: Mapping[str, float]) -> None:
        """Each sensor takes its value when it is time for it."""
        for name, sensor in self.sensors.items():
            last = self.measured.get(name)
            if last is None or self.now_s - last[1] >= sensor.every_s:
                self.measured[name] = (numerics[name], self.now_s)

    def readings(self, units: Mapping[str, str]) -> dict[str, Reading]:
        return {
            name: Reading(value, units.get(name, ""), self.now_s - at_s, self.sensors[name].source)
            for name, (value, at_s) in self.measured.items()
            if name not in self.hidden
        }

    def watch_alarms(self, limits: Mapping[str, AlarmLimits]) -> list[Entry]:
        """Alarms that begin or end now."""
        entries = []
        for name, limit in limits.items():
            if name not in self.measured:
                continue
            value = self.measured[name][0]
            if _beyond(value, limit) is None:
                self.outside.pop(name, None)
                if self.alarms.pop(name, None) is not None:
                    entries.append(Entry(self.now_s, EntryKind.QUIET, name, f"{name} is within its limits"))
                continue
            since = self.outside.setdefault(name, self.now_s)
            if name not in self.alarms and self.now_s - since >= ALARM_AFTER_S:
                self.alarms[name] = self.now_s
                entries.append(Entry(self.now_s, EntryKind.ALARM, name, f"{name} {value:.0f}", values={name: value}))
        return entries

    def alarming(self, limits: Mapping[str, AlarmLimits]) -> tuple[Alarm, ...]:
        shown = []
        for name, since_s in self.alarms.items():
            value, limit = self.measured[name][0], limits[name]
            high = limit.high is not None and value > limit.high
            bound = limit.high if high else limit.low
            silenced = self.silenced.get(name, 0) > self.now_s
            shown.append(Alarm(name, value, 0.0 if bound is None else bound, high, since_s, silenced))
        return tuple(shown)


class Truth:
    """How the body and the desk are now, for conditions."""

    def __init__(self, numerics: Mapping[str, float], labs: Mapping[str, float], desk: Desk) -> None:
        self._numerics, self._labs, self._desk = numerics, labs, desk

    def numeric(self, name: str) -> float | None:
        return self._numerics.get(name)

    def lab(self, name: str) -> float | None:
        return self._labs.get(name)

    def total(self, name: str) -> float | None:
        return self._desk.totals.get(name, 0.0)

    def happened(self, name: str) -> bool:
        return self._desk.happened(name)


def check_act(case: Case, desk: Desk, act: Act) -> Action:
    """The action, when it can be ordered now.

    Raises:
        BadInput: no such action or field, a dose or duration it does not allow.
        Unready: something must be done first, or it was done often enough.
    """
    action = case.action(act.action)
    if action is None:
        raise BadInput("this case has no such action")
    known = {one.field for one in action.gives if one.low < one.high}
    over = max((one.over_most_s for one in action.gives), default=0.0)
    for name, value in act.fields.items():
        if name == "route":
            if value not in action.routes:
                raise BadInput(f"{action.label} is given by {', '.join(action.routes) or 'no route'}")
        elif isinstance(value, str):
            raise BadInput(f"{name} must be a number")
        elif name == "over_s":
            if not EXCHANGE_S <= value <= over:
                raise BadInput(f"{action.label} can run over {EXCHANGE_S} to {over:g} s" if over else
                               f"how long {action.label} runs cannot be chosen")  # fmt: skip
        elif name not in known:
            raise BadInput(f"{action.label} has no field {name}")
    for giving in action.gives:
        dose(giving, act.fields)
    if missing := [one for one in action.requires if one not in desk.done]:
        labels = [found.label for one in missing if (found := case.action(one)) is not None]
        raise Unready(f"{action.label} needs first: {', '.join(labels)}")
    if action.most and desk.ordered.get(action.id, 0) >= action.most:
        raise Unready(f"{action.label} can be done at most {action.most} times")
    return action


def dose(giving: Giving, fields: Mapping[str, float | str]) -> tuple[float, float]:
    """(amount, over_s) of one thing given. Raises BadInput: outside what the case allows."""
    amount = giving.usual
    if giving.low < giving.high:
        amount = float(fields.get(giving.field, giving.usual))
        if not giving.low <= amount <= giving.high:
            raise BadInput(f"{giving.field} must be {giving.low:g} to {giving.high:g} {giving.unit}")
    over_s = float(fields.get("over_s", giving.over_s)) if giving.over_most_s else giving.over_s
    return amount, over_s


def useful(action: Action, desk: Desk, truth: Truth) -> bool:
    """Whether ordering it now is of use, as the case sees it."""
    if desk.ordered.get(action.id, 0) < action.useful:
        return True
    return action.useful_when is not None and holds(action.useful_when, truth)


def _engage(busy: dict[str, int], staff: Mapping[str, int]) -> None:
    for kind, n in staff.items():
        busy[kind] = busy.get(kind, 0) + n


def _action(case: Case, id: str) -> Action:
    found = case.action(id)
    if found is None:
        raise BadInput("this case has no such action")
    return found


def _beyond(value: float, limit: AlarmLimits) -> float | None:
    if limit.high is not None and value > limit.high:
        return limit.high
    return limit.low if limit.low is not None and value < limit.low else None


def names(orders: Iterable[Order]) -> tuple[str, ...]:
    return tuple(one.action for one in orders)
