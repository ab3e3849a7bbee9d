"""What docs/studies.md shows a researcher is taken as it stands there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from services.federation.recipes.options import LogisticOptions, StatisticsOptions
from services.federation.study import Column, parse, problems

PAGE = (Path(__file__).parents[3] / "docs" / "studies.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["logistic", "statistics"])
def test_an_example_is_a_study(example: str) -> None:
    assert problems(example.encode(), "r-1") == []
    assert parse(example.encode(), "r-1").recipe in ("logistic", "statistics")


@pytest.mark.parametrize("kind", [Column, LogisticOptions, StatisticsOptions])
def test_every_key_is_explained(kind: type) -> None:
    for one in fields(kind):
        assert re.search(rf"\b{one.name}\b", PAGE), one.name


def test_what_is_said_to_be_as_is_is() -> None:
    options = LogisticOptions()
    assert (options.method, options.ridge, options.local) == ("irls", 0.0, True)
    assert (options.learning_rate, options.local_epochs, options.batch) == (0.1, 5, 0)
    assert (options.server_rate, options.beta_1, options.beta_2, options.tau) == (0.1, 0.9, 0.99, 0.001)
