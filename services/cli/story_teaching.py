"""A learner treats a bleeding patient; beside it, the same patient untreated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from services.cli.session_monitor import clock, sparkline
from services.cli.session_stream import Bedside, new_id
from services.cli.story import Stage
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

CASE, SEED = "haemorrhage", 1
SPEED, UNTIL_S = 60.0, 360  # the patient's time
SHOWN = ("HR", "SBP", "MAP", "SpO2")
REASONS = 3
APART = 20.0  # points that good care is worth at least, by then


def teaching(stage: Stage) -> None:
    teller = stage.teller
    stub: Any = session_pb2_grpc.TeachingStub(stage.session("learner").channel("sessions"))
    case = stub.ShowCase(pb.ShowCaseRequest(name=CASE))
    teller.say(
        f"Learners practise on bodies that answer: circulation, breathing, drugs and metabolism, nothing scripted. "
        f"The case: {case.description} A learner opens it at {SPEED:.0f} times real time, with the case's own expert "
        f"at the bedside; a fork of the same patient, same moment, same seed, gets nothing. {case.banner.capitalize()}."
    )
    wish = pb.OpenSessionRequest(id=new_id(), case=CASE, seed=SEED, mode="training")
    treated = stub.OpenSession(wish).session.id
    untreated = stub.ForkSession(pb.ForkSessionRequest(session=treated, id=new_id(), at_s=0)).session.id
    command = f"twinward session run {CASE} --seed {SEED} --policy expert --speed {SPEED:.0f} --until {UNTIL_S}"
    teller.typed(command)
    teller.typed(f"twinward session fork {UUID(bytes=treated)} --at 0")
    with ThreadPoolExecutor(2) as pool, teller.console.status("two patients live"):
        lived = [
            pool.submit(_lived, stage, session, policy)
            for session, policy in ((treated, "expert"), (untreated, "inaction"))
        ]
        bedsides = [one.result() for one in lived]
    found = stub.CompareSessions(pb.CompareSessionsRequest(first=treated, second=untreated))
    _course(stage, found, bedsides[0])
    scores = [stub.SessionScore(pb.SessionScoreRequest(session=one)) for one in (treated, untreated)]
    _reasons(stage, scores[0], scores[1])
    last = {row.name: row for row in found.rows if row.at_s == max(one.at_s for one in found.rows)}
    teller.check(
        last["MAP"].first > last["MAP"].second + 10.0 and scores[0].score > scores[1].score + APART,
        "the treated patient's pressure holds, the untreated one's falls, and the score tells them apart",
        stage.look,
    )


def _lived(stage: Stage, session: bytes, policy: str) -> pb.SessionFrame:
    """Lives one of them to `UNTIL_S`; the newest frame with numbers, as a monitor would show it."""
    bedside = Bedside(stage.session("learner"), session, 0)
    bedside.do(play=pb.Play(policy=policy))
    bedside.do(speed=pb.SetSpeed(factor=SPEED))
    shown, asked = pb.SessionFrame(), b""
    for frame in bedside.frames():
        shown = frame if frame.numerics else shown
        if frame.state == "ended" or (asked and frame.ack.id == asked):
            break
        if not asked and frame.at_s >= UNTIL_S:
            asked = bedside.do(pause=pb.Pause())
    bedside.close()
    return shown


def _course(stage: Stage, found: pb.CompareSessionsResponse, monitor: pb.SessionFrame) -> None:
    """What both monitors showed, minute by minute."""
    teller = stage.teller
    at = sorted({row.at_s for row in found.rows})
    values = {(row.at_s, row.name): row for row in found.rows}
    units = {row.name: row.unit for row in found.rows}
    seen = ", ".join(
        f"{one.name} {one.quantity.value:.0f} {one.quantity.unit} ({one.quantity.age_ms // 1000} s old)"
        for one in monitor.numerics
        if one.name in SHOWN
    )
    teller.line(f"\n  the treated patient's monitor at {clock(monitor.at_s)}: {seen}")
    minutes = [one for one in at if one % 120 == 0 and one <= UNTIL_S]
    teller.line(f"\n  {'':26}{''.join(f'{clock(one):>9}' for one in minutes)}   minute by minute")
    for name in ("MAP", "HR", "blood"):
        for side, of in (("treated", "first"), ("untreated", "second")):
            course = [getattr(values[one, name], of) for one in at if one <= UNTIL_S]
            cells = "".join(f"{getattr(values[one, name], of):9.0f}" for one in minutes)
            teller.line(f"  {name + ', ' + units[name]:14}{side:12}{cells}   {sparkline(course, 24)}")


def _reasons(stage: Stage, good: pb.SessionScoreResponse, none: pb.SessionScoreResponse) -> None:
    teller = stage.teller
    teller.line("")
    for title, answer, parts in (
        ("expert", good, sorted(good.parts, key=lambda one: -one.points)),
        ("inaction", none, sorted(none.parts, key=lambda one: one.points - one.of)),
    ):
        teller.line(f"  {title}: {answer.score:.0f} of 100 by {clock(UNTIL_S)}; what weighs most:")
        for one in parts[:REASONS]:
            teller.line(f"    {one.points:+5.1f} of {one.of:4.1f}  {one.why}")
