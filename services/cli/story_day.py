"""A day of one patient, streamed at high speed, with the twin following."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group
from rich.live import Live
from rich.text import Text

from services.cli.curve import Point, band_curve
from services.cli.mapping_file import from_toml
from services.cli.story import Stage
from services.cli.twin import number
from twinward.clock import utc
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc, twin_pb2, twin_pb2_grpc

FEED = "observations"  # approved for nothing but observations of patients that are known
HORIZONS = (30, 60, 120)
MINUTE_MS = 60_000
PACE_S = 0.04  # between readings: a day in about twenty seconds
EVERY = 12  # readings between two forecasts: an hour
WINDOW_MS = 4 * 3_600_000  # of the moving curve

Forecast = twin_pb2.ForecastResponse


@dataclass
class Seen:
    """What came, and what had been said of it before."""

    readings: dict[int, float] = field(default_factory=dict)  # ms -> mg/dL
    said: dict[int, Forecast] = field(default_factory=dict)  # ms at which it was asked -> answer

    def outcomes(self, minutes: int) -> list[tuple[int, Point, float]]:
        """(asked at, what was said, what came) for one horizon, as far as it came."""
        found = []
        for at_ms, answer in self.said.items():
            came = self.readings.get(at_ms + minutes * MINUTE_MS)
            for point in answer.points:
                if point.minutes_ahead == minutes and came is not None:
                    one = point.glucose
                    found.append((at_ms, Point(minutes, one.value, one.low, one.high), came))
        return found


def day(stage: Stage) -> None:
    teller = stage.teller
    teller.say(
        f"Now 24 hours of {stage.mrns[0]} arrive one reading at a time, as a sensor sends them every five minutes, "
        "only faster. Each is sealed, committed and acknowledged; the twin takes it up; every hour a clinician asks "
        "where glucose is going. The story's clock stands at the reading; every question is a real decision."
    )
    teller.line("\n  time (UTC)  reading                            said for one hour later")
    seen = Seen()
    twin = twin_pb2_grpc.TwinStub(stage.session("clinician").channel("twin"))
    began = stage.clock.monotonic()
    with Live(console=teller.console, auto_refresh=False, transient=True) as live:
        for at_ms in _stream(stage, seen):
            if len(seen.readings) % EVERY == 0:
                request = twin_pb2.ForecastRequest(patient=stage.ref(1), minutes_ahead=HORIZONS, as_of_ms=at_ms)
                seen.said[at_ms] = answer = twin.Forecast(request)
                _tell(live, answer)
            if teller.console.is_terminal and len(seen.readings) % 3 == 0 and seen.said:
                live.update(_view(seen, at_ms), refresh=True)
            time.sleep(PACE_S)
    took = stage.clock.monotonic() - began
    stage.handle = next(iter(seen.said.values())).handle
    stage.leaves = [answer.leaf for answer in seen.said.values()]
    behind = [at for at, answer in seen.said.items() if answer.last_reading.time_ms != at]
    teller.check(
        len(seen.said) >= len(seen.readings) // EVERY and not behind,
        f"{len(seen.readings)} readings in {took:.0f} s; at each of {len(seen.said)} questions the twin had the newest",
        stage.look,
    )
    _compare(stage, seen)


def _stream(stage: Stage, seen: Seen) -> Iterator[int]:
    """Sends the day row by row; yields the time of each reading once it is acknowledged."""
    stub = ingest_pb2_grpc.IngestStub(stage.session("data-steward").channel("ingest"))
    said = from_toml(stage.files / "patient-0001.mapping.toml", None)
    with (stage.directory / "day.csv").open(newline="") as table:
        header, *rows = csv.reader(table)
    place = {name: header.index(name) for name in ("time", "glucose")}
    for row in rows:
        request = ingest_pb2.PutSeriesRequest(
            feed=FEED,
            idempotency_key="day " + " ".join(row),
            mapping=said.mapping,
            csv=f"{','.join(header)}\n{','.join(row)}\n".encode(),
            deidentified=True,
        )
        answer = stub.PutSeries(request)
        stored = answer.counts.get("stored", 0) + answer.counts.get("corrected", 0)
        if not stored or len(answer.problems) > answer.counts.get("corrected", 0):
            stage.teller.check(False, f"the reading of {row[place['time']]} is accepted", stage.look)
        if row[place["glucose"]]:
            at_ms = _ms(row[place["time"]])
            seen.readings[at_ms] = float(row[place["glucose"]])
            yield at_ms


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _tell(live: Live, answer: Forecast) -> None:
    last, ahead = answer.last_reading, [one for one in answer.points if one.minutes_ahead == 60]
    said = number(ahead[0].glucose) if ahead else "; ".join(answer.notes)
    live.console.print(f"  {utc(last.time_ms):%H:%M}       {number(last):<34} {said}", highlight=False, soft_wrap=True)


def _view(seen: Seen, at_ms: int) -> Group:
    answer = seen.said[max(seen.said)]
    past = [((at - at_ms) / MINUTE_MS, value) for at, value in seen.readings.items() if at > at_ms - WINDOW_MS]
    points = [
        Point((one.glucose.time_ms - at_ms) / MINUTE_MS, one.glucose.value, one.glucose.low, one.glucose.high)
        for one in answer.points
        if one.glucose.time_ms > at_ms
    ]
    head = f"{utc(at_ms):%H:%M} UTC  {seen.readings[at_ms]:.0f} mg/dL, and the forecast asked at the last full hour"
    return Group(Text(head), Text(band_curve(past, points)))


def _compare(stage: Stage, seen: Seen) -> None:
    teller = stage.teller
    outcomes = seen.outcomes(60)
    if not outcomes:
        teller.check(False, "forecasts can be compared with what came", stage.look)
    at_ms, said, came = max(outcomes, key=lambda one: abs(one[2] - seen.readings[one[0]]))
    inside = "inside" if said.low <= came <= said.high else "outside"
    teller.say(
        f"What really came? Take the hour that moved most. At {utc(at_ms):%H:%M}, at {seen.readings[at_ms]:.0f} mg/dL, "
        f"the twin expected "
        f"{said.median:.0f} mg/dL an hour later, with a band from {said.low:.0f} to {said.high:.0f}. "
        f"{came:.0f} mg/dL came: {inside} the band. All questions of the day:"
    )
    teller.line("  ahead     compared  inside the 90 % band   error (RMSE)   had nothing changed")
    for minutes in HORIZONS:
        every = seen.outcomes(minutes)
        if not every:
            continue
        within = sum(one.low <= real <= one.high for _, one, real in every)
        error = _rmse([one.median - real for _, one, real in every])
        still = _rmse([seen.readings[at] - real for at, _, real in every])
        teller.line(
            f"  {minutes:3d} min   {len(every):8d}  {within:3d} ({within / len(every):.0%})"
            f"{error:22.0f} mg/dL{still:15.0f} mg/dL"
        )
    teller.say("One day of one patient proves nothing; `docs/evidence` has the trial on real people.")


def _rmse(errors: list[float]) -> float:
    return math.sqrt(sum(error * error for error in errors) / len(errors))
