"""Plots as inline SVG: axes with numbers, a title for whoever does not see them, colours from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.federation.report_page import Markup, el, joined, number

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 280, 56, 16, 14, 46


@dataclass(frozen=True, slots=True)
class Frame:
    """Maps values to the paper."""

    x0: float
    x1: float
    y0: float
    y1: float
    left: int = LEFT
    height: int = HEIGHT

    def x(self, value: float) -> float:
        return round(self.left + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - self.left - RIGHT), 2)

    def y(self, value: float) -> float:
        return round(self.height - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (self.height - TOP - BOTTOM), 2)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within."""
    raw = (high - low) / about
    unit = 10 ** math.floor(math.log10(raw))
    step = unit * next(k for k in (1, 2, 5, 10) if unit * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def drawing(title: str, *parts: Markup, height: int = HEIGHT) -> Markup:
    return el("svg", el("title", title), *parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title)


def log_ticks(reach: float) -> list[float]:
    """Logarithms of round numbers up to a power of ten both ways."""
    sparse = (1.0,) if reach > 1.5 else (1.0, 2.0, 5.0)
    found = [k + math.log10(one) for k in range(-7, 7) for one in sparse]
    return [one for one in found if abs(one) <= reach]


def axes(
    frame: Frame,
    x_title: str,
    y_title: str,
    say: Callable[[float], str] = number,
    *,
    x_ticks: Sequence[float] | None = None,
    y_ticks: bool = True,
) -> Markup:
    bottom = frame.height - BOTTOM
    parts = [el("line", x1=frame.left, y1=bottom, x2=WIDTH - RIGHT, y2=bottom, class_="axis")]
    for value in ticks(frame.x0, frame.x1) if x_ticks is None else x_ticks:
        at = frame.x(value)
        parts.append(el("line", x1=at, y1=TOP, x2=at, y2=bottom, class_="axis", stroke_opacity="0.5"))
        parts.append(el("text", say(value), x=at, y=bottom + 16, text_anchor="middle"))
    if y_ticks:
        for value in ticks(frame.y0, frame.y1):
            at = frame.y(value)
            parts.append(el("line", x1=frame.left, y1=at, x2=WIDTH - RIGHT, y2=at, class_="axis", stroke_opacity="0.5"))
            parts.append(el("text", number(value), x=frame.left - 6, y=at + 4, text_anchor="end"))
    parts.append(
        el("text", x_title, x=(frame.left + WIDTH - RIGHT) / 2, y=frame.height - 8, text_anchor="middle", class_="dim")
    )
    middle = (TOP + bottom) / 2
    if y_title:
        turned = f"rotate(-90 13 {middle})"
        parts.append(el("text", y_title, x=13, y=middle, text_anchor="middle", transform=turned, class_="dim"))
    return joined(parts)


def curve(title: str, points: Sequence[tuple[float, float]], x_title: str, y_title: str) -> Markup:
    """A line through points, for instance the loss by round."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    spread = max(max(ys) - min(ys), 1e-6 * max(abs(max(ys)), 1.0))
    frame = Frame(min(xs), max(max(xs), min(xs) + 1), min(ys) - 0.08 * spread, max(ys) + 0.08 * spread)
    path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points)
    dots = [el("circle", cx=frame.x(x), cy=frame.y(y), r=2.5, class_="one") for x, y in points]
    line = el("polyline", points=path, class_="one none", stroke_width=2)
    return drawing(title, axes(frame, x_title, y_title), line, *dots)


def forest(title: str, rows: Sequence[tuple[str, float, float | None, float | None]], x_title: str) -> Markup:
    """A value with its interval a row, on a logarithmic axis with a line at 1."""
    logs = [math.log10(one) for _, *three in rows for one in three if one is not None and one > 0]
    reach = min(max(max(map(abs, logs)), 0.1) * 1.08, 6.0)
    height = TOP + BOTTOM + 24 * len(rows)
    frame = Frame(-reach, reach, 0, len(rows), left=150, height=height)
    one = frame.x(0)
    parts = [
        axes(frame, x_title, "", lambda value: number(10**value, 2), x_ticks=log_ticks(reach), y_ticks=False),
        el("line", x1=one, y1=TOP, x2=one, y2=height - BOTTOM, class_="whisker"),
    ]
    for k, (name, value, low, high) in enumerate(rows):
        at = frame.y(len(rows) - k - 0.5)
        short = name if len(name) <= 20 else name[:19] + "…"
        parts.append(el("text", short, x=142, y=at + 4, text_anchor="end"))
        if low is not None and high is not None:
            ends = [frame.x(min(max(math.log10(max(end, 1e-9)), -reach), reach)) for end in (low, high)]
            parts.append(el("line", x1=ends[0], y1=at, x2=ends[1], y2=at, class_="one", stroke_width=2))
        where = frame.x(min(max(math.log10(max(value, 1e-9)), -reach), reach))
        parts.append(el("circle", cx=where, cy=at, r=4, class_="one"))
    return drawing(title, *parts, height=height)


def bars(title: str, sites: Sequence[str], series: Mapping[str, Sequence[tuple[float, float, float] | None]]) -> Markup:
    """Shares with their intervals, a group a hospital, a bar a series; withheld ones are left out and said."""
    height = TOP + BOTTOM + (16 * len(series) + 18) * len(sites)
    frame = Frame(0.0, 1.0, 0, 1, left=150, height=height)
    parts = [axes(frame, "share", "", y_ticks=False)]
    y = float(TOP + 6)
    for k, site in enumerate(sites):
        short = site if len(site) <= 20 else site[:19] + "…"
        parts.append(el("text", short, x=142, y=y + 8 * len(series) + 4, text_anchor="end"))
        for colour, (name, values) in zip(("one", "two"), series.items(), strict=False):
            found = values[k]
            if found is None:
                parts.append(el("text", f"{name}: withheld", x=156, y=y + 12, class_="dim"))
            else:
                value, low, high = found
                wide = round(frame.x(value) - frame.left, 2)
                parts.append(
                    el("rect", x=frame.left, y=y + 2, width=wide, height=12, class_=colour, fill_opacity="0.75")
                )
                parts.append(
                    el(
                        "line",
                        x1=frame.x(low),
                        y1=y + 8,
                        x2=frame.x(high),
                        y2=y + 8,
                        class_="whisker",
                        stroke_width=1.5,
                    )
                )
            y += 16
        y += 18
    return drawing(title, *parts, height=height)


def square(
    title: str,
    points: Sequence[tuple[float, float, float | None, float | None]],
    x_title: str,
    y_title: str,
    line: bool,
) -> Markup:
    """Shares against shares with the diagonal: calibration (with intervals) or ROC (with a line)."""
    frame = Frame(0.0, 1.0, 0.0, 1.0)
    diagonal = el(
        "line", x1=frame.x(0), y1=frame.y(0), x2=frame.x(1), y2=frame.y(1), class_="axis", stroke_dasharray="4 4"
    )
    parts = [axes(frame, x_title, y_title), diagonal]
    for x, y, low, high in points:
        if low is not None and high is not None:
            parts.append(
                el(
                    "line",
                    x1=frame.x(x),
                    y1=frame.y(low),
                    x2=frame.x(x),
                    y2=frame.y(high),
                    class_="one",
                    stroke_width=2,
                )
            )
        parts.append(el("circle", cx=frame.x(x), cy=frame.y(y), r=3.5, class_="one"))
    if line:
        path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y, _, _ in points)
        parts.append(el("polyline", points=path, class_="one none", stroke_width=2))
    return drawing(title, *parts)


def histogram(title: str, edges: Sequence[float], counts: Sequence[float | None], x_title: str) -> Markup:
    """Patients a bin; a withheld bin is hatched by a dash in its place."""
    most = max([count for count in counts if count is not None], default=0.0) or 1.0
    frame = Frame(edges[0], edges[-1], 0.0, most * 1.08)
    parts = [axes(frame, x_title, "patients")]
    for k, count in enumerate(counts):
        left, right = frame.x(edges[k]), frame.x(edges[k + 1])
        if count is None:
            parts.append(el("text", "–", x=(left + right) / 2, y=frame.y(0) - 4, text_anchor="middle", class_="dim"))
            continue
        top = frame.y(count)
        wide, high = round(right - left - 1, 2), round(frame.y(0) - top, 2)
        parts.append(el("rect", x=left, y=top, width=wide, height=high, class_="one", fill_opacity="0.75"))
    return drawing(title, *parts)
