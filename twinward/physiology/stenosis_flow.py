"""Steady flow of a plane channel through a narrowing: a lattice-Boltzmann solver of our own (D2Q9).

    f_i(x + c_i, t + 1) = f_i - (f+_i - e+_i) / tau+ - (f-_i - e-_i) / tau-          nu = (tau+ - 1/2) / 3
    e_i = w_i (r + 3 c_i.u + 9/2 (c_i.u)^2 - 3/2 u.u)      r = sum f_i, u = sum c_i f_i, pressure = r / 3
    (tau+ - 1/2) (tau- - 1/2) = 3/16: a straight wall stands exactly half-way between nodes, whatever tau

Equilibrium for steady incompressible flow: He and Luo, J Stat Phys 88:927 (1997). Two relaxation times: Ginzburg,
Verhaeghe and d'Humieres, Commun Comput Phys 3:427 (2008). Curved walls: Bouzidi, Firdaouss and Lallemand, Phys Fluids
13:3452 (2001), linear. Inlet: bounce-back with a given parabola; outlet: anti-bounce-back with a given pressure. [M]

The channel has height 1 and mean velocity 1; Re = U H / nu. The narrowing is a raised cosine of 1 - area ratio,
shared by both walls, (1 + e) / 2 below and (1 - e) / 2 above: eccentricity e = 0 is symmetric, 1 stands on one wall.
**Plane (2-D), steady, laminar, rigid walls, Newtonian**: a round vessel loses another amount, and a large artery's
Reynolds numbers are above this range. Education and research; not a medical device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Unready
from twinward.physiology.compiled import compiled

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
SOLVER = "d2q9-trt-1"
CX = np.array([0, 1, 0, -1, 0, 1, -1, -1, 1])
CY = np.array([0, 0, 1, 0, -1, 1, 1, -1, -1])
OPPOSITE = np.array([0, 3, 4, 1, 2, 7, 8, 5, 6])
W = np.array([4 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 36, 1 / 36, 1 / 36, 1 / 36])
MAGIC = 3.0 / 16.0
FASTEST = 0.12  # greatest lattice velocity: error of compressibility near its square
GREATEST_NU = 0.2
BEFORE, AFTER = 1.5, 6.5  # heights of straight channel before and after the narrowing
NEEDED_NODES = 4  # in the throat
RANGES = {"area ratio": (0.3, 1.0), "length": (0.5, 4.0), "Reynolds number": (1.0, 200.0), "eccentricity": (0.0, 1.0)}


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Lengths in heights of the channel; Re of the whole channel's height and mean velocity."""

    area_ratio: float
    length: float
    reynolds: float
    eccentricity: float = 0.0

    def __post_init__(self) -> None:
        """Raises BadInput: out of the solver's range, or not a number."""
        for (name, (low, high)), value in zip(RANGES.items(), self.values, strict=True):
            if not low <= value <= high:
                raise BadInput(f"{name} of a narrowing must lie in {low:g}..{high:g}")

    @property
    def values(self) -> tuple[float, float, float, float]:
        return self.area_ratio, self.length, self.reynolds, self.eccentricity


@dataclass(frozen=True, slots=True)
class Channel:
    """The lattice: fluid nodes lo[x]..hi[x] of column x, walls in node coordinates, and links that cross a wall."""

    nodes: int  # per height
    lo: Whole  # (nx + 2,)
    hi: Whole
    bottom: Array  # (nx + 2,) wall height at each column
    top: Array
    links: Whole  # (n, 3): x, y, direction towards the wall
    q: Array  # (n,) share of the link that is fluid


@dataclass(frozen=True, slots=True)
class Flow:
    """Velocities in mean velocities, pressures in U^2 (per density), lengths in heights."""

    narrowing: Narrowing
    loss: float  # (pressure lost beyond that of the straight channel) / (U^2 / 2)
    throat_drop: float  # the same from before the narrowing to the least pressure on the way
    peak_velocity: float
    flux_error: float  # greatest relative difference of the flow through any two columns
    asymmetry: float  # greatest |u(y) - u(mirrored y)| / peak; 0 for a mirrored flow
    steps: int
    settled: float  # relative change of the loss over the last stretch
    u: Array  # (nx, ny)
    v: Array
    p: Array  # (nx, ny)
    channel: Channel


def wall(at: Array, one: Narrowing, nodes: int) -> tuple[Array, Array]:
    """Heights of the two walls (nodes) at columns `at`, which may be fractions."""
    first = BEFORE * nodes + 0.5
    s = (np.asarray(at, float) - first) / (one.length * nodes)
    bump = np.where((s > 0) & (s < 1), 0.5 * (1 - np.cos(2 * np.pi * s)), 0.0) * (1 - one.area_ratio) * nodes
    return 0.5 + bump * (1 + one.eccentricity) / 2, nodes + 0.5 - bump * (1 - one.eccentricity) / 2


def channel(one: Narrowing, nodes: int) -> Channel:
    """Raises BadInput: too few nodes for this throat."""
    if nodes * one.area_ratio < NEEDED_NODES or not 8 <= nodes <= 200:
        raise BadInput(f"8 to 200 nodes a height, and at least {NEEDED_NODES} in the throat")
    nx = round((BEFORE + one.length + AFTER) * nodes)
    bottom, top = wall(np.arange(nx + 2.0), one, nodes)
    on = 1e-9  # a node on the wall is wall, on either side, whatever the last digit
    lo, hi = np.floor(bottom + on).astype(np.int64) + 1, np.ceil(top - on).astype(np.int64) - 1
    links = [
        (x, y, d)
        for d in range(1, 9)
        for x in range(1, nx + 1)
        for y in range(lo[x], hi[x] + 1)
        if not lo[x + CX[d]] <= y + CY[d] <= hi[x + CX[d]]
    ]
    found = np.array(links, np.int64)
    return Channel(nodes, lo, hi, bottom, top, found, _shares(found, one, nodes))


def _shares(links: Whole, one: Narrowing, nodes: int) -> Array:
    """Where each link crosses the wall, by bisection."""
    x, y, d = links.T
    low, high = np.zeros(len(x)), np.ones(len(x))
    for _ in range(50):
        middle = (low + high) / 2
        bottom, top = wall(x + middle * CX[d], one, nodes)
        height = y + middle * CY[d]
        inside = (height > bottom) & (height < top)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray((low + high) / 2)


@compiled
def sweep(
    f: np.ndarray,
    g: np.ndarray,
    lo: np.ndarray,
    hi: np.ndarray,
    links: np.ndarray,
    q: np.ndarray,
    inlet: np.ndarray,
    even: float,
    odd: float,
    steps: int,
) -> None:
    """`steps` (an even number) steps in place: f (9, nx + 2, ny + 2), g as f; `inlet` (9, ny + 2) what the moving
    inlet adds; `even`, `odd` the relaxation rates 1 / tau+ and 1 / tau-."""
    nx = f.shape[1] - 2
    a, b = f, g
    for _ in range(steps):
        for x in range(1, nx + 1):
            for y in range(lo[x], hi[x] + 1):
                f0, f1, f2, f3, f4 = a[0, x, y], a[1, x, y], a[2, x, y], a[3, x, y], a[4, x, y]
                f5, f6, f7, f8 = a[5, x, y], a[6, x, y], a[7, x, y], a[8, x, y]
                r = f0 + f1 + f2 + f3 + f4 + f5 + f6 + f7 + f8
                u = f1 - f3 + f5 - f6 - f7 + f8
                v = f2 - f4 + f5 + f6 - f7 - f8
                s = r - 1.5 * (u * u + v * v)
                b[0, x, y] = f0 - even * (f0 - 4.0 / 9.0 * s)
                p = even * (0.5 * (f1 + f3) - (s + 4.5 * u * u) / 9.0)
                m = odd * (0.5 * (f1 - f3) - u / 3.0)
                b[1, x + 1, y], b[3, x - 1, y] = f1 - p - m, f3 - p + m
                p = even * (0.5 * (f2 + f4) - (s + 4.5 * v * v) / 9.0)
                m = odd * (0.5 * (f2 - f4) - v / 3.0)
                b[2, x, y + 1], b[4, x, y - 1] = f2 - p - m, f4 - p + m
                w = u + v
                p = even * (0.5 * (f5 + f7) - (s + 4.5 * w * w) / 36.0)
                m = odd * (0.5 * (f5 - f7) - w / 12.0)
                b[5, x + 1, y + 1], b[7, x - 1, y - 1] = f5 - p - m, f7 - p + m
                w = v - u
                p = even * (0.5 * (f6 + f8) - (s + 4.5 * w * w) / 36.0)
                m = odd * (0.5 * (f6 - f8) - w / 12.0)
                b[6, x - 1, y + 1], b[8, x + 1, y - 1] = f6 - p - m, f8 - p + m
        borders(a, b, lo, hi, links, q, inlet)
        a, b = b, a


@compiled
def borders(
    a: np.ndarray,
    b: np.ndarray,
    lo: np.ndarray,
    hi: np.ndarray,
    links: np.ndarray,
    q: np.ndarray,
    inlet: np.ndarray,
) -> None:
    """What comes back from walls, inlet and outlet. What left a node stands where it was sent, also beyond a wall."""
    nx = a.shape[1] - 2
    for k in range(links.shape[0]):
        x, y, d = links[k, 0], links[k, 1], links[k, 2]
        o = OPPOSITE[d]
        there = b[d, x + CX[d], y + CY[d]]
        if q[k] < 0.5:
            b[o, x, y] = 2.0 * q[k] * there + (1.0 - 2.0 * q[k]) * b[d, x, y]
        else:
            b[o, x, y] = there / (2.0 * q[k]) + (1.0 - 0.5 / q[k]) * b[o, x - CX[d], y - CY[d]]
    for d in (1, 5, 8):
        o = OPPOSITE[d]
        for y in range(lo[1], hi[1] + 1):
            if lo[0] <= y - CY[d] <= hi[0]:
                b[d, 1, y] = b[o, 0, y - CY[d]] + inlet[d, y]
    for y in range(lo[nx], hi[nx] + 1):
        u = a[1, nx, y] - a[3, nx, y] + a[5, nx, y] - a[6, nx, y] - a[7, nx, y] + a[8, nx, y]
        v = a[2, nx, y] - a[4, nx, y] + a[5, nx, y] + a[6, nx, y] - a[7, nx, y] - a[8, nx, y]
        for d in (3, 6, 7):
            o = OPPOSITE[d]
            if lo[nx + 1] <= y - CY[d] <= hi[nx + 1]:
                c = CX[d] * u + CY[d] * v
                even = 2.0 * W[d] * (1.0 + 4.5 * c * c - 1.5 * (u * u + v * v))
                b[d, nx, y] = even - b[o, nx + 1, y - CY[d]]


def started(one: Narrowing, grid: Channel, U: float, nu: float) -> tuple[Array, Array]:
    """Equilibrium of a parabola in each column, with the pressure of a slowly varying channel; and the inlet's part."""
    nx, n = len(grid.lo) - 2, grid.nodes
    f = np.broadcast_to(W[:, None, None], (9, nx + 2, n + 2)).copy()
    h = grid.top - grid.bottom
    y = np.arange(n + 2)[None, :]
    s = np.clip((y - grid.bottom[:, None]) / h[:, None], 0, 1)
    u = 6 * U * n / h[:, None] * s * (1 - s)
    r = 1 + 3 * np.cumsum((12 * nu * U * n / h**3)[::-1])[::-1][:, None]
    for d in range(9):
        c = CX[d] * u
        f[d] = W[d] * (r + 3 * c + 4.5 * c * c - 1.5 * u * u)
    inlet = np.zeros((9, n + 2))
    for d in (1, 5, 8):
        s = np.clip((np.arange(n + 2) - CY[d] / 2 - 0.5) / n, 0, 1)
        inlet[d] = 6 * W[d] * CX[d] * 6 * U * s * (1 - s)
    # what the inlet carries is what the parabola has at the nodes, so that it stays a parabola from the first column on
    s = (np.arange(1, n + 1) - 0.5) / n
    carried = sum(inlet[d, 1 : n + 1].sum() for d in (1, 5, 8))
    return f, inlet * (float((6 * U * s * (1 - s)).sum()) / carried)


def solve(one: Narrowing, nodes: int = 24, *, settled: float = 2e-5, most_passages: float = 8.0,
          magic: float = MAGIC) -> Flow:  # fmt: skip
    """The steady flow.

    `nodes` per height; `settled`: relative change of the loss over a quarter of the mean time of
    passage below which it is steady; `most_passages`: give up after so many.

    Raises:
        BadInput: too few nodes for the throat.
        Unready: not steady in the end, or it blew up: a flow this solver has no answer for.
    """
    grid = channel(one, nodes)
    U = min(FASTEST * one.area_ratio / 1.5, one.reynolds * GREATEST_NU / nodes)
    nu = U * nodes / one.reynolds
    even = 1 / (3 * nu + 0.5)
    odd = 1 / (magic / (3 * nu) + 0.5)
    f, inlet = started(one, grid, U, nu)
    g = f.copy()
    stretch = 2 * (int(0.25 * len(grid.lo) / U) // 2 + 100)
    before, steps, change = np.inf, 0, np.inf
    while steps * U < most_passages * len(grid.lo):
        sweep(f, g, grid.lo, grid.hi, grid.links, grid.q, inlet, even, odd, stretch)
        steps += stretch
        loss = _losses(f, grid, one, U, nu)[0]
        if not np.isfinite(loss):
            raise Unready("the flow blew up: use more nodes or a smaller Reynolds number")
        change = abs(loss - before) / max(abs(loss), 0.05)
        before = loss
        if change < settled:
            return _flow(f, grid, one, U, nu, steps, change)
    raise Unready("the flow did not become steady: this solver has no answer for it")


def fields(f: Array, grid: Channel) -> tuple[Array, Array, Array]:
    """Velocities and r (nx, ny) of the lattice; NaN where there is wall."""
    r, u, v = f.sum(0), np.tensordot(CX, f, 1), np.tensordot(CY, f, 1)
    y = np.arange(f.shape[2])[None, :]
    out = (y < grid.lo[:, None]) | (y > grid.hi[:, None])
    for field in (r, u, v):
        field[out] = np.nan
    return u[1:-1, 1:-1], v[1:-1, 1:-1], r[1:-1, 1:-1]


def _losses(f: Array, grid: Channel, one: Narrowing, U: float, nu: float) -> tuple[float, float]:
    _, _, r = fields(f, grid)
    n = grid.nodes
    mean = np.nanmean(r, axis=1) / 3
    first, last = round(0.75 * n), len(mean) - round(0.75 * n)
    straight = 12 * nu * U / n**2
    lost = mean[first] - mean[last] - straight * (last - first)
    least = int(np.argmin(mean[: last + 1] + straight * np.arange(last + 1)))
    dropped = mean[first] - mean[least] - straight * (least - first)
    return float(lost / (U * U / 2)), float(dropped / (U * U / 2))


def _flow(f: Array, grid: Channel, one: Narrowing, U: float, nu: float, steps: int, change: float) -> Flow:
    u, v, r = fields(f, grid)
    loss, drop = _losses(f, grid, one, U, nu)
    flux = np.nansum(u, axis=1)
    straight = np.abs(grid.top - grid.bottom - grid.nodes)[1:-1] < 1e-9  # elsewhere a sum over nodes is no integral
    peak = float(np.nanmax(u))
    return Flow(
        narrowing=one,
        loss=loss,
        throat_drop=drop,
        peak_velocity=peak / U,
        flux_error=float(np.ptp(flux[straight]) / flux[straight].mean()),
        asymmetry=float(np.nanmax(np.abs(u - u[:, ::-1])) / peak) if one.eccentricity == 0 else float("nan"),
        steps=steps,
        settled=change,
        u=u / U,
        v=v / U,
        p=r / 3 / (U * U),
        channel=grid,
    )
