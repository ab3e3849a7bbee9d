"""Which counts are withheld so that no small one can be had by adding and subtracting what is shown.

Counts are tied by equations: total = sum of parts. A protected count is withheld. It
is safe once counts can be changed, its own among them, so that every equation still
holds and nothing shown changes: a loop of withheld counts. Where there is none, the
cheapest loop is sought, weighing counts by their patients, and withheld as a whole
(the idea of Fischetti and Salazar 2000, with reweighted least squares in place of
their linear programme: the answer is checked and need not be the very least). Last,
the withheld parts of a shown total must add up to at least 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.federation.study_rules import MINIMUM_CELL
from twinward.errors import BadInput

Floats = npt.NDArray[np.float64]
Key = tuple[str, ...]  # place, then what is counted: ("north.demo", "age", "missing")
STEPS = 8  # of reweighting
TINY = 1e-7  # coefficients are small whole numbers or ratios of such


@dataclass(frozen=True, slots=True)
class Equation:
    """total = sum of parts."""

    total: Key
    parts: tuple[Key, ...]

    def __iter__(self) -> Iterator[tuple[Key, float]]:
        yield self.total, -1.0
        for part in self.parts:
            yield part, 1.0


def withheld(
    values: Mapping[Key, float],
    protected: set[Key],
    equations: Sequence[Equation],
    before: frozenset[Key] = frozenset(),
    dear: frozenset[Key] = frozenset(),
    fixed: frozenset[Key] = frozenset(),
) -> set[Key]:
    """Everything that must be withheld.

    `before`: withheld already; `dear`: rather not; `fixed`: never, known to everybody.

    Raises:
        BadInput: there is no safe way to show any of it.
    """
    hidden = set(protected) | before
    cost = {key: (value or 1000.0) * (20.0 if key in dear else 1.0) for key, value in values.items()}
    everything = {key for equation in equations for key, _ in equation}
    for group in _components(equations, everything - fixed):  # nothing within one tells anything of another
        system = _System.of(group, fixed)
        while True:
            found = system.derivable(protected, hidden)
            thin = _thin(values, protected, group, hidden) if found is None else None
            if found is None and thin is None:
                break
            more = system.loop(found, hidden, cost) if found is not None else _cheapest(thin, hidden | fixed, cost)
            if not more:
                raise BadInput("the counts cannot be shown safely: ask for fewer of them")
            hidden |= more
    return hidden


def _thin(
    values: Mapping[Key, float], protected: Set[Key], equations: Sequence[Equation], hidden: Set[Key]
) -> Equation | None:
    """The first equation whose shown total gives away that its withheld parts are few."""
    for equation in equations:
        mine = [part for part in equation.parts if part in hidden]
        few = sum(values[part] for part in mine) < MINIMUM_CELL
        if equation.total not in hidden and few and any(part in protected for part in mine):
            return equation
    return None


def _cheapest(equation: Equation | None, taken: Set[Key], cost: Mapping[Key, float]) -> set[Key]:
    candidates = [key for key, _ in equation or () if key not in taken]
    return set(sorted(candidates, key=lambda key: (cost[key], key))[:1])


@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """Equations as a matrix over the counts that may be withheld."""

    keys: tuple[Key, ...]
    matrix: Floats  # an equation a row
    basis: Floats  # orthonormal rows that say the same

    @classmethod
    def of(cls, group: Sequence[Equation], fixed: Set[Key]) -> _System:
        keys = tuple(sorted({key for equation in group for key, _ in equation} - fixed))
        place = {key: k for k, key in enumerate(keys)}
        matrix = np.zeros((len(group), len(keys)))
        for row, equation in enumerate(group):
            for key, sign in equation:
                if key in place:
                    matrix[row, place[key]] += sign
        return cls(keys, matrix, _row_space(matrix))

    def derivable(self, protected: Set[Key], hidden: Set[Key]) -> Key | None:
        """A protected count that is given away.

        A withheld count follows from the shown ones just where its unit vector lies in the row space of the equations,
        taken over withheld counts alone.
        """
        mine = [k for k, key in enumerate(self.keys) if key in hidden]
        if not any(self.keys[k] in protected for k in mine):
            return None
        matrix = self.matrix[:, mine]
        inside = np.sum(_row_space(matrix[np.any(matrix, axis=1)]) ** 2, axis=0)  # squared length of a projection
        given = [self.keys[k] for k, length in zip(mine, inside, strict=True) if length > 1 - TINY]
        return next((key for key in given if key in protected), None)

    def loop(self, start: Key, hidden: Set[Key], cost: Mapping[Key, float]) -> set[Key]:
        """Counts of a cheap change v through `start`: equations hold of v, v is 1 there, sum cost |v| is small."""
        constraints = np.vstack([self.basis, [[float(key == start) for key in self.keys]]])
        wanted = np.zeros(len(constraints))
        wanted[-1] = 1.0
        price = np.array([1e-3 if key in hidden else cost[key] for key in self.keys])
        v = np.ones(len(self.keys))
        for _ in range(STEPS):
            spread = constraints * ((np.abs(v) + 1e-4) / price)
            inner = spread @ constraints.T
            scale = np.sqrt(np.maximum(np.diag(inner), 1e-300))
            inner = inner / scale[:, None] / scale + 1e-11 * np.eye(len(inner))
            v = spread.T @ (np.linalg.solve(inner, wanted / scale) / scale)
        for least in (0.1, 1e-3):
            more = {key for key, one in zip(self.keys, v, strict=True) if abs(one) > least} - hidden
            if more:
                return more
        return set()


def _row_space(matrix: Floats) -> Floats:
    """An orthonormal basis, a vector a row."""
    _, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    basis: Floats = right[: int(np.sum(sizes > TINY))]
    return basis


def _components(equations: Sequence[Equation], chosen: Set[Key]) -> list[list[Equation]]:
    """Equations that share chosen counts, together; those without any are left out."""
    head: dict[Key, Key] = {}

    def find(key: Key) -> Key:
        while head.setdefault(key, key) != key:
            head[key] = head[head[key]]
            key = head[key]
        return key

    mine = [(equation, [key for key, _ in equation if key in chosen]) for equation in equations]
    for _, keys in mine:
        for key in keys[1:]:
            head[find(key)] = find(keys[0])
    groups: dict[Key, list[Equation]] = {}
    for equation, keys in mine:
        if keys:
            groups.setdefault(find(keys[0]), []).append(equation)
    return list(groups.values())
