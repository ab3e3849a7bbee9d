"""Sessions from a virtual person's snapshot: the bedside case with that person in it.

The snapshot itself goes into the session's case, not how it was drawn: what was opened stays when the prior or
the diaries change. The case's name says who it is, so everything that takes a case's name takes a virtual person too.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from services.twin.session_case import Case, read_case
from twinward.errors import BadInput, NotFound

if TYPE_CHECKING:
    from twinward.physiology.virtual import Moment

FILE = Path(__file__).parent / "bedside.yaml"
HOURS = 12.0  # of diary, where nobody says
_NAME = re.compile(r"virtual:(\d{1,19}):(\d{1,6}):(\d{1,3}(?:\.\d{1,6})?)")


def name(seed: int, index: int, hours: float = 0.0) -> str:
    """Of the case. Raises BadInput: nobody is named so."""
    found = f"virtual:{seed}:{index}:{round(hours or HOURS, 6):g}"
    if not _NAME.fullmatch(found):
        raise BadInput("a virtual person is named by a seed, an index of 0 to 999999, and hours of 1 to 336")
    return found


def is_virtual(case: str) -> bool:
    return case.startswith("virtual:")


@lru_cache(maxsize=32)
def case_of(name: str) -> Case:
    """The bedside of that person.

    Raises:
        NotFound: no such name.
        BadInput: no such person or hour.
    """
    from twinward.physiology.virtual import moment  # here: it loads machine code
    from twinward.physiology.virtual_patient import KIND, values

    found = _NAME.fullmatch(name)
    if found is None:
        raise NotFound("a virtual person's case is virtual:SEED:INDEX:HOURS")
    one = moment(int(found[1]), int(found[2]), float(found[3]))
    bedside = read_case(FILE.read_bytes())
    patient = msgspec.structs.replace(
        bedside.patient, kind=KIND, description=_told(one), values=dict(values(one)), snapshot=one.state.dump()
    )
    title = f"{bedside.title} of virtual person {found[1]}:{found[2]}"
    return msgspec.structs.replace(bedside, id=name, title=title, patient=patient, history=tuple(_history(one)))


def _told(one: Moment) -> str:
    who = one.person
    sex = "woman" if who.female else "man"
    return " ".join([
        f"Nobody who exists: a {sex} of {who.age:.0f}, {who.weight:.0f} kg, with type 1 diabetes and an insulin pump,",
        f"after {one.minute / 60:g} hours of a generated diary, now {one.minute // 60 % 24:02d}:{one.minute % 60:02d}.",
        *_history(one),
    ])  # fmt: skip


def _history(one: Moment) -> list[str]:
    told = []
    for what, rows in (
        ("meal in the diary", [(meal.minute, f"{meal.grams:.0f} g") for meal in one.meals]),
        ("bolus", [(dose.minute, f"{dose.units:.1f} IU") for dose in one.boluses]),
    ):
        if rows:
            minute, amount = max(rows)
            told.append(f"Last {what}: {amount}, {one.minute - minute} min ago.")
        else:
            told.append(f"No {what} so far.")
    return told
