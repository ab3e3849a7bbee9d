"""A teaching session: one case, one body, one clock that is the learner's.

The engine knows session seconds only, in exchanges of 2 s; who keeps the wall clock calls `advance`. A session is its
case, its seed and its commands: `replay` gives the same bytes. Rewinding is a restored snapshot (every 60 s, thinned
with age) and the commands after it again. What happens within an exchange is in session_bedside.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.twin.session_bedside import Bedside
from services.twin.session_body import EXCHANGE_S, BodyMaker, TeachingBody
from services.twin.session_case import Case
from services.twin.session_command import (
    Command,
    Entry,
    EntryKind,
    Frame,
    Logged,
    Mode,
    Pause,
    Resume,
    Rewind,
    Role,
    Speed,
)
from services.twin.session_desk import Desk, names
from services.twin.session_rules import check_command
from services.twin.session_snapshots import Snapshot, effective, nearest, position, thinned
from twinward.errors import BadInput, Denied, Malformed, TwinwardError, Unready

SNAPSHOT_S = 60
FORMAT = 1


class Session(Bedside):
    """See the module. Made by `open`, `load`, `fork` or `replay`."""

    def __init__(self, case: Case, seed: int, mode: Mode, bodies: BodyMaker, body: TeachingBody, desk: Desk) -> None:
        super().__init__(case, bodies, body, desk)
        self.seed, self.mode = seed, mode
        self.log: list[Logged] = []  # every command, those taken back by a rewind too
        self.snapshots: list[Snapshot] = []
        self.parent_s = -1  # a fork's moment
        self._told = 0

    @classmethod
    def open(cls, case: Case, seed: int, mode: Mode, bodies: BodyMaker) -> Session:
        """The moment the learner comes in.

        Raises:
            BadInput: the case asks for a patient or gives a thing this body does not know.
        """
        chance = np.random.Generator(np.random.Philox(key=seed))
        values = dict(case.patient.values)
        for name in sorted(case.patient.vary):
            values[name] *= float(np.exp(case.patient.vary[name] * np.clip(chance.standard_normal(), -2.0, 2.0)))
        who = case.patient
        body = bodies.resume(values, who.snapshot) if who.snapshot else bodies.start(who.kind, values)
        for one in case.patient.given:
            body.give(bodies.gift(one.what, one.amount, one.unit, one.over_s))
        if case.patient.settle_s:
            body.advance(case.patient.settle_s)
        if not body.alive:
            raise BadInput("the patient of this case is dead before anybody comes")
        session = cls(case, seed, mode, bodies, body, Desk.open(case))
        session._record()
        session._keep()
        return session

    def do(self, command: Command, by: Role = Role.LEADER) -> list[Entry]:
        """Takes a command at the present second; an act takes hold with the next exchange. Its log entries.

        Raises:
            Denied: not this person's, or not in assessment.
            BadInput: no such action, event or dose.
            Unready: not now: ended, something else first, done often enough.
        """
        check_command(self, command, by)
        if isinstance(command, Rewind):
            return self._rewind(command, by)
        logged = Logged(self.now_s, by, command)
        before = len(self.entries)
        self._apply(logged)
        self.log.append(logged)
        return self.entries[before:]

    def advance(self, seconds: float, hz: int = 0) -> Frame:
        """Lives on for `seconds` (a multiple of 2), or to the end; what the bedside then shows.

        Raises:
            BadInput: not a multiple of 2 s.
            Unready: paused, or ended.
        """
        count = round(seconds / EXCHANGE_S)
        if count < 0 or abs(count * EXCHANGE_S - seconds) > 1e-9:
            raise BadInput("a session advances in steps of 2 s")
        if self.paused:
            raise Unready("the session is paused; resume it first")
        if self.ended:
            raise Unready("the session has ended")
        waves: dict[str, list[NDArray[Any]]] = {}
        for _ in range(count):
            for channel, wave in self._exchange(hz).items():
                waves.setdefault(channel, []).append(wave)
            if self.ended:
                break
        return self.frame({channel: np.concatenate(parts) for channel, parts in waves.items()}, hz)

    def frame(self, waves: Mapping[str, NDArray[Any]] | None = None, hz: int = 0) -> Frame:
        """The bedside now. Entries are those since the frame before."""
        desk = self.desk
        told, self._told = self.entries[self._told :], len(self.entries)
        new = tuple(one for one in told if one.text or one.kind is not EntryKind.EVENT)  # a silent event is not told
        shown = {channel: wave for channel, wave in (waves or {}).items() if channel in desk.waves}
        readings = desk.readings(self.vocabulary.numerics)
        alarms = tuple(one for one in desk.alarming(self.case.alarms) if one.name not in desk.hidden)
        return Frame(desk.now_s, readings, shown, hz, new, alarms, names(desk.queue), desk.ended)

    def why(self, seconds: int = 60) -> list[str]:
        """The physiology behind what changed in the last `seconds`."""
        begin = max(len(self.rows) - 1 - seconds // EXCHANGE_S, 0)
        return self.body.why(dict(zip(self.names, self.rows[begin], strict=True)))

    def fork(self, at_s: int) -> Session:
        """Another session with the same past up to `at_s`; this one stays as it is.

        Raises:
            Denied: in assessment.
            BadInput: no moment of this session.
        """
        if self.mode is Mode.ASSESSMENT:
            raise Denied("an assessment has one course; it is not forked")
        self._check_moment(at_s)
        child = Session.load(self.dump(), self.case, self.bodies)
        child._restore(at_s)
        child.log, child.parent_s = list(child.course), at_s
        child.paused = False
        return child

    def series(self, name: str) -> NDArray[np.float64]:
        """(n,) a numeric or laboratory value every 2 s from 0 s on. Raises BadInput: no such value."""
        if name in self.names:
            return np.array([row[self.names.index(name)] for row in self.rows])
        if name in self.lab_names:
            return np.array([row[self.lab_names.index(name)] for row in self.lab_rows])
        raise BadInput("this body shows no such value")

    def dump(self) -> bytes:
        """Everything, for `load`."""
        kept = {
            "format": FORMAT,
            "model": self.body.MODEL,
            "case": self.case.sha256(),
            "seed": self.seed,
            "mode": self.mode,
            "body": self.body.dump(),
            "desk": self.desk,
            "rows": self.rows,
            "lab_rows": self.lab_rows,
            "entries": self.entries,
            "log": self.log,
            "course": self.course,
            "snapshots": self.snapshots,
            "clock": (self.paused, self.speed, self.parent_s, self._told),
        }
        return msgspec.msgpack.encode(kept)

    @classmethod
    def load(cls, kept: bytes, case: Case, bodies: BodyMaker) -> Session:
        """Raises Malformed: no session, or one of another case or model."""
        try:
            held = msgspec.msgpack.decode(kept, type=_Kept)
        except (msgspec.DecodeError, ValueError) as error:
            raise Malformed("this is no kept session", detail=str(error)) from error
        if held.format != FORMAT or held.case != case.sha256():
            raise Malformed("this session is of another case or version")
        session = cls(case, held.seed, held.mode, bodies, bodies.load(held.body), held.desk)
        if held.model != session.body.MODEL:
            raise Malformed("this session is of another model")
        session.rows, session.lab_rows, session.entries = held.rows, held.lab_rows, held.entries
        session.log, session.course, session.snapshots = held.log, held.course, held.snapshots
        session.paused, session.speed, session.parent_s, session._told = held.clock
        return session

    def _exchange(self, hz: int = 0) -> Mapping[str, NDArray[Any]]:
        waves = super()._exchange(hz)
        if self.now_s % SNAPSHOT_S == 0 and not self.ended:
            self._keep()
        return waves

    # The way back.

    def _keep(self) -> None:
        desk = msgspec.msgpack.encode(self.desk)
        self.snapshots = thinned(
            [*self.snapshots, Snapshot(self.now_s, self.body.dump(), desk, len(self.entries), len(self.course))]
        )

    def _check_moment(self, at_s: int) -> None:
        if at_s % EXCHANGE_S or not 0 <= at_s <= self.now_s:
            raise BadInput(f"a moment of this session is an even number of seconds from 0 to {self.now_s}")

    def _rewind(self, command: Rewind, by: Role) -> list[Entry]:
        self._check_moment(command.to_s)
        self.log.append(Logged(self.now_s, by, command))
        self._restore(command.to_s)
        self._apply(Logged(self.now_s, by, command))
        return self.entries[-1:]

    def _restore(self, at_s: int) -> None:
        """Back to the moment before anything that was commanded at `at_s`."""
        kept = nearest(self.snapshots, at_s)
        again = [one for one in self.course[kept.commands :] if one.at_s < at_s]
        self.body = self.bodies.load(kept.body)
        self.desk = msgspec.msgpack.decode(kept.desk, type=Desk)
        self._read()
        count = kept.at_s // EXCHANGE_S + 1
        self.rows, self.lab_rows = self.rows[:count], self.lab_rows[:count]
        self.entries, self.course = self.entries[: kept.entries], self.course[: kept.commands]
        self.snapshots = [one for one in self.snapshots if one.at_s <= kept.at_s]
        self._live(again, at_s)
        self.paused = False
        self._told = min(self._told, len(self.entries))

    def _live(self, commands: Sequence[Logged], until_s: int) -> None:
        """Takes commands at their times and lives to `until_s`."""
        for one in commands:
            self._until(one.at_s)
            self._apply(one)
        self._until(until_s)

    def _until(self, at_s: int) -> None:
        while self.now_s < at_s and not self.ended:
            self._exchange()


class _Kept(msgspec.Struct):
    format: int
    model: str
    case: str
    seed: int
    mode: Mode
    body: bytes
    desk: Desk
    rows: list[tuple[float, ...]]
    lab_rows: list[tuple[float, ...]]
    entries: list[Entry]
    log: list[Logged]
    course: list[Logged]
    snapshots: list[Snapshot]
    clock: tuple[bool, float, int, int]


def replay(
    case: Case, seed: int, log: Sequence[Logged], mode: Mode, bodies: BodyMaker, until_s: int | None = None
) -> Session:
    """The session that these commands made, bit-identical at `until_s` (as given, or when the last was taken).

    Raises:
        Malformed: commands that this case could not have taken, or out of time.
    """
    session = Session.open(case, seed, mode, bodies)
    course = effective(log)
    try:
        session._live(course, position(log) if until_s is None else until_s)
    except TwinwardError as error:
        raise Malformed("these commands were not taken by a session of this case", detail=error.public) from error
    session.log = list(log)
    session.paused, session.speed = _clock_of(log)
    return session


def _clock_of(log: Sequence[Logged]) -> tuple[bool, float]:
    paused, speed = False, 1.0
    for one in log:
        if isinstance(one.command, Speed):
            speed = one.command.factor
        elif isinstance(one.command, Pause | Resume | Rewind):
            paused = isinstance(one.command, Pause)
    return paused, speed
