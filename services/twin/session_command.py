"""What people in a session say to it, and what it says back.

Commands and entries are plain data: they are kept, sent and replayed as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
from numpy.typing import NDArray


class Mode(StrEnum):
    TRAINING = "training"  # time is free, nothing counts
    ASSESSMENT = "assessment"  # first attempt (the caller's register knows), speed 1, no way back


class Role(StrEnum):
    LEADER = "leader"
    NURSE = "nurse"
    OBSERVER = "observer"
    INSTRUCTOR = "instructor"


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Act(_Command, frozen=True, tag="act"):
    """An action of the case. `fields`: dose (in the action's unit), over_s, route; what is left out is usual."""

    action: str
    fields: dict[str, float | str] = {}


class Pause(_Command, frozen=True, tag="pause"):
    pass


class Resume(_Command, frozen=True, tag="resume"):
    paused_s: float = 0.0  # how long the wall clock stood, told by whoever keeps it; charged in assessment


class Speed(_Command, frozen=True, tag="speed"):
    factor: float  # 1 to 60 session seconds a second


class Rewind(_Command, frozen=True, tag="rewind"):
    to_s: int  # the moment before anything that was commanded then


class Bookmark(_Command, frozen=True, tag="bookmark"):
    text: str = ""


class Message(_Command, frozen=True, tag="message"):
    text: str


class Silence(_Command, frozen=True, tag="silence"):
    alarm: str  # name of the numeric
    seconds: int = 120


class Inject(_Command, frozen=True, tag="inject"):
    event: str  # id of an event of the case; instructor only


class Hide(_Command, frozen=True, tag="hide"):
    names: tuple[str, ...]  # numerics not shown from now on, all others shown; instructor only


class Guess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    confidence: float  # 0 to 1


class Diagnose(_Command, frozen=True, tag="diagnose"):
    differential: tuple[Guess, ...]  # confidences sum to at most 1; the last one said counts


class Rate(_Command, frozen=True, tag="rate"):
    rating: int  # 1 to 5, 3 is borderline; instructor only
    rater: str = ""


class End(_Command, frozen=True, tag="end"):
    pass


Command: TypeAlias = (
    Act | Pause | Resume | Speed | Rewind | Bookmark | Message | Silence | Inject | Hide | Diagnose | Rate | End
)


class Logged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command as it was taken. A session is its case, its seed and these."""

    at_s: int
    by: Role
    command: Command


class EntryKind(StrEnum):
    ORDERED = "ordered"
    STARTED = "started"
    DONE = "done"
    RESULT = "result"
    REFUSED = "refused"  # the body refused what was given
    EVENT = "event"
    ALARM = "alarm"
    QUIET = "quiet"  # an alarm is over
    SILENCED = "silenced"
    MESSAGE = "message"
    BOOKMARK = "bookmark"
    HIDDEN = "hidden"
    DIAGNOSIS = "diagnosis"
    RATING = "rating"
    CLOCK = "clock"  # pause, resume, speed, rewind
    ENDED = "ended"


class Entry(msgspec.Struct, frozen=True):
    """A line of the session's log."""

    at_s: int
    kind: EntryKind
    what: str  # id of the action, event, alarm
    text: str
    by: str = ""
    number: int = 0  # of the order it belongs to
    values: dict[str, float] = {}  # of a result, by name; dose and duration of an order
    units: dict[str, str] = {}
    sampled_s: int = -1  # when what a result shows was so


@dataclass(frozen=True, slots=True)
class Reading:
    value: float
    unit: str
    age_s: int
    source: str  # what measures it: ecg, cuff, arterial line


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    value: float
    limit: float
    high: bool  # above the limit, else below
    since_s: int
    silenced: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """What the bedside shows at one moment."""

    at_s: int
    numerics: Mapping[str, Reading]
    waves: Mapping[str, NDArray[Any]]  # since the frame before, float32 at `hz`
    hz: int
    entries: tuple[Entry, ...]  # new since the frame before
    alarms: tuple[Alarm, ...]
    waiting: tuple[str, ...]  # ordered actions nobody is free for
    ended: str  # "" while it runs, else the id of the end: died, stopped, or one of the case's
