"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "services").rglob("README.md")),
]
OURS = ("twinward/", "services/", "infra/", "tests/", "proto/", "bench/", "docs/")


def named_paths(text: str) -> set[str]:
    return {word for word in re.findall(r"`([\w./-]+)`", text) if word.startswith(OURS)}


def linked_paths(text: str) -> set[str]:
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    return {link.split("#")[0] for link in links if not link.startswith(("http", "#"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    missing = [path for path in named_paths(text) if not (ROOT / path).exists()]
    missing += [path for path in linked_paths(text) if not (page.parent / path).exists()]
    assert missing == []


def test_the_tour_walks_through_every_program() -> None:
    text = (ROOT / "docs" / "tour.md").read_text()
    for program in ("ingest", "auth", "twin", "compactor", "federation", "cli"):
        assert f"services/{program}/" in text
