"""`init|up|status|down|logs` of a node directory, for a hospital (`node`) and for a coordinator alike.

These are the commands that start processes. `add` puts them into a noun's group; a directory of the
other kind is refused with the noun that fits.
"""

from __future__ import annotations

import shlex
import time
from collections import deque
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from infra.embedded import control
from infra.embedded.node import PROFILES, Node
from infra.embedded.node import init as make
from infra.embedded.programs import COORDINATOR
from services.cli.output import Options
from services.cli.session import Session
from twinward.clock import SystemChance, SystemClock
from twinward.errors import BadInput, NotFound, TwinwardError
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, ingest_pb2, ingest_pb2_grpc

PHASES = {
    "starting": "starting",
    "keys": "keys and certificates",
    "database": "PostgreSQL",
    "schema": "the database's schema",
    "programs": "programs",
}
FOLLOW_S = 0.3
TAIL = 40  # lines


def of_kind(node: Node, kind: str) -> Node:
    """Raises BadInput: it is of the other kind; says which command fits."""
    if node.kind_name != kind:
        raise BadInput(f"{node.directory} is a {node.kind_name}'s: use `twinward {node.noun} ...` there")
    return node


def add(group: click.Group, kind: str) -> None:
    """Puts init, up, status, down and logs of directories of this kind into `group`."""
    what = "coordinator" if kind == COORDINATOR else "node"
    directory = click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))

    def found(options: Options, given: Path | None) -> Node:
        return of_kind(Node.open(given or options.node), kind)

    @group.command(help=f"Make a {what} in DIR: keys, certificates, an empty database.")
    @click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
    @click.option("--name", required=True, help='For people, for example "St. Anne".')
    @click.option("--profile", type=click.Choice(PROFILES), default="demo", show_default=True)
    @click.pass_obj
    def init(options: Options, directory: Path, name: str, profile: str) -> None:
        _init(options, directory, name, profile, kind)

    @group.command(help="Start everything and wait until it is healthy.")
    @directory
    @click.option(
        "--wait/--no-wait", default=True, help="Return only when every program is healthy.", show_default=True
    )
    @click.pass_obj
    def up(options: Options, directory: Path | None, wait: bool) -> None:
        _up(options, found(options, directory), wait)

    @group.command(help="Health, versions, lags, memory, certificates.")
    @directory
    @click.pass_obj
    def status(options: Options, directory: Path | None) -> None:
        _status(options, found(options, directory))

    @group.command(help="Stop everything cleanly.")
    @directory
    @click.pass_obj
    def down(options: Options, directory: Path | None) -> None:
        _down(options, found(options, directory))

    @group.command(help="The last lines of PROGRAM's log, or of all. Logs carry no patient data.")
    @click.argument("program", required=False)
    @click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
    @click.pass_obj
    def logs(options: Options, program: str | None, follow: bool) -> None:
        _logs(found(options, None), program, follow)


def _init(options: Options, directory: Path, name: str, profile: str, kind: str) -> None:
    with options.out.errors.status("Keys, certificates, an empty database"):
        node = make(directory, name, profile, SystemClock(), SystemChance(), kind)
    options.out.show(
        {"directory": str(node.directory), "site": node.site, "profile": node.profile},
        lambda: Text.from_markup(
            f"[bold]{node.name}[/bold] is {_article(kind)} [bold]{node.site}[/bold]. Profile demo: "
            f"synthetic and published de-identified data only. The root key stays here, sealed.\n"
            f"Next: twinward {node.noun} up {quoted(directory)}"
        ),
    )


def _article(kind: str) -> str:
    return "coordinator" if kind == COORDINATOR else "site"


def _up(options: Options, node: Node, wait: bool) -> None:
    clock = SystemClock()
    if node.up and not control.waiting(node.state()):
        options.out.show({"site": node.site, "up": True, "already": True}, lambda: f"{node.name} is up.")
        return
    began = clock.monotonic()
    if not node.up:
        control.start(node)
    if wait:
        with Live(console=options.out.errors, transient=True) as live:
            for state in control.progress(node, clock):
                live.update(_progress(state))
    took = clock.monotonic() - began
    options.out.show(
        {"site": node.site, "up": True, "already": False, "seconds": round(took, 1)},
        lambda: (
            f"{node.name} is up after {took:.1f} s. "
            f"Look at it: twinward --node {quoted(node.directory)} {node.noun} status"
        ),
    )


def _status(options: Options, node: Node) -> None:
    found = control.status(node, SystemClock())
    lags: dict[str, object] = _lags(options, node) if found.up else {"unknown": "the node is down"}
    options.out.show({**found.as_dict(), "lags": lags}, lambda: _shown(found, lags, node.noun))


def _down(options: Options, node: Node) -> None:
    with options.out.errors.status("Stopping"):
        was_up = control.stop(node, SystemClock())
    options.out.show(
        {"site": node.site, "up": False, "was_up": was_up},
        lambda: f"{node.name} is down." if was_up else f"{node.name} was down already.",
    )


def _logs(node: Node, program: str | None, follow: bool) -> None:
    known = sorted(file.stem for file in node.logs.glob("*.log"))
    if program is not None and program not in known:
        raise NotFound(f"there is no log of that program: there are {', '.join(known) or 'none yet'}")
    files = [node.logs / f"{name}.log" for name in ([program] if program else known)]
    places = {file: _tail(file, len(files) > 1) for file in files}
    while follow:
        time.sleep(FOLLOW_S)
        for file in files:
            places[file] = _from(file, places[file], len(files) > 1)


def _tail(file: Path, named: bool) -> int:
    with file.open(errors="replace") as lines:
        for line in deque(lines, maxlen=TAIL):
            _line(file, line, named)
        return lines.tell()


def _from(file: Path, place: int, named: bool) -> int:
    if file.stat().st_size < place:
        place = 0  # a new file under the old name
    with file.open(errors="replace") as lines:
        lines.seek(place)
        while line := lines.readline():
            _line(file, line, named)
        return lines.tell()


def _line(file: Path, line: str, named: bool) -> None:
    click.echo((f"{file.stem:<13} " if named else "") + line.rstrip("\n"))


def _progress(state: object) -> RenderableType:
    found = state if isinstance(state, dict) else {}
    phase = str(found.get("phase", "starting"))
    rows: list[RenderableType] = [Spinner("dots", f"Starting: {PHASES.get(phase, phase)}")]
    programs = found.get("programs")
    if phase == "programs" and isinstance(programs, dict):
        for name, entry in programs.items():
            mark = "[green]✓[/green]" if entry["healthy"] else "[dim]…[/dim]"
            again = f" [yellow]started {entry['restarts'] + 1} times[/yellow]" if entry["restarts"] else ""
            rows.append(Text.from_markup(f"  {mark} {name}{again}"))
    return Group(*rows)


def _lags(options: Options, node: Node) -> dict[str, object]:
    """What auth and ingest say of their queues; a node half up still has a status."""
    now = SystemClock().now_ms()
    try:
        session = Session.open(node.directory, options.role or "site-admin", options.purpose)
        ledger = auth_pb2_grpc.AuthStub(session.channel("auth")).LedgerStatus(auth_pb2.LedgerStatusRequest())
        lags = _of_ledger(ledger, now)
        if node.kind_name != COORDINATOR:
            door = ingest_pb2_grpc.IngestStub(session.channel("ingest"))
            lags |= _of_intake(door.IngestStatus(ingest_pb2.IngestStatusRequest()), now)
        session.close()
    except TwinwardError as error:
        return {"unknown": error.public}
    return lags


def _of_ledger(ledger: auth_pb2.LedgerStatusResponse, now: int) -> dict[str, object]:
    return {
        "ledger_size": ledger.size,
        "ledger_published": ledger.published_size,
        "unfolded_receipts": ledger.unfolded_receipts,
        "oldest_unfolded_s": max(0, now - ledger.oldest_unfolded_ms) / 1000 if ledger.oldest_unfolded_ms else 0,
        "unapplied_consents": ledger.unapplied_consents,
        "live_leases": ledger.live_leases,
    }


def _of_intake(waiting: ingest_pb2.IngestStatusResponse, now: int) -> dict[str, object]:
    return {
        "intake_waiting": waiting.intake_waiting,
        "quarantine": waiting.quarantine,
        "oldest_intake_s": max(0, now - waiting.oldest_intake_ms) / 1000 if waiting.oldest_intake_ms else 0,
    }


def _shown(found: control.NodeStatus, lags: dict[str, object], noun: str) -> RenderableType:
    table = Table(
        title=f"{found.name} · {found.site} · {found.profile} · version {found.version}", title_justify="left"
    )
    for name in ("program", "health", "pid", "up for", "restarts", "memory"):
        table.add_column(name, justify="right" if name in ("pid", "restarts", "memory") else "left")
    for one in found.programs:
        table.add_row(
            one.name,
            "[green]healthy[/green]" if one.healthy else "[red]not healthy[/red]",
            str(one.pid or "-"),
            _span(one.uptime_s) if one.uptime_s is not None else "-",
            str(one.restarts),
            f"{one.memory_bytes / 1e6:.0f} MB",
        )
    facts = {
        "state": "up" if found.up else f"down: start it with `twinward {noun} up`",
        "memory": f"{found.memory_bytes / 1e6:.0f} MB in all, shared pages counted once",
        "separation": f"{found.separation} (all programs run as one OS user)",
        "root key": found.root_key,
        "certificates": f"good until {found.certificates_until}; renewed at `{noun} up`",
        "issuer": found.issuer,
    }
    if found.missing:
        facts["not installed"] = ", ".join(found.missing)
    facts |= {name.replace("_", " "): str(value) for name, value in lags.items()}
    lines = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        lines.add_row(f"[dim]{name}[/dim]", Text(value))
    return Group(table, lines) if found.up else lines


def _span(seconds: float) -> str:
    """'3 d 4 h', '5 min 3 s'."""
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def quoted(path: Path) -> str:
    return shlex.quote(str(path))
