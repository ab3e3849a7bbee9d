"""`twinward consent show | set | withdraw`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import click
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from services.cli.output import Options
from twinward.clock import utc
from twinward.errors import BadInput
from twinward.record import SENSITIVE, Category, Purpose
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2

STEWARD = "data-steward"
MOST_BYTES = 256 * 1024


@click.group()
def group() -> None:
    """Show, set and withdraw a patient's consent.

    A patient is named by an exact number (--mrn SYSTEM|VALUE) or by a handle.
    """


def _patient_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--patient", "handle", metavar="HANDLE", help="The patient's handle."),
        click.option("--mrn", metavar="SYSTEM|VALUE", help="The patient's exact number with its system."),
    ):
        command = option(command)
    return command


@group.command()
@_patient_options
@click.pass_obj
def show(options: Options, mrn: str | None, handle: str | None) -> None:
    """Show the consents on file and what they come to. The look is an entry of the ledger."""
    stub = _stub(options)
    found = stub.ShowConsent(auth_pb2.ShowConsentRequest(patient=_patient(mrn, handle)))
    data = {
        "handle": str(UUID(bytes=found.handle)),
        "effective": dict(found.effective),
        "consents": [_consent(one) for one in found.consents],
    }
    options.out.show(data, lambda: Group(_effective(found), _on_file(found)))


@group.command("set")
@_patient_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def set_(options: Options, file: Path, mrn: str | None, handle: str | None) -> None:
    """Put the FHIR R4 Consent in FILE on file, as the patient stated it."""
    with file.open("rb") as source:
        body = source.read(MOST_BYTES + 1)
    request = auth_pb2.SetConsentRequest(patient=_patient(mrn, handle), fhir_consent=body)
    done = _stub(options).SetConsent(request)
    handle, sha256 = str(UUID(bytes=done.handle)), done.sha256.hex()
    shown = {"patient": handle, "SHA-256": sha256, **_leaf(done.leaf)}
    data = {"handle": handle, "sha256": sha256, "leaf": done.leaf}
    options.out.show(data, lambda: _facts("Consent on file", shown))


@group.command()
@_patient_options
@click.option(
    "--purpose", "purposes", multiple=True, type=click.Choice([purpose.value for purpose in Purpose]),
    help="What is withdrawn; may be given several times. All purposes where none is named.",
)  # fmt: skip
@click.option("--reason", default="", help="Written into the ledger; no names.")
@click.pass_obj
def withdraw(options: Options, mrn: str | None, handle: str | None, purposes: Sequence[str], reason: str) -> None:
    """Withdraw consent: at once no new key goes out and every running lease ends."""
    request = auth_pb2.WithdrawConsentRequest(patient=_patient(mrn, handle), purposes=purposes, reason=reason)
    done = _stub(options).WithdrawConsent(request)
    data = {
        "handle": str(UUID(bytes=done.handle)),
        "purposes": list(purposes) or ["all"],
        "leases_ended": done.leases_ended,
        "version": done.version,
        "leaf": done.leaf,
    }
    shown = {
        "patient": str(data["handle"]),
        "purposes": ", ".join(purposes) or "all",
        "leases ended": str(done.leases_ended),
        "key version now": str(done.version),
        **_leaf(done.leaf),
    }
    options.out.show(data, lambda: _facts("Consent withdrawn", shown))


def _stub(options: Options) -> auth_pb2_grpc.AuthStub:
    return auth_pb2_grpc.AuthStub(options.session(STEWARD).channel("auth"))


def _patient(mrn: str | None, handle: str | None) -> record_pb2.PatientRef:
    if (mrn is None) == (handle is None):
        raise BadInput("name the patient by --mrn SYSTEM|VALUE or by --patient HANDLE, one of the two")
    if handle is not None:
        try:
            return record_pb2.PatientRef(handle=UUID(handle).bytes)
        except ValueError:
            raise BadInput(
                "a handle looks like 3f2b6c1e-...; `twinward twin list` shows those of your patients"
            ) from None
    system, bar, value = (mrn or "").rpartition("|")
    if not (system and bar and value):
        raise BadInput("a number is given with its system: --mrn 'SYSTEM|VALUE'")
    return record_pb2.PatientRef(identifier=record_pb2.Identifier(system=system, value=value))


def _consent(one: auth_pb2.StatedConsent) -> dict[str, object]:
    return {
        "sha256": one.sha256.hex(),
        "status": one.status,
        "verified": one.verified,
        "source": one.source,
        "received": _day(one.received_ms),
        "provisions": [_provision(provision) for provision in one.provisions],
    }


def _provision(one: auth_pb2.ConsentProvision) -> dict[str, object]:
    return {
        "decision": one.decision,
        "purposes": list(one.purposes),
        "categories": [_name(number) for number in one.categories],
        "from": _day(one.from_ms),
        "until": _day(one.until_ms),
    }


def _name(number: int) -> str:
    try:
        return Category(number).name.lower().replace("_", "-")
    except ValueError:
        return str(number)


def _day(ms: int) -> str:
    return utc(ms).isoformat(timespec="seconds") if ms else ""


def _short(names: Sequence[str], everything: int) -> str:
    return "all" if len(names) == everything else ", ".join(names) or "none"


def _effective(found: auth_pb2.ShowConsentResponse) -> Table:
    table = Table(title=f"Patient {UUID(bytes=found.handle)}")
    table.add_column("purpose")
    table.add_column("now")
    table.add_column("because")
    for purpose, said in sorted(found.effective.items()):
        decision, _, why = said.partition(": ")
        table.add_row(purpose, decision, why)
    return table


def _on_file(found: auth_pb2.ShowConsentResponse) -> Table:
    table = Table(title="Consents on file")
    for column in ("received", "source", "verified", "status", "says", "purposes", "categories", "until"):
        table.add_column(column)
    for one in found.consents:
        for place, provision in enumerate(one.provisions):
            head = (_day(one.received_ms)[:10], escape(one.source), "yes" if one.verified else "no", one.status)
            table.add_row(
                *(head if place == 0 else ("", "", "", "")),
                provision.decision if place == 0 else f"  {provision.decision}",
                _short(provision.purposes, len(Purpose)),
                _categories(provision.categories),
                _day(provision.until_ms)[:10],
            )
    return table


def _categories(numbers: Sequence[int]) -> str:
    if set(numbers) == set(Category):
        return "all"
    if set(numbers) == set(Category) - SENSITIVE:
        return "all but sensitive"
    return ", ".join(map(_name, numbers)) or "none"


def _leaf(leaf: int) -> dict[str, str]:
    return {"ledger entry": str(leaf)}


def _facts(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table
