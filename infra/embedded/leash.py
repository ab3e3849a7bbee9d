"""Starts a program that ends when whoever started it ends.

`python -I -S leash.py SIGNAL PARENT UID GID COMMAND...` gives up its rights to
UID and GID (where they are not -1), asks the kernel for SIGNAL at the death of
PARENT, and becomes COMMAND. So a supervisor that is killed leaves nothing
behind. It runs by path, before any package can be imported, as root where the
interpreter itself is out of reach of the user that COMMAND runs as.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    signal_number, parent, uid, gid = (int(word) for word in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of user: the kernel forgets the wish when credentials change.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)  # the parent died before the kernel knew the wish
    os.execv(command[0], command)  # noqa: S606 - the command is ours, no shell is involved


if __name__ == "__main__":
    main(sys.argv[1:])
