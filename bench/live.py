"""How many living twins one core keeps, end to end: acknowledged reading to updated state.

    python -m bench.live --quick --json

live_twins_per_core       patients with a reading every 5 min that one core of the worker keeps: a day's
                          seconds over the CPU seconds that the worker spends per patient and day, which are
                          288 readings (snapshots by policy among them) and one renewed lease with its full
                          reading of what is stored
live_worker_cpu_ms        worker's CPU per reading
live_postgres_cpu_ms, live_auth_cpu_ms, live_node_cpu_ms
                          PostgreSQL's and auth's CPU per reading, beside it and not in it; and all three
                          together, without the writing side
live_readings_per_s       of one worker with a full queue, by the clock
renewal_cpu_ms            worker's CPU per patient and day for the lease and the full reading
leaves_per_day            ledger entries a day for 15,000 twins: one lease and one use report in 23 h each
kb_per_live_twin          what the worker's memory grew by, over its living twins
scaling_2_workers         readings per second of two workers that share the patients, over those of one, in the
                          same run; null where less than two cores are free
live_paced_cpu_ms         worker's CPU per reading at a quiet pace, 50 readings a second in commits of 5: rounds of
                          few patients cost more than full ones
current_after_ack_ms, current_after_ack_most_ms
                          from the commit to the updated state, median and worst, one reading at a time
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import psutil

from bench.live_node import BROUGHT_UP, STEP_MS, Further, Ground, counted, ground, message
from twinward.clock import SystemClock
from twinward.ledger.kinds import Kind
from twinward.record import Handle
from twinward.vault.acceptance import SealedPart

HISTORY = 36  # readings of each patient before it begins
ROUNDS = 12  # readings of each that are measured: one policy snapshot among them
ALONE = 20
BACKLOG = 24  # readings of each that wait for one worker or two
AHEAD = 3 * BACKLOG + 3  # readings that come after those: two workers, paced, leases ended
FREE_CORES = 1.6  # of two
DAY_READINGS, DAY_S = 288, 86_400.0
STATED = 15_000
PATIENCE_S = 120.0
PARTS = ("twin-worker", "postgres", "auth")


def until(ready: Callable[[], bool], pause_s: float = 0.05) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the twins did not become current; see the node's logs")
        time.sleep(pause_s)


def begun(of: Ground, patients: int) -> None:
    """Every patient has a first snapshot, and the looks that consents caused are done."""

    def all_there() -> bool:
        with of.connect() as connection:
            found = connection.execute(
                "select (select count(*) from twin.position), (select count(*) from twin.pending)"
            ).fetchone()
        return found == (patients, 0)

    seen, since = -1.0, time.monotonic()
    while not all_there() or time.monotonic() - since < 1.0:
        now = of.counted(BROUGHT_UP)
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.1)


class Beat:
    """Gives every patient its next reading and waits until the states have it."""

    def __init__(self, of: Ground, handles: Sequence[Handle]) -> None:
        self.of, self.handles = of, handles
        self.first_ms = SystemClock().now_ms() // STEP_MS * STEP_MS - (HISTORY + ROUNDS + ALONE + AHEAD) * STEP_MS
        self.at = 0

    def parts(self, handles: Sequence[Handle], readings: int = 1) -> list[SealedPart]:
        """One message a patient."""
        now = SystemClock().now_ms()
        places = range(self.at, self.at + readings)
        return [
            message(handle, [(self.first_ms + at * STEP_MS, 90.0 + (7 * at + place) % 90) for at in places], now)
            for place, handle in enumerate(handles)
        ]

    def go(self, readings: int = 1) -> float:
        """Written while the worker is held, then worked off; seconds of the second part."""
        before = self.of.counted(BROUGHT_UP)
        with self.of.stopped():
            self.of.write(self.parts(self.handles, readings))
            spent = {name: self.of.cpu_s(name) for name in PARTS}
            begin = time.perf_counter()
        self.at += readings
        until(lambda: self.of.counted(BROUGHT_UP) >= before + len(self.handles))
        seconds = time.perf_counter() - begin
        self.spent = {name: self.of.cpu_s(name) - spent[name] for name in PARTS}
        return seconds

    def backlog(self, second: Further | None) -> float:
        """Readings per second while many of every patient wait, of one worker or two."""
        ports = [self.of.node.last_ports()["twin-worker.metrics"], *([second.metrics_port] if second else [])]

        def done() -> float:
            return sum(counted(BROUGHT_UP, port) for port in ports)

        before = done()
        with self.of.stopped(), second.stopped() if second else nullcontext():
            for _ in range(BACKLOG):
                self.of.write(self.parts(self.handles))
                self.at += 1
            begin = time.perf_counter()
        until(lambda: done() >= before + len(self.handles))
        return BACKLOG * len(self.handles) / (time.perf_counter() - begin)

    def paced(self, seconds: float) -> float:
        """Milliseconds of the worker's CPU per reading at 50 readings a second."""
        chosen = list(self.handles)[: int(50 * seconds) // 5 * 5]
        before, spent = self.of.counted(BROUGHT_UP), self.of.cpu_s("twin-worker")
        begin = time.perf_counter()
        for at in range(0, len(chosen), 5):
            self.of.write(self.parts(chosen[at : at + 5]))
            time.sleep(max(0.0, begin + at / 50 - time.perf_counter()))
        until(lambda: self.of.counted(BROUGHT_UP) >= before + len(chosen))
        self.at += 1
        return (self.of.cpu_s("twin-worker") - spent) / len(chosen) * 1000

    def alone(self, handle: Handle) -> float:
        """Milliseconds from one commit to the updated state."""
        before = self.of.counted(BROUGHT_UP)
        self.of.write(self.parts([handle]))
        begin = time.perf_counter()
        self.at += 1
        until(lambda: self.of.counted(BROUGHT_UP) > before, 0.002)
        return (time.perf_counter() - begin) * 1000


def _scaling(of: Ground, beat: Beat) -> float | None:
    """None where two cores are not free: the figure would be the machine's."""
    if (psutil.cpu_count() or 1) - sum(psutil.cpu_percent(1.0, percpu=True)) / 100 < FREE_CORES:
        return None
    one = beat.backlog(None)
    second = Further(of.node.directory)
    try:
        until(lambda: _shares(of) == [32, 32])
        beat.backlog(second)  # who has moved is restored by its new worker
        return beat.backlog(second) / one
    finally:
        second.end()


def _shares(of: Ground) -> list[int]:
    with of.connect() as connection:
        found = connection.execute(
            "select count(*) from twin.claim where until > clock_timestamp() and worker is not null group by worker"
        ).fetchall()
    return sorted(int(str(count)) for (count,) in found)


def _leaves(of: Ground) -> dict[int, int]:
    with of.connect() as connection:
        found = connection.execute("select kind, count(*) from ledger.entry group by 1").fetchall()
    return {int(str(kind)): int(str(count)) for kind, count in found}


def _snapshots_are_current(of: Ground, patients: int) -> None:
    """The last measured reading of every patient is the one that its snapshot by policy holds."""
    with of.connect() as connection:
        found = connection.execute(
            """select count(*) from twin.position p join vault.patient_state s using (handle)
               where p.seq = s.next_seq - 1 and p.seq = %s""",
            (1 + ROUNDS,),
        ).fetchone()
    assert found == (patients,), f"{found} of {patients} twins hold what was acknowledged"


def _reported(of: Ground) -> float:
    """Use reports per lease: the worker ends, and so reports and gives back every lease it holds."""
    with of.connect() as connection:
        found = connection.execute(
            "select count(*) from vault.lease where role = 'twin_worker' and until > clock_timestamp()"
        ).fetchone()
    held = int(str(found[0])) if found else 0
    before = _leaves(of).get(Kind.USE_REPORT, 0)
    os.kill(of.pid("twin-worker"), signal.SIGTERM)
    until(lambda: _leaves(of).get(Kind.USE_REPORT, 0) >= before + held, 0.2)
    return (_leaves(of).get(Kind.USE_REPORT, 0) - before) / held


def _end_leases(of: Ground) -> None:
    """As auth announces an end: the worker forgets keys and states, and starts from its snapshots."""
    with of.connect() as connection:
        connection.execute(
            """with ended as (update vault.lease set until = clock_timestamp()
                 where role = 'twin_worker' and until > clock_timestamp() returning id)
               select pg_notify('lease_revoked', id::text) from ended"""
        )
    time.sleep(1.0)


def measure(full: bool = False) -> dict[str, float | None]:
    with ground() as of:
        handles = of.enrol(800 if full else 160)
        worker = psutil.Process(of.pid("twin-worker"))
        beat = Beat(of, handles)
        before = worker.memory_info().rss
        beat.go(HISTORY)
        begun(of, len(handles))
        grown = worker.memory_info().rss - before
        seconds, spent = 0.0, dict.fromkeys(PARTS, 0.0)
        for _ in range(ROUNDS):
            seconds += beat.go()
            spent = {name: spent[name] + beat.spent[name] for name in PARTS}
        _snapshots_are_current(of, len(handles))
        count = ROUNDS * len(handles)
        paced = beat.paced(3.0)
        alone = [beat.alone(handles[at % 5]) for at in range(ALONE)]
        leaves = _leaves(of)
        _end_leases(of)
        beat.go()
        renewal = beat.spent["twin-worker"] / len(handles)
        after = _leaves(of)
        scaling = _scaling(of, beat)
        reports = _reported(of)
    per = {name: spent[name] / count * 1000 for name in PARTS}
    day_s = DAY_READINGS * per["twin-worker"] / 1000 + renewal
    upkeep = (after.get(Kind.UPKEEP, 0) - leaves.get(Kind.UPKEEP, 0)) / len(handles)
    return {
        "live_twins_per_core": DAY_S / day_s,
        "live_readings_per_s": count / seconds,
        "live_worker_cpu_ms": per["twin-worker"],
        "live_paced_cpu_ms": paced,
        "live_postgres_cpu_ms": per["postgres"],
        "live_auth_cpu_ms": per["auth"],
        "live_node_cpu_ms": sum(per.values()),
        "renewal_cpu_ms": renewal * 1000,
        "leaves_per_day": STATED * (upkeep + reports) * 24 / 23,
        "scaling_2_workers": scaling,
        "kb_per_live_twin": grown / len(handles) / 1024,
        "current_after_ack_ms": statistics.median(alone),
        "current_after_ack_most_ms": max(alone),
        "live_patients": float(len(handles)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ends within 40 s (the default)")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    answer = measure(arguments.full and not arguments.quick)
    shown = {key: None if value is None else round(value, 3) for key, value in answer.items()}
    if arguments.json:
        print(json.dumps(shown))
        return
    for key, value in shown.items():
        print(f"{key:28}{'-' if value is None else format(value, ',.3f')}")


if __name__ == "__main__":
    main()
