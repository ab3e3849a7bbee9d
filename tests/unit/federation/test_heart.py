"""Four hospitals' real heart disease: exact together is the pooled fit, and what the evidence page says holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import heart
from services.federation.study import parse


def test_the_exact_federated_fit_is_the_pooled_fit(real_data: Path) -> None:
    rows, apart = heart.run(real_data, [1])
    assert apart < 1e-6
    for which, n in (("flamby", 254), ("study", 314)):
        together = [row for row in rows if row["table"] == which and row["hospital"] == "all together"]
        assert {row["n"] for row in together} == {n}
        for method in heart.ORDER:
            found = heart.spread(rows, table=which, method=method, hospital="all together")
            assert 0.74 < found["accuracy"][0] < 0.86, method
            assert found["brier"][0] < 0.17, method
        exact, pooled = (
            heart.spread(rows, table=which, method=method, hospital="mean") for method in ("exact IRLS", "pooled")
        )
        assert exact["brier"] == pytest.approx(pooled["brier"], abs=1e-9)


def test_the_tables_have_the_patients_that_flamby_counts(real_data: Path) -> None:
    tables = heart.hospitals(real_data, "flamby", 1)
    assert [len(table) for table in tables.values()] == [303, 261, 46, 130]
    assert [int((table.place < heart.TESTS).sum()) for table in tables.values()] == [104, 89, 16, 45]
    assert [len(table) for table in heart.hospitals(real_data, "study", 1).values()] == [303, 294, 123, 200]


def test_the_published_rows_are_flambys(real_data: Path) -> None:
    published = heart.flamby(real_data)
    assert published["FedYogi100"][0] == pytest.approx(0.731, abs=5e-4)
    assert published["FedAvg100"][0] == pytest.approx(0.685, abs=5e-4)


def test_the_example_study_is_taken() -> None:
    study = parse(heart.EXAMPLE.read_bytes(), "r-1")
    assert study.recipe == "logistic"
    assert len(study.columns) == 13
