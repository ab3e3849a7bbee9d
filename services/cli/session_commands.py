"""`twinward session ...`: learners practise on a body that answers; instructors see who is there and steer.

Education and research; not a medical device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.cli.output import Options
from services.cli.session_cohort import command as cohort
from services.cli.session_keys import Keyboard, reading
from services.cli.session_monitor import Monitor, clock
from services.cli.session_stream import Bedside, interactive, new_id
from services.cli.twin import as_data
from twinward.clock import utc
from twinward.errors import BadInput
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

LEARNER, INSTRUCTOR = "learner", "instructor"
POLICIES = ("expert", "inaction", "order-everything", "wrong-drug")


@click.group("session", help="Practise on a teaching case: cases, show, open, run, log, score, replay, fork, compare.")
def group() -> None:
    pass


def stub(options: Options, role: str = LEARNER) -> Any:  # noqa: ANN401 - a stub's calls have no common type
    return session_pb2_grpc.TeachingStub(options.session(role).channel("sessions"))


@group.command("cases", help="The cases there are.")
@click.pass_obj
def cases(options: Options) -> None:
    answer = stub(options).ListCases(pb.ListCasesRequest())
    rows = [(one.name, one.title, f"version {one.version}") for one in answer.cases]
    options.out.show(as_data(answer), lambda: _table(f"Cases · {answer.banner}", ("name", "title", ""), rows))


@group.command("show", help="Who lies there, and what can be done.")
@click.argument("case")
@click.pass_obj
def show(options: Options, case: str) -> None:
    answer = stub(options).ShowCase(pb.ShowCaseRequest(name=case))
    options.out.show(as_data(answer), lambda: _actions(answer))
    options.out.say(f"{answer.place}: {answer.description}")


VIRTUAL = click.option("--virtual", "person", metavar="SEED[:INDEX]", help="Free practice with a virtual person.")
HOURS = click.option("--hours", type=click.FloatRange(1, 336), help="Of the virtual person's diary.  [default: 12]")


@group.command("open", help="A session on CASE or with a virtual person, not started yet; prints its id.")
@click.argument("case", required=False)
@click.option("--seed", default=1, show_default=True, help="Draws the patient of the case.")
@click.option("--mode", type=click.Choice(["training", "assessment"]), default="training", show_default=True)
@VIRTUAL
@HOURS
@click.pass_obj
def open_session(
    options: Options, case: str | None, seed: int, mode: str, person: str | None, hours: float | None
) -> None:
    answer = stub(options).OpenSession(_wish(case, seed, mode, person, hours))
    options.out.show(as_session(answer.session), lambda: str(UUID(bytes=answer.session.id)))


@group.command("run", help="Open CASE, or go on with a session, at the bedside.")
@click.argument("case", required=False)
@click.option("--session", "known", metavar="ID", help="One that is open already.")
@click.option("--seed", default=1, show_default=True, help="Draws the patient of the case.")
@click.option("--mode", type=click.Choice(["training", "assessment"]), default="training", show_default=True)
@VIRTUAL
@HOURS
@click.option("--policy", type=click.Choice(POLICIES), help="A scripted person acts; training only.")
@click.option("--speed", type=click.FloatRange(1, 60), help="Times real time; training only.")
@click.option("--hz", type=click.Choice(["0", "125", "250"]), help="Of waves; 0 without a terminal.")
@click.option("--until", "until_s", type=int, help="Leave at this second of the patient's time.")
@click.pass_obj
def run(
    options: Options, case: str | None, known: str | None, seed: int, mode: str, policy: str | None,
    speed: float | None, hz: str | None, until_s: int | None, person: str | None, hours: float | None,
) -> None:  # fmt: skip
    if sum(one is not None for one in (case, known, person)) != 1:
        raise BadInput("say which: a CASE, --virtual SEED:INDEX, or --session ID of one that is open")
    teaching = stub(options)
    if known is None:
        session = teaching.OpenSession(_wish(case, seed, mode, person, hours)).session
    else:
        session = teaching.SessionLog(pb.SessionLogRequest(session=ref(known), page_size=1)).session
    eyes = interactive() and not options.out.as_json
    bedside = Bedside(options.session(LEARNER), session.id, int(hz or ("125" if eyes else "0")))
    monitor = Monitor(teaching.ShowCase(pb.ShowCaseRequest(name=session.case)), session.mode == "assessment")
    if speed is not None:
        bedside.do(speed=pb.SetSpeed(factor=speed))
    if policy is not None:
        bedside.do(play=pb.Play(policy=policy))
    _watch(options, session.id, bedside, monitor, until_s, eyes)
    found = teaching.SessionScore(pb.SessionScoreRequest(session=session.id))
    data = {
        "session": str(UUID(bytes=session.id)), "case": session.case, "seed": session.seed, "mode": session.mode,
        "reached_s": monitor.newest.at_s, "state": monitor.newest.state, "ended": monitor.newest.ended,
        "score": None if found.note else found.score, "note": found.note, "final": found.final,
        "parts": as_data(found)["parts"], "refused": monitor.refused,
        "happened": [f"{clock(one.at_s)} {one.kind} {one.what} {one.text}" for one in monitor.happened],
        "reconnected": bedside.reconnected, "left_out": monitor.newest.left_out, "banner": found.banner,
    }  # fmt: skip
    if policy is not None and bedside.reconnected:
        # It acts inside the program: after a lost line it goes on, after a restart it is gone.
        click.echo("the line was lost once: if the program had ended, its scripted person left with it", err=True)
    options.out.show(data, lambda: _score(found, str(UUID(bytes=session.id))))


@group.command("list", help="Your sessions, newest first.")
@click.option("--page", "page_token", default="", help="Where the last page ended.")
@click.pass_obj
def list_sessions(options: Options, page_token: str) -> None:
    answer = stub(options).ListSessions(pb.ListSessionsRequest(page_token=page_token))
    options.out.show([as_session(one) for one in answer.sessions], lambda: _sessions(answer.sessions, answer.banner))


@group.command("roster", help="Instructors: the sessions that are open.")
@click.pass_obj
def roster(options: Options) -> None:
    answer = stub(options, INSTRUCTOR).Roster(pb.RosterRequest())
    options.out.show(
        [as_session(one) for one in answer.sessions], lambda: _sessions(answer.sessions, answer.banner, vitals=True)
    )


group.add_command(cohort)


@group.command("steer", help="Instructors: into one session, or without an id into all. WHAT: pause, resume, "
               "inject EVENT, say TEXT, speed N, rate 1..5, hide NAMES")  # fmt: skip
@click.argument("what", nargs=-1, required=True)
@click.option("--session", "known", metavar="ID")
@click.pass_obj
def steer(options: Options, what: tuple[str, ...], known: str | None) -> None:
    wish = _steering(what[0], what[1:])
    wish.id, wish.session = new_id(), ref(known) if known else b""
    answer = stub(options, INSTRUCTOR).Steer(wish)
    options.out.show({"reached": answer.reached}, lambda: f"reached {answer.reached} sessions")


@group.command("log", help="What was commanded, in its order.")
@click.argument("session")
@click.pass_obj
def log(options: Options, session: str) -> None:
    _, commands = _log(options, session)
    data = [
        {
            "number": one.number,
            "at_s": one.at_s,
            "time": utc(one.time_ms).isoformat(),
            "by": one.by,
            "command": one.body,
        }
        for one in commands
    ]
    rows = [(str(one.number), clock(one.at_s), one.by, one.body) for one in commands]
    options.out.show(data, lambda: _table("Log", ("n", "at", "by", "command"), rows))


@group.command("score", help="Each point with its reason.")
@click.argument("session")
@click.pass_obj
def score(options: Options, session: str) -> None:
    answer = stub(options).SessionScore(pb.SessionScoreRequest(session=ref(session)))
    options.out.show({**as_data(answer), "session": session}, lambda: _score(answer, session))


@group.command("replay", help="Lived again from its log: numbers minute by minute, and what was done between.")
@click.argument("session")
@click.pass_obj
def replay(options: Options, session: str) -> None:
    _, commands = _log(options, session)
    same = stub(options).CompareSessions(pb.CompareSessionsRequest(first=ref(session), second=ref(session)))
    course: dict[int, dict[str, float]] = {}
    units = {row.name: row.unit for row in same.rows}
    for row in same.rows:
        course.setdefault(row.at_s, {})[row.name] = row.first
    done = [{"at_s": one.at_s, "by": one.by, "command": one.body} for one in commands]
    data = {"session": session, "units": units, "course": course, "commands": done, "banner": same.banner}
    names = list(units)[:8]
    rows = [(clock(at_s), *(f"{values[name]:.4g}" for name in names), "") for at_s, values in course.items()]
    rows += [(clock(one.at_s), *("" for _ in names), one.body) for one in commands]
    title = f"{session} · {same.banner}"
    options.out.show(data, lambda: _table(title, ("at", *names, "command"), sorted(rows, key=lambda row: row[0])))


@group.command("fork", help="Another session with the same past up to a second; prints its id.")
@click.argument("session")
@click.option("--at", "at_s", type=int, required=True, metavar="S", help="An even second of the session.")
@click.pass_obj
def fork(options: Options, session: str, at_s: int) -> None:
    answer = stub(options).ForkSession(pb.ForkSessionRequest(session=ref(session), id=new_id(), at_s=at_s))
    options.out.show(as_session(answer.session), lambda: str(UUID(bytes=answer.session.id)))


@group.command("compare", help="Two courses of one case and seed, side by side.")
@click.argument("first")
@click.argument("second")
@click.pass_obj
def compare(options: Options, first: str, second: str) -> None:
    answer = stub(options).CompareSessions(pb.CompareSessionsRequest(first=ref(first), second=ref(second)))
    data = {
        "first": first, "second": second, "same_until_s": answer.same_until_s, "banner": answer.banner,
        "scores": [answer.score_first, answer.score_second], "rows": as_data(answer)["rows"],
    }  # fmt: skip
    rows = [
        (clock(row.at_s), row.name, f"{row.first:.4g}", f"{row.second:.4g}", row.unit)
        for row in answer.rows
        if row.at_s >= answer.same_until_s
    ]
    title = (
        f"the same until {clock(answer.same_until_s)} · {answer.score_first:.0f} and {answer.score_second:.0f} points"
    )
    options.out.show(data, lambda: _table(title, ("at", "what", "first", "second", "unit"), rows))


@group.command("erase", help="The session's log and score are gone after this.")
@click.argument("session")
@click.pass_obj
def erase(options: Options, session: str) -> None:
    answer = stub(options).EraseSession(pb.EraseSessionRequest(session=ref(session)))
    options.out.show({"session": session, "leaf": answer.leaf}, lambda: f"erased, ledger entry {answer.leaf}")


def _wish(case: str | None, seed: int, mode: str, person: str | None, hours: float | None) -> pb.OpenSessionRequest:
    """Raises BadInput."""
    if (case is None) == (person is None):
        raise BadInput("say which: a CASE, or --virtual SEED:INDEX")
    if person is None:
        if hours is not None:
            raise BadInput("--hours belongs to --virtual: a case has its own beginning")
        return pb.OpenSessionRequest(id=new_id(), case=case or "", seed=seed, mode=mode)
    first, _, second = person.partition(":")
    if not first.isdigit() or not (second or "0").isdigit():
        raise BadInput("a virtual person is named SEED or SEED:INDEX, for example 7:0")
    who = pb.VirtualPerson(seed=int(first), index=int(second or 0), hours=hours or 0.0)
    return pb.OpenSessionRequest(id=new_id(), virtual=who, seed=seed, mode=mode)


def _steering(word: str, rest: tuple[str, ...]) -> pb.SteerRequest:
    text = " ".join(rest)
    try:
        match word:
            case "pause":
                return pb.SteerRequest(pause=pb.Pause())
            case "resume":
                return pb.SteerRequest(resume=pb.Resume())
            case "inject":
                return pb.SteerRequest(inject=pb.Inject(event=text))
            case "say":
                return pb.SteerRequest(message=pb.Message(text=text))
            case "speed":
                return pb.SteerRequest(speed=pb.SetSpeed(factor=float(text)))
            case "rate":
                return pb.SteerRequest(rate=pb.Rate(rating=int(text)))
            case "hide":
                return pb.SteerRequest(hide=pb.Hide(names=rest))
    except ValueError:
        pass
    raise BadInput("steer with: pause, resume, inject EVENT, say TEXT, speed N, rate 1..5 or hide NAMES")


def ref(session: str | None) -> bytes:
    """Raises BadInput."""
    try:
        return UUID(session or "").bytes
    except ValueError:
        raise BadInput("a session is named by its id, as `twinward session list` prints it") from None


def as_session(one: pb.SessionSummary) -> dict[str, Any]:
    found = {**as_data(one), "id": str(UUID(bytes=one.id)), "case_sha256": one.case_sha256.hex()}
    return {**found, "parent": str(UUID(bytes=one.parent)) if one.parent else ""}


def _watch(
    options: Options, session: bytes, bedside: Bedside, monitor: Monitor, until_s: int | None, eyes: bool
) -> None:
    """Until the session ends, or the person leaves: then the patient waits, but not in an assessment."""

    def fork(at_s: int) -> str:
        wish = pb.ForkSessionRequest(session=session, id=new_id(), at_s=at_s)
        return str(UUID(bytes=stub(options).ForkSession(wish).session.id))

    keyboard = Keyboard(monitor, bedside.do, fork)
    with _screen(options.out.console, monitor, keyboard) if eyes else _blind(monitor) as take:
        for frame in bedside.frames():
            take(frame)
            if frame.state == "ended" or (keyboard.leaving and frame.ack.id == keyboard.leaving):
                break
            if not keyboard.leaving and until_s is not None and frame.at_s >= until_s:
                if monitor.assessed or frame.state != "running":
                    break
                keyboard.leave()
    bedside.close()


Take = Callable[[pb.SessionFrame], None]


@contextmanager
def _blind(monitor: Monitor) -> Iterator[Take]:
    yield monitor.take


@contextmanager
def _screen(console: Console, monitor: Monitor, keyboard: Keyboard) -> Iterator[Take]:
    """The monitor over the whole terminal, which is as before when it ends. Keys come in a thread of their own."""
    turn = threading.Lock()
    with Live(console=console, auto_refresh=False, screen=True) as live:

        def draw() -> None:
            live.update(monitor.view(console.width, console.height), refresh=True)

        def take(frame: pb.SessionFrame) -> None:
            with turn:
                monitor.take(frame)
                draw()

        def press(key: str) -> None:
            with turn:
                keyboard.press(key)
                draw()

        with reading(press):
            yield take


def _log(options: Options, session: str) -> tuple[pb.SessionSummary, list[pb.LoggedCommand]]:
    teaching, found, after = stub(options), [], 0
    while True:
        answer = teaching.SessionLog(pb.SessionLogRequest(session=ref(session), after=after))
        found += answer.commands
        if not answer.more:
            return answer.session, found
        after = found[-1].number


def _table(title: str, names: tuple[str, ...], rows: list[Any]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, no_wrap=name == "id")
    for row in rows:
        table.add_row(*row)
    return table


def _actions(answer: pb.ShowCaseResponse) -> Table:
    rows = [
        (
            one.category, one.name, one.label,
            ", ".join(f"{c.name} {c.low:g} to {c.high:g} {c.unit} (usual {c.usual:g})" for c in one.choices),
            f"{one.staff} {one.takes_s} s".strip(), f"{one.result_s} s" if one.result_s else "",
        )
        for one in answer.actions
    ]  # fmt: skip
    title = f"{answer.case.title} · {answer.banner}"
    return _table(title, ("", "action", "", "choices", "takes", "result after"), rows)


def _sessions(found: Any, banner: str, vitals: bool = False) -> Table:  # noqa: ANN401 - a repeated field
    """Narrow on purpose: an id is 36 characters, and people's terminals have 80."""
    rows = []
    for one in found:
        state = one.ending or ("running" if one.running else one.state)
        opened = utc(one.created_ms).strftime("%Y-%m-%d %H:%M")
        row = [str(UUID(bytes=one.id)), f"{one.case}\n{one.mode}, {state}\nat {clock(one.reached_s)} of {opened}"]
        if vitals:
            row.append("\n".join(_vital(reading) for reading in one.numerics[:4]))
        rows.append(row)
    return _table(f"Sessions · {banner}", ("id", "session", *(("value, age",) if vitals else ())), rows)


def _vital(reading: Any) -> str:  # noqa: ANN401 - a message
    value = reading.quantity
    return f"{reading.name} {value.value:.4g} {value.unit}, {value.age_ms / 1000:.0f} s"


def _score(answer: pb.SessionScoreResponse, session: str) -> Table | str:
    if answer.note:
        return f"{answer.note} · {session} · {answer.banner}"
    rows = [(one.name, f"{one.points:+.1f}", f"{one.of:.1f}", one.why) for one in answer.parts]
    title = f"{answer.score:.1f} of 100{'' if answer.final else ' so far'} · {session} · {answer.banner}"
    return _table(title, ("part", "points", "of", "why"), rows)
