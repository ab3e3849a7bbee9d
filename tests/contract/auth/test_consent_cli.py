"""`twinward consent` against the real door: what people see, what machines read, what goes wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import click
import grpc
import pytest
from click.testing import CliRunner

from services.cli import consent
from services.cli.output import Options, Output
from tests.contract.auth.running import Running
from tests.unit.auth.office import SYSTEM
from tests.unit.auth.office import consent as document
from twinward.errors import BadInput, Denied, Malformed, NotFound


@dataclass
class AsPerson(Options):
    """The global options with a session that the test's site has issued."""

    running: Running | None = None

    def session(self, role: str) -> AsPerson:  # type: ignore[override]
        self.used = self.role or role
        return self

    def channel(self, program: str) -> grpc.Channel:
        assert self.running is not None
        assert program == "auth"
        return self.running.person(self.used)


@pytest.fixture
def mrn(running: Running) -> str:
    number = f"CLI-{len(running.office.kinds())}"
    running.office.patient(mrn=number)
    return f"{SYSTEM}|{number}"


def run(running: Running, *words: str, role: str | None = None, as_json: bool = True) -> str:
    options = AsPerson(Path(), role, None, Output(as_json), running)
    with click.Context(consent.group, obj=options):
        result = CliRunner().invoke(consent.group, list(words), obj=options)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_set_show_withdraw_show(running: Running, mrn: str, tmp_path: Path) -> None:
    file = tmp_path / "consent.json"
    file.write_bytes(document("teaching", "upkeep"))
    done = json.loads(run(running, "set", "--mrn", mrn, str(file)))
    assert UUID(done["handle"])
    shown = json.loads(run(running, "show", "--mrn", mrn))
    assert shown["handle"] == done["handle"]
    assert shown["effective"]["teaching"].startswith("permit")
    assert [one["sha256"] for one in shown["consents"]] == [done["sha256"]]
    assert shown["consents"][0]["provisions"][0]["purposes"] == ["teaching", "upkeep"]
    ended = json.loads(run(running, "withdraw", "--patient", done["handle"], "--purpose", "teaching"))
    assert (ended["purposes"], ended["version"]) == (["teaching"], 2)
    shown = json.loads(run(running, "show", "--patient", done["handle"]))
    assert shown["effective"]["teaching"].startswith("deny")
    assert shown["effective"]["upkeep"].startswith("permit")


def test_people_get_tables(running: Running, mrn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "consent.json"
    file.write_bytes(document("teaching"))
    for words in (("set", "--mrn", mrn, str(file)), ("show", "--mrn", mrn), ("withdraw", "--mrn", mrn)):
        shown = run(running, *words, as_json=False)
        assert shown.strip()
        with pytest.raises(json.JSONDecodeError):
            json.loads(shown)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("show",), BadInput),
        (("show", "--patient", "not-a-handle"), BadInput),
        (("show", "--mrn", "no-system"), BadInput),
        (("show", "--mrn", f"{SYSTEM}|never-heard"), NotFound),
    ],
)
def test_what_goes_wrong_is_one_of_our_refusals(
    running: Running, words: tuple[str, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(running, *words)


def test_a_clinician_sets_nothing_and_nonsense_is_refused(running: Running, mrn: str, tmp_path: Path) -> None:
    file = tmp_path / "consent.json"
    file.write_bytes(document("teaching"))
    with pytest.raises(Denied):
        run(running, "set", "--mrn", mrn, str(file), role="clinician")
    file.write_bytes(b"not json")
    with pytest.raises(Malformed):
        run(running, "set", "--mrn", mrn, str(file))
