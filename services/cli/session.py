"""The command line's sessions: those of `twinward.link`, on the node of --node or $TWINWARD_NODE.

`twinward session` is something else, a session of teaching: services/cli/session_commands.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinward.link.reach import Reach, default_directory
from twinward.link.session import Announce, Session

if TYPE_CHECKING:
    import click

__all__ = ["Announce", "Reach", "Session", "default_directory"]


def __getattr__(name: str) -> click.Group:
    """The noun's group, loaded when it is used."""
    if name != "group":
        raise AttributeError(name)
    from services.cli.session_commands import group

    return group
