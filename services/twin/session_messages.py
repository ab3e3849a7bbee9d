"""Sessions as messages: plain values of the engine and the store into what crosses the wire, and commands back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.twin.session_case import Action, Case
from services.twin.session_command import (
    Act,
    Bookmark,
    Command,
    Diagnose,
    End,
    Entry,
    Guess,
    Hide,
    Inject,
    Message,
    Pause,
    Rate,
    Reading,
    Resume,
    Rewind,
    Silence,
    Speed,
)
from services.twin.session_reader import Answer, Slice
from services.twin.session_results import Seen, Together
from services.twin.session_running import Running
from services.twin.session_score import Score
from services.twin.session_store import Kept, Line
from twinward.errors import BadInput
from twinward.wire.v1 import record_pb2
from twinward.wire.v1 import session_pb2 as pb

BANNER = "education and research; not a medical device"
# Units of waves: as physiology writes them (twinward/physiology/patient_waves.py).
WAVE_UNITS = {"ecg": "mV", "abp": "mmHg", "cvp": "mmHg", "pleth": "1", "co2": "mmHg", "resp": "mL"}


def command_of(message: pb.SessionCommand, rater: str = "") -> Command:
    """Raises BadInput: no command of a session."""
    match message.WhichOneof("command"):
        case "act":
            one = message.act
            route: dict[str, float | str] = {"route": one.route} if one.route else {}
            return Act(one.action, {**dict(one.amounts), **route})
        case "pause":
            return Pause()
        case "resume":
            return Resume()
        case "speed":
            return Speed(message.speed.factor)
        case "rewind":
            return Rewind(message.rewind.to_s)
        case "bookmark":
            return Bookmark(message.bookmark.text)
        case "message":
            return Message(message.message.text)
        case "silence":
            return Silence(message.silence.alarm, message.silence.seconds or 120)
        case "diagnose":
            return Diagnose(tuple(Guess(g.name, g.confidence) for g in message.diagnose.differential))
        case "finish":
            return End()
        case _:
            raise BadInput("this command says nothing: set one of its fields")


def steering_of(request: pb.SteerRequest, rater: str) -> Command:
    """Raises BadInput: nothing is asked for."""
    match request.WhichOneof("steering"):
        case "inject":
            return Inject(request.inject.event)
        case "pause":
            return Pause()
        case "resume":
            return Resume()
        case "message":
            return Message(request.message.text)
        case "speed":
            return Speed(request.speed.factor)
        case "rate":
            return Rate(request.rate.rating, rater)
        case "hide":
            return Hide(tuple(request.hide.names))
        case _:
            raise BadInput("steering says what: inject, pause, resume, message, speed, rate or hide")


def frame_of(one: Slice, number: int, session: bytes, model: str, left_out: int) -> pb.SessionFrame:
    frame = pb.SessionFrame(
        banner=BANNER, session=session, number=number, at_s=one.at_s, state=one.state, speed=one.speed,
        waiting=one.waiting, ended=one.ended, why=one.why, left_out=left_out, due_ms=one.due_ms,
        waves=[
            pb.Wave(
                channel=name, unit=WAVE_UNITS.get(name, ""), start_s=one.from_s, hz=one.hz,
                samples=wave.astype("<f4", copy=False).tobytes(), source=model,
            )
            for name, wave in one.waves.items()
        ],
        happened=[entry_of(entry, model) for entry in one.entries],
    )  # fmt: skip
    if one.numerics is not None:
        frame.numerics.extend(readings_of(one.numerics, model))
    for alarm in one.alarms or ():
        seen = (one.numerics or {}).get(alarm.name)
        quantity = record_pb2.Quantity(value=alarm.value, unit=seen.unit if seen else "", source=model)
        frame.alarms.add(
            name=alarm.name, quantity=quantity, limit=alarm.limit, high=alarm.high, since_s=alarm.since_s,
            silenced=alarm.silenced,
        )  # fmt: skip
    if one.answer is not None:
        frame.ack.CopyFrom(answer_of(one.answer))
    return frame


def readings_of(numerics: Mapping[str, Reading], model: str) -> Iterable[pb.Reading]:
    for name, one in numerics.items():
        source = f"{one.source}, {model}"
        quantity = record_pb2.Quantity(value=one.value, unit=one.unit, age_ms=one.age_s * 1000, source=source)
        yield pb.Reading(name=name, quantity=quantity)


def entry_of(one: Entry, model: str) -> pb.LogEntry:
    age_ms = (one.at_s - one.sampled_s) * 1000 if one.sampled_s >= 0 else 0
    return pb.LogEntry(
        at_s=one.at_s, kind=one.kind.value, what=one.what, text=one.text, by=one.by, number=one.number,
        values=[
            pb.Reading(
                name=name,
                quantity=record_pb2.Quantity(value=value, unit=one.units.get(name, ""), age_ms=age_ms, source=model),
            )
            for name, value in one.values.items()
        ],
    )  # fmt: skip


def answer_of(one: Answer) -> pb.Ack:
    return pb.Ack(
        id=one.id, done=one.done, entry=one.entry, at_s=one.at_s, error=one.error, message=one.message, again=one.again
    )


def case_of(case: Case) -> pb.CaseSummary:
    return pb.CaseSummary(
        name=case.id, title=case.title, version=str(case.version), sha256=bytes.fromhex(case.sha256())
    )


def action_of(one: Action) -> pb.CaseAction:
    choices = [
        pb.Choice(name=g.field, unit=g.unit, low=g.low, high=g.high, usual=g.usual) for g in one.gives if g.low < g.high
    ]
    staff = ", ".join(f"{count} {kind}" for kind, count in one.staff.items())
    return pb.CaseAction(
        name=one.id, label=one.label, category=one.category.value, choices=choices, routes=one.routes,
        takes_s=one.takes_s, result_s=one.result_s, staff=staff,
    )  # fmt: skip


def summary_of(row: Kept, running: Running | None = None) -> pb.SessionSummary:
    found = pb.SessionSummary(
        id=row.id.bytes, case=row.case_id, case_sha256=row.case_sha256, case_version=str(row.case_version),
        seed=row.seed, mode=row.mode.value, model=row.model, state=row.state, ending=row.ending,
        reached_s=row.reached_s, created_ms=row.created_ms, touched_ms=row.touched_ms, leaf=row.leaf,
        parent=row.parent.bytes if row.parent else b"", owner=row.owner, banner=BANNER,
    )  # fmt: skip
    if running is not None:
        found.running = running.state == "running"
        found.speed, found.reached_s = running.engine.speed, running.at_s
        found.numerics.extend(readings_of(running.newest.numerics, row.model))
    return found


def line_of(one: Line, body: str) -> pb.LoggedCommand:
    return pb.LoggedCommand(
        number=one.n, id=one.command, at_s=one.logged.at_s, time_ms=one.at_ms, by=one.logged.by.value, body=body
    )


def score_of(session: bytes, found: Score, final: bool, model: str) -> pb.SessionScoreResponse:
    parts = [
        pb.ScorePart(name=one.part, label=one.id, points=one.points, of=one.most, why=one.text) for one in found.lines
    ]
    return pb.SessionScoreResponse(
        session=session, score=found.total, parts=parts, final=final, model=model, banner=BANNER
    )


def cohort_of(case: Case, together: Together, seen: Seen) -> pb.SessionCohortResponse:
    answer = pb.SessionCohortResponse(
        case=case.id, case_version=str(case.version), attempts=len(together.attempts), waiting=together.waiting,
        elsewhere=together.elsewhere, rated=seen.rated, pass_note=seen.why_no_mark, banner=BANNER,
    )  # fmt: skip
    if seen.scores is not None:
        one = seen.scores
        answer.mean, answer.sd, answer.low, answer.median, answer.high = one.mean, one.sd, one.low, one.median, one.high
    for row in seen.critical:
        low, middle, high = row.quartiles or (0.0, 0.0, 0.0)
        answer.critical.add(
            name=row.critical.id, label=row.critical.label, done=row.done, within_s=row.critical.within_s,
            in_time=row.in_time, low_s=low, median_s=middle, high_s=high,
        )  # fmt: skip
    if seen.mark is not None:
        answer.pass_mark.mark, answer.pass_mark.error, answer.pass_mark.r2 = (
            seen.mark.mark, seen.mark.error, seen.mark.r2,
        )  # fmt: skip
    return answer
