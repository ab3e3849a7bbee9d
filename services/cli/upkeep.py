"""`twinward twin identify|timeline|jobs`: what long jobs find, and where they are."""

from __future__ import annotations

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from services.cli import twin
from services.cli.output import Options
from services.cli.twin import as_data, clock, patient, patient_ref
from twinward.wire.v1 import twin_pb2, twin_pb2_grpc

JOBS_ROLE = "site-admin"


@twin.group.command("identify", help="What sensor, boluses and meals tell of this body; taken into the twin.")
@patient
@click.pass_obj
def identify(options: Options, mrn: str | None, handle: str | None) -> None:
    answer = stub(options, twin.ROLE).Identify(twin_pb2.IdentifyRequest(patient=patient_ref(mrn, handle)))
    options.out.show(as_data(answer), lambda: identify_view(answer))


@twin.group.command(
    "timeline", help="One twin from its first record on: gaps, refits, priors, migrations, corrections."
)
@patient
@click.pass_obj
def timeline(options: Options, mrn: str | None, handle: str | None) -> None:
    answer = stub(options, twin.ROLE).Timeline(twin_pb2.TimelineRequest(patient=patient_ref(mrn, handle)))
    options.out.show(as_data(answer), lambda: timeline_view(answer))


@twin.group.command("jobs", help="Long jobs: list them, cancel one, take one up again.")
@click.option("--cancel", metavar="ID", help="Cancel this job.")
@click.option("--resume", metavar="ID", help="Take up a job that failed, was refused or cancelled.")
@click.pass_obj
def jobs(options: Options, cancel: str | None, resume: str | None) -> None:
    asked = stub(options, JOBS_ROLE)
    if cancel:
        asked.CancelJob(twin_pb2.CancelJobRequest(id=cancel))
    if resume:
        asked.ResumeJob(twin_pb2.ResumeJobRequest(id=resume))
    answer = asked.ListJobs(twin_pb2.ListJobsRequest())
    options.out.show(as_data(answer), lambda: jobs_view(answer))


def stub(options: Options, role: str) -> twin_pb2_grpc.TwinUpkeepStub:
    return twin_pb2_grpc.TwinUpkeepStub(options.session(role).channel("twin"))


def identify_view(answer: twin_pb2.IdentifyResponse) -> Group:
    table = Table(title=f"Identified from {answer.days:.1f} days of readings", title_justify="left")
    for name in ("name", "meaning", "x typical (90 %)", "spread left", "whose"):
        table.add_column(name)
    for one in answer.parameters:
        value = f"{one.factor:.2f} ({one.low:.2f} to {one.high:.2f})"
        whose = "personal" if one.personal else "refused: stays the population's"
        table.add_row(one.name, one.meaning, value, f"{one.prior_ratio:.0%}", whose)
    spectrum = ", ".join(f"{value:.3g}" for value in answer.spectrum)
    lines = [Text(f"sensitivity spectrum (information in units of the prior): {spectrum}")]
    lines.append(Text("all other parameters of the body model: never personal, these data do not tell them"))
    for change in answer.changes:
        lines.append(Text(f"in {change.minutes_ahead} min: {change.before:.0f} mg/dL before, {change.after:.0f} after"))
    lines += [Text(f"note: {note}", style="yellow") for note in answer.notes]
    foot = f"{answer.model_version} · in force from {clock(answer.state_ms)} UTC · ledger entry {answer.leaf}"
    return Group(table, *lines, Text(f"{foot} · {answer.banner}", style="dim"))


def timeline_view(answer: twin_pb2.TimelineResponse) -> Table:
    older = "older entries left out · " if answer.more else ""
    caption = f"{older}ledger entry {answer.leaf} · {answer.banner}"
    table = Table(title="Timeline (UTC)", title_justify="left", caption=caption)
    for name in ("at", "until, or replayed from", "what", "note", "source"):
        table.add_column(name)
    for one in answer.entries:
        until = clock(one.until_ms) if one.until_ms else ""
        table.add_row(clock(one.at_ms), until, one.what, one.note, one.source)
    return table


def jobs_view(answer: twin_pb2.ListJobsResponse) -> Table:
    table = Table(title="Jobs", title_justify="left")
    table.add_column("id", no_wrap=True, min_width=36)  # it is copied into --cancel and --resume
    for name in ("kind", "state", "progress", "begun", "why", "asked (UTC)"):
        table.add_column(name)
    for one in answer.jobs:
        table.add_row(one.id, one.kind, one.state, f"{one.progress} %", str(one.runs), one.reason, clock(one.asked_ms))
    return table
