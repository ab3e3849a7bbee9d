"""`twinward study run | watch | stop | resume | results | report`: at the coordinator, by the researcher."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from services.cli.output import Options
from services.cli.study_view import metrics, results, round_data, round_line, short
from twinward.client import ENDED, study_events, study_hash
from twinward.clock import utc
from twinward.errors import BadInput, Conflict, Unready
from twinward.wire.v1 import federation_pb2, federation_pb2_grpc

RESEARCHER = "researcher"
MARKS = {"round": "[green]✓[/green]", "site_lost": "[yellow]![/yellow]", "site_back": "[green]+[/green]",
         "failed": "[red]✗[/red]", "stopped": "[yellow]■[/yellow]", "done": "[green]✓[/green]"}  # fmt: skip
FILES = ("model.json", "card.json", "report.html")

Stub = federation_pb2_grpc.CoordinatorStub


def add(group: click.Group) -> None:
    """Puts the commands of this module into `group`."""
    for command in (run, watch, stop, resume, results_, report):
        group.add_command(command)


def _stub(options: Options) -> Stub:
    return federation_pb2_grpc.CoordinatorStub(options.session(RESEARCHER).channel("coordinator"))


@click.command(help="Run a study with the hospitals that approved it.")
@click.argument("study", metavar="HASH")
@click.pass_obj
def run(options: Options, study: str) -> None:
    done = _stub(options).RunStudy(federation_pb2.RunStudyRequest(study=study_hash(study)))
    options.out.show(
        {"study": study, "sites": list(done.sites), "leaf": done.leaf},
        lambda: (
            f"Runs at {', '.join(done.sites)}; entry {done.leaf} of the coordinator's ledger.\n"
            f"Look on: twinward study watch {study}"
        ),
    )


@click.command(help="Follow a study live until it ends: rounds, losses, hospitals that go and come back.")
@click.argument("study", metavar="HASH")
@click.pass_obj
def watch(options: Options, study: str) -> None:
    follow(options, _stub(options), study_hash(study))


def follow(options: Options, stub: Stub, study: bytes) -> list[federation_pb2.StudyEvent]:
    """Shows events as they come; returns them when the study has ended.

    Raises:
        Unready: it stopped or failed; says what to do.
    """
    most = stub.ShowStudy(federation_pb2.ShowStudyRequest(study=study)).summary.rounds
    seen: list[federation_pb2.StudyEvent] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    quiet = options.out.as_json or not options.out.console.is_terminal
    with Progress(*columns, console=options.out.console, transient=True, disable=quiet) as bar:
        task = bar.add_task("waiting", total=most, said="")
        for event in study_events(
            stub, study, lambda: options.out.warn("the coordinator does not answer; waiting for it")
        ):
            seen.append(event)
            if not options.out.as_json:
                bar.console.print(_line(event), highlight=False, soft_wrap=True)
            if event.kind == "round":
                said = f"{len(event.round.answered)} hospitals  {metrics(event.round.metrics, 1)}"
                bar.update(task, completed=event.round.round, description=f"round {event.round.round}", said=said)
    last = next((event for event in reversed(seen) if event.kind in ENDED), None)
    if options.out.as_json:
        options.out.show({"study": study.hex(), "state": last.kind if last else "", "events": list(map(_data, seen))})
    if last is not None and last.kind != "done":
        raise Unready(
            f"the study {last.kind}: {last.text.rstrip('.')}. `twinward study resume {short(study)}` goes on from its "
            "last checkpoint"
        )
    return seen


def _line(event: federation_pb2.StudyEvent) -> str:
    from rich.markup import escape

    text = round_line(event.round) if event.kind == "round" else event.text
    return f"[dim]{utc(event.time_ms):%T}[/dim] {MARKS.get(event.kind, '[dim]·[/dim]')} {escape(text)}"


def _data(event: federation_pb2.StudyEvent) -> dict[str, object]:
    found: dict[str, object] = {
        "number": event.number, "time": utc(event.time_ms).isoformat(), "kind": event.kind, "text": event.text,
    }  # fmt: skip
    return found | ({"round": round_data(event.round)} if event.HasField("round") else {})


@click.command(help="Stop a running study after the round in progress; the last checkpoint stays.")
@click.argument("study", metavar="HASH")
@click.option("--reason", default="", help="Written into the ledger; no names.")
@click.pass_obj
def stop(options: Options, study: str, reason: str) -> None:
    done = _stub(options).StopStudy(federation_pb2.StopStudyRequest(study=study_hash(study), reason=reason))
    options.out.show(
        {"study": study, "leaf": done.leaf},
        lambda: f"Stops after the round in progress; entry {done.leaf} of the coordinator's ledger.",
    )


@click.command(help="Go on from the last checkpoint of a study that stopped or failed.")
@click.argument("study", metavar="HASH")
@click.pass_obj
def resume(options: Options, study: str) -> None:
    done = _stub(options).ResumeStudy(federation_pb2.ResumeStudyRequest(study=study_hash(study)))
    options.out.show(
        {"study": study, "from_round": done.from_round, "leaf": done.leaf},
        lambda: f"Goes on from round {done.from_round}; entry {done.leaf} of the coordinator's ledger.",
    )


@click.command("results", help="A finished study's model and scores; --out DIR also writes its files.")
@click.argument("study", metavar="HASH")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for model, card and report.")
@click.pass_obj
def results_(options: Options, study: str, out: Path | None) -> None:
    found = _results(options, study)
    model, card = json.loads(found.model), json.loads(found.card)
    files = dict(zip(FILES, (found.model, found.card, found.report), strict=True))
    if out is not None:
        for name, content in files.items():
            _write(out / name, content)
    written = [str(out / name) for name in files] if out is not None else []
    options.out.show({"model": model, "card": card, "files": written}, lambda: results(model, card))
    for name in written:
        options.out.say(name)


@click.command(help="Write a finished study's report, one HTML file that needs no network.")
@click.argument("study", metavar="HASH")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The HTML file.")
@click.pass_obj
def report(options: Options, study: str, out: Path) -> None:
    _write(out, _results(options, study).report)
    options.out.show({"file": str(out)}, lambda: f"{out} is written.")


def _results(options: Options, study: str) -> federation_pb2.StudyResultsResponse:
    return _stub(options).StudyResults(federation_pb2.StudyResultsRequest(study=study_hash(study)))


def _write(file: Path, content: bytes) -> None:
    """Beside and renamed; a file with other content is never overwritten."""
    try:
        if file.exists():
            if file.read_bytes() != content:
                raise Conflict(f"{file} is there already with other content: name another")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_name(f".{file.name}.new")
        half.write_bytes(content)
        half.rename(file)
    except OSError:
        raise BadInput(f"{file} cannot be written: name a place of your own") from None
