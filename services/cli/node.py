"""`twinward node init|up|status|down|logs`: a hospital's node."""

from __future__ import annotations

import click

from infra.embedded.programs import HOSPITAL
from services.cli import processes


@click.group(name="node", help="Make, start, watch and stop a hospital's node.")
def group() -> None:
    pass


processes.add(group, HOSPITAL)
