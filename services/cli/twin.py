"""`twinward twin list|show|forecast|explain|whatif`: what a clinician asks of a twin (more in upkeep.py).

Every number stands with its unit, its age, its uncertainty and its source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.cli.curve import Point, band_curve
from services.cli.output import Options
from twinward.clock import utc
from twinward.errors import BadInput, Busy, Unavailable
from twinward.wire.v1 import record_pb2, twin_pb2, twin_pb2_grpc

MINUTE_MS = 60_000
ROLE = "clinician"
WATCH_S = 10.0
RATIO = "{ratio}"  # UCUM annotation of a parameter over the typical adult's


@click.group("twin", help="Ask the living twins: list, show, forecast, explain, whatif.")
def group() -> None:
    pass


def patient(command: Callable[..., None]) -> Callable[..., None]:
    """The two ways to say whom."""
    command = click.option("--patient", "handle", metavar="HANDLE", help="Handle, as `twin list` prints it.")(command)
    return click.option("--mrn", metavar="SYSTEM|VALUE", help="Exact medical record number.")(command)


@group.command("list", help="The patients of your care team and what each twin last knew.")
@click.option("--mrn", metavar="SYSTEM|VALUE", help="One patient by exact number instead.")
@click.option("--page", "page_token", default="", help="Where the last page ended.")
@click.pass_obj
def list_twins(options: Options, mrn: str | None, page_token: str) -> None:
    wanted = identifier(mrn) if mrn else None
    answer = stub(options).ListTwins(twin_pb2.ListTwinsRequest(identifier=wanted, page_token=page_token))
    options.out.show(as_data(answer), lambda: twins_table(answer))


@group.command("show", help="One twin: its last readings, its model, its parameters.")
@patient
@click.pass_obj
def show(options: Options, mrn: str | None, handle: str | None) -> None:
    answer = stub(options).ShowTwin(twin_pb2.ShowTwinRequest(patient=patient_ref(mrn, handle)))
    options.out.show(as_data(answer), lambda: show_view(answer))


@group.command("forecast", help="Where glucose is going, with its band.")
@patient
@click.option("--minutes", "-m", multiple=True, type=click.IntRange(1, 120), help="Ahead; several allowed.")
@click.option("--watch", is_flag=True, help="Ask again every 10 s until interrupted; each answer is a decision.")
@click.option("--as-of", metavar="TIME", help="Demo nodes only: answer as if it were this UTC time (ISO 8601).")
@click.pass_obj
def forecast(
    options: Options, mrn: str | None, handle: str | None, minutes: tuple[int, ...], watch: bool, as_of: str | None
) -> None:
    request = twin_pb2.ForecastRequest(
        patient=patient_ref(mrn, handle), minutes_ahead=minutes, as_of_ms=moment(as_of) if as_of else 0
    )
    asked = stub(options)
    if not watch:
        answer = asked.Forecast(request)
        options.out.show(as_data(answer), lambda: forecast_view(answer))
        return
    if options.out.as_json:
        raise BadInput("--watch is for eyes; leave out --json, or ask repeatedly")
    with Live(console=options.out.console, auto_refresh=False) as live:
        while True:
            try:
                live.update(forecast_view(asked.Forecast(request)), refresh=True)
            except (Unavailable, Busy) as error:  # it comes back; what was seen stays, and says so
                live.console.print(f"[yellow]{error.public}[/yellow]")
            time.sleep(WATCH_S)


@group.command("explain", help="Why the forecast is what it is.")
@patient
@click.option("--minutes", "-m", default=30, type=click.IntRange(1, 120), show_default=True, help="Ahead.")
@click.pass_obj
def explain(options: Options, mrn: str | None, handle: str | None, minutes: int) -> None:
    request = twin_pb2.ExplainRequest(patient=patient_ref(mrn, handle), minutes_ahead=minutes)
    answer = stub(options).Explain(request)
    options.out.show(as_data(answer), lambda: explain_view(answer))


@group.command("whatif", help="What treatment plans would do, beside doing nothing more.")
@patient
@click.option(
    "--plan", "plans", multiple=True, required=True, metavar="PLAN",
    help="Several allowed: 'bolus 2 @0; eat 15 @30; fast 16 @0; basal -0.4 @0 for 120' (IU, g, g, IU/h @ minute).",
)  # fmt: skip
@click.option("--minutes", "-m", default=360, type=click.IntRange(30, 1440), show_default=True, help="Ahead.")
@click.option("--as-of", metavar="TIME", help="Demo nodes only: answer as if it were this UTC time (ISO 8601).")
@click.pass_obj
def whatif(
    options: Options, mrn: str | None, handle: str | None, plans: tuple[str, ...], minutes: int, as_of: str | None
) -> None:
    from services.cli.whatif import plan, whatif_view  # builds on this module

    request = twin_pb2.WhatIfRequest(
        patient=patient_ref(mrn, handle), plans=[plan(text) for text in plans], minutes=minutes,
        as_of_ms=moment(as_of) if as_of else 0,
    )  # fmt: skip
    answer = stub(options).WhatIf(request)
    options.out.show(as_data(answer), lambda: whatif_view(answer))


def stub(options: Options) -> twin_pb2_grpc.TwinStub:
    return twin_pb2_grpc.TwinStub(options.session(ROLE).channel("twin"))


def as_data(message: Message) -> dict[str, Any]:
    """A message for machines: every field, handles as UUIDs."""
    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    handle = getattr(message, "handle", b"")
    if handle:
        found["handle"] = str(UUID(bytes=bytes(handle)))
    for one, twin in zip(found.get("twins", []), getattr(message, "twins", []), strict=True):
        one["handle"] = str(UUID(bytes=bytes(twin.handle)))
    return found


def moment(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time, UTC where it names no zone. Raises BadInput."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("--as-of is a time like 2026-11-22T14:05") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def patient_ref(mrn: str | None, patient: str | None) -> record_pb2.PatientRef:
    """Exactly one of the medical record number (SYSTEM|VALUE) and the handle.

    Raises:
        BadInput: none, both, or one that cannot be read.
    """
    if (mrn is None) == (patient is None):
        raise BadInput("say whom: either --mrn 'SYSTEM|VALUE' or --patient HANDLE")
    if mrn is not None:
        return record_pb2.PatientRef(identifier=identifier(mrn))
    try:
        return record_pb2.PatientRef(handle=UUID(patient).bytes)
    except ValueError:
        raise BadInput("--patient is a handle as `twinward twin list` prints it") from None


def identifier(mrn: str) -> record_pb2.Identifier:
    system, bar, value = mrn.rpartition("|")
    if not bar or not system or not value:
        raise BadInput("--mrn is SYSTEM|VALUE, for example 'urn:hospital:mrn|12345'")
    return record_pb2.Identifier(system=system, value=value)


# What people see ---------------------------------------------------------------


def age(ms: int) -> str:
    """'40 s', '4 min', '3 h 05 min', '12 d'."""
    seconds = max(0, ms) // 1000
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02d} min" if hours < 48 else f"{hours // 24} d"


def clock(ms: int) -> str:
    return utc(ms).strftime("%Y-%m-%d %H:%M")


def number(quantity: record_pb2.Quantity) -> str:
    """'142 mg/dL (131 to 155, 90 %)', '0.79 x typical'; the interval only where one is stated."""
    ratio = quantity.unit == RATIO
    digits = 2 if ratio else 0 if abs(quantity.value) >= 20 else 3
    text = f"{quantity.value:.{digits}f} {'x typical' if ratio else quantity.unit}".rstrip()
    if quantity.coverage:
        text += f" ({quantity.low:.{digits}f} to {quantity.high:.{digits}f}, {quantity.coverage:.0%})"
    return text


def twins_table(answer: twin_pb2.ListTwinsResponse) -> Table:
    table = Table(title=f"Twins · {answer.banner}", title_justify="left", show_lines=True)
    table.add_column("handle", no_wrap=True)
    table.add_column("last reading")
    for one in answer.twins:
        table.add_row(str(UUID(bytes=one.handle)), reading(one.glucose) if one.HasField("glucose") else one.note)
    return table


def reading(quantity: record_pb2.Quantity) -> str:
    """A measured number with its time, age and source."""
    at = f"{clock(quantity.time_ms)} UTC, {age(quantity.age_ms)} old"
    return f"{number(quantity)}\n{at}\nfrom {quantity.source}"


def forecast_view(answer: twin_pb2.ForecastResponse) -> RenderableType:
    last = answer.last_reading
    points = [
        Point((p.glucose.time_ms - last.time_ms) / MINUTE_MS, p.glucose.value, p.glucose.low, p.glucose.high)
        for p in answer.points
    ]
    parts: list[RenderableType] = [Text("Last reading: " + reading(last).replace("\n", ", "))]
    if points:
        parts += [Text(band_curve([(0.0, last.value)], points)), points_table(answer)]
    parts += [Text(f"note: {note}", style="yellow") for note in answer.notes]
    leaf = f"ledger entry {answer.leaf} · everything up to row {answer.seq} is in the answer · {answer.banner}"
    return Group(*parts, Text(leaf, style="dim"))


def points_table(answer: twin_pb2.ForecastResponse) -> Table:
    source = answer.points[0].glucose.source
    table = Table(title="Forecast", title_justify="left", caption=f"from {source}", caption_justify="left")
    for name in ("ahead", "for (UTC)", "glucose", "from physiology"):
        table.add_column(name, no_wrap=True)
    for point in answer.points:
        table.add_row(
            f"{point.minutes_ahead} min",
            clock(point.glucose.time_ms)[11:],
            number(point.glucose),
            f"{point.physiology_share:.0%}",
        )
    return table


def show_view(answer: twin_pb2.ShowTwinResponse) -> RenderableType:
    newest = answer.recent[-1].time_ms
    past = [((one.time_ms - newest) / MINUTE_MS, one.value) for one in answer.recent]
    lines = Table.grid(padding=(0, 2))
    for name, value in (
        ("handle", str(UUID(bytes=answer.handle))),
        ("glucose", reading(answer.glucose).replace("\n", ", ")),
        ("model", f"{answer.model_version}; regression: {answer.coefficients}"),
        ("readings", f"{answer.readings} since {clock(answer.first_record_ms)} UTC"),
        ("prior", answer.prior),
        ("personal", personal(answer)),
        *(("alarm", f"{one.word}: {one.text}") for one in answer.alarms),
        *(("note", note) for note in answer.notes),
        ("ledger", f"entry {answer.leaf}"),
    ):
        lines.add_row(name, value)
    return Group(
        lines, Text(band_curve(past, [])), parameters_table(answer.parameters), Text(answer.banner, style="dim")
    )


def personal(answer: twin_pb2.ShowTwinResponse) -> str:
    if not answer.refit_ms:
        return "no refit yet: the body is the population's, as the filter moved it"
    return f"{', '.join(answer.personal) or 'nothing'}, by the refit of {clock(answer.refit_ms)} UTC"


def parameters_table(parameters: Sequence[twin_pb2.Parameter]) -> Table:
    source = parameters[0].quantity.source if parameters else ""
    table = Table(title="Parameters", title_justify="left", caption=f"from {source}", caption_justify="left")
    for name in ("name", "meaning", "value", "spread left"):
        table.add_column(name)
    for one in parameters:
        table.add_row(one.name, one.meaning, number(one.quantity), f"{one.prior_ratio:.0%}")
    return table


def explain_view(answer: twin_pb2.ExplainResponse) -> RenderableType:
    point = answer.point
    table = Table(title=f"Why {number(point.glucose)} in {point.minutes_ahead} min", title_justify="left")
    for name in ("part", "mg/dL", "meaning"):
        table.add_column(name)
    for one in answer.contributions:
        table.add_row(one.name, f"{one.value:+.1f}", one.meaning)
    share = f"physiology explains {point.physiology_share:.0%} of the change, regression the rest"
    inputs = [Text(f"input: {line}") for line in answer.inputs]
    foot = Text(f"{answer.model_version} · ledger entry {answer.leaf} · {answer.banner}", style="dim")
    return Group(table, Text(share), *inputs, parameters_table(answer.parameters), foot)


from services.cli import prior, upkeep  # noqa: E402, F401  add their commands to the group above
