"""`twinward virtual generate`: people who do not exist, as the files a hospital would send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from services.cli.output import Options
from twinward.clock import Clock, SystemClock, utc
from twinward.errors import BadInput

if TYPE_CHECKING:
    from twinward.physiology.population import Row

MOST_PATIENTS, MOST_DAYS = 10_000, 400
SENSOR_MS = 5 * 60_000


@click.group(name="virtual")
def group() -> None:
    """Virtual patients of our own generator."""


def end_of(until: str) -> datetime:
    """The moment of `until`, to the minute, UTC where no zone is given.

    Raises:
        BadInput: not an ISO 8601 date or time.
    """
    try:
        found = datetime.fromisoformat(until)
    except ValueError:
        raise BadInput("--until must be an ISO 8601 date or time, for example 2026-11-22T12:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).replace(second=0, microsecond=0)


def latest(clock: Clock) -> str:
    """The last moment of a five-minute sensor at or before now, ISO 8601."""
    return utc(clock.now_ms() // SENSOR_MS * SENSOR_MS).isoformat()


def generate(
    directory: Path,
    patients: int,
    days: int,
    seed: int,
    until: str,
    *,
    body: str = "s2008",
    clinician: str = "clinician",
    purposes: tuple[str, ...] = (),
) -> list[Path]:
    """Writes `patients` charts that end at `until` into `directory`; the files, in order.

    The same arguments write the same bytes.

    Raises:
        BadInput: an argument out of range, or a directory that cannot be written.
    """
    from services.cli import virtual_fhir as fhir
    from twinward.physiology import virtual

    if not 0 < patients <= MOST_PATIENTS or not 0 < days <= MOST_DAYS or not 0 <= seed < 2**31:
        raise BadInput(f"1 to {MOST_PATIENTS} patients, 1 to {MOST_DAYS} days and a seed of at least 0, please")
    end = end_of(until)
    first = (end - timedelta(days=days)).astimezone(UTC).replace(hour=0, minute=0)
    minutes = round((end - first).total_seconds() / 60)
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(1, patients + 1):
            life = virtual.live(-(-minutes // 1440), seed, number, body).until(minutes)
            chart = fhir.Chart(life, number, seed, int(first.timestamp() * 1000), clinician, purposes)
            stem = directory / f"patient-{number:04d}"
            for path, text in (
                (stem.with_suffix(".json"), json.dumps(fhir.bundle(chart), indent=1) + "\n"),
                (stem.with_suffix(".csv"), fhir.table(chart)),
                (stem.with_suffix(".mapping.toml"), fhir.MAPPING),
            ):
                path.write_text(text)
                written.append(path)
    except OSError as error:
        raise BadInput("the directory cannot be written; name one of your own", detail=str(error)) from None
    return written


@group.command(name="generate")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--patients", type=int, default=5, show_default=True, help="how many")
@click.option("--days", type=int, default=14, show_default=True, help="of sensor, doses and meals")
@click.option("--seed", type=int, default=1, show_default=True, help="the same seed writes the same people")
@click.option("--until", help="ISO 8601 moment at which the data end; now, to five minutes, where not given")
@click.option("--body", type=click.Choice(["s2008", "hovorka"]), default="s2008", show_default=True)
@click.option("--clinician", default="clinician", show_default=True, help="`sub` of who treats them")
@click.option("--teaching/--no-teaching", default=False, help="consent also to teaching")
@click.option("--research/--no-research", default=False, help="consent also to research")
def generate_command(
    directory: Path,
    patients: int,
    days: int,
    seed: int,
    until: str | None,
    body: str,
    clinician: str,
    teaching: bool,
    research: bool,
) -> None:
    """Write FHIR R4 bundles and sensor tables of virtual patients into DIRECTORY."""
    chosen = (("teaching", teaching), ("research", research))
    purposes = tuple(name for name, wanted in chosen if wanted)
    try:
        end = until or latest(SystemClock())
        written = generate(directory, patients, days, seed, end, body=body, clinician=clinician, purposes=purposes)
    except BadInput as error:
        raise click.ClickException(error.public) from None
    print(f"{len(written)} files of {patients} virtual patients in {directory}")
    print(f"next: twinward ingest {directory}")


@group.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=1, show_default=True, help="the same seed writes the same people")
@click.pass_obj
def tables(options: Options, directory: Path, seed: int) -> None:
    """Write tables of three hospitals for a study, with mappings and a consent, into DIRECTORY."""
    from services.cli import virtual_tables

    if not 0 <= seed < 2**31:
        raise BadInput("a seed of at least 0, please")
    written = virtual_tables.write(directory, seed)
    options.out.show(
        {"tables": [str(table) for table in written], "consent": str(directory / "consent.json")},
        lambda: "\n".join([virtual_tables.LABEL, *map(str, written)]),
    )


@group.command()
@click.option("--patients", type=click.IntRange(1, MOST_PATIENTS), default=100, show_default=True, help="how many")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="the same, the same people"
)
@click.option("--csv", "file", type=click.Path(path_type=Path), help="write everybody's parameters there")
@click.pass_obj
def cohort(options: Options, patients: int, seed: int, file: Path | None) -> None:
    """Draw people from the shipped prior: who was refused and why, and where the rest lie beside the prior."""
    from twinward.physiology import population

    people = [population.person(seed, index) for index in range(patients)]
    rows, refused = population.report(people)
    if file is not None:
        try:
            file.write_text(population.text(people))
        except OSError as error:
            raise BadInput("the file cannot be written; name one of your own", detail=str(error)) from None
    drawn = patients + sum(refused.values())
    data = {
        "patients": patients, "drawn": drawn, "refused": refused, "seed": seed,
        "rows": [asdict(row) for row in rows], "file": str(file) if file else "",
    }  # fmt: skip
    options.out.show(data, lambda: _cohort(patients, drawn, rows, refused))


def _cohort(patients: int, drawn: int, rows: list[Row], refused: Mapping[str, int]) -> Group:
    table = Table(title=f"{patients} virtual people with type 1 diabetes; nobody of them exists", title_justify="left")
    for name in ("", "unit", "5 %", "median", "95 %", "prior 5 %", "prior median", "prior 95 %"):
        table.add_column(name)
    for row in rows:
        numbers = (row.low, row.median, row.high, row.prior_low, row.prior_median, row.prior_high)
        table.add_row(row.name, row.unit, *(f"{one:.3g}" for one in numbers))
    told = ", ".join(f"{why} {count}" for why, count in refused.items()) or "nobody"
    return Group(table, Text(f"{drawn} drawn, {drawn - patients} could not exist: {told}."),
                 Text("Practise with one: twinward session open --virtual SEED:INDEX"))  # fmt: skip
