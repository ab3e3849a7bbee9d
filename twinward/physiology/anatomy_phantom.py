"""A heart of ellipsoids with an aorta, whose volumes, openings and diameters are known exactly.

    chamber    an ellipsoid (a, b, c), cut by the plane of the valves at height t c above its middle (ventricles) or
               below it (atria): volume pi a b c (2/3 + t - t^3/3), section pi a b (1 - t^2)
    openings   the atrium's section stands within the ventricle's, so it is the annulus; the aorta is a cylinder whose
               end stands there as well

Nobody's heart: it holds our measurements to numbers that are known. Sizes are those of an adult [M]. Units: mm, mL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology.anatomy import Labelled

SOURCE = "synthetic phantom: ellipsoids and a cylinder, exact"
NAMES = {2: "heart_atrium_left", 3: "heart_ventricle_left", 4: "heart_atrium_right", 5: "heart_ventricle_right",
         6: "aorta"}  # fmt: skip
LOW, HIGH = np.array([-44.0, -44.0, -84.0]), np.array([118.0, 44.0, 72.0])  # mm, the box; the valves' plane is z = 0


@dataclass(frozen=True, slots=True)
class Chamber:
    x: float
    a: float
    b: float
    c: float
    t: float  # height of the plane above (ventricle) or below (atrium) the middle, in c
    below: bool  # a ventricle: the body hangs below the plane

    @property
    def ml(self) -> float:
        return float(np.pi * self.a * self.b * self.c * (2 / 3 + self.t - self.t**3 / 3) / 1000.0)

    @property
    def section_mm2(self) -> float:
        return float(np.pi * self.a * self.b * (1 - self.t**2))

    def holds(self, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.bool_]:
        middle = (-1 if self.below else 1) * self.t * self.c
        side = z < 0 if self.below else z > 0
        inside = ((x - self.x) / self.a) ** 2 + (y / self.b) ** 2 + ((z - middle) / self.c) ** 2 < 1
        return np.asarray(side & inside)


@dataclass(frozen=True, slots=True)
class Phantom:
    """`systole` 0 (full) to 1 (emptied): the ventricles' edges shrink, so that ejection is about 60 %."""

    systole: float = 0.0
    aorta_radius_mm: float = 11.0
    narrowing: float = 1.0  # of the aorta's area, in the middle third

    def __post_init__(self) -> None:
        """Raises BadInput: out of range."""
        if not (0 <= self.systole <= 1 and 6 <= self.aorta_radius_mm <= 11 and 0.2 <= self.narrowing <= 1):
            raise BadInput("systole 0..1, aortic radius 6..11 mm, narrowing 0.2..1 of the area")

    @property
    def chambers(self) -> dict[str, Chamber]:
        s = 1 - 0.26 * self.systole
        return {
            "heart_ventricle_left": Chamber(0.0, 30.0 * s, 30.0 * s, 52.0 * s, 0.35, True),
            "heart_atrium_left": Chamber(13.0, 14.0, 27.0, 34.0, 0.5, False),
            "heart_ventricle_right": Chamber(80.0, 32.0 * s, 34.0 * s, 50.0 * s, 0.3, True),
            "heart_atrium_right": Chamber(80.0, 30.0, 30.0, 22.0, 0.6, False),
        }

    @property
    def ml(self) -> dict[str, float]:
        length = HIGH[2] / 10.0
        bore = np.pi * (self.aorta_radius_mm / 10.0) ** 2 * length * (1 - (1 - self.narrowing) / 3)
        return {name: one.ml for name, one in self.chambers.items()} | {"aorta": float(bore)}

    @property
    def mitral_mm2(self) -> float:
        return self.chambers["heart_atrium_left"].section_mm2

    @property
    def outlet_mm2(self) -> float:
        return float(np.pi * self.aorta_radius_mm**2)

    def drawn(self, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Labelled:
        """Each voxel gets the label of its middle. The valves' plane lies between two slices."""
        axes = [low + (np.arange(round((high - low) / h)) + 0.5) * h
                for low, high, h in zip(LOW, HIGH, spacing_mm, strict=True)]  # fmt: skip
        axes[2] = axes[2] - (axes[2][np.argmin(np.abs(axes[2]))] - 0.5 * spacing_mm[2])
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        labels = np.zeros((len(axes[0]), len(axes[1]), len(axes[2])), np.uint8)
        number = {name: n for n, name in NAMES.items()}
        for name, one in self.chambers.items():
            labels[one.holds(x, y, z)] = number[name]
        third = HIGH[2] / 3
        bore = np.where((z > third) & (z < 2 * third), self.narrowing, 1.0) * self.aorta_radius_mm**2
        labels[np.broadcast_to((z > 0) & ((x + 14.0) ** 2 + y**2 < bore), labels.shape)] = number["aorta"]
        return Labelled(labels, spacing_mm, NAMES, SOURCE)
