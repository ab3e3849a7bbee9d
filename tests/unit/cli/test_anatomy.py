"""`twinward anatomy`: every number with unit, uncertainty and source; bad input as one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli.__main__ import OUT, twinward
from services.cli.output import finish


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    assert run("anatomy", "phantom", str(folder), "--spacing", "2") == 0
    return folder


def run(*words: str) -> int:
    return finish(lambda: twinward(["--json", *words], standalone_mode=False), lambda: OUT)


def test_volumes(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("anatomy", "volumes", str(phantom / "full.nii.gz"), "--mesh") == 0
    found = json.loads(capsys.readouterr().out)
    left = next(one for one in found["volumes"] if one["name"] == "heart_ventricle_left")
    assert left["value"] == pytest.approx(147.4, rel=0.01)
    assert left["mesh"] == pytest.approx(147.4, rel=0.01)
    assert left["unit"] == "mL"
    assert left["error"] > 0
    assert found["aorta"]["diameter"] == pytest.approx(22, abs=found["aorta"]["error"])
    assert found["source"].startswith("NIfTI")
    assert "not a medical device" in found["label"]


def test_what_if(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = (str(phantom / "full.nii.gz"), "--emptied", str(phantom / "emptied.nii.gz"), "--systolic", "120")
    assert run("anatomy", "whatif", *files, "--from", "0.8", "--repair", "surgical aortic prosthesis") == 0
    found = json.loads(capsys.readouterr().out)
    gradient = next(one for one in found["changes"] if one["what"] == "mean_gradient")
    assert gradient["before"] > 40 > gradient["after"]
    assert gradient["unit"] == "mmHg"
    assert {one["symbol"] for one in found["derived"]} >= {"El0", "Vulv", "Csa"}
    assert "anatomy: NIfTI" in found["source"]


def test_stenosis(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("anatomy", "stenosis", "--area-ratio", "0.5", "--length", "2", "--reynolds", "50") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["low"] < found["value"] < found["high"]
    assert found["label"] == "education/research; 2-D or axisymmetric"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("volumes", "/nowhere.nii"), 6, "no such file"),
        (("whatif", "--from", "0.8"), 3, "either --to"),
        (("whatif", "--from", "0.8", "--repair", "a miracle"), 3, "is one of"),
        (("whatif", "--from", "0.8", "--to", "1.6", "--systolic", "120"), 3, "go with a FILE"),
        (("whatif", "--from", "nan", "--to", "1.6"), 3, "opens wider"),
        (("stenosis", "--area-ratio", "0.2", "--length", "2", "--reynolds", "50"), 3, "area ratio"),
        (("phantom", "x", "--spacing", "9"), 3, "--spacing"),
    ],
)
def test_bad_input_is_one_sentence(
    words: tuple[str, ...], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("anatomy", *words) == code
    said = json.loads(capsys.readouterr().err)
    assert sentence in said["message"]
    assert "\n" not in said["message"]
