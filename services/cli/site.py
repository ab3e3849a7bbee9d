"""`twinward site join | leave | status`: this hospital and the coordinator it works with."""

from __future__ import annotations

import sys

import click
from rich.table import Table

from services.cli.output import Options
from twinward.clock import utc
from twinward.errors import BadInput
from twinward.wire.v1 import federation_pb2, federation_pb2_grpc

ADMIN = "site-admin"
LONGEST_TOKEN = 64 * 1024  # characters; it carries a certificate
JOIN_S = 60.0


@click.group(name="site")
def group() -> None:
    """Join a coordinator, leave it, and see how the connection is.

    The hospital calls out only: nothing has to be opened in its firewall.
    """


def _stub(options: Options) -> federation_pb2_grpc.FederationStub:
    return federation_pb2_grpc.FederationStub(options.session(ADMIN).channel("federation"))


@group.command()
@click.argument("token")
@click.option("--proxy", default="", metavar="HOST:PORT", help="An HTTP CONNECT proxy on the way out.")
@click.pass_obj
def join(options: Options, token: str, proxy: str) -> None:
    """Join with the one-time TOKEN of `twinward coordinator invite`; `-` reads it from stdin."""
    said = sys.stdin.read(LONGEST_TOKEN + 1) if token == "-" else token  # noqa: S105 - not a secret but stdin
    if not said.strip() or len(said) > LONGEST_TOKEN:
        raise BadInput("a token is one line, as `twinward coordinator invite SITE` prints it")
    request = federation_pb2.JoinCoordinatorRequest(token=said.strip(), proxy=proxy)
    with options.out.errors.status("Joining"):
        done = _stub(options).JoinCoordinator(request, timeout=JOIN_S)
    until = utc(done.certificate_until_ms)
    options.out.show(
        {"coordinator": done.coordinator, "certificate_until": until.isoformat(), "leaf": done.leaf},
        lambda: (
            f"Joined {done.coordinator}; entry {done.leaf} of this hospital's ledger. The certificate is good until "
            f"{until:%F %R} UTC and renews itself.\nSee how it is: twinward site status"
        ),
    )


@group.command()
@click.option("--reason", required=True, help="Written into the ledger; no names.")
@click.pass_obj
def leave(options: Options, reason: str) -> None:
    """Leave the coordinator: nothing is answered any more. Joining again needs a new token."""
    done = _stub(options).LeaveCoordinator(federation_pb2.LeaveCoordinatorRequest(reason=reason))
    options.out.show({"leaf": done.leaf}, lambda: f"Left the coordinator; entry {done.leaf} of this hospital's ledger.")


@group.command()
@click.pass_obj
def status(options: Options) -> None:
    """Whether the coordinator is reached, the SuperNode runs, and what waits for a decision."""
    found = _stub(options).FederationStatus(federation_pb2.FederationStatusRequest())
    joined = bool(found.coordinator)
    data = {
        "coordinator": found.coordinator,
        "joined": joined,
        "reachable": found.reachable,
        "last_sync": utc(found.last_sync_ms).isoformat() if found.last_sync_ms else None,
        "supernode_up": found.supernode_up,
        "certificate_until": utc(found.certificate_until_ms).isoformat() if found.certificate_until_ms else None,
        "waiting": found.waiting,
    }

    def table() -> Table | str:
        if not joined:
            return "This hospital has joined no coordinator: twinward site join TOKEN"
        lines = Table.grid(padding=(0, 2))
        for name, value in (
            ("coordinator", found.coordinator),
            ("reached", "[green]yes[/green]" if found.reachable else "[red]no[/red]: it is tried again by itself"),
            ("last heard of", f"{utc(found.last_sync_ms):%F %T} UTC" if found.last_sync_ms else "never"),
            ("SuperNode", "[green]runs[/green]" if found.supernode_up else "[red]does not run[/red]"),
            ("certificate until", f"{utc(found.certificate_until_ms):%F %R} UTC; renews itself"),
            ("studies to decide on", f"{found.waiting}" + ("  twinward study list" if found.waiting else "")),
        ):
            lines.add_row(f"[dim]{name}[/dim]", value)
        return lines

    options.out.show(data, table)
