"""The twins' jobs and their queue: see 0006_jobs.sql beside the folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from alembic import op

from twinward.errors import Unready

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if find_spec("pgmq") is None:
        raise Unready("the queue of jobs comes with the package pgmq: install twinward[jobs]")
    from pgmq.install import get_embedded_install_sql

    # Straight to the driver: the files have % signs that SQLAlchemy would take for parameters.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None  # noqa: S101 - an open connection has its driver's
    driver.execute(get_embedded_install_sql())
    driver.execute((Path(__file__).parent.parent / "0006_jobs.sql").read_bytes())
