"""`twinward ingest FILE|DIR...`: FHIR and sensor files into the node, with progress and a summary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.table import Table

from services.cli import import_files
from services.cli.import_files import SERIES, Added, Message, kind_of, mapping_file
from services.cli.import_progress import Progress
from services.cli.import_send import STEWARD, Door, Total, asked, bar, show
from services.cli.mapping_file import Declared, declared, from_toml
from services.cli.output import Options
from twinward.clock import SystemChance, utc
from twinward.errors import BadInput, TwinwardError
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc


class FilesFirst(click.Group):
    """`twinward ingest FILE` without a verb sends files; the verbs are beside it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, "table"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "table":
            return super().get_command(ctx, cmd_name)
        from services.cli.ingest_table import table  # it is long, and most imports are none

        return table

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        return "files", self.commands["files"], args

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.list_commands(ctx) and not {"-h", "--help"} & set(args[:1]):
            args = ["files", *args]
        return super().parse_args(ctx, args)


@click.group(cls=FilesFirst)
def group() -> None:
    """Bring FHIR and sensor files in: twinward ingest FILE|DIR...

    \b
    twinward ingest records/                         bundles, resources, NDJSON; also .gz
    twinward ingest cgm.csv --mapping cgm.toml       a table with declared columns
    twinward ingest table heart.csv --mapping M.toml a row a patient; see twinward ingest table --help
    twinward ingest cgm.csv --series glucose --time t --value mmol --unit mmol/L --patient 'urn:mrn|7'

    Options of sending: twinward ingest files --help
    """


@group.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--feed", default="files", show_default=True, help="In whose name; a feed of this site.")
@click.option("--yes-deidentified", is_flag=True, help="I declare: synthetic or published de-identified data.")
@click.option("--consent", type=click.Path(path_type=Path), help="A FHIR Consent to add for every patient sent.")
@click.option("--care-team", multiple=True, metavar="PERSON", help="Who treats every patient sent, e.g. clinician.")
@click.option("--mapping", type=click.Path(path_type=Path), help="TOML with the columns of the CSV files.")
@click.option("--series", type=str, help="Kind of the one value column: glucose, bolus, basal-rate, ...")
@click.option("--time", "time_column", help="Time column.")
@click.option("--value", "value_column", help="Value column.")
@click.option("--unit", help="Unit of the value column (UCUM): mg/dL, mmol/L, [IU], [IU]/h, g.")
@click.option("--duration", "duration_column", default="", help="Column with minutes.")
@click.option("--time-format", default="", help="strptime, epoch-s or epoch-ms; default ISO 8601.")
@click.option("--time-zone", default="", help="IANA name for times without zone; default UTC, flagged.")
@click.option("--patient", help="Whose rows: SYSTEM|NUMBER.")
@click.option("--patient-column", default="", help="Column with patients' numbers.")
@click.option("--patient-system", default="", help="System of these numbers.")
@click.option("--device", default="", help="What measured.")
@click.pass_obj
def files(options: Options, /, paths: tuple[Path, ...], feed: str, yes_deidentified: bool, consent: Path | None,
          care_team: tuple[str, ...], mapping: Path | None, series: str | None,
          **one_column: str | None) -> None:  # fmt: skip
    """Send files. Sending again changes nothing; an interrupted import goes on where it was."""
    found = import_files.files(list(paths))
    inline = _inline(series, one_column)
    maps = {path: _declared(path, mapping, inline, one_column["patient"]) for path in found if kind_of(path) == SERIES}
    added: Added = (import_files.consent_template(consent),) if consent else ()
    added += (import_files.care_team_template(care_team),) if care_team else ()
    deidentified = yes_deidentified or asked(options)
    session = options.session(STEWARD)
    door = Door(session.channel("ingest"), feed, deidentified, SystemChance())
    total = Total()
    progress = Progress.of(options.node, feed, found)
    try:
        _send(options, found, maps, added, door, total, progress)
    except TwinwardError:
        if total.messages:
            options.out.warn("What was acknowledged is safe; the same command goes on from here.")
            show(options, total)
        raise
    progress.finished()
    show(options, total)
    if total.refused:
        raise BadInput(f"{len(total.refused)} of {len(found)} files were refused as a whole; all others were sent")


def _inline(series: str | None, given: dict[str, str | None]) -> ingest_pb2.SeriesMapping | None:
    if series is None:
        return None
    for name, option in (("time_column", "--time"), ("value_column", "--value"), ("unit", "--unit")):
        if not given[name]:
            raise BadInput(f"--series also needs {option}")
    column = ingest_pb2.SeriesColumn(
        column=given["value_column"] or "",
        kind=series,
        unit=given["unit"] or "",
        duration_column=given["duration_column"] or "",
    )
    texts = ("time_column", "time_format", "time_zone", "patient_column", "patient_system", "device")
    return ingest_pb2.SeriesMapping(columns=[column], **{name: given[name] or "" for name in texts})


def _declared(
    path: Path, mapping: Path | None, inline: ingest_pb2.SeriesMapping | None, patient: str | None
) -> Declared:
    """--mapping, else --series, else the sidecar of the file."""
    if mapping is not None:
        return from_toml(mapping, patient)
    if inline is not None:
        return declared(inline, patient)
    beside = mapping_file(path)
    if beside.exists():
        return from_toml(beside, patient)
    raise BadInput(
        f"{path.name}: say what its columns hold with --mapping FILE.toml, {beside.name} beside it, or --series KIND"
    )


def _send(
    options: Options, found: list[Path], maps: dict[Path, Declared], added: Added, door: Door,
    total: Total, progress: Progress,
) -> None:  # fmt: skip
    size = sum(path.stat().st_size for path in found)
    with bar(options) as shown:
        task = shown.add_task("sending", total=size, entries=0)
        before = 0
        for path in found:
            already = progress.sent(path)
            try:
                for number, message in enumerate(_messages(path, maps.get(path), added), start=1):
                    if number <= already:
                        total.skipped += 1
                        continue
                    _deliver(message, maps.get(path), added, door, total)
                    progress.note(path, number)
                    shown.update(task, completed=before + message.read_bytes, entries=sum(total.counts.values()))
            except BadInput as refusal:
                if len(found) == 1:
                    raise
                total.refused[path.name] = refusal.public
            before += path.stat().st_size
            shown.update(task, completed=before)


def _messages(path: Path, said: Declared | None, added: Added) -> Iterator[Message]:
    return import_files.messages(path, added) if said is None else import_files.series(path, said.columns)


def _deliver(message: Message, said: Declared | None, added: Added, door: Door, total: Total) -> None:
    if said is None:
        total.add(door.fhir(message.payload))
        return
    total.add(door.series(message.payload, said))
    if added:
        total.add(door.fhir(import_files.series_additions(added, message.payload, said)))


@group.command()
@click.pass_obj
def unmapped(options: Options) -> None:
    """Codes and units that arrived and that no table maps."""
    stub = ingest_pb2_grpc.IngestStub(options.session(STEWARD).channel("ingest"))
    codes: list[ingest_pb2.UnmappedCode] = []
    token = ""
    while True:
        answer = stub.ListUnmapped(ingest_pb2.ListUnmappedRequest(page_size=500, page_token=token))
        codes += answer.codes
        token = answer.next_page_token
        if not token:
            break
    data = [
        {"system": one.system, "code": one.code, "unit": one.unit, "count": one.count, "feed": one.feed,
         "first": utc(one.first_ms).isoformat(), "last": utc(one.last_ms).isoformat()}
        for one in codes
    ]  # fmt: skip

    def table() -> Table:
        made = Table(title=f"{len(codes)} codes and units to map; their records are restricted or flagged")
        for name in ("system", "code", "unit", "count", "feed", "last seen"):
            made.add_column(name)
        for one in codes:
            made.add_row(one.system, one.code, one.unit, f"{one.count:,}", one.feed, utc(one.last_ms).strftime("%F %R"))
        return made

    options.out.show(data, table)


@group.command()
@click.pass_obj
def status(options: Options) -> None:
    """Counts of every feed, and what waits."""
    stub = ingest_pb2_grpc.IngestStub(options.session(STEWARD).channel("ingest"))
    answer = stub.IngestStatus(ingest_pb2.IngestStatusRequest())
    feeds = [
        {"feed": one.feed, "accepted": one.accepted, "dropped": one.dropped, "duplicates": one.duplicates,
         "quarantined": one.quarantined}
        for one in answer.feeds
    ]  # fmt: skip
    data = {"feeds": feeds, "intake_waiting": answer.intake_waiting, "quarantine": answer.quarantine,
            "oldest_intake_ms": answer.oldest_intake_ms}  # fmt: skip

    def table() -> Table:
        made = Table(title="Ingest: items sealed to patients, by feed", title_justify="left")
        for name in ("feed", "accepted", "dropped", "duplicates", "quarantined"):
            made.add_column(name, justify="left" if name == "feed" else "right")
        for one in answer.feeds:
            counts = (one.accepted, one.dropped, one.duplicates, one.quarantined)
            made.add_row(one.feed, *(f"{count:,}" for count in counts))
        oldest = utc(answer.oldest_intake_ms).strftime("%F %R UTC") if answer.oldest_intake_ms else "none"
        made.caption = (
            f"{answer.intake_waiting:,} wait in intake (oldest {oldest}), {answer.quarantine:,} in quarantine"
        )
        return made

    options.out.show(data, table)


@group.command()
@click.option("--reason", default="", help="Only those with this reason; default all.")
@click.pass_obj
def redrive(options: Options, reason: str) -> None:
    """Send quarantined items to the filer again, after what stopped them was mended."""
    stub = ingest_pb2_grpc.IngestStub(options.session(STEWARD).channel("ingest"))
    items = stub.Redrive(ingest_pb2.RedriveRequest(reason=reason)).items
    options.out.show({"items": items}, lambda: None)
    options.out.say(f"{items:,} items go to the filer again: twinward ingest status")
