"""Scores of assessments: see 0008_cohort.sql beside the folder."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = (Path(__file__).parent.parent / "0008_cohort.sql").read_bytes()
    # Straight to the driver: the file may have % signs that SQLAlchemy would take for parameters.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None  # noqa: S101 - an open connection has its driver's
    driver.execute(text)
