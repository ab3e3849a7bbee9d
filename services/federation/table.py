"""A hospital's own table for one study: lives in memory, never leaves, never touches a disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """n patients."""

    names: tuple[str, ...]  # of the columns, in the study's order
    x: Floats  # shape (n, p), in the study's units; NaN where missing
    y: Floats | None  # shape (n,), the outcome; None where the study has none
    place: Floats  # shape (n,), each patient's fixed place in [0, 1): who is held out

    def __len__(self) -> int:
        return len(self.x)
