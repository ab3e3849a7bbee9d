"""The command line's sessions: those of `twinward.link`, on the node of --node or $TWINWARD_NODE."""

from twinward.link.reach import Reach, default_directory
from twinward.link.session import Announce, Session

__all__ = ["Announce", "Reach", "Session", "default_directory"]
