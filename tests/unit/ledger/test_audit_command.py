"""`twinward audit`: verify as an auditor runs it, and what list shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from services.cli.audit import entries_table, patient_of, row_of, since_ms
from tests.unit.ledger.written import SIGNER, a_log
from twinward.errors import BadInput
from twinward.ledger.kinds import Kind
from twinward.ledger.note import Signer
from twinward.wire.v1 import auth_pb2

NOW_MS = 1_795_334_400_000
KEY = SIGNER.verifier.encode()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", "audit", "verify", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_log(300).write(tmp_path_factory.mktemp("ledger"))


def test_a_whole_copy(whole: Path) -> None:
    told = run(str(whole), "--vkey", KEY)
    assert told.returncode == 0, told.stderr
    assert "300 read, 300 lead to a signed root" in told.stdout
    assert SIGNER.verifier.name in told.stdout
    assert "the ledger is whole" in told.stdout


def test_a_whole_copy_as_json_with_the_key_in_a_file(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    told = run(str(whole), "--vkey", str(tmp_path / "key"), "--json")
    found = json.loads(told.stdout)
    assert told.returncode == 0
    assert (found["whole"], found["size"], found["findings"]) == (True, 300, [])


def test_a_tampered_copy_is_named_and_ends_with_1(whole: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    (copy / "ledger.vkey").write_text(KEY)
    path = next((copy / "bundles").iterdir())
    data = bytearray(path.read_bytes())
    at = data.index(a_log(300).entries[123])
    data[at + 40] ^= 1
    path.write_bytes(data)
    told = run(str(copy))
    assert told.returncode == 1
    assert "entry 123 is the first where entries and tiles disagree" in " ".join(told.stdout.split())
    assert "NOT whole" in told.stdout
    assert f"{KEY}\n" in told.stdout


def test_the_key_of_another_ledger_is_said_once(tmp_path: Path) -> None:
    copy = a_log(300, 7).write(tmp_path)
    other = Signer(SIGNER.verifier.name, bytes(32)).verifier.encode()
    told = run(str(copy), "--vkey", other)
    assert told.returncode == 1
    assert told.stdout.count("✗") == 1
    assert "the key does not belong to this ledger" in " ".join(told.stdout.split())
    found = json.loads(run(str(copy), "--vkey", other, "--json").stdout)
    assert found["signatures_foreign"] == len(found["findings"]) > 40
    assert found["signatures_checked"] == 0


@pytest.mark.parametrize("vkey", [None, "nonsense", "a+00000000+AQ=="])
def test_no_usable_key_ends_with_2(whole: Path, vkey: str | None) -> None:
    told = run(str(whole), *(["--vkey", vkey] if vkey else []))
    assert told.returncode == 2
    assert "verifier key" in told.stderr


def test_no_ledger_ends_with_2(tmp_path: Path) -> None:
    assert run(str(tmp_path), "--vkey", KEY).returncode == 2
    assert run(str(tmp_path / "nowhere"), "--vkey", KEY).returncode == 2


def test_the_node_folder_itself_is_understood(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "ledger")
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ledger.vkey").write_text(KEY)
    assert run(str(tmp_path)).returncode == 0
    assert run(str(tmp_path / "ledger")).returncode == 0


# What list shows ---------------------------------------------------------------------


def entry(**more: object) -> auth_pb2.LedgerEntry:
    body = {
        "actor": "p-17", "decision": "deny", "kind": "grant", "patient": "6f1f0f7e-7c0b-4a4e-9f0e-1f5f3a1c2d3e",
        "purpose": "treatment", "reason": "consent says [no]",
    }  # fmt: skip
    return auth_pb2.LedgerEntry(
        index=41, kind="grant", time_ms=NOW_MS, body=json.dumps(body | more).encode(), state="valid"
    )


def shown(*entries: auth_pb2.LedgerEntry, width: int = 160) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(entries_table([row_of(one) for one in entries], width))
    return console.export_text()


def test_a_row_says_who_whom_why_and_how_it_ended() -> None:
    line = shown(entry()).splitlines()[1]
    assert line.split() == [
        "41", "2026-11-22", "08:00", "grant", "p-17", "6f1f0f7e", "treatment", "deny", "consent", "says", "[no]",
    ]  # fmt: skip


def test_eighty_columns_break_no_word_of_the_kind_and_keep_the_decision() -> None:
    long = entry(actor="spiffe://st-anne-demo/twin-worker", reason="the patient's consent says no to this purpose")
    long.kind, long.index = "consent_change", 1_234_567
    for kind in Kind:
        long.kind = kind.word
        first = shown(long, width=80).splitlines()[1]
        assert first.split()[:4] == ["1234567", "11-22", "08:00", kind.word]
        assert {"6f1f0f7e", "deny"} <= set(first.split())


def test_a_body_that_is_gone_is_said_to_be() -> None:
    gone = auth_pb2.LedgerEntry(index=7, kind="ingest", time_ms=NOW_MS, state="destroyed")
    assert "body destroyed" in shown(gone)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("", 0),
        ("30m", NOW_MS - 1_800_000),
        ("12h", NOW_MS - 43_200_000),
        ("2d", NOW_MS - 172_800_000),
        ("2026-11-22", 1_795_305_600_000),
        ("2026-11-22T08:00", NOW_MS),
        ("2026-11-22T09:00+01:00", NOW_MS),
    ],
)
def test_since(text: str, ms: int) -> None:
    assert since_ms(text, NOW_MS) == ms


@pytest.mark.parametrize("text", ["yesterday", "h", "-1h", "2026-13-01", "1w"])
def test_since_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadInput):
        since_ms(text, NOW_MS)


def test_patients_by_number_and_by_handle() -> None:
    assert patient_of("urn:x:mrn|12|3").identifier.value == "3"
    assert len(patient_of("6f1f0f7e-7c0b-4a4e-9f0e-1f5f3a1c2d3e").handle) == 16
    for text in ("12345", "|1", "a|", ""):
        with pytest.raises(BadInput):
            patient_of(text)
