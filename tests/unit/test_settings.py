from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from twinward.errors import BadInput, UnknownSetting
from twinward.settings import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    name: str
    key_file: Path
    port: int = 4000
    loud: bool = False
    ratio: float = 1.0


def write(folder: Path, text: str) -> Path:
    path = folder / "example.toml"
    path.write_text(text)
    return path


def test_reads_fields_and_makes_paths_relative_to_the_file(tmp_path: Path) -> None:
    found = load(Example, write(tmp_path, 'name = "a"\nkey_file = "k/one"\nratio = 2\n'), {})
    assert found == Example(name="a", key_file=tmp_path / "k/one", ratio=2.0)


def test_the_environment_overrides_and_is_converted(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "a"\nkey_file = "k"\n')
    found = load(Example, path, {"TWINWARD_PORT": "7", "TWINWARD_LOUD": "true"})
    assert (found.port, found.loud) == (7, True)


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownSetting, match="'portt'"):
        load(Example, write(tmp_path, 'name = "a"\nkey_file = "k"\nportt = 1\n'), {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "a"', "key_file"),
        ('name = 3\nkey_file = "k"', "'name' must be str"),
        ('name = "a"\nkey_file = "k"\nport = "x"', "'port' must be a number"),
        ('name = "a"\nkey_file = "k"\nport = true', "'port' must be int"),
        ("name = ", "not TOML"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        load(Example, write(tmp_path, text), {})


def test_a_missing_file_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load(Example, tmp_path / "nothing.toml", {})
    assert "nothing.toml" in caught.value.public
    assert str(tmp_path) not in caught.value.public
