"""Brings a database to the newest schema: one chain of migrations, run as the owner."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from twinward.errors import TwinwardError, Unavailable, Unready

HERE = Path(__file__).parent


def _config() -> Config:
    config = Config()
    # ConfigParser would read a % in the path as the start of a name.
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def newest() -> str:
    """The revision that the programs of this version expect."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise Unready("no migration was found: the installation is not complete")
    return head


def migrate(dsn: str, password: str) -> str | None:
    """Runs every missing migration in one transaction each; returns the revision it came from.

    Raises:
        Unready: the database is newer than this program, or a migration failed.
        Unavailable: the database does not answer.
    """
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn, password=password), poolclass=NullPool
    )
    config = _config()
    try:
        with engine.connect() as connection:
            before = MigrationContext.configure(connection).get_current_revision()
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            if before is not None and before not in known:
                raise Unready("the database was made by a newer version: install that version or restore a backup")
            connection.rollback()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except psycopg.OperationalError as error:
        raise Unavailable("the database does not answer", detail=str(error)) from None
    return before


def main() -> int:
    """`python -m infra.postgres.migrate DSN PASSWORD_FILE`"""
    dsn, file = sys.argv[1:3]
    try:
        migrate(dsn, Path(file).read_text().strip())
    except TwinwardError as error:
        sys.stderr.write(error.public)
        return 1
    except Exception as error:
        # Its text may quote the statement, never data: migrations carry none.
        sys.stderr.write(f"the database's schema could not be brought up to date: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
