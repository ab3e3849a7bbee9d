"""`twinward twin prior list|show|import|adopt|revert` and `twinward twin migration`: what twins start from."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from services.cli import twin
from services.cli.output import Options
from services.cli.twin import as_data, clock
from twinward.errors import BadInput
from twinward.wire.v1 import twin_pb2, twin_pb2_grpc

ROLE = "site-admin"
MOST_BYTES = 200_000
BANNER = "education and research; not a medical device"


@twin.group.group("prior", help="What twins believe before they know their person: list, show, import, adopt, revert.")
def prior() -> None:
    pass


@prior.command("list", help="The priors of this node, and which one is in force since when.")
@click.pass_obj
def list_priors(options: Options) -> None:
    answer = stub(options).ListPriors(twin_pb2.ListPriorsRequest())
    options.out.show(as_data(answer), lambda: priors_view(answer))


@prior.command("show", help="One prior: where it comes from, its numbers; --file writes it.")
@click.argument("name")
@click.option("--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the file here.")
@click.pass_obj
def show(options: Options, name: str, file: Path | None) -> None:
    answer = stub(options).ShowPrior(twin_pb2.ShowPriorRequest(prior=name))
    if file is not None:
        file.write_bytes(answer.file)
    options.out.show(as_data(answer), lambda: prior_view(answer))


@prior.command("import", help="A prior's file into the node; checked, and believed by nobody yet.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_obj
def import_prior(options: Options, file: Path) -> None:
    if file.stat().st_size > MOST_BYTES:
        raise BadInput(f"a prior's file has {MOST_BYTES} bytes at most")
    answer = stub(options).ImportPrior(twin_pb2.ImportPriorRequest(file=file.read_bytes()))
    options.out.show(as_data(answer), lambda: Text(f"imported: {line(answer.prior)}"))


@prior.command("adopt", help="Every twin is made again with this prior; the ledger keeps who decided.")
@click.argument("name")
@click.pass_obj
def adopt(options: Options, name: str) -> None:
    adopted(options, name, back=False)


@prior.command("revert", help="Back to a prior that was in force before.")
@click.argument("name")
@click.pass_obj
def revert(options: Options, name: str) -> None:
    adopted(options, name, back=True)


def adopted(options: Options, name: str, *, back: bool) -> None:
    answer = stub(options).AdoptPrior(twin_pb2.AdoptPriorRequest(prior=name, back=back))
    told = f"in force: {line(answer.prior)}; ledger entry {answer.leaf}. Twins are made again by a job: "
    options.out.show(as_data(answer), lambda: Text(told + "`twinward twin jobs`, `twinward twin migration`"))


@twin.group.command("migration", help="What came of making twins again with another model or prior.")
@click.pass_obj
def migrations(options: Options) -> None:
    answer = stub(options).ListMigrations(twin_pb2.ListMigrationsRequest())
    options.out.show(as_data(answer), lambda: migrations_view(answer))


def stub(options: Options) -> twin_pb2_grpc.TwinPriorsStub:
    return twin_pb2_grpc.TwinPriorsStub(options.session(ROLE).channel("twin"))


def line(one: twin_pb2.PriorSummary) -> str:
    return f"{one.version} ({one.sha256[:8]}), {one.label}"


def priors_view(answer: twin_pb2.ListPriorsResponse) -> Group:
    table = Table(title=f"Priors · {BANNER}", title_justify="left")
    for name in ("version", "hash", "in force", "imported (UTC)", "last adopted (UTC)", "entry", "what it is"):
        table.add_column(name)
    for one in answer.priors:
        table.add_row(
            one.version, one.sha256[:16], "yes" if one.in_force else "",
            clock(one.imported_ms) if one.imported_ms else "shipped",
            clock(one.adopted_ms) if one.adopted_ms else "", str(one.leaf or ""), one.label,
        )  # fmt: skip
    past = [
        Text(f"{clock(one.at_ms)} UTC {'back to' if one.back else 'adopted'} {one.sha256[:8]}, ledger entry {one.leaf}")
        for one in answer.adoptions
    ]
    return Group(table, *past)


def prior_view(answer: twin_pb2.ShowPriorResponse) -> Group:
    table = Table(title=line(answer.prior), title_justify="left", caption=answer.provenance, caption_justify="left")
    for name in ("logarithm of", "mean over typical", "deviation"):
        table.add_column(name)
    for one in answer.logarithms:
        table.add_row(one.name, f"{one.mean:+.3f}", f"{one.sd:.3f}")
    return Group(table, Text(f"SHA-256 of its file: {answer.prior.sha256} · {BANNER}"))


def migrations_view(answer: twin_pb2.ListMigrationsResponse) -> Table:
    table = Table(title=f"Twins made again · {BANNER}", title_justify="left")
    for name in ("from", "to", "last (UTC)", "twins", "readings", "compared", "greatest change at 60 min", "left"):
        table.add_column(name)
    for one in answer.migrations:
        change = f"{one.greatest_change:.0f} mg/dL" if one.compared else "not comparable"
        table.add_row(
            made(one.from_made), made(one.to_made), clock(one.last_ms), str(one.twins), str(one.readings),
            str(one.compared), change, str(one.left),
        )  # fmt: skip
    return table


def made(text: str) -> str:
    model, _, sha256 = text.partition(" ")
    return f"{model} {sha256[:8]}"
