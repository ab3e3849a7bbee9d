"""Speed of the circulation, beside the same equations in C at -O3 compiled now.

circulation_x_realtime  seconds of one circulation per second of wall clock (RK4, 2 ms)
circulation_vs_c        our speed over that of C in the same run, null where there is no compiler

A comparison counts only if both give the same: pressures and volumes after the run within 1e-6.
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

from twinward.physiology import circulation as c
from twinward.physiology.circulation_meaning import shipped

SOURCE = Path(__file__).with_name("circulation.c")
SECONDS = 20.0
ROUNDS = 25
Kernel = Callable[[np.ndarray, np.ndarray, int], None]


def compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def ours(p: np.ndarray, x: np.ndarray, steps: int) -> None:
    c.run(p, x, np.zeros((0, 5)), 0, steps, c.STEP_S, 0, np.empty((0, 46)), np.zeros(46))


def in_c(cc: str, folder: Path) -> Kernel:
    library = folder / "circulation.so"
    command = [
        cc,
        "-O3",
        "-march=native",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(SOURCE),
        "-lm",
    ]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).run
    vector = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")
    real = ctypes.c_double
    function.argtypes = [vector, vector, ctypes.c_long, real, real, real, real, vector]
    function.restype = None

    def run(p: np.ndarray, x: np.ndarray, steps: int) -> None:
        function(p, x, steps, c.STEP_S, 0.0, 0.0, 0.0, np.zeros(46))

    return run


def taken(kernel: Kernel, p: np.ndarray, rest: np.ndarray, steps: int) -> float:
    x = rest.copy()
    begin = time.perf_counter()
    kernel(p, x, steps)
    return time.perf_counter() - begin


def measure() -> dict[str, float | None]:
    p = shipped()
    rest = c.start(p, 5300.0)
    steps = round(SECONDS / c.STEP_S)
    ours(p, rest, 30_000)  # compiles, and settles a minute
    cc = compiler()
    with tempfile.TemporaryDirectory() as folder:
        theirs = in_c(cc, Path(folder)) if cc else None
        if theirs is not None:
            mine, other = rest.copy(), rest.copy()
            ours(p, mine, steps)
            theirs(p, other, steps)
            apart = float(np.abs(mine - other).max())
            if apart > 1e-6:
                raise AssertionError(f"C and the kernel differ by {apart:g}")
        # In turns, and the best of each: another program on the machine must not decide.
        pairs = [(taken(ours, p, rest, steps), taken(theirs, p, rest, steps) if theirs else 0.0) for _ in range(ROUNDS)]
    best, best_c = (min(column) for column in zip(*pairs, strict=True))
    return {"circulation_x_realtime": SECONDS / best, "circulation_vs_c": best_c / best if theirs else None}


if __name__ == "__main__":
    print(measure())
