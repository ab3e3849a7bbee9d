"""`twinward ingest table FILE --mapping M.toml`: a table with a row a patient, as FHIR through the front door.

Rows are read one by one and sent in messages that are cut always at the same place, so an
interrupted import goes on where it was and sending again changes nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import click
import orjson

from services.cli import import_files, table_fhir, table_mapping
from services.cli.import_files import Added, Message
from services.cli.import_progress import Progress
from services.cli.import_send import STEWARD, Door, Total, asked, bar, show
from services.cli.output import Options
from services.cli.table_fhir import Refused
from services.cli.table_mapping import TableMapping
from twinward.clock import SystemChance
from twinward.errors import BadInput, Malformed, TwinwardError

PART_ENTRIES = 2_000  # of a message, far below what the door takes: the progress bar moves
PART_BYTES = 4 * 1024 * 1024
MOST_SHOWN = 20  # row numbers listed with each reason


@dataclass
class Refusals:
    """Why rows were refused, how many, and the first of their numbers."""

    rows: int = 0
    reasons: dict[str, tuple[int, list[int]]] = field(default_factory=dict)

    def add(self, row: int, reason: str) -> None:
        count, numbers = self.reasons.get(reason, (0, []))
        self.rows += 1
        self.reasons[reason] = (count + 1, [*numbers, row] if len(numbers) < MOST_SHOWN else numbers)

    def sentences(self) -> list[str]:
        return [
            f"{count:,} row{'s' if count > 1 else ''} refused: {reason} (row {', '.join(map(str, numbers))}"
            f"{', ...' if count > len(numbers) else ''})"
            for reason, (count, numbers) in sorted(self.reasons.items())
        ]


@click.command(name="table")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--mapping", type=click.Path(path_type=Path), help="TOML with what the columns mean; default beside it.")
@click.option("--patient-system", default="", help="System of the patients' numbers, before what the mapping says.")
@click.option("--feed", default="files", show_default=True, help="In whose name; a feed of this site.")
@click.option("--yes-deidentified", is_flag=True, help="I declare: synthetic or published de-identified data.")
@click.option("--consent", type=click.Path(path_type=Path), help="A FHIR Consent to add for every patient sent.")
@click.option("--care-team", multiple=True, metavar="PERSON", help="Who treats every patient sent, e.g. clinician.")
@click.pass_obj
def table(
    options: Options, file: Path, mapping: Path | None, patient_system: str, feed: str, yes_deidentified: bool,
    consent: Path | None, care_team: tuple[str, ...],
) -> None:  # fmt: skip
    """Send a table (CSV) of patients: each row becomes FHIR resources by a declared mapping.

    A row that cannot be read is refused as a whole and counted with its number; all others go in.
    """
    if not file.is_file():
        raise BadInput(f"{file.name} is not there: check the path")
    said_file = mapping or import_files.mapping_file(file)
    said = table_mapping.read(said_file, patient_system)
    added: Added = (import_files.consent_template(consent),) if consent else ()
    added += (import_files.care_team_template(care_team),) if care_team else ()
    deidentified = yes_deidentified or asked(options)
    door = Door(options.session(STEWARD).channel("ingest"), feed, deidentified, SystemChance())
    declared = hashlib.sha256(orjson.dumps([said_file.read_text(), patient_system, *map(bytes.decode, added)]))
    progress = Progress.of(options.node, f"{feed} {declared.hexdigest()}", [file])
    total, refusals = Total(), Refusals()
    try:
        _send(options, file, said, added, door, total, refusals, progress)
    except TwinwardError:
        if total.messages:
            options.out.warn("What was acknowledged is safe; the same command goes on from here.")
            show(options, total)
        raise
    progress.finished()
    show(options, total, {"refused_rows": refusals.rows, "refusals": refusals.sentences()})
    for sentence in refusals.sentences():
        options.out.warn(sentence)
    if refusals.rows:
        raise BadInput(f"{refusals.rows:,} rows were refused; all others were sent")


def _send(
    options: Options, file: Path, said: TableMapping, added: Added, door: Door, total: Total, refusals: Refusals,
    progress: Progress,
) -> None:  # fmt: skip
    already = progress.sent(file)
    with bar(options) as shown:
        task = shown.add_task("sending", total=file.stat().st_size, entries=0)
        for number, message in enumerate(messages(file, said, added, refusals), start=1):
            if number <= already:
                total.skipped += 1
                continue
            total.add(door.fhir(message.payload))
            progress.note(file, number)
            shown.update(task, completed=message.read_bytes, entries=sum(total.counts.values()))


def messages(file: Path, said: TableMapping, added: Added, refusals: Refusals) -> Iterator[Message]:
    """The table as FHIR bundles, cut always at the same rows.

    Raises:
        BadInput: the file is no table with the declared columns.
    """
    with import_files.opened(file) as (stream, raw):
        part: list[bytes] = []
        size = 0
        known: set[str] = set()  # patients of this message: each is stated once in it
        for number, row in _rows(file, stream, said):
            try:
                made = table_fhir.entries(said, number, _complete(row))
            except Refused as refusal:
                refusals.add(number, str(refusal))
                continue
            patient = made[0].full_url
            bodies = [orjson.dumps({"fullUrl": one.full_url, "resource": one.resource}) for one in made]
            if patient in known:
                del bodies[0]
            else:
                known.add(patient)
                extra = [import_files.about(template, {"reference": patient}) for template in added]
                bodies += [b'{"resource":' + one + b"}" for one in extra]
            part += bodies
            size += sum(map(len, bodies))
            if len(part) >= PART_ENTRIES or size >= PART_BYTES:
                yield Message(import_files.bundled(part, "collection"), raw.tell())
                part, size, known = [], 0, set()
        if part:
            yield Message(import_files.bundled(part, "collection"), raw.tell())


def _rows(file: Path, stream: IO[bytes], said: TableMapping) -> Iterator[tuple[int, dict[str, str] | None]]:
    """(number, cells by column) of every row that is not blank; None for one of another length."""
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    cells = csv.reader(text, delimiter=said.delimiter, strict=True)
    number = 0
    try:
        columns = list(said.columns) or [name.strip() for name in next(cells, [])]
        if absent := sorted(said.named - set(columns)):
            raise BadInput(f"{file.name} has no column {absent[0]!r}: check the mapping, or name `columns` there")
        for row in cells:
            if not any(cell.strip() for cell in row):
                continue
            number += 1
            yield number, dict(zip(columns, row, strict=True)) if len(row) == len(columns) else None
    except UnicodeDecodeError:
        raise Malformed(f"{file.name} is no text in UTF-8: save it as such") from None
    except csv.Error:
        raise Malformed(f"{file.name} is no table after row {number}: check its quotes") from None
    finally:
        text.detach()
    if not number:
        raise Malformed(f"{file.name} has no rows")


def _complete(row: dict[str, str] | None) -> dict[str, str]:
    if row is None:
        raise Refused("another number of cells than there are columns")
    return row
