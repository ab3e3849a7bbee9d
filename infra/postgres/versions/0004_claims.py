"""Shares of the living twins: see 0004_claims.sql beside the folder."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = (Path(__file__).parent.parent / "0004_claims.sql").read_bytes()
    # Straight to the driver: the file has % signs that SQLAlchemy would take for parameters.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None  # noqa: S101 - an open connection has its driver's
    driver.execute(text)
