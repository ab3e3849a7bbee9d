"""Labelled volumes from files: NIfTI (nibabel) and DICOM SEG (highdicom), turned to the patient's axes.

What a number means comes from the file itself (the label table TotalSegmentator writes into a NIfTI extension, the
segments of a DICOM SEG) or from a map named by the caller; nothing is guessed. Maps that ship are the heart and the
great vessels of TotalSegmentator's classes, read in its `map_to_binary.py` [S]. There is no segmentation model here.
Refused: no orientation, oblique or sheared grids, grids on which nothing can be measured (anatomy.allowed), files that
cannot be read. Names of patients in a file are not read. Needs the extra `imaging`, imported when it is used.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed, NotFound, TooLarge, Unready
from twinward.physiology.anatomy import Labelled, allowed

CHAMBERS = ("heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right",
            "heart_ventricle_right")  # fmt: skip
MAPS: dict[str, dict[int, str]] = {
    "totalsegmentator-v2": {51: "heart", 52: "aorta", 53: "pulmonary_vein", 61: "atrial_appendage_left",
                            62: "superior_vena_cava", 63: "inferior_vena_cava"},
    "totalsegmentator-v1": {7: "aorta", 8: "inferior_vena_cava", **dict(enumerate(CHAMBERS, 44)),
                            49: "pulmonary_artery"},
    "heartchambers-highres": {**dict(enumerate(CHAMBERS, 1)), 6: "aorta", 7: "pulmonary_artery"},
}  # fmt: skip
MAP_SOURCE = "classes of TotalSegmentator (map_to_binary.py)"
FILE = "file"
MOST_BYTES = 2_000_000_000
MOST_TILT_DEG = 10.0
NAME = re.compile(r"[A-Za-z0-9_ .,/()-]{1,64}")
CARET = re.compile(rb'<Label Key="(\d{1,6})"[^>]*><!\[CDATA\[([^\]]{1,64})\]\]>')
UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError, zlib.error, RuntimeError)
EXTRA = "reading images needs the extra `imaging`: pip install twinward[imaging]"


def read(path: Path, labels: str = FILE) -> Labelled:
    """`path`: .nii, .nii.gz or a DICOM SEG file. `labels`: `file`, a name in MAPS, or a CSV file `number,name`.

    Raises:
        NotFound: no such file, or a map that does not exist.
        BadInput, Malformed, TooLarge: see the head of this file.
        Unready: the extra `imaging` is not installed.
    """
    if not path.is_file():
        raise NotFound("no such file; labels come as .nii, .nii.gz or one DICOM SEG file")
    if path.stat().st_size > MOST_BYTES:
        raise TooLarge("the file is over 2 GB; cut the volume to the heart and the aorta")
    nifti = path.name.endswith((".nii", ".nii.gz"))
    array, affine, own = _nifti(path) if nifti else _segmentation(path)
    names, source = named(labels, own)
    turned, spacing = upright(array, affine)
    whole = turned.astype(np.int32) if turned.dtype.kind in "iu" else turned.round().astype(np.int32)
    if turned.dtype.kind not in "iu" and not bool((whole == turned).all()):
        raise BadInput("labels are whole numbers; this volume has fractions: is it an image and not a segmentation?")
    kind = "NIfTI" if nifti else "DICOM SEG"
    return Labelled(whole, spacing, names, f"{kind}, names: {source}")


def image(path: Path) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Hounsfield units and spacing of a CT: .nii, .nii.gz, or a folder with one DICOM series.

    Raises as `read`.
    """
    if path.is_dir():
        array, affine = _series(path)
    elif path.is_file() and path.name.endswith((".nii", ".nii.gz")):
        array, affine, _ = _nifti(path)
    else:
        raise NotFound("no such image; a CT comes as .nii, .nii.gz or a folder with one DICOM series")
    turned, spacing = upright(array, affine)
    return turned.astype(float), spacing


def named(labels: str, own: Mapping[int, str]) -> tuple[dict[int, str], str]:
    """Names and where they come from."""
    if labels == FILE:
        if not own:
            raise NotFound(f"the file does not name its labels; say which map: {', '.join(MAPS)}, or a CSV file")
        return dict(own), "the file's own"
    if labels in MAPS:
        return dict(MAPS[labels]), f"{MAP_SOURCE}, {labels}"
    table = Path(labels)
    if not table.is_file():
        raise NotFound(f"no such label map; there are {FILE}, {', '.join(MAPS)}, or a CSV file with number,name")
    try:
        found = {int(row["number"]): row["name"].strip() for row in csv.DictReader(table.read_text().splitlines())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise Malformed("a label map is a CSV file with the columns number and name", detail=str(error)) from None
    if not found or not all(NAME.fullmatch(name) for name in found.values()):
        raise Malformed("a label map names each number in up to 64 plain letters, digits and signs")
    return found, "the caller's map"


def upright(array: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """The volume with axes right, front, head, and its spacing.

    Raises:
        BadInput: oblique by more than MOST_TILT_DEG, sheared, or no grid to measure on.
    """
    if array.ndim != 3:
        raise BadInput("labels come as one volume of three axes; overlapping or many-channel labels are not read")
    columns = np.asarray(affine, float)[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or not (lengths > 0).all():
        raise BadInput("this volume does not say how large its voxels are")
    unit = columns / lengths
    axis = np.abs(unit).argmax(axis=0)
    if sorted(axis.tolist()) != [0, 1, 2] or np.abs(unit.T @ unit - np.eye(3)).max() > 0.01:
        raise BadInput("this grid is sheared; resample it to axial slices")
    tilt = np.degrees(np.arccos(np.clip(np.abs(unit).max(axis=0), 0, 1))).max()
    if tilt > MOST_TILT_DEG:
        raise BadInput(f"this grid is {tilt:.0f} degrees off the axial plane; resample it to axial slices")
    order = [int(np.flatnonzero(axis == k)[0]) for k in range(3)]
    turned = np.transpose(array, order)
    for k, source in enumerate(order):
        if unit[k, source] < 0:
            turned = np.flip(turned, k)
    x, y, z = (float(lengths[k]) for k in order)
    allowed(turned.shape, (x, y, z))
    return turned, (x, y, z)


def _nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64], dict[int, str]]:
    try:
        import nibabel
    except ImportError:
        raise Unready(EXTRA) from None
    try:
        found: Any = nibabel.load(path)
        header, shape = found.header, tuple(found.shape)
        spacing = tuple(float(one) for one in header.get_zooms()[:3])
        codes, unit = (int(header["sform_code"]), int(header["qform_code"])), header.get_xyzt_units()[0]
    except (*UNREADABLE, nibabel.filebasedimages.ImageFileError) as error:
        raise Malformed("this file is no NIfTI volume that can be read", detail=str(error)) from None
    if unit not in ("mm", "unknown"):
        raise BadInput("this volume is not in millimetres")
    if codes == (0, 0):
        raise BadInput("this volume does not say how it lies in the patient (sform and qform are 0)")
    allowed(shape, spacing)
    own: dict[int, str] = {}
    for extension in header.extensions:
        for number, name in CARET.findall(bytes(extension.content)):
            text = name.decode("ascii", "replace")
            if NAME.fullmatch(text):
                own[int(number)] = text
    try:
        return np.asanyarray(found.dataobj), np.asarray(found.affine, float), own
    except UNREADABLE as error:
        raise Malformed("this NIfTI file ends early or is damaged", detail=str(error)) from None


TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes: left, back, head


def _highdicom() -> Any:  # noqa: ANN401  (a module)
    try:
        import highdicom
        import highdicom.seg
    except ImportError:
        raise Unready(EXTRA) from None
    return highdicom


def _segmentation(path: Path) -> tuple[NDArray[Any], NDArray[np.float64], dict[int, str]]:
    highdicom = _highdicom()
    import pydicom

    try:
        head = pydicom.dcmread(path, stop_before_pixels=True)
        kind = str(head.SOPClassUID)
        size = int(head.get("NumberOfFrames", 1)) * int(head.Rows) * int(head.Columns)
    except (*UNREADABLE, pydicom.errors.InvalidDicomError) as error:
        raise Malformed("this file is neither NIfTI (.nii, .nii.gz) nor DICOM", detail=str(error)) from None
    if kind != str(pydicom.uid.SegmentationStorage):
        raise BadInput("this DICOM object holds no segmentation; give the SEG object of the study")
    if size > 8 * 300_000_000:
        raise TooLarge("this segmentation is too large to read at once; cut it to the heart and the aorta")
    try:
        seen = highdicom.seg.segread(path)
        names = {int(n): str(seen.get_segment_description(n).segment_label) for n in seen.segment_numbers}
        grid = seen.get_volume(combine_segments=True)
        array, affine = np.asarray(grid.array), TO_RAS @ np.asarray(grid.affine, float)
    except UNREADABLE as error:
        raise Malformed(
            "the segments of this object overlap or do not fill a regular volume", detail=str(error)
        ) from None
    return array, affine, {n: name for n, name in names.items() if NAME.fullmatch(name)}


def _series(folder: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """By position along the normal of the slices, which is all that files without their class still tell."""
    try:
        import pydicom
    except ImportError:
        raise Unready(EXTRA) from None
    try:
        found = [pydicom.dcmread(one) for one in sorted(folder.iterdir()) if one.is_file()]
        if len(found) < 2 or any(str(one.get("Modality")) != "CT" for one in found):
            raise BadInput("the folder does not hold one CT series of at least two slices")
        across, down = np.array(found[0].ImageOrientationPatient, float).reshape(2, 3)
        normal = np.cross(across, down)
        found.sort(key=lambda one: float(np.array(one.ImagePositionPatient, float) @ normal))
        places = np.array([one.ImagePositionPatient for one in found], float)
        steps = np.diff(places, axis=0)
        alike = all(np.allclose(np.array(one.ImageOrientationPatient, float), [*across, *down], atol=1e-3)
                    and one.PixelSpacing == found[0].PixelSpacing for one in found)  # fmt: skip
        if not alike or np.abs(steps - steps.mean(0)).max() > 0.02:
            raise BadInput("the slices of this folder do not stand at equal distances: are some missing?")
        apart_y, apart_x = (float(one) for one in found[0].PixelSpacing)
        allowed((found[0].Columns, found[0].Rows, len(found)), (apart_x, apart_y, float(np.linalg.norm(steps[0]))))
        slices = [one.pixel_array.T * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
                  for one in found]  # fmt: skip
        affine = np.eye(4)
        affine[:3, :3] = np.column_stack([across * apart_x, down * apart_y, steps.mean(0)])
        affine[:3, 3] = places[0]
        return np.stack(slices, axis=2), TO_RAS @ affine
    except (*UNREADABLE, pydicom.errors.InvalidDicomError) as error:
        raise Malformed("this folder is no regular DICOM series", detail=str(error)) from None


def store(seen: Labelled, path: Path) -> None:
    """`seen` as NIfTI with its names in a label table, as `read` reads it; the first voxel at the origin.

    Raises:
        BadInput: a file name that is not .nii or .nii.gz, or a place that cannot be written.
        Unready: the extra `imaging` is not installed.
    """
    try:
        import nibabel
    except ImportError:
        raise Unready(EXTRA) from None
    if not path.name.endswith((".nii", ".nii.gz")):
        raise BadInput("labels are written as .nii or .nii.gz")
    nifti: Any = nibabel.nifti1
    made = nifti.Nifti1Image(seen.labels.astype(np.uint16), np.diag([*seen.spacing_mm, 1.0]))
    made.header.set_xyzt_units("mm")
    table = "".join(f'<Label Key="{n}" Alpha="1"><![CDATA[{name}]]></Label>' for n, name in seen.names.items())
    text = f"<CaretExtension><VolumeInformation><LabelTable>{table}</LabelTable></VolumeInformation></CaretExtension>"
    made.header.extensions.append(nifti.Nifti1Extension("comment", text.encode()))
    try:
        nibabel.loadsave.save(made, path)
    except OSError as error:
        raise BadInput("the file cannot be written; name a place of your own", detail=str(error)) from None
