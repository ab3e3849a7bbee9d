"""A blood pool where nobody drew labels: threshold, and grow from a seed. **It needs a human check.**

Contrast-filled blood is brighter than muscle (about 50 HU) and darker than bone (above about 600) [M]; what hangs
together with the seed within a window is taken. That joins chambers, veins and spine as it likes, so the result is
marked as not looked at, and the circulation refuses it until a person confirms it (anatomy_circulation.py).
Education and research; not a medical device.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from twinward.errors import BadInput
from twinward.physiology.anatomy import Labelled, allowed

POOL = "blood_pool"
WINDOW_HU = (150.0, 600.0)
LEAST_ML, MOST_ML = 1.0, 2500.0


def blood_pool(
    hu: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
    seed: tuple[int, int, int],
    window_hu: tuple[float, float] = WINDOW_HU,
    name: str = POOL,
) -> Labelled:
    """Everything within the window that hangs together with voxel `seed` of the volume `hu` (nx, ny, nz).

    Raises:
        BadInput: a seed outside the volume or the window, an empty window, or a pool that is too small or has leaked.
        TooLarge: more voxels than are read at once.
    """
    allowed(hu.shape, spacing_mm)
    low, high = window_hu
    if not low < high:
        raise BadInput("the window of Hounsfield units goes from low to high")
    if len(seed) != 3 or not all(0 <= at < n for at, n in zip(seed, hu.shape, strict=True)):
        raise BadInput("the seed lies outside the volume")
    if not low <= hu[seed] <= high:
        raise BadInput(f"the seed is not in the window of {low:g}..{high:g} HU; choose a voxel in bright blood")
    pieces, _ = ndimage.label((hu >= low) & (hu <= high))
    mask = pieces == pieces[seed]
    ml = float(np.count_nonzero(mask)) * float(np.prod(spacing_mm)) / 1000.0
    if ml < LEAST_ML:
        raise BadInput("less than 1 mL hangs together with the seed; widen the window")
    if ml > MOST_ML:
        raise BadInput(f"{ml:.0f} mL hang together with the seed: it leaked; narrow the window")
    edges = any(bool(np.take(mask, k, axis).any()) for axis in range(3) for k in (0, -1))
    why = ["drawn by a threshold: check its border against the image in every slice", "chambers and veins are joined"]
    why += ["it reaches the edge of the volume: part of it is missing"] if edges else []
    return Labelled(mask.astype(np.uint8), spacing_mm, {1: name}, f"threshold {low:g}..{high:g} HU, grown from a seed",
                    confirmed=False, why=tuple(why))  # fmt: skip


def confirm(seen: Labelled) -> Labelled:
    """The same labels, said by a person to be right: they may now feed a circulation."""
    return replace(seen, confirmed=True, source=f"{seen.source}; looked at and confirmed")
