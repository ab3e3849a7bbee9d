"""The same S2008 in C (bench/s2008.c), compiled here and now, run in turns with ours.

    python -m bench.beside_c

The C is gcc -O3 for this very CPU, as numba compiles ours. Both have to agree before either is timed.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from twinward.physiology import cohort
from twinward.physiology import glucose as s2008

SOURCE = Path(__file__).with_name("s2008.c")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
AGREE = 1e-9  # mg/dL over a day


class Disagreement(Exception):
    """The two are not the same equations; no ratio of speeds means anything."""


def simulator(folder: Path) -> ctypes.CDLL | None:
    """The compiled library; None where no compiler is."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "s2008.so"
    subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(library), "-lm"], check=True, capture_output=True)
    return ctypes.CDLL(str(library))


def compare(times: int) -> dict[str, float | None]:
    """glucose_x_realtime of ours and of C, and ours over C's; None without a compiler.

    Each of `times` turns runs one day of 8 people by each; the ratio is of the medians of whole turns.
    """
    names = ("glucose_x_realtime", "c_x_realtime", "glucose_vs_c")
    people = cohort.load()
    chosen = [int(k) for k in np.linspace(0, len(people.names) - 1, 8)]
    days = []
    for k in chosen:
        p = people.parameters[k].copy()
        grams, units, x = np.zeros(1440), np.full(1440, s2008.basal_rate(p)), np.zeros(13)
        for minute in (420, 720, 1080):
            grams[minute : minute + 12] = 5.0
            units[minute] += 6.0
        s2008.rest(p, people.basal[k], x)
        days.append((p, x, grams, units))
    states, memory, out = np.empty((8, 13)), np.empty((8, 3)), np.empty((8, 1440))

    def reset() -> None:
        memory[:] = 0.0
        for k, day in enumerate(days):
            states[k] = day[1]

    def ours() -> None:
        for k, (p, _, grams, units) in enumerate(days):
            s2008.simulate(p, states[k], memory[k], grams, units, 1, out[k])

    with tempfile.TemporaryDirectory() as folder:
        library = simulator(Path(folder))
        if library is None:
            reset()
            ours()
            taken = [clock(reset, ours) for _ in range(times)]
            return dict(zip(names, (8 * 86_400 / float(np.median(taken)), None, None), strict=True))
        pointer = [
            [ctypes.c_void_p(a.ctypes.data) for a in (p, states[k], memory[k], grams, units)]
            + [ctypes.c_long(1440), ctypes.c_void_p(out[k].ctypes.data)]
            for k, (p, _, grams, units) in enumerate(days)
        ]
        library.simulate.restype = None

        def theirs() -> None:
            for arguments in pointer:
                library.simulate(*arguments)

        reset()
        ours()
        mine = out.copy()
        reset()
        theirs()
        apart = float(np.abs(mine - out).max())
        if not apart < AGREE:
            raise Disagreement(f"ours and C are {apart} mg/dL apart")
        pairs = np.array([(clock(reset, ours), clock(reset, theirs)) for _ in range(times)])
    mine_s, theirs_s = np.median(pairs, axis=0)
    return dict(zip(names, (8 * 86_400 / mine_s, 8 * 86_400 / theirs_s, theirs_s / mine_s), strict=True))


def clock(reset: Callable[[], None], act: Callable[[], None]) -> float:
    reset()
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


if __name__ == "__main__":
    for key, value in compare(300).items():
        print(f"{key:22}{'null: no C compiler' if value is None else format(value, ',.3f')}")
