"""The committed coefficient tables are what the script makes of the data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import risk_tables


def test_the_tables_are_reproduced_byte_for_byte(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = risk_tables.OUT
    monkeypatch.setattr(risk_tables, "OUT", tmp_path)
    monkeypatch.setattr(risk_tables, "DATA", real_data / "physiology")
    risk_tables.prevent()
    risk_tables.ukpds()
    for name in ("prevent.csv", "ukpds.csv"):
        assert (tmp_path / name).read_bytes() == (committed / name).read_bytes()


@pytest.mark.parametrize("name", ["prevent.csv", "ukpds.csv"])
def test_each_table_says_where_it_is_from_and_under_what_licence(name: str) -> None:
    head = [line for line in (risk_tables.OUT / name).read_text().splitlines() if line.startswith("#")]
    assert "Source: " in " ".join(head)
    assert "facts of the paper" in " ".join(head)
