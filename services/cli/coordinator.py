"""`twinward coordinator ...`: the machine that writes studies and joins hospitals."""

from __future__ import annotations

import click
from rich.table import Table

from infra.embedded.programs import COORDINATOR
from services.cli import processes
from services.cli.output import Options
from twinward.clock import utc
from twinward.wire.v1 import federation_pb2, federation_pb2_grpc

ADMIN = "site-admin"


@click.group(name="coordinator", help="Make, start and watch a coordinator; invite and remove hospitals.")
def group() -> None:
    pass


processes.add(group, COORDINATOR)


def _stub(options: Options) -> federation_pb2_grpc.CoordinatorStub:
    return federation_pb2_grpc.CoordinatorStub(options.session(ADMIN).channel("coordinator"))


@group.command(help="A one-time token for the hospital with site id SITE: one line, for `twinward site join`.")
@click.argument("site")
@click.option(
    "--minutes", type=click.IntRange(1, 14 * 1440), default=1440, show_default=True, help="How long it holds."
)
@click.pass_obj
def invite(options: Options, site: str, minutes: int) -> None:
    request = federation_pb2.InviteSiteRequest(site=site, valid_minutes=minutes)
    made = _stub(options).InviteSite(request)
    # The bare line on stdout, so that it can be piped; who it is for goes beside it.
    options.out.show(
        {"site": site, "token": made.token, "expires": utc(made.expires_ms).isoformat()}, lambda: made.token
    )
    if not options.out.as_json:
        options.out.errors.print(
            f"For {site}, once, until {utc(made.expires_ms):%F %R} UTC. Hand it over on a way you trust; there: "
            "twinward site join -",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


@group.command(help="Hospitals: invited, joined, left, removed; who is online.")
@click.pass_obj
def sites(options: Options) -> None:
    found = list(_stub(options).ListSites(federation_pb2.ListSitesRequest()).sites)
    data = [
        {
            "site": one.site,
            "state": one.state,
            "online": one.online,
            "seen": utc(one.seen_ms).isoformat() if one.seen_ms else None,
            "version": one.version,
            "certificate_until": utc(one.certificate_until_ms).isoformat() if one.certificate_until_ms else None,
        }
        for one in found
    ]

    def table() -> Table:
        made = Table(title=f"{len(found)} hospitals", title_justify="left")
        for name in ("site", "state", "online", "last seen (UTC)", "version", "certificate until"):
            made.add_column(name, no_wrap=True)
        for one in found:
            made.add_row(
                one.site, one.state, "[green]yes[/green]" if one.online else "no", _moment(one.seen_ms), one.version,
                _moment(one.certificate_until_ms),
            )  # fmt: skip
        return made

    options.out.show(data, table)


@group.command(help="Remove hospital SITE: its certificate opens nothing any more.")
@click.argument("site")
@click.option("--reason", required=True, help="Written into the ledger; no names.")
@click.pass_obj
def remove(options: Options, site: str, reason: str) -> None:
    done = _stub(options).RemoveSite(federation_pb2.RemoveSiteRequest(site=site, reason=reason))
    options.out.show(
        {"site": site, "leaf": done.leaf}, lambda: f"{site} is removed; entry {done.leaf} of the coordinator's ledger."
    )


def _moment(ms: int) -> str:
    return f"{utc(ms):%d %b %R}" if ms else "-"
