"""`twinward ingest FILE|DIR...`: FHIR and sensor files into the node, with progress and a summary."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import grpc
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from services.cli import import_files
from services.cli.import_files import SERIES, Added, Message, kind_of, mapping_file
from services.cli.import_progress import Progress
from services.cli.mapping_file import Declared, declared, from_toml
from services.cli.output import Options
from twinward.clock import Chance, SystemChance, utc
from twinward.errors import BadInput, Busy, TwinwardError, Unavailable
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc

STEWARD = "data-steward"
RESULTS = ("stored", "corrected", "duplicate", "intake", "quarantined", "dropped", "rejected")
TRIES = 9  # about two minutes of a door that does not answer
DEADLINE_S = 60.0
QUESTION = (
    "A demo node takes synthetic or published de-identified data only.\n"
    "Are these files synthetic or de-identified, so that nobody in them can be told?"
)


class FilesFirst(click.Group):
    """`twinward ingest FILE` without a verb sends files; the verbs are beside it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "files", self.commands["files"], args

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not {"-h", "--help"} & set(args[:1]):
            args = ["files", *args]
        return super().parse_args(ctx, args)


@click.group(cls=FilesFirst)
def group() -> None:
    """Bring FHIR and sensor files in: twinward ingest FILE|DIR...

    \b
    twinward ingest records/                         bundles, resources, NDJSON; also .gz
    twinward ingest cgm.csv --mapping cgm.toml       a table with declared columns
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
    deidentified = yes_deidentified or _asked(options)
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


def _asked(options: Options) -> bool:
    """In profile demo somebody has to declare it; elsewhere nothing is declared."""
    from infra.embedded.node import Node

    if Node.open(options.node).profile != "demo":
        return False
    if not options.out.console.is_terminal or options.out.as_json:
        raise BadInput("a demo node takes de-identified data only: say --yes-deidentified if these files are")
    if not click.confirm(QUESTION):
        raise BadInput("nothing was sent: identifiable data need a node of another profile")
    return True


@dataclass
class Total:
    """What became of everything sent."""

    messages: int = 0
    values: int = 0
    flagged: int = 0
    skipped: int = 0  # messages that an earlier, interrupted run had sent
    refused: dict[str, str] = field(default_factory=dict)  # file name -> why nothing of it could be sent
    types: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    def add(self, answer: ingest_pb2.PutResponse) -> None:
        self.messages += 1
        self.values += answer.observations
        self.flagged += answer.flagged
        for one in answer.types:
            self.types.setdefault(one.resource, Counter()).update(one.counts)
        for reason in answer.reasons:
            self.reasons[(reason.resource, reason.result, reason.reason, reason.detail)] += reason.count

    @property
    def counts(self) -> Counter[str]:
        return sum(self.types.values(), Counter())


@dataclass(frozen=True, slots=True)
class Door:
    """Calls of the ingest door, patient with one that is busy or away."""

    channel: grpc.Channel
    feed: str
    deidentified: bool
    chance: Chance

    def fhir(self, payload: bytes) -> ingest_pb2.PutResponse:
        request = ingest_pb2.PutFhirRequest(feed=self.feed, payload=payload, deidentified=self.deidentified)
        stub = ingest_pb2_grpc.IngestStub(self.channel)
        return self._patiently(lambda: stub.PutFhir(request, timeout=DEADLINE_S))

    def series(self, csv: bytes, said: Declared) -> ingest_pb2.PutResponse:
        request = ingest_pb2.PutSeriesRequest(
            feed=self.feed, patient=said.patient, mapping=said.mapping, csv=csv, deidentified=self.deidentified
        )
        stub = ingest_pb2_grpc.IngestStub(self.channel)
        return self._patiently(lambda: stub.PutSeries(request, timeout=DEADLINE_S))

    def _patiently(self, call: Callable[[], ingest_pb2.PutResponse]) -> ingest_pb2.PutResponse:
        for attempt in range(TRIES):
            try:
                return call()
            except (Busy, Unavailable):
                if attempt == TRIES - 1:
                    raise
                pause = min(0.25 * 2**attempt, 30.0) * (0.75 + self.chance.bytes(1)[0] / 512)
                threading.Event().wait(pause)
        raise Unavailable("the ingest door does not answer")


def _send(
    options: Options, found: list[Path], maps: dict[Path, Declared], added: Added, door: Door,
    total: Total, progress: Progress,
) -> None:  # fmt: skip
    size = sum(path.stat().st_size for path in found)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TextColumn("{task.fields[entries]:,} entries"), TimeRemainingColumn())  # fmt: skip
    with Bar(*columns, console=options.out.errors, disable=options.out.as_json, transient=True) as bar:
        task = bar.add_task("sending", total=size, entries=0)
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
                    bar.update(task, completed=before + message.read_bytes, entries=sum(total.counts.values()))
            except BadInput as refusal:
                if len(found) == 1:
                    raise
                total.refused[path.name] = refusal.public
            before += path.stat().st_size
            bar.update(task, completed=before)


def _messages(path: Path, said: Declared | None, added: Added) -> Iterator[Message]:
    return import_files.messages(path, added) if said is None else import_files.series(path, said.columns)


def _deliver(message: Message, said: Declared | None, added: Added, door: Door, total: Total) -> None:
    if said is None:
        total.add(door.fhir(message.payload))
        return
    total.add(door.series(message.payload, said))
    if added:
        total.add(door.fhir(import_files.series_additions(added, message.payload, said)))


def show(options: Options, total: Total) -> None:
    """The summary: every entry that was sent, once, by type and by what became of it."""
    data = {
        "messages": total.messages,
        "skipped_messages": total.skipped,
        "entries": sum(total.counts.values()),
        "counts": {result: total.counts.get(result, 0) for result in RESULTS},
        "refused_files": total.refused,
        "values": total.values,
        "flagged": total.flagged,
        "types": {kind: dict(counts) for kind, counts in sorted(total.types.items())},
        "reasons": [
            {"resource": resource, "result": result, "reason": reason, "detail": detail, "count": count}
            for (resource, result, reason, detail), count in total.reasons.most_common()
        ],
    }
    options.out.show(data, lambda: _summary(total))
    if total.reasons and not options.out.as_json:
        options.out.show(data, lambda: _problems(total))
    for name, why in sorted(total.refused.items()):
        options.out.warn(f"{name}: {why}")
    if total.counts.get("intake"):
        options.out.say("Items in intake are kept sealed and filed by themselves: twinward ingest status")


def _summary(total: Total) -> Table:
    table = Table(title="Entries sent and what became of them", title_justify="left")
    table.add_column("type")
    used = [result for result in RESULTS if total.counts.get(result)]
    for name in ("in", *used):
        table.add_column(name, justify="right")
    for kind, counts in sorted(total.types.items()):
        table.add_row(kind, f"{sum(counts.values()):,}", *(f"{counts.get(result, 0):,}" for result in used))
    table.add_section()
    table.add_row("all", f"{sum(total.counts.values()):,}", *(f"{total.counts[result]:,}" for result in used))
    table.caption = f"{total.values:,} values written, {total.flagged:,} of them with a quality mark"
    if total.skipped:
        table.caption += f"; {total.skipped:,} messages were sent by an earlier run"
    return table


def _problems(total: Total) -> Table:
    """By what became of it and why; the types together."""
    counts: Counter[tuple[str, str, str]] = Counter()
    kinds: dict[tuple[str, str, str], set[str]] = {}
    for (resource, result, reason, detail), count in total.reasons.items():
        counts[(result, reason, detail)] += count
        kinds.setdefault((result, reason, detail), set()).add(resource)
    table = Table(title="Not simply stored", title_justify="left", show_lines=True)
    table.add_column("entries", justify="right")
    table.add_column("what became of them, and why")
    table.add_column("types")
    for key, count in counts.most_common():
        result, reason, detail = key
        table.add_row(f"{count:,}", f"{result}: {reason}\n{detail}", ", ".join(sorted(kinds[key])))
    return table


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
