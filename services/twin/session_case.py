"""A teaching case: a patient who is ill in a known way, what can be done, and what ought to be.

A case is a YAML file; `read_case` gives it or says where it is wrong, `session_lint.lint` says what cannot work,
`preview` what it will be like. Numbers that are expected of the patient name their source, or say "design target".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import yaml

from services.twin.session_condition import Condition, words
from twinward.errors import Malformed, TooLarge

CASES = Path(__file__).parent / "cases"
CASE_BYTES_MOST = 500_000
DESIGN_TARGET = "design target"


class Category(StrEnum):
    HISTORY = "history"
    EXAMINATION = "examination"
    MONITORING = "monitoring"
    LABORATORY = "laboratory"
    IMAGING = "imaging"
    DRUG = "drug"
    CALL = "call"
    PROCEDURE = "procedure"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Fixed(_Part, frozen=True):
    """What an event does to the body."""

    what: str
    amount: float = 0.0
    unit: str = ""
    over_s: float = 0.0


class PatientSpec(_Part, frozen=True):
    kind: str  # of Patient.start
    description: str  # who lies there, as handed over
    values: dict[str, float] = {}
    vary: dict[str, float] = {}  # coefficient of variation of a value, drawn with the session's seed
    given: tuple[Fixed, ...] = ()  # at the start
    settle_s: int = 0  # lived through before the learner comes in; what is `given` is given before
    snapshot: bytes = b""  # a virtual person's moment (session_virtual.py); empty: the kind's own start


class Sensor(_Part, frozen=True):
    """What measures a numeric, and how often; 0 is always."""

    source: str
    every_s: int = 0


class Setting(_Part, frozen=True):
    place: str
    staff: dict[str, int]  # free hands by kind: nurse, doctor
    monitor: dict[str, Sensor] = {}  # numerics that show from the start
    waves: tuple[str, ...] = ()  # channels that show from the start


class AlarmLimits(_Part, frozen=True):
    low: float | None = None
    high: float | None = None


class Giving(_Part, frozen=True):
    """What an action does to the body. The learner chooses `field` between low and high; equal bounds are fixed."""

    what: str
    unit: str
    low: float
    high: float
    usual: float
    field: str = "dose"
    over_s: float = 0.0
    over_most_s: float = 0.0  # the learner may choose how long, up to this; 0: as it is


class Finding(_Part, frozen=True):
    """What an action finds: the first whose condition holds."""

    text: str
    when: Condition | None = None


class Action(_Part, frozen=True):
    id: str
    label: str
    category: Category
    staff: dict[str, int] = {}  # who is busy with it
    takes_s: int = 0  # for how long; it acts at the end of that
    result_s: int = 0  # how long after that a result comes
    routes: tuple[str, ...] = ()  # the first is usual
    gives: tuple[Giving, ...] = ()
    shows: tuple[str, ...] = ()  # numerics and laboratory values of its result
    findings: tuple[Finding, ...] = ()
    monitors: dict[str, Sensor] = {}  # numerics that show from then on
    waves: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()  # actions that must be done first
    most: int = 0  # how often it can be done; 0: as often as one likes
    cost: float = 0.0  # points, each time it was of no use
    useful: int = 0  # how many times it is of use
    useful_when: Condition | None = None  # or whenever this is so


class Event(_Part, frozen=True):
    """Happens at a time, or when something is so, or (with neither) when an instructor says."""

    id: str
    label: str
    at_s: int | None = None
    when: Condition | None = None
    gives: tuple[Fixed, ...] = ()
    message: str = ""


class Critical(_Part, frozen=True):
    """An action that matters, and until when."""

    id: str
    label: str
    weight: float
    within_s: int  # full credit until then
    source: str
    actions: tuple[str, ...] = ()  # one of these done
    reached: Condition | None = None  # or this so, for instance an amount given
    none_s: int = 0  # no credit from then on; 0: twice within_s
    after: str = ""  # the clock starts with this action or event, else with the session
    when: Condition | None = None  # or the first time this is so; never: it was not needed
    earliest_s: int = 0  # sooner does not count
    before: tuple[str, ...] = ()  # no credit once one of these was done first
    objective: str = ""


class Harm(_Part, frozen=True):
    """Points lost when an action is done while a condition holds, or when the condition comes to hold."""

    id: str
    label: str
    penalty: float
    source: str
    actions: tuple[str, ...] = ()
    when: Condition | None = None
    each_time: bool = False


class Target(_Part, frozen=True):
    """Where a value should be. Credit: half for the share of time inside, half for how little it is outside."""

    id: str
    name: str  # numeric or laboratory
    weight: float
    source: str
    low: float | None = None
    high: float | None = None
    scale: float = 10.0  # this far outside is as bad as it gets
    from_s: int = 0
    until_s: int = 0  # 0: the end


class Ending(_Part, frozen=True):
    id: str
    label: str
    when: Condition
    good: bool = False  # what comes after counts as it was at the end


class Possibility(_Part, frozen=True):
    name: str
    right: bool = False


class Expected(_Part, frozen=True):
    """A number the patient should show, and who says so."""

    name: str
    low: float
    high: float
    at_s: int
    source: str
    policy: str = "inaction"


class Titration(_Part, frozen=True):
    """Moves a dose by `by` until a value is between low and high."""

    name: str
    low: float
    high: float
    by: float
    least: float
    most: float


class Step(_Part, frozen=True):
    """A step of a scripted course. Conditions look at what a learner sees."""

    do: str = ""  # an action
    fields: dict[str, float | str] = {}
    diagnose: dict[str, float] = {}  # or a diagnosis
    at_s: int = 0  # not before
    after: str = ""  # not before this action is done
    after_s: int = 0  # and this long
    when: Condition | None = None
    every_s: int = 0  # again, not sooner than this
    most: int = 1
    titrate: Titration | None = None


class Weights(_Part, frozen=True):
    """Points that can be won; what goes wrong is taken off."""

    critical: float = 60.0
    outcome: float = 30.0
    diagnosis: float = 10.0
    pause: float = 1.0  # taken off per pause and per minute of it, in assessment
    death_most: float = 40.0  # a dead patient's learner gets no more


class Case(_Part, frozen=True):
    id: str
    title: str
    version: int
    minutes: int  # the longest it lasts
    objectives: dict[str, str]
    patient: PatientSpec
    setting: Setting
    actions: tuple[Action, ...]
    critical: tuple[Critical, ...]
    targets: tuple[Target, ...]
    differential: tuple[Possibility, ...]
    debrief: tuple[str, ...]
    sources: dict[str, str]
    expert: tuple[Step, ...]
    wrong: tuple[Step, ...]
    history: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    alarms: dict[str, AlarmLimits] = {}
    events: tuple[Event, ...] = ()
    harms: tuple[Harm, ...] = ()
    endings: tuple[Ending, ...] = ()
    expected: tuple[Expected, ...] = ()
    weights: Weights = Weights()

    def action(self, id: str) -> Action | None:
        return next((one for one in self.actions if one.id == id), None)

    def event(self, id: str) -> Event | None:
        return next((one for one in self.events if one.id == id), None)

    @property
    def scored(self) -> bool:
        """Free practice is not."""
        return self.weights.critical + self.weights.outcome + self.weights.diagnosis > 0.0

    def sha256(self) -> str:
        """Of the content, not of the file: comments and order of keys do not matter."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def read_case(text: str | bytes) -> Case:
    """Raises Malformed: not YAML, or not of this form; says where. TooLarge: over half a megabyte."""
    if len(text) > CASE_BYTES_MOST:
        raise TooLarge(f"a case has at most {CASE_BYTES_MOST} bytes")
    try:
        found: Any = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise Malformed(f"the case is not YAML{where}", detail=str(error)) from error
    try:
        return msgspec.convert(found, Case)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Malformed(f"the case is not of the form: {error}") from error


def shipped() -> Mapping[str, Path]:
    """Id -> file of the cases that come with the house."""
    return {path.stem: path for path in sorted(CASES.glob("*.yaml"))}


def shipped_case(id: str) -> Case:
    """Raises Malformed: no such case, or it cannot be read."""
    path = shipped().get(id)
    if path is None:
        raise Malformed(f"there is no case of that name; there are {', '.join(shipped())}")
    return read_case(path.read_bytes())


def preview(case: Case) -> str:
    """The case as an instructor reads it before choosing it; spoils everything."""
    lines = [f"{case.title} ({case.id}, version {case.version}, at most {case.minutes} min)", ""]
    lines += [case.patient.description.strip(), *case.history, *case.findings, ""]
    staff = ", ".join(f"{count} {kind}" for kind, count in case.setting.staff.items())
    lines += [f"Place: {case.setting.place}. Staff: {staff}.", "", "Objectives:"]
    lines += [f"  {text}" for text in case.objectives.values()]
    lines += ["", "Events:"]
    for event in case.events:
        told = f"at {_clock(event.at_s)}" if event.at_s is not None else "when the instructor says"
        lines.append(f"  {words(event.when) if event.when else told}: {event.label}")
    lines += ["", "Critical actions:"]
    for one in case.critical:
        begin = words(one.when) if one.when else one.after or "the start"
        lines.append(f"  {one.label}: within {_clock(one.within_s)} of {begin}, weight {one.weight:g} ({one.source})")
    lines += ["", "Harms:"]
    lines += [f"  {one.label}: -{one.penalty:g} ({one.source})" for one in case.harms]
    lines += ["", "Targets:"]
    for target in case.targets:
        bounds = " to ".join("..." if x is None else f"{x:g}" for x in (target.low, target.high))
        lines.append(f"  {target.name} {bounds}, weight {target.weight:g} ({target.source})")
    lines += ["", "Actions:"]
    for category in Category:
        if here := [one.label for one in case.actions if one.category == category]:
            lines.append(f"  {category.value}: {'; '.join(here)}")
    lines += ["", "Questions for the debrief:", *(f"  {text}" for text in case.debrief)]
    return "\n".join(lines) + "\n"


def _clock(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
