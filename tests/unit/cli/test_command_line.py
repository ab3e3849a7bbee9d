"""The command line as a person meets it: help, exit codes, one sentence an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from services.cli.output import EXIT_CODES, MEANINGS, Output, exit_code, finish
from twinward.errors import Denied, LeaseEnded, TwinwardError, every_error


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_lists_nouns_and_exit_codes() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for word in ("node", "login", "--as", "--purpose", "--json", "_TWINWARD_COMPLETE", *MEANINGS.values()):
        assert word in shown.stdout


def test_help_loads_no_noun() -> None:
    code = (
        "import sys; sys.argv = ['twinward', '--help']\n"
        "from services.cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'grpc', 'psycopg', 'services.cli.node'} & set(sys.modules), 'loaded too much'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "place", [("--json", "node", "status"), ("node", "--json", "status"), ("node", "status", "--json")]
)
def test_json_may_stand_anywhere(tmp_path: Path, place: tuple[str, ...]) -> None:
    answer = run(*place, TWINWARD_NODE=str(tmp_path))
    assert answer.returncode == 6
    assert json.loads(answer.stderr)["error"] == "NOT_FOUND"
    assert "twinward node init" in json.loads(answer.stderr)["message"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nothing",), 2),
        (("node", "nothing"), 2),
        (("node", "init"), 2),
        (("--node", "/nowhere", "login"), 6),
        (("--node", "/nowhere", "node", "down"), 6),
        (("node", "init", "/proc/none", "--name", "..."), 3),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int) -> None:
    answer = run(*arguments)
    assert answer.returncode == code
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr


def test_completion_is_there() -> None:
    answer = run(_TWINWARD_COMPLETE="bash_source")
    assert "complete" in answer.stdout


def test_every_error_has_an_exit_code_with_a_meaning() -> None:
    for kind in every_error().values():
        if kind is not TwinwardError:
            assert exit_code(kind("x")) in MEANINGS
            assert exit_code(kind("x")) > 2
    assert exit_code(LeaseEnded("x")) == EXIT_CODES[Denied]


@pytest.mark.parametrize(
    ("error", "code"),
    [(Denied("no [red]markup[/red] [x"), 5), (click.Abort(), 130), (KeyboardInterrupt(), 130), (TwinwardError("?"), 1)],
)
def test_what_a_command_raises_becomes_its_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert finish(command, Output) == code
    written = capsys.readouterr().err
    assert isinstance(error, TwinwardError) is (str(error.args[0] if error.args else "-") in written)


def test_data_go_to_stdout_as_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).show({"name": "Sainte-Françoise", "path": Path("/a")}, lambda: "for eyes")
    assert json.loads(capsys.readouterr().out) == {"name": "Sainte-Françoise", "path": "/a"}
