"""A small curve of text: readings, the forecast's median and its band."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LOW_MG_DL, HIGH_MG_DL = 70.0, 180.0


@dataclass(frozen=True, slots=True)
class Point:
    """A forecast at `minute` after the last reading, mg/dL."""

    minute: float
    median: float
    low: float
    high: float


def band_curve(past: Sequence[tuple[float, float]], points: Sequence[Point], width: int = 64, height: int = 12) -> str:
    """`past` are (minute at most 0, mg/dL) readings; `points` start after the last one.

    The band runs straight between the points and opens at the last reading.
    """
    if not past:
        return ""
    here = past[-1]
    line = [Point(here[0], here[1], here[1], here[1]), *points]
    first, last = min(past[0][0], 0.0), line[-1].minute
    values = [value for _, value in past] + [p.low for p in points] + [p.high for p in points] + [LOW_MG_DL, HIGH_MG_DL]
    floor, ceiling = max(0.0, min(values) - 10), max(values) + 10
    grid = [[" "] * width for _ in range(height)]

    def row(value: float) -> int:
        return round((ceiling - value) / (ceiling - floor) * (height - 1))

    for column in range(width):
        minute = first + (last - first) * column / (width - 1)
        if minute > here[0] and points:
            at = _between(line, minute)
            for each in range(row(at.high), row(at.low) + 1):
                grid[each][column] = "░"
            grid[row(at.median)][column] = "━"
    for minute, value in past:
        column = round((minute - first) / (last - first) * (width - 1)) if last > first else width - 1
        grid[row(value)][column] = "●"
    return "\n".join([*_with_axis(grid, row), _minutes(first, last, width)])


def _with_axis(grid: list[list[str]], row: Callable[[float], int]) -> list[str]:
    marks = {row(LOW_MG_DL): LOW_MG_DL, row(HIGH_MG_DL): HIGH_MG_DL}
    lines = []
    for number, cells in enumerate(grid):
        if number in marks:
            cells = ["┈" if cell == " " else cell for cell in cells]
            lines.append(f"{marks[number]:5.0f} ┤{''.join(cells)}")
        else:
            lines.append(f"      │{''.join(cells)}")
    return lines


def _minutes(first: float, last: float, width: int) -> str:
    left = f"{first:+.0f} min"
    right = f"{last:+.0f} min"
    return f"      └{left}{' ' * max(1, width - len(left) - len(right))}{right}"


def _between(line: Sequence[Point], minute: float) -> Point:
    for before, after in itertools.pairwise(line):
        if minute <= after.minute:
            share = (minute - before.minute) / (after.minute - before.minute)
            mixed = [
                a + (b - a) * share
                for a, b in ((before.median, after.median), (before.low, after.low), (before.high, after.high))
            ]
            return Point(minute, *mixed)
    return line[-1]
