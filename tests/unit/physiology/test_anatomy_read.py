"""Labels from files: what is read, turned and refused. DICOM SEG is written by highdicom and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from twinward.errors import BadInput, Malformed, NotFound, TwinwardError, Unready
from twinward.physiology import anatomy, anatomy_mesh, anatomy_read
from twinward.physiology.anatomy_phantom import Phantom

COARSE = (2.0, 2.0, 3.0)


@pytest.fixture(scope="module")
def phantom() -> anatomy.Labelled:
    return Phantom().drawn(COARSE)


def nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    made = nibabel.nifti1.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]
    made.header.set_xyzt_units("mm")
    nibabel.loadsave.save(made, path)
    return path


def test_what_is_stored_is_read(phantom: anatomy.Labelled, tmp_path: Path) -> None:
    anatomy_read.store(phantom, tmp_path / "a.nii.gz")
    again = anatomy_read.read(tmp_path / "a.nii.gz")
    assert np.array_equal(again.labels, phantom.labels)
    assert again.spacing_mm == phantom.spacing_mm
    assert again.names == phantom.names
    with pytest.raises(BadInput, match=r"\.nii"):
        anatomy_read.store(phantom, tmp_path / "a.txt")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_any_axes_are_turned_upright(phantom: anatomy.Labelled, tmp_path: Path, order: tuple[int, ...],
                                     signs: tuple[int, ...]) -> None:  # fmt: skip
    array = phantom.labels
    for axis, sign in enumerate(signs):
        array = array if sign > 0 else np.flip(array, axis)
    affine = np.diag([*(s * h for s, h in zip(signs, COARSE, strict=True)), 1.0])
    affine[:, :3] = affine[:, list(order)]
    file = nifti(tmp_path / "a.nii", np.ascontiguousarray(np.transpose(array, order)), affine)
    again = anatomy_read.read(file, "heartchambers-highres")
    assert np.array_equal(again.labels, phantom.labels)
    assert again.spacing_mm == pytest.approx(COARSE)


def test_refusals(phantom: anatomy.Labelled, tmp_path: Path) -> None:
    labels, straight = phantom.labels, np.diag([2.0, 2.0, 3.0, 1.0])
    t = np.radians(25)
    oblique = straight.copy()
    oblique[1:3, 1:3] = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) @ np.diag([2.0, 3.0])
    sheared = straight.copy()
    sheared[0, 1] = 0.3
    cases: list[tuple[Path, type[TwinwardError], str]] = [
        (tmp_path / "absent.nii", NotFound, "no such file"),
        (nifti(tmp_path / "oblique.nii", labels, oblique), BadInput, "25 degrees off the axial"),
        (nifti(tmp_path / "sheared.nii", labels, sheared), BadInput, "sheared"),
        (nifti(tmp_path / "long.nii", labels, np.diag([0.5, 0.5, 4.0, 1.0])), BadInput, "thinner slices"),
        (nifti(tmp_path / "none.nii", 0 * labels, straight), BadInput, "no labels"),
        (nifti(tmp_path / "image.nii", labels * np.float32(0.5), straight), BadInput, "fractions"),
        (nifti(tmp_path / "four.nii", np.stack([labels] * 2, 3), straight), BadInput, "three axes"),
    ]
    (tmp_path / "noise.nii").write_bytes(b"nothing at all" * 50)
    (tmp_path / "noise.dcm").write_bytes(b"nothing at all" * 50)
    whole = nifti(tmp_path / "whole.nii.gz", labels, straight).read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    cases += [
        (tmp_path / name, Malformed, "no NIfTI|neither NIfTI|damaged")
        for name in ("noise.nii", "noise.dcm", "half.nii.gz")
    ]
    for file, kind, match in cases:
        with pytest.raises(kind, match=match):
            anatomy_read.read(file, "heartchambers-highres")
    unplaced: Any = nibabel.nifti1.Nifti1Image(labels, None)  # type: ignore[no-untyped-call]
    nibabel.loadsave.save(unplaced, tmp_path / "unplaced.nii")
    with pytest.raises(BadInput, match="sform and qform"):
        anatomy_read.read(tmp_path / "unplaced.nii")


def test_names_come_from_somewhere(phantom: anatomy.Labelled, tmp_path: Path) -> None:
    file = nifti(tmp_path / "a.nii", phantom.labels, np.diag([2.0, 2.0, 3.0, 1.0]))
    with pytest.raises(NotFound, match="does not name its labels"):
        anatomy_read.read(file)
    with pytest.raises(NotFound, match="no such label map"):
        anatomy_read.read(file, "atlas-of-nobody")
    table = tmp_path / "map.csv"
    table.write_text("number,name\n3,heart_ventricle_left\n")
    seen = anatomy_read.read(file, str(table))
    assert [one.name for one in anatomy.volumes(seen)][1] == "heart_ventricle_left"
    assert "label 2" in [one.name for one in anatomy.volumes(seen)]
    table.write_text("a,b\n3,x\n")
    with pytest.raises(Malformed, match="columns number and name"):
        anatomy_read.read(file, str(table))


def source_slices(shape: tuple[int, ...]) -> list[Any]:
    """An empty CT series of nobody."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    uids = [generate_uid(entropy_srcs=[f"twinward {k}"]) for k in range(3 + shape[0])]
    found = []
    for k in range(shape[0]):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID, one.file_meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, uids[3 + k]
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = uids[:3]
        for empty in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                      "AccessionNumber", "StudyID", "ReferringPhysicianName"):  # fmt: skip
            setattr(one, empty, "")
        one.Modality, one.SamplesPerPixel, one.PhotometricInterpretation = "CT", 1, "MONOCHROME2"
        one.Rows, one.Columns = shape[1:]
        one.PixelSpacing, one.SliceThickness = [COARSE[1], COARSE[0]], COARSE[2]
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, COARSE[2] * k]
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 0
        one.PixelData = np.zeros(shape[1:], np.uint16).tobytes()
        found.append(one)
    return found


def test_a_dicom_segmentation(phantom: anatomy.Labelled, tmp_path: Path) -> None:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    frames = np.transpose(np.flip(phantom.labels, (0, 1)), (2, 1, 0))
    frames = np.where(frames > 0, frames.astype(int) - 1, 0).astype(np.uint8)  # segments are numbered from 1
    heart = codes.SCT.AnatomicalStructure, codes.SCT.Heart
    segments = [SegmentDescription(n - 1, name, *heart, "MANUAL") for n, name in phantom.names.items()]
    made = Segmentation(source_slices(frames.shape), frames, "BINARY", segments, generate_uid(entropy_srcs=["s"]), 1,
                        generate_uid(entropy_srcs=["i"]), 1, "none", "none", "1", "0")  # fmt: skip
    made.save_as(tmp_path / "phantom.dcm")
    seen = anatomy_read.read(tmp_path / "phantom.dcm")
    assert seen.spacing_mm == pytest.approx(COARSE)
    want = {one.name: one.voxels for one in anatomy.volumes(phantom)}
    assert {one.name: one.voxels for one in anatomy.volumes(seen)} == want
    assert "DICOM SEG" in seen.source
    source_slices((1, 4, 4))[0].save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    with pytest.raises(BadInput, match="no segmentation"):
        anatomy_read.read(tmp_path / "ct.dcm")


@pytest.mark.parametrize("missing", ["nibabel", "highdicom", "trimesh"])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, phantom: anatomy.Labelled, tmp_path: Path,
                           missing: str) -> None:  # fmt: skip
    """One sentence that says what to install."""
    import sys

    for file in ("a.nii", "a.dcm"):
        (tmp_path / file).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, missing, None)
    file = tmp_path / ("a.nii" if missing == "nibabel" else "a.dcm")
    with pytest.raises(Unready, match="imaging"):
        anatomy_mesh.surface(phantom, "aorta") if missing == "trimesh" else anatomy_read.read(file)
