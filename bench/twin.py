"""Speed of the glucose twin and of the circulation, one core.

    python -m bench.twin --quick --json

glucose_x_realtime  seconds of one S2008 body per second of wall clock (RK4, 1 min)
glucose_vs_c        that over the same equations in C at gcc -O3, bench/beside_c.py; null without a compiler
assimilate_ms       a reading: 60 members 5 min on, update, outcomes, regression, new forecasts
forecast_120_ms     a forecast of 30, 60 and 120 min, 60 members, answer included
dump_bytes          a snapshot
whatif_100_plans_ms 100 treatment plans, 6 h, 60 members of either body
circulation_*       the circulation and the same equations in C: bench/circulation_c.py
session_*, frame_*  teaching sessions through their stream: bench/streams.py
vs_simglucose       days of ours in one of simglucose's, bench/beside_simglucose.py; null where it is not installed
live_*, scaling_*   the living twins end to end, on a real node: bench/live.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from bench import beside_c, beside_simglucose, circulation_c, live, streams
from services.twin.glucose import GlucoseTwin, warm
from services.twin.glucose_plan import Bolus, Meal, Plan
from twinward.physiology import cohort, virtual
from twinward.physiology import glucose as s2008
from twinward.physiology.diary import rows_of

FIRST_MS = 1_735_689_600_000


def median_ms(act: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken) * 1000)


def body(times: int) -> float:
    people = cohort.load()
    p, x, out = people.parameters[0], np.zeros(13), np.empty(1440)
    grams, units = np.zeros(1440), np.full(1440, s2008.basal_rate(p))
    for minute in (420, 720, 1080):
        grams[minute : minute + 12] = 5.0
        units[minute] += 6.0

    def day() -> None:
        s2008.rest(p, people.basal[0], x)
        s2008.simulate(p, x, np.zeros(3), grams, units, 1, out)

    return 86_400 / (median_ms(day, times) / 1000)


def what_if_100(twin: GlucoseTwin) -> float:
    plans = [Plan(f"{k}", (Bolus(0, 0.05 * k), Meal(5 * (k % 12), 10.0 + k % 40))) for k in range(100)]
    now = int(twin.recent()[-1].time_ms)
    return median_ms(lambda: twin.what_if(plans, 360, now), 3)


def measure(full: bool) -> dict[str, float | None]:
    begin = time.perf_counter()
    warm()
    warmed = time.perf_counter() - begin
    life = virtual.live(14 if full else 5, 7, 0, "hovorka")
    rows = rows_of(life, FIRST_MS)
    twin = GlucoseTwin.start(b"bench".ljust(16, b"\0"), FIRST_MS, life.weight)
    taken = []
    for row in rows:
        before = twin.readings
        begin = time.perf_counter()
        if row.effective_ms > twin.state_ms:
            twin.advance([row])
        if twin.readings > before:
            taken.append(time.perf_counter() - begin)
    now = twin.state_ms
    realtime = body(500 if full else 100)
    answer: dict[str, float | None] = {
        "glucose_x_realtime": realtime,
        "glucose_vs_c": beside_c.compare(200 if full else 60)["glucose_vs_c"],
        "assimilate_ms": float(np.median(taken) * 1000),
        "assimilate_p99_ms": float(np.quantile(taken, 0.99) * 1000),
        "forecast_120_ms": median_ms(lambda: twin.forecast([30, 60, 120], now), 2000 if full else 300),
        "whatif_100_plans_ms": what_if_100(twin),
        "dump_bytes": len(twin.dump()),
        "dump_ms": median_ms(twin.dump, 50),
        "load_ms": median_ms(lambda: GlucoseTwin.load(twin.dump()), 50),
        "warm_s": warmed,
        **circulation_c.measure(),
        **streams.measure(full),
        "vs_simglucose": beside_simglucose.compare(86_400 / realtime),
        **live.measure(full),
    }
    return answer


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4) if value < 1e6 else round(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ends within 90 s (the default)")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    answer = measure(arguments.full and not arguments.quick)
    if arguments.json:
        print(json.dumps({key: rounded(value) for key, value in answer.items()}))
        return
    for key, value in answer.items():
        print(f"{key:24}{'-' if value is None else format(value, ',.3f')}")


if __name__ == "__main__":
    main()
