"""Tables, joining and decisions from the command line of a real hospital that has joined nobody yet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.hospital import Hospital
from tests.terminal import Terminal
from twinward.client import Coordinator as Registry
from twinward.client import Site
from twinward.errors import BadInput, NotFound
from twinward.wire.v1 import session_pb2 as pb
from twinward.wire.v1 import session_pb2_grpc

CONSENT = Path(__file__).parents[3] / "docs" / "examples" / "consent-research.json"
MAPPING = """
name = "visits"
patient_system = "urn:test:visits"
patient_column = "id"
date_column = "seen"
[[observation]]
column = "sys"
code = "loinc|8480-6"
unit = "mm[Hg]"
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where unfinished imports are remembered: every test its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def table(folder: Path, rows: str, mapping: str = MAPPING) -> Path:
    file = folder / "visits.csv"
    file.write_text("id,seen,sys\n" + rows)
    (folder / "visits.mapping.toml").write_text(mapping)
    return file


def sent(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    found = json.loads(done.stdout)["counts"]
    return {result: count for result, count in found.items() if count}


def test_a_table_goes_in_once_and_a_corrected_cell_corrects(hospital: Hospital, tmp_path: Path) -> None:
    command = ("--json", "ingest", "table", str(tmp_path / "visits.csv"), "--consent", str(CONSENT))
    table(tmp_path, "a,2020-01-01,120\nb,2020-01-02,130\n")
    first = hospital.twinward(*command, "--yes-deidentified")
    assert first.returncode == 0, first.stderr
    assert sent(first) == {"stored": 6}
    assert sent(hospital.twinward(*command, "--yes-deidentified")) == {"duplicate": 6}
    table(tmp_path, "a,2020-01-01,125\nb,2020-01-02,130\n")
    assert sent(hospital.twinward(*command, "--yes-deidentified")) == {"corrected": 1, "duplicate": 5}


def test_a_row_that_cannot_be_read_is_counted_and_the_others_go_in(hospital: Hospital, tmp_path: Path) -> None:
    file = table(tmp_path, "c,2020-01-01,120\nd,2020-01-02,Meier\ne,2020-01-03,140\n")
    done = hospital.twinward("--json", "ingest", "table", str(file), "--yes-deidentified")
    assert done.returncode == 3
    assert json.loads(done.stdout)["refused_rows"] == 1
    assert sent(done) == {"stored": 4}
    assert "row 2" in done.stderr
    assert "Meier" not in done.stdout + done.stderr


def test_an_import_that_was_killed_goes_on_where_it_was(hospital: Hospital, tmp_path: Path, state: Path) -> None:
    visits = "".join(
        f"p{n % 9},{2000 + n // 360:04d}-{n // 30 % 12 + 1:02d}-{n % 30 % 28 + 1:02d},{100 + n % 60}\n"
        for n in range(9000)
    )
    file = table(tmp_path, visits)
    arguments = ["--json", "ingest", "table", str(file), "--yes-deidentified"]
    import_ = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "--node", str(hospital.directory), *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(state.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    import_.send_signal(signal.SIGKILL)
    import_.wait(10)
    again = hospital.twinward(*arguments)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["skipped_messages"] >= 1
    assert not list(state.rglob("*.json"))
    assert set(sent(hospital.twinward(*arguments))) <= {"duplicate", "corrected"}


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("ingest", "table", "nothing.csv"), 3, "is not there"),
        (("coordinator", "status"), 3, "twinward node"),
        (("coordinator", "invite", "a.demo"), 3, "is a hospital"),
        (("study", "submit", str(CONSENT)), 3, "is a hospital"),
        (("study", "approve", "00" * 32), 6, "study list"),
        (("study", "refuse", "00" * 32, "--reason", "no"), 6, "study list"),
        (("study", "approve", "00" * 32, "--yes"), 6, ""),
        (("site", "join", " "), 3, "one line"),
        (("site", "join", "not-a-token"), 3, ""),
        (("site", "leave", "--reason", "test"), 8, ""),
        (("--as", "clinician", "site", "join", "x"), 5, "site.join"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_an_exit_code(
    hospital: Hospital, words: tuple[str, ...], code: int, sentence: str
) -> None:
    done = hospital.twinward(*words)
    assert done.returncode == code, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hospital_that_joined_nobody_says_so(hospital: Hospital) -> None:
    found = json.loads(hospital.twinward("--json", "site", "status").stdout)
    assert (found["joined"], found["waiting"]) == (False, 0)
    assert json.loads(hospital.twinward("--json", "study", "list").stdout) == []
    with Site(hospital.directory) as site:
        assert site.studies() == []
        with pytest.raises(NotFound):
            site.approve("00" * 32, privacy="NON-PRIVATE")
    with pytest.raises(BadInput, match="is a hospital"):
        Registry(hospital.directory)


def asked(hospital: Hospital, *words: str) -> Any:
    """What the instructor's command says."""
    done = hospital.twinward("--json", "session", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_bedside_monitor_in_a_real_terminal(hospital: Hospital) -> None:
    cli = [sys.executable, "-m", "services.cli", "--node", str(hospital.directory)]
    terminal = Terminal([*cli, "session", "run", "haemorrhage", "--seed", "1"])
    try:
        terminal.until(r"education and research; not a medical device")
        terminal.until(r"HR \d+\S* 1/min \d+ s")  # a number with its unit and age
        terminal.until(r"ecg +[▁▂▃▄▅▆▇█]{20}")
        terminal.press("a")
        terminal.until(r"action: .*enter")
        terminal.press("crystal\r")
        terminal.until(r"> crystalloid dose=")  # the usual dose, to be changed or sent
        terminal.press("\r")
        terminal.until(r"(?i)00:\d\d  .*crystalloid")
        (session,) = [one["id"] for one in asked(hospital, "roster") if one["running"]]
        assert asked(hospital, "steer", "--session", session, "say", "Look", "closer.") == {"reached": 1}
        terminal.until(r"Look closer\.")
        assert asked(hospital, "steer", "--session", session, "inject", "relatives") == {"reached": 1}
        terminal.until(r"Relatives ask")
        assert asked(hospital, "steer", "pause") == {"reached": 1}  # everybody's
        terminal.until(r"· paused ·")
        terminal.press(" ")
        terminal.until(r"· running ·")
        for _ in range(3):
            terminal.press("+")
        terminal.until(r"10x")  # quick presses add up
        terminal.until(r"0[1-9]:\d\d · running")
        terminal.press(" ")
        terminal.until(r"· paused ·")
        terminal.press("w")
        terminal.until(r"why: ")
        terminal.press("f")
        fork = terminal.until(r"--session ([0-9a-f]{8}-[0-9a-f-]{27})")[1]
        terminal.press("r")
        terminal.until(r"rewound to here")
        for rows, columns in ((8, 30), (60, 200), (24, 80)):
            terminal.resize(rows, columns)
            terminal.press("?")  # draws anew
            terminal.until(r"not a medical")
        terminal.press(":dance\r")
        terminal.until(r"refused: this case has no such action")
        terminal.press("q")
        assert terminal.close() == 0
        assert "of 100 so far" in terminal.text  # the score, on the screen that was there before
        assert "Traceback" not in terminal.text
    finally:
        terminal.stop()
    listed = json.loads(hospital.twinward("--json", "session", "list").stdout)
    assert fork in [one["id"] for one in listed]
    assert "haemorrhage" in {one["case"] for one in listed if one["id"] == fork}


def test_free_practice_with_a_virtual_person_survives_a_kill(hospital: Hospital) -> None:
    opened = hospital.twinward("session", "open", "--virtual", "7:3", "--hours", "13")
    assert opened.returncode == 0, opened.stderr
    session = opened.stdout.strip()
    arguments = ("--json", "session", "run", "--session", session, "--speed", "60", "--until")
    first = json.loads(hospital.twinward(*arguments, "60").stdout)
    assert (first["note"], first["score"]) == ("free practice: nothing is scored", None)
    teaching: Any = session_pb2_grpc.TeachingStub(hospital.session("learner").channel("sessions"))
    both = pb.CompareSessionsRequest(first=UUID(session).bytes, second=UUID(session).bytes)
    course = list(teaching.CompareSessions(both).rows)
    assert {row.at_s for row in course} >= {0, 60}
    hospital.kill("sessions")
    hospital.wait_healthy()
    teaching = session_pb2_grpc.TeachingStub(hospital.session("learner").channel("sessions"))
    assert list(teaching.CompareSessions(both).rows) == course  # lived again, to the bit
    assessed = pb.OpenSessionRequest(id=b"v" * 16, virtual=pb.VirtualPerson(seed=7, index=3), mode="assessment")
    with pytest.raises(BadInput, match="not scored"):
        teaching.OpenSession(assessed)
    nobody = hospital.twinward("session", "cohort", "haemorrhage")
    assert nobody.returncode == 0, nobody.stderr
    assert "no assessment has been scored yet" in nobody.stdout
