"""`twinward audit list|verify`: who was given what, and whether the book is whole.

`list` asks the node as an auditor; the reading is itself an entry. `verify` needs
no node: it works on a copied ledger folder, with the verifier key alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from services.cli.output import Options
from twinward.clock import SystemClock, utc
from twinward.errors import BadInput, Malformed
from twinward.ledger.kinds import Kind
from twinward.ledger.note import Verifier
from twinward.ledger.verify import Report
from twinward.ledger.verify import verify as verify_directory
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2

PAGE_MOST = 500
COLUMNS = ("index", "time (UTC)", "kind", "actor", "patient", "purpose", "decision", "outcome")
WIDE = 110  # characters
_SPAN = re.compile(r"(\d{1,5})([mhd])")
_SPAN_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")


@click.group()
def group() -> None:
    """Read and verify the ledger."""


# List ----------------------------------------------------------------------------


@group.command("list")
@click.option("--patient", metavar="SYSTEM|VALUE|HANDLE", help="A record number with its system, or a handle.")
@click.option("--actor", default="", help="Entries of this person (pseudonym) or program.")
@click.option("--kind", default="", help=f"One of {', '.join(kind.word for kind in Kind)}.", metavar="KIND")
@click.option("--study", default="", metavar="HASH", help="Entries about this study: its whole hash in hex.")
@click.option("--since", default="", metavar="WHEN", help="A date, a time (UTC), or 30m, 12h, 7d ago.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="At most so many.")
@AS_JSON
@click.pass_obj
def list_(
    options: Options, patient: str | None, actor: str, kind: str, study: str, since: str, limit: int, as_json: bool
) -> None:
    """Entries of the ledger, newest first. Reading them is recorded too."""
    options.out.as_json |= as_json
    if kind:
        Kind.of(kind)
    request = auth_pb2.ListEntriesRequest(
        patient=None if patient is None else patient_of(patient),
        actor=actor,
        kind=kind,
        study=study_of(study),
        since_ms=since_ms(since, SystemClock().now_ms()),
    )
    session = options.session("auditor")
    try:
        found, leaf = _read(auth_pb2_grpc.AuthStub(session.channel("auth")), request, limit)
    finally:
        session.close()
    rows = [row_of(entry) for entry in found]
    options.out.show({"entries": rows, "leaf": leaf}, lambda: entries_table(rows, options.out.console.width))
    options.out.say(f"{len(rows)} entries; this reading is entry {leaf}")


def _read(
    stub: auth_pb2_grpc.AuthStub, request: auth_pb2.ListEntriesRequest, limit: int
) -> tuple[list[auth_pb2.LedgerEntry], int]:
    """Up to `limit` entries, page by page, and the entry of the first reading."""
    found: list[auth_pb2.LedgerEntry] = []
    leaf: int | None = None
    while len(found) < limit:
        request.page_size = min(PAGE_MOST, limit - len(found))
        answer: auth_pb2.ListEntriesResponse = stub.ListEntries(request)
        leaf = answer.leaf if leaf is None else leaf
        found.extend(answer.entries)
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    return found, leaf or 0


def patient_of(text: str) -> record_pb2.PatientRef:
    """Raises BadInput for what is neither SYSTEM|VALUE nor a handle."""
    system, bar, value = text.rpartition("|")
    if bar and system and value:
        return record_pb2.PatientRef(identifier=record_pb2.Identifier(system=system, value=value))
    try:
        return record_pb2.PatientRef(handle=UUID(text).bytes)
    except ValueError:
        raise BadInput("--patient is SYSTEM|VALUE, for example 'urn:hospital:mrn|12345', or a whole handle") from None


def study_of(text: str) -> bytes:
    """Raises BadInput for what is no whole hash."""
    if text and not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise BadInput("--study is the study's whole hash, 64 hexadecimal digits")
    return bytes.fromhex(text)


def since_ms(text: str, now_ms: int) -> int:
    """Milliseconds since 1970 UTC of `text`; 0 for an empty one. Raises BadInput."""
    if not text:
        return 0
    if span := _SPAN.fullmatch(text):
        return max(0, now_ms - int(span[1]) * _SPAN_MS[span[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("--since is 2026-11-22, 2026-11-22T08:30 (UTC), or a span such as 30m, 12h, 7d") from None
    return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))


def row_of(entry: auth_pb2.LedgerEntry) -> dict[str, object]:
    """What one entry says; the body's fields lie under `body`."""
    body = json.loads(entry.body) if entry.body else {}
    return {"index": entry.index, "time_ms": entry.time_ms, "kind": entry.kind, "state": entry.state, "body": body}


def entries_table(rows: list[dict[str, object]], width: int = WIDE) -> Table:
    """One line an entry; on a terminal narrower than WIDE without the year and the purpose (--json has all)."""
    names = [name for name in COLUMNS if name != "purpose" or width >= WIDE]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(
            name,
            justify="right" if name == "index" else "left",
            overflow="fold",
            min_width=len(name),
            no_wrap=name not in ("actor", "outcome"),
        )
    for row in rows:
        cells = dict(zip(COLUMNS, _cells(row), strict=True))
        if width < WIDE:
            cells["time (UTC)"] = cells["time (UTC)"].partition("-")[2]
        table.add_row(*(Text(cells[name]) for name in names))
    return table


def _cells(row: Mapping[str, object]) -> Iterator[str]:
    found = row["body"]
    body: Mapping[str, object] = found if isinstance(found, dict) else {}
    at_ms = row["time_ms"]
    yield str(row["index"])
    yield utc(at_ms).strftime("%Y-%m-%d %H:%M") if isinstance(at_ms, int) else ""
    yield str(row["kind"])
    yield str(body.get("actor") or body.get("client") or "")
    yield str(body.get("patient", ""))[:8]
    yield str(body.get("purpose", ""))
    yield str(body.get("decision", ""))
    said = str(body.get("outcome") or body.get("reason") or "")
    yield said if row["state"] == "valid" else f"body {row['state']}"


# Verify --------------------------------------------------------------------------

VERIFY_HELP = """Verify a copied ledger folder; no node, no network.

DIR holds bundles/, tile/, checkpoint and guard.sqlite, or is a node's folder with
ledger/ in it. Without --vkey the key is looked for in DIR/ledger.vkey and in pki/
beside it; a key that came with the copy proves only that the copy agrees with
itself, so compare it with one you got elsewhere.

\b
Exit codes: 0 whole, 1 something is wrong (it says what), 2 no key or no ledger there.
"""


@group.command("verify", help=VERIFY_HELP)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--vkey", metavar="KEY|FILE", help="The ledger's verifier key, or a file that holds it.")
@AS_JSON
@click.pass_obj
def verify(options: Options, directory: Path, vkey: str | None, as_json: bool) -> None:
    options.out.as_json |= as_json
    folder = directory / "ledger" if (directory / "ledger").is_dir() else directory
    try:
        verifier, beside = _key(vkey, directory, folder)
        report = verify_directory(folder, verifier)
    except BadInput as error:
        raise click.UsageError(error.public) from None
    options.out.show(as_data(report, verifier), lambda: report_table(report))
    for sentence in report.sentences():
        options.out.say(f"[red]✗[/red] {escape(sentence)}")
    if beside:
        options.out.say("The key was taken from beside the copy: compare it with one you got elsewhere.")
        if not options.out.as_json:
            click.echo(verifier.encode())  # whole on one line, to be copied
    options.out.say("[green]the ledger is whole[/green]" if report.ok else "[red]the ledger is NOT whole[/red]")
    if not report.ok:
        sys.exit(1)


def _key(text: str | None, directory: Path, folder: Path) -> tuple[Verifier, bool]:
    """The verifier key, and whether it was found beside what it is to verify."""
    if text is not None:
        path = Path(text)
        is_file = "\n" not in text and len(text) < 1024 and path.is_file()
        return Verifier.decode(_text(path) if is_file else text), False
    places = (
        folder / "ledger.vkey",
        directory / "pki" / "ledger.vkey",
        folder.absolute().parent / "pki" / "ledger.vkey",
    )
    for path in places:
        if path.is_file():
            return Verifier.decode(_text(path)), True
    raise BadInput("no verifier key found: give it with --vkey (a node keeps it in pki/ledger.vkey)")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeError):
        raise Malformed(f"{path.name} cannot be read as a verifier key") from None


def as_data(report: Report, verifier: Verifier) -> dict[str, object]:
    bodies = report.bodies
    return {
        "whole": report.ok,
        "origin": report.origin,
        "verifier_key": verifier.encode(),
        "size": report.size,
        "root": report.root.hex(),
        "entries_checked": report.entries_checked,
        "signatures_checked": report.notes_checked,
        "signatures_foreign": report.foreign_notes,
        "published_size": report.published_size,
        "guard_size": report.guard_size,
        "unfinished_bytes": report.unfinished_bytes,
        "bodies": bodies
        and {
            "valid": bodies.valid,
            "destroyed": bodies.destroyed,
            "missing": bodies.missing,
            "false": bodies.false,
        },
        "findings": [
            {"where": one.where, "sentence": one.sentence, "first": one.first, "end": one.end}
            for one in report.findings
        ],
    }


def report_table(report: Report) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("origin", escape(report.origin))
    table.add_row("entries", f"{report.entries_checked} read, {report.size} lead to a signed root")
    table.add_row("root", report.root.hex())
    table.add_row("signatures", f"{report.notes_checked} hold")
    table.add_row("published", f"{report.published_size} entries in tiles; head guard at {report.guard_size}")
    if report.unfinished_bytes:
        table.add_row("unfinished", f"{report.unfinished_bytes} bytes of a commit that nobody was answered for")
    if report.bodies is not None:
        bodies = report.bodies
        counts = f"{bodies.valid} valid, {bodies.destroyed} destroyed by rule, {bodies.missing} missing"
        table.add_row("bodies", f"{counts}, {len(bodies.false)} false")
    return table
