"""`twinward session cohort CASE`: what an instructor sees of everybody's assessments together."""

from __future__ import annotations

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.output import Options
from services.cli.session_monitor import clock
from services.cli.twin import as_data
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc


@click.command(
    "cohort", help="Instructors: assessments on CASE together: scores, times to critical actions, pass mark."
)
@click.argument("case")
@click.pass_obj
def command(options: Options, case: str) -> None:
    stub = session_pb2_grpc.TeachingStub(options.session("instructor").channel("sessions"))
    answer = stub.SessionCohort(pb.SessionCohortRequest(case=case))
    data = as_data(answer)
    data["pass_mark"] = as_data(answer.pass_mark) if answer.HasField("pass_mark") else None
    options.out.show(data, lambda: view(answer))


def view(answer: pb.SessionCohortResponse) -> RenderableType:
    if not answer.attempts:
        return Text(f"{answer.case}: no assessment has been scored yet{_aside(answer)} · {answer.banner}")
    table = Table(title=f"{answer.case}, version {answer.case_version} · {answer.banner}", title_justify="left")
    for name in ("critical action", "done", "in time", "within", "quarter by", "half by", "three quarters by"):
        table.add_column(name)
    for one in answer.critical:
        times = [clock(s) for s in (one.low_s, one.median_s, one.high_s)] if one.done else ["-"] * 3
        share = f"{one.in_time:.0%}"
        table.add_row(one.label, f"{one.done} of {answer.attempts}", share, clock(one.within_s), *times)
    scores = (
        f"{answer.attempts} assessments: median {answer.median:.1f} of 100 (quartiles {answer.low:.1f} to "
        f"{answer.high:.1f}), mean {answer.mean:.1f}, SD {answer.sd:.1f}{_aside(answer)}"
    )
    mark = f"no pass mark: {answer.pass_note}"
    if answer.HasField("pass_mark"):
        one_mark = answer.pass_mark
        mark = f"pass mark {one_mark.mark:.1f} (error {one_mark.error:.1f}, R2 {one_mark.r2:.2f}), {answer.rated} rated"
    return Group(table, Text(scores), Text(mark), Text("Times are of those who did it, from each action's own clock."))


def _aside(answer: pb.SessionCohortResponse) -> str:
    told = [f"{answer.waiting} wait for their score"] if answer.waiting else []
    told += [f"{answer.elsewhere} on other versions of the case are not in here"] if answer.elsewhere else []
    return f"; {'; '.join(told)}" if told else ""
