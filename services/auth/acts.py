"""Acts of a program that become entries: joining and leaving, a study's life at the coordinator,
a teaching session that opened or ended.

The program says what happened; who said it is written beside it by us, from its
certificate. No patient and no name belongs in here, so a body is flat: numbers, short
words, and short lists of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from services.auth.desk import Desk
from services.auth.leaf import Body
from services.auth.sequencer import Proposal
from services.auth.studies import HASH_BYTES
from twinward.errors import BadInput, Denied, Malformed, TooLarge
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller

KINDS: Mapping[str, frozenset[Kind]] = {
    "twin": frozenset({Kind.CONFIG_CHANGE}),  # a prior adopted or given up
    "federation": frozenset({Kind.SITE_JOIN, Kind.SITE_LEAVE, Kind.CONFIG_CHANGE}),
    "coordinator": frozenset(
        {Kind.SITE_JOIN, Kind.SITE_LEAVE, Kind.STUDY_APPROVAL, Kind.FED_ROUND, Kind.CONFIG_CHANGE}
    ),
    "sessions": frozenset({Kind.SESSION_OPEN, Kind.SESSION_END, Kind.SESSION_ERASE}),
    # What Flower's own event log tells of: runs that start and stop, and everything else.
    "superlink": frozenset({Kind.CONFIG_CHANGE, Kind.START, Kind.STOP}),
}
MOST_BYTES = 2_048
MOST_TEXT = 200  # characters
MOST_ITEMS = 100
_NAME = re.compile(r"[a-z][a-z_]{0,31}")
# What every entry has anyway; a program's field of such a name stands under `said`.
_OURS = frozenset({"v", "t", "site", "kind", "patient", "now", "said"})
_STUDY = re.compile(rf"[0-9a-f]{{{2 * HASH_BYTES}}}")


class Acts:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def record(self, caller: Caller, kind: str, body: bytes) -> int:
        """The leaf.

        Raises:
            Denied: this program records no acts of that kind.
            Malformed, TooLarge, BadInput: a kind or body that cannot be recorded.
            Unavailable: not recorded.
        """
        wanted = Kind.of(kind)
        if wanted not in KINDS.get(caller.program or "", frozenset()):
            raise Denied("this program records no acts of that kind")
        told = _read(body)
        who = self._desk.who(caller)
        apart = {name: value for name, value in told.items() if name in _OURS or name in who}
        said: Body = {**{name: value for name, value in told.items() if name not in apart}, **who}
        if apart:
            said["said"] = apart
        study = told.get("study")
        terms = (f"study:{study}",) if isinstance(study, str) and _STUDY.fullmatch(study) else ()
        return self._desk.record([Proposal(wanted, {**said, "now": self._desk.clock.now_ms()}, terms=terms)])[0]


def _read(body: bytes) -> dict[str, object]:
    if len(body) > MOST_BYTES:
        raise TooLarge(f"the body of an act has {MOST_BYTES} bytes at most")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Malformed("the body of an act is a JSON object") from None
    if not isinstance(found, dict):
        raise Malformed("the body of an act is a JSON object")
    for name, value in found.items():
        if not _NAME.fullmatch(name):
            raise BadInput("a field of an act has a name of lower-case letters and _, 32 at most")
        items = value if isinstance(value, list) else [value]
        if len(items) > MOST_ITEMS or not all(map(_fits, items)):
            raise BadInput(f"a field of an act is a whole number, a text of {MOST_TEXT} characters, or a list of them")
    return found


def _fits(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and len(value) <= MOST_TEXT)
