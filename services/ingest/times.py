"""FHIR date, dateTime and instant as UTC milliseconds, with what was missing said.

A time without zone is taken as UTC and flagged (`Flag.ZONE_ASSUMED`); a date is the
start of its day, month or year with the precision kept. Source of the syntax:
https://hl7.org/fhir/R4/datatypes.html#dateTime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from services.ingest.refusal import Unfit
from twinward.record import Flag, Precision

SYNTAX = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
FIRST_YEAR, LAST_YEAR = 1880, 2100  # outside: no living patient, or a broken clock
AHEAD_MS = 5 * 60_000  # clocks differ; more than this is marked as future
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was true; `flags` holds what was assumed."""

    ms: int
    precision: Precision
    flags: int = 0


NEVER = Moment(0, Precision.NONE)


def moment(text: str) -> Moment:
    """`text` as a moment.

    Raises:
        Unfit: not a FHIR time, not in the calendar, or outside 1880 to 2100.
    """
    found = SYNTAX.fullmatch(text.strip())
    if found is None:
        raise Unfit("bad-time", "a time is not written as FHIR wants it (YYYY-MM-DDThh:mm:ss+zz:zz)")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if not FIRST_YEAR <= int(year) < LAST_YEAR:
        raise Unfit("impossible-time", f"a year lies outside {FIRST_YEAR} to {LAST_YEAR - 1}")
    precision = Precision.INSTANT if hour else Precision.DAY if day else Precision.MONTH if month else Precision.YEAR
    leap = second == "60"  # a leap second is the first moment of the next minute
    try:
        seconds = 59 if leap else int(second or 0)
        at = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), seconds, 0, _zone(zone)
        )
        ms = (at - EPOCH) // MILLISECOND
    except (ValueError, OverflowError):
        raise Unfit("bad-time", "a time does not exist in the calendar") from None
    ms += 1000 if leap else int((fraction or "0")[:3].ljust(3, "0"))
    return Moment(ms, precision, 0 if zone or precision else int(Flag.ZONE_ASSUMED))


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def ahead(at_ms: int, now_ms: int) -> int:
    """`Flag.FUTURE` where `at_ms` is later than a clock may be wrong."""
    return int(Flag.FUTURE) if at_ms > now_ms + AHEAD_MS else 0
