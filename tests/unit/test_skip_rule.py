from __future__ import annotations

from tests.skip_rule import allowed, unlisted

LISTED = allowed("# comment\n\ntests/a.py::test_x needs root\n")


def test_a_listed_skip_with_its_own_reason_passes() -> None:
    assert unlisted({"tests/a.py::test_x[1]": "Skipped: needs root here"}, LISTED) == []


def test_another_test_or_another_reason_is_named() -> None:
    assert unlisted({"tests/a.py::test_x": "Skipped: no data"}, LISTED) == ["tests/a.py::test_x: Skipped: no data"]
    assert unlisted({"tests/b.py::test_y": "Skipped: needs root"}, LISTED) != []
