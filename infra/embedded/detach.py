"""Starts a program that belongs to nobody: `python -I -S detach.py COMMAND...`.

The caller waits for this short process only; what it leaves behind has a
session of its own and no parent that would have to reap it.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command is ours, no shell is involved
