"""Priors, migrations, what happened to a twin: see 0007_priors.sql beside the folder."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Straight to the driver, as its neighbours do: SQLAlchemy would take % for parameters.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None  # noqa: S101 - an open connection has its driver's
    driver.execute((Path(__file__).parent.parent / "0007_priors.sql").read_bytes())
