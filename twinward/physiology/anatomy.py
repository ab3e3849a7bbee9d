"""Anatomy from a labelled volume: volumes of chambers, openings between them, diameters of vessels.

    volume        voxels x voxel volume
    opening       the vector area of all faces two labels share: |sum n dA|. It depends on the rim alone, so the steps
                  of an oblique surface add nothing (Stokes); where labels do not touch there is none
    diameter      a straight vessel cut at any angle is an ellipse whose short axis is the diameter: 4 sqrt(least
                  eigenvalue of the covariance of the section's points), in each axial slice and each connected piece

Every number comes with what half a voxel at the border would change [G]: labels drawn by a person or a program differ
by about that. A labelled volume is evidence about one moment of a beat; it knows no flow.
Units: mm in, mL, mm and mm2 out. Education and research; not a medical device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from twinward.errors import BadInput, NotFound, TooLarge

Labels = NDArray[np.integer]
LABEL = "education and research; not a medical device"
MOST_VOXELS = 300_000_000
COARSEST_MM, FINEST_MM = 6.0, 0.05
MOST_ANISOTROPY = 5.0  # longest over shortest edge of a voxel
LEAST_PIXELS = 12  # of a section whose diameter is told
ROUND = 2.0  # long over short axis above which a section is a bend, not a cut through a straight piece


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels in axial slices: first axis to the patient's right or left, second front or back, third head or feet."""

    labels: Labels  # (nx, ny, nz), 0 is nothing
    spacing_mm: tuple[float, float, float]
    names: Mapping[int, str]
    source: str  # where the labels and the names come from
    confirmed: bool = True  # False: drawn by a threshold, and nobody has looked at it yet
    why: tuple[str, ...] = field(default=())  # what a person should look at

    def __post_init__(self) -> None:
        """Raises BadInput, TooLarge: no labels, or a grid on which nothing here can be measured."""
        allowed(self.labels.shape, self.spacing_mm)
        if self.labels.dtype.kind not in "iu":
            raise BadInput(
                "labels are whole numbers; this volume has fractions: is it an image and not a segmentation?"
            )
        if not self.labels.any():
            raise BadInput("this volume has no labels: every voxel is 0")
        if self.labels.min() < 0:
            raise BadInput("labels are 0 or more; this volume has negative ones: is it an image?")

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000.0

    def number(self, name: str) -> int:
        """Raises NotFound: no such label, or none of its voxels in this volume."""
        found = [number for number, called in self.names.items() if called == name]
        if not found or not bool((self.labels == found[0]).any()):
            raise NotFound(f"no voxel is labelled {name}; `volumes` lists what there is")
        return found[0]


@dataclass(frozen=True, slots=True)
class Volume:
    name: str
    voxels: int
    ml: float
    error_ml: float  # half a voxel at the border
    source: str


@dataclass(frozen=True, slots=True)
class Opening:
    """Between two labels."""

    one: str
    other: str
    area_mm2: float
    error_mm2: float
    source: str


@dataclass(frozen=True, slots=True)
class Section:
    slice: int
    area_mm2: float  # of the ellipse with this diameter: the area across the vessel, not along the slice
    diameter_mm: float
    ratio: float  # long over short axis


@dataclass(frozen=True, slots=True)
class Vessel:
    name: str
    diameter_mm: float  # median over slices
    error_mm: float
    least_area_mm2: float
    least_at_slice: int
    sections: tuple[Section, ...]
    source: str


def allowed(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> None:
    """Before anything is read: whether a grid of this size and spacing can be measured.

    Raises:
        BadInput: not three axes, or voxels too coarse, too fine or too long.
        TooLarge: more voxels than are read at once.
    """
    if len(shape) != 3 or len(spacing_mm) != 3 or min(shape) < 2:
        raise BadInput("labels come as one volume of three axes with at least two voxels each")
    if int(np.prod(np.array(shape, dtype=np.int64))) > MOST_VOXELS:
        raise TooLarge(f"at most {MOST_VOXELS:,} voxels; cut the volume to the heart and the aorta")
    if not all(FINEST_MM <= one <= COARSEST_MM for one in spacing_mm):
        raise BadInput(f"voxels must have edges of {FINEST_MM:g} to {COARSEST_MM:g} mm")
    if max(spacing_mm) / min(spacing_mm) > MOST_ANISOTROPY:
        raise BadInput(f"voxels more than {MOST_ANISOTROPY:g} times as long as wide: resample to thinner slices")


def border(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    """mm2 of surface, corrected for the steps of a voxel surface by 2/3 (exact for a sphere, Cauchy)."""
    hx, hy, hz = spacing_mm
    faces = 0.0
    for axis, face in enumerate((hy * hz, hx * hz, hx * hy)):
        pad = [(0, 0)] * 3
        pad[axis] = (1, 1)
        faces += face * float(np.count_nonzero(np.diff(np.pad(mask, pad).astype(np.int8), axis=axis)))
    return faces * 2.0 / 3.0


def volume(seen: Labelled, name: str) -> Volume:
    """Raises NotFound: an empty or unknown label."""
    number = seen.number(name)
    box = ndimage.find_objects((seen.labels == number).astype(np.int8))[0]
    mask = seen.labels[box] == number
    voxels = int(np.count_nonzero(mask))
    half = 0.5 * float(np.prod(seen.spacing_mm)) ** (1 / 3)
    return Volume(name, voxels, voxels * seen.voxel_ml, border(mask, seen.spacing_mm) * half / 1000.0, seen.source)


def volumes(seen: Labelled) -> list[Volume]:
    """Of every label that has voxels; one without a name is called `label N`."""
    present = [int(one) for one in np.unique(seen.labels) if one]
    named = {one: seen.names.get(one, f"label {one}") for one in present}
    full = Labelled(seen.labels, seen.spacing_mm, {**seen.names, **named}, seen.source, seen.confirmed, seen.why)
    return [volume(full, name) for name in named.values()]


def opening(seen: Labelled, one: str, other: str) -> Opening:
    """Raises NotFound: a label is empty, or the two do not touch."""
    a, b = seen.number(one), seen.number(other)
    hx, hy, hz = seen.spacing_mm
    vector, rim = np.zeros(3), 0.0
    for axis, face in enumerate((hy * hz, hx * hz, hx * hy)):
        first, second = np.moveaxis(seen.labels, axis, 0)[:-1], np.moveaxis(seen.labels, axis, 0)[1:]
        up, down = np.count_nonzero((first == a) & (second == b)), np.count_nonzero((first == b) & (second == a))
        vector[axis] = face * (up - down)
        rim += face * (up + down)
    area = float(np.linalg.norm(vector))
    if rim == 0.0 or area == 0.0:
        raise NotFound(f"{one} and {other} do not touch in this volume: there is no opening to measure")
    half = 0.5 * float(np.prod(seen.spacing_mm)) ** (1 / 3)
    return Opening(one, other, area, 2 * float(np.sqrt(np.pi * area)) * half, seen.source)


def vessel(seen: Labelled, name: str) -> Vessel:
    """Diameter and narrowest place of a vessel that mostly runs up and down.

    Raises:
        NotFound: an empty label.
        BadInput: no slice cuts the vessel in a section that can be measured.
    """
    number = seen.number(name)
    found: list[Section] = []
    for k in range(seen.labels.shape[2]):
        slice_ = seen.labels[:, :, k] == number
        pieces, count = ndimage.label(slice_)
        for piece in range(1, count + 1):
            at = np.argwhere(pieces == piece) * np.array(seen.spacing_mm[:2])
            if len(at) >= LEAST_PIXELS:
                found.append(_section(k, at))
    straight = [one for one in found if one.ratio <= ROUND]
    if not straight:
        raise BadInput(f"no slice cuts {name} across: too few pixels, or the vessel lies in the slices")
    least = min(straight, key=lambda one: one.area_mm2)
    half = 0.5 * float(np.sqrt(seen.spacing_mm[0] * seen.spacing_mm[1]))
    middle = float(np.median([one.diameter_mm for one in straight]))
    return Vessel(name, middle, 2 * half, least.area_mm2, least.slice, tuple(straight), seen.source)


def _section(k: int, at: NDArray[np.float64]) -> Section:
    short, long = np.linalg.eigvalsh(np.cov(at.T, bias=True))
    diameter = 4 * float(np.sqrt(short))
    return Section(k, np.pi / 4 * diameter**2, diameter, float(np.sqrt(long / short)) if short > 0 else np.inf)
