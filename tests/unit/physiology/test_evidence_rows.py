"""The evidence pages say what the code says today, and no row turned red unseen."""

from __future__ import annotations

import csv
from collections.abc import Callable

import pytest

from bench import risk

RED = {"PCE, white male of 55, %", "FINDRISC form, 18 points, %"}  # recorded misses, explained in risk.md


@pytest.mark.parametrize(
    ("name", "rows"), [("risk", lambda: [*risk.risks(), *risk.queues()]), ("inflammation", risk.bodies)]
)
def test_committed_rows_are_the_rows_of_today(name: str, rows: Callable[[], list[risk.Row]]) -> None:
    today = rows()
    with (risk.EVIDENCE / f"{name}.csv").open() as source:
        committed = [(row["what"], row["published"], row["type"], row["colour"]) for row in csv.DictReader(source)]
    assert committed == [(r.what, r.published, r.kind, "green" if r.green else "red") for r in today]
    assert {r.what for r in today if not r.green} <= RED
    page = (risk.EVIDENCE / f"{name}.md").read_text()
    assert risk.counted(today) in page
    assert all(kind in {"external", "fitted-to", "self"} for _, _, kind, _ in committed)
