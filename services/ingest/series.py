"""Rows of a sensor, a pump or a diary as measurements, by a declared column mapping.

Seen in real files: a byte order mark, rows before the header, ragged rows, `Low`
and `High` instead of numbers, decimal commas, local time without zone. A row that
cannot be read is quarantined; the others are stored. Rows are grouped by patient,
kind and UTC day: the group has the receipt, every row a lineage of its own, so that
an overlapping export changes nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.ingest.entry import RECORD, Aside, NamePair, Read, Taken, Who
from services.ingest.limits import DOOR_BYTES, NAME_BYTES, SERIES_ROWS, check_size
from services.ingest.mapping import EPOCHS, Column, Mapping
from services.ingest.quality import SENSOR_HIGH, SENSOR_LOW, marked, out_of_range
from services.ingest.receipts import Names, body_hash
from services.ingest.references import usable
from services.ingest.refusal import Unfit
from services.ingest.times import EPOCH, FIRST_YEAR, LAST_YEAR, MILLISECOND, Moment, ahead, moment
from twinward.codes import meaning
from twinward.errors import BadInput, Malformed, TooLarge
from twinward.record import Category, Document, Flag, Measurement, Precision
from twinward.units import Conversion, conversion

PREAMBLE_ROWS = 40
DAY_MS = 86_400_000
SENSOR_WORDS = {"low": SENSOR_LOW, "lo": SENSOR_LOW, "high": SENSOR_HIGH, "hi": SENSOR_HIGH}  # mg/dL
NOTHING = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
LONGEST_MINUTES = 7 * 24 * 60


@dataclass(slots=True)
class _Group:
    who: Who
    column: Column
    lines: list[str]
    readings: list[Measurement]


@dataclass(frozen=True, slots=True)
class SeriesReader:
    """Reads files of one feed; `received_ms` is when we took them."""

    feed: str
    names: Names
    received_ms: int

    def read(self, data: bytes, mapping: Mapping, patient: NamePair | None) -> list[Read]:
        """Groups in order of patient, kind and day, then the rows that cannot be read.

        Raises:
            BadInput: the mapping does not fit the file; says what to declare.
            Malformed, TooLarge: no CSV in UTF-8, or too much of it.
        """
        mapping.check()
        zone = _zone(mapping.time_zone)
        header, rows = _rows(data, mapping)
        places = _places(header, mapping)
        changes = [_change(column) for column in mapping.columns]
        groups: dict[tuple[NamePair, str, int], _Group] = {}
        bad: dict[str, tuple[Unfit, list[str]]] = {}
        for row in rows:
            try:
                self._row(row, places, mapping, changes, zone, patient, groups)
            except Unfit as refusal:
                bad.setdefault(refusal.word, (refusal, []))[1].append(_line(row))
        ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][1], item[0][2]))
        taken = [self._taken(index, group, header, mapping) for index, (_, group) in enumerate(ordered)]
        who = Who((patient,), stated=True) if patient is not None and not mapping.patient_column else None
        asides = [
            Aside(len(taken) + place, "series", refusal.word, refusal.public, "".join([_line(header), *lines]).encode(),
                  who, True, len(lines))
            for place, (refusal, lines) in enumerate(bad.values())
        ]  # fmt: skip
        return [*taken, *asides]

    def _row(
        self,
        row: list[str],
        places: dict[str, int],
        mapping: Mapping,
        changes: list[Conversion],
        zone: ZoneInfo | None,
        patient: NamePair | None,
        groups: dict[tuple[NamePair, str, int], _Group],
    ) -> None:
        name = _patient(_cell(row, places, mapping.patient_column), mapping, patient)
        at = _time(_cell(row, places, mapping.time_column), mapping.time_format, zone)
        found = []
        for column, change in zip(mapping.columns, changes, strict=True):
            number = _value(_cell(row, places, column.column), column, change)
            if number is not None:
                found.append((column, *number, _minutes(_cell(row, places, column.duration_column))))
        for column, value, text, minutes in found:
            reading = self._reading(name, column, at, value, text, minutes, mapping.device)
            key = (name, column.kind, at.ms // DAY_MS)
            group = groups.setdefault(key, _Group(Who((name,), stated=True), column, [], []))
            group.readings.append(reading)
            group.lines.append(_line(row))

    def _reading(
        self, name: NamePair, column: Column, at: Moment, value: float, text: str, minutes: float, device: str
    ) -> Measurement:
        patient = "\x1f".join(name).encode()
        return Measurement(
            code=column.code,
            effective_ms=at.ms,
            received_ms=self.received_ms,
            value=value,
            unit=_unit(column),
            lineage=self.names.reading(self.feed, patient, device, column.code, at.ms),
            text=text,
            duration_s=round(minutes * 60),
            precision=at.precision,
            flags=at.flags | ahead(at.ms, self.received_ms) | out_of_range(column.code, value),
            source=f"{self.feed} {device}".strip()[:NAME_BYTES],
        )

    def _taken(self, index: int, group: _Group, header: list[str], mapping: Mapping) -> Taken:
        body = "".join([_line(header), *group.lines]).encode()
        readings = marked(sorted(_distinct(group.readings), key=lambda reading: reading.effective_ms))
        day = readings[0].effective_ms // DAY_MS
        system, value = group.who.names[0]
        number = "\x1f".join((system, value, mapping.device, group.column.kind, str(day)))
        found = meaning(group.column.code)
        first = readings[0]
        version = hashlib.sha256(body + repr(mapping).encode()).digest()
        # Rows supersede each other by their own lineage; the lines as they came stay, message by message.
        key = self.names.receipt(self.feed, "series", number, version)
        document = Document("series", first.effective_ms, self.received_ms, key, body, first.precision, first.source)
        return Taken(
            index=index,
            resource="series",
            kind=RECORD,
            who=group.who,
            approval="",
            category=found.category if found else Category.RESTRICTED,
            key=key,
            lineage=key,
            body_hash=body_hash(version),
            versioned=False,
            body=body,
            said=b"",
            document=document,
            measurements=readings,
            unmapped=(),
            weight=len(group.lines),
        )


def _distinct(readings: list[Measurement]) -> Iterator[Measurement]:
    """Rows that say the same thing at the same time; of two doses at once both count."""
    seen: dict[bytes, int] = {}
    for reading in readings:
        again = seen.get(reading.lineage, 0)
        seen[reading.lineage] = again + 1
        yield reading if not again else _numbered(reading, again)


def _numbered(reading: Measurement, again: int) -> Measurement:
    return replace(reading, lineage=hashlib.sha256(reading.lineage + again.to_bytes(4, "big")).digest()[:16])


def _rows(data: bytes, mapping: Mapping) -> tuple[list[str], Iterator[list[str]]]:
    check_size(data, DOOR_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed("the file is not UTF-8 text: save it as CSV UTF-8") from None
    if "\x00" in text:
        raise Malformed("the file holds binary data: send a CSV file")
    first = text.splitlines()[0] if text else ""
    delimiter = ";" if first.count(";") > first.count(",") else "\t" if first.count("\t") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    wanted = {mapping.time_column, *(column.column for column in mapping.columns)}
    for _ in range(PREAMBLE_ROWS):
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error:
            raise Malformed("the file cannot be read as CSV: check its quotes and line ends") from None
        header = [cell.strip() for cell in row]
        if wanted <= set(header):
            return header, _body(reader)
    missing = ", ".join(sorted(wanted))
    raise BadInput(f"no header row with the declared columns: the mapping names {missing[:200]}")


def _body(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    count = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise Malformed("the file cannot be read as CSV: check its quotes and line ends") from None
        if not any(cell.strip() for cell in row):
            continue
        count += 1
        if count > SERIES_ROWS:
            raise TooLarge(f"a series may have {SERIES_ROWS} rows in one message: send it in parts")
        yield row


def _places(header: list[str], mapping: Mapping) -> dict[str, int]:
    optional = [column.duration_column for column in mapping.columns if column.duration_column]
    for name in [mapping.patient_column, *optional]:
        if name and name not in header:
            raise BadInput("the file has no column of a name that the mapping declares (patient or duration)")
    return {name: place for place, name in reversed(list(enumerate(header)))}


def _cell(row: list[str], places: dict[str, int], name: str) -> str:
    place = places.get(name, -1) if name else -1
    return row[place].strip() if 0 <= place < len(row) else ""


def _line(row: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(row)
    return out.getvalue()


def _patient(cell: str, mapping: Mapping, patient: NamePair | None) -> NamePair:
    if not mapping.patient_column:
        if patient is None or not usable(patient):
            raise BadInput("say whose rows these are: a patient's identifier, or a patient column")
        return patient
    name = (mapping.patient_system, cell)
    if not usable(name):
        raise Unfit("no-subject", "a row has no patient number")
    return name


def _zone(name: str) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput("unknown time zone: use an IANA name such as Europe/London") from None


def _time(cell: str, pattern: str, zone: ZoneInfo | None) -> Moment:
    if not cell:
        raise Unfit("bad-time", "a row has no time")
    if pattern in EPOCHS:
        try:
            return _in_calendar(Moment(int(float(cell) * EPOCHS[pattern]), Precision.INSTANT))
        except (ValueError, OverflowError):
            raise Unfit("bad-time", "a row's time is no number of seconds") from None
    if not pattern:
        at = moment(cell)
        if not at.flags & Flag.ZONE_ASSUMED or zone is None:
            return at
        return _local(datetime.fromtimestamp(at.ms / 1000, UTC).replace(tzinfo=None), zone)
    try:
        found = datetime.strptime(cell, pattern)  # noqa: DTZ007 - the zone is the mapping's or flagged
    except ValueError:
        raise Unfit("bad-time", "a row's time does not have the declared format") from None
    if found.tzinfo is not None:
        return _in_calendar(Moment((found - EPOCH) // MILLISECOND, Precision.INSTANT))
    return _local(found, zone)


def _local(naive: datetime, zone: ZoneInfo | None) -> Moment:
    """A time without zone: the mapping's zone, else UTC with a mark."""
    try:
        ms = (naive.replace(tzinfo=zone or UTC) - EPOCH) // MILLISECOND
    except OverflowError:
        raise Unfit("impossible-time", "a row's time lies outside the calendar") from None
    return _in_calendar(Moment(ms, Precision.INSTANT, 0 if zone else int(Flag.ZONE_ASSUMED)))


_FIRST_MS = (datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) - EPOCH) // MILLISECOND
_LAST_MS = (datetime(LAST_YEAR, 1, 1, tzinfo=UTC) - EPOCH) // MILLISECOND


def _in_calendar(at: Moment) -> Moment:
    if not _FIRST_MS <= at.ms < _LAST_MS:
        raise Unfit("impossible-time", f"a row's year lies outside {FIRST_YEAR} to {LAST_YEAR - 1}")
    return at


def _change(column: Column) -> Conversion:
    found = conversion(column.code, column.unit)
    if found is None:  # Mapping.check has seen to it
        raise BadInput("a column's unit is unknown")
    return found


def _unit(column: Column) -> str:
    return _change(column).canonical


def _value(cell: str, column: Column, change: Conversion) -> tuple[float, str] | None:
    """Canonical value, and the text as written where it says more than the number."""
    word = cell.lower()
    if word in NOTHING:
        return None
    if column.kind == "glucose" and word in SENSOR_WORDS:
        return SENSOR_WORDS[word], cell
    text = cell.replace(",", ".") if "," in cell and "." not in cell else cell
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not abs(number) < 1e9:
        raise Unfit("not-a-number", f"a row's {column.kind} is no number")
    value = change(number)
    return value, "" if change.factor == 1 and change.offset == 0 else f"{cell} {column.unit}"[:80]


def _minutes(cell: str) -> float:
    if cell.lower() in NOTHING:
        return 0.0
    try:
        minutes = float(cell)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes <= LONGEST_MINUTES:
        raise Unfit("bad-duration", "a row's duration is no number of minutes up to a week")
    return minutes
