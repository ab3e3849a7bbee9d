"""The newest revision by its file name: what the supervisor compares without loading Alembic."""

from __future__ import annotations

from pathlib import Path


def newest_file() -> str:
    """ "0001" of versions/0001_vault.py; a test holds it against Alembic's own head."""
    return max(file.name.split("_", 1)[0] for file in (Path(__file__).parent / "versions").glob("[0-9]*.py"))
