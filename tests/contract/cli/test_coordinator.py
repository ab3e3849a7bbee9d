"""The command line and the notebook's client at a real coordinator, before any hospital has joined."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from services.cli.study_draft import RECIPES, draft
from tests.coordinator import Coordinator
from twinward.client import Coordinator as Registry
from twinward.client import Site
from twinward.errors import BadInput, Denied, NotFound, TwinwardError


def said(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def refused(done: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_status_shows_every_program_and_the_ledger(coordinator: Coordinator) -> None:
    found = said(coordinator.twinward("--json", "coordinator", "status"))
    programs = found["programs"]
    assert isinstance(programs, list)
    assert {one["name"] for one in programs} == {
        "postgres", "site-idp", "auth", "coordinator", "superlink", "rounds"
    }  # fmt: skip
    assert all(one["healthy"] for one in programs)
    lags = found["lags"]
    assert isinstance(lags, dict)
    assert "ledger_size" in lags
    assert "intake_waiting" not in lags


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("node", "status"), 3, "twinward coordinator"),
        (("twin", "list"), 3, "is a coordinator"),
        (("ingest", "status"), 3, "is a coordinator"),
        (("site", "status"), 3, "is a coordinator"),
        (("study", "approve", "00" * 32), 3, "is a coordinator"),
        (("study", "show", "xyz"), 3, "named by its hash"),
        (("study", "show", "00" * 32), 6, ""),
        (("study", "check", "nothing.toml"), 3, "cannot be read"),
        (("study", "results", "00" * 32), 6, ""),
        (("--as", "auditor", "coordinator", "invite", "st-anne.demo"), 5, "site.invite"),
        (("coordinator", "invite", "not a site"), 3, ""),
        (("coordinator", "remove", "nobody.demo", "--reason", "test"), 6, ""),
        (("coordinator", "logs", "nothing"), 6, "there is no log"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_an_exit_code(
    coordinator: Coordinator, words: tuple[str, ...], code: int, sentence: str
) -> None:
    refused(coordinator.twinward(*words), code, sentence)


def test_a_token_is_one_line_for_one_hospital(coordinator: Coordinator) -> None:
    done = coordinator.twinward("coordinator", "invite", "st-anne.demo", "--minutes", "5")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "st-anne.demo" in done.stderr
    found = said(coordinator.twinward("--json", "coordinator", "invite", "st-brice.demo"))
    assert found["token"] != done.stdout.strip()
    sites = json.loads(coordinator.twinward("--json", "coordinator", "sites").stdout)
    assert {one["site"]: one["state"] for one in sites} == {"st-anne.demo": "invited", "st-brice.demo": "invited"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_draft_can_be_submitted_as_it_stands(coordinator: Coordinator, tmp_path: Path, recipe: str) -> None:
    file = tmp_path / "study.toml"
    assert coordinator.twinward("study", "draft", str(file), "--recipe", recipe).returncode == 0
    refused(coordinator.twinward("study", "draft", str(file)), 7, "there already")
    found = said(coordinator.twinward("--json", "study", "check", str(file)))
    assert found["problems"] == []
    assert "NON-PRIVATE" in str(found["approval_text"])
    study = said(coordinator.twinward("--json", "study", "submit", str(file)))["study"]
    shown = said(coordinator.twinward("--json", "study", "show", str(study)[:12]))
    assert shown["state"] == "submitted"
    canonical = shown["canonical"]
    assert isinstance(canonical, dict)
    assert canonical["recipe"] == recipe
    assert study in coordinator.twinward("--json", "study", "list").stdout
    refused(coordinator.twinward("study", "run", str(study)), 8, "")


def test_problems_of_a_file_are_listed_and_the_exit_code_says_so(coordinator: Coordinator, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(draft("logistic").replace("mm[Hg]", "kg").replace("rounds = 20", "rounds = 0"))
    done = coordinator.twinward("--json", "study", "check", str(file))
    assert done.returncode == 3
    assert len(json.loads(done.stdout)["problems"]) >= 2
    file.write_bytes(b"x" * 70_000)
    refused(coordinator.twinward("study", "submit", str(file)), 3, "64 KiB")


def test_the_notebooks_client(coordinator: Coordinator, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(draft("logistic").replace("seed = 1", "seed = 77"))
    with Registry(coordinator.directory) as registry:
        assert registry.check(file) == []
        study = registry.submit(file)
        assert {"study": study, "title": "Heart disease from risk factors", "state": "submitted"} in registry.studies()
        assert set(registry.decisions(study).values()) <= {"waiting"}
        with pytest.raises(TwinwardError):
            registry.run(study)
        with pytest.raises(NotFound):
            registry.results("00" * 32)
        with pytest.raises(BadInput):
            registry.run("no hash")
    with Registry(coordinator.directory, role="auditor") as reader, pytest.raises(Denied):
        reader.submit(file)
    with pytest.raises(BadInput, match="is a coordinator"):
        Site(coordinator.directory)


def test_what_was_submitted_is_there_after_a_kill(coordinator: Coordinator) -> None:
    before = json.loads(coordinator.twinward("--json", "study", "list").stdout)
    for program in ("coordinator", "superlink", "rounds"):
        coordinator.kill(program)
    coordinator.wait_healthy()
    assert json.loads(coordinator.twinward("--json", "study", "list").stdout) == before
