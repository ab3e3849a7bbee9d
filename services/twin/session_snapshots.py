"""Moments of a session that were kept, and which commands made the present.

Kept: the beginning, and few enough of the rest that a long session stays small; the older, the sparser.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.twin.session_command import Logged, Rewind

SNAPSHOTS_MOST = 48


class Snapshot(msgspec.Struct, frozen=True):
    """As it was when the clock came to `at_s`, before anything commanded then."""

    at_s: int
    body: bytes
    desk: bytes
    entries: int  # how many there were
    commands: int


def thinned(snapshots: Sequence[Snapshot], most: int = SNAPSHOTS_MOST) -> list[Snapshot]:
    """At most `most`: the one goes whose absence makes the smallest gap for its age. First and last stay."""
    kept = list(snapshots)
    while len(kept) > most:
        now = kept[-1].at_s
        gaps = [(kept[i + 1].at_s - kept[i - 1].at_s) / (now - kept[i].at_s) for i in range(1, len(kept) - 1)]
        del kept[1 + gaps.index(min(gaps))]
    return kept


def nearest(snapshots: Sequence[Snapshot], at_s: int) -> Snapshot:
    """The last one not after `at_s`."""
    return max((one for one in snapshots if one.at_s <= at_s), key=lambda one: one.at_s)


def effective(log: Sequence[Logged]) -> list[Logged]:
    """The commands that made the present: what was taken back is out, a rewind is a mark where it went to."""
    course: list[Logged] = []
    for one in log:
        if isinstance(one.command, Rewind):
            course = [earlier for earlier in course if earlier.at_s < one.command.to_s]
            course.append(Logged(one.command.to_s, one.by, one.command))
        else:
            course.append(one)
    return course


def position(log: Sequence[Logged]) -> int:
    """The session second after the last command."""
    if not log:
        return 0
    last = log[-1]
    return last.command.to_s if isinstance(last.command, Rewind) else last.at_s
