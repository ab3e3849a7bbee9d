"""The database's schema and the rows that only the installation knows."""

from __future__ import annotations

import subprocess
import sys

from infra.embedded.postgres import OWNER, Postgres
from infra.embedded.programs import Kind, Place
from infra.postgres.newest import newest_file
from twinward.clock import Clock, utc
from twinward.errors import Unready

# In profile demo feed `files` may say who a patient is, who treats them and what they consent to; feed
# `observations` nothing of that. Auth writes the leaf of an approval that has none yet.
DEMO_FEEDS: tuple[tuple[str, list[str]], ...] = (
    ("files", ["identity", "care_team", "consent"]),
    ("observations", []),
)
MIGRATION_S = 600


def bring_up(postgres: Postgres, place: Place, kind: Kind, clock: Clock) -> None:
    """
    Raises:
        Unready: a migration failed; the database's log says why.
    """
    if _revision(postgres) != newest_file():
        # A process of its own: the migration tools weigh more than the supervisor.
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            [sys.executable, "-m", "infra.postgres.migrate", postgres.dsn(OWNER), str(postgres.password_file(OWNER))],
            capture_output=True, text=True, timeout=MIGRATION_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Unready(done.stderr.strip() or "the database's schema could not be made")
    with postgres.connect(OWNER) as connection:
        for program in kind.instances:
            row = place.secrets.instance(program)
            connection.execute(
                "insert into vault.instance (id, program, public_key, signature, since) values (%s, %s, %s, %s, %s)"
                " on conflict (id) do nothing",
                [row.id, row.program, row.public_key, row.signature, utc(clock.now_ms())],
            )
        if place.profile == "demo":
            for name, approvals in ((name, said) for name, said in DEMO_FEEDS if name in kind.feeds):
                connection.execute(
                    "insert into vault.feed (name, approvals) values (%s, %s) on conflict (name) do nothing",
                    [name, approvals],
                )


def _revision(postgres: Postgres) -> str | None:
    with postgres.connect(OWNER) as connection:
        if connection.execute("select to_regclass('public.alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("select version_num from public.alembic_version").fetchone()
        return None if row is None else str(row[0])
