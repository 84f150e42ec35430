"""Independent readers of the SEG, binary and as a label map: dciodvfy, DCMTK, highdicom, dcmqi, pydicom.

A reader that returns voxels must place each of them at its position in the patient.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from seg_factory import CHECKS, GEOMETRIES, IDENTITY, WRITERS, case_of

from segmenter.read.series import read_series
from segmenter.read.stacking import STEP_TOLERANCE
from segmenter.volume.femur import Side

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct" / "STS_020"
KINDS = tuple(WRITERS)
# dciodvfy of 2022 does not know label maps (Supplement 243); nothing else may be wrong with one.
UNKNOWN_TO_DCIODVFY = (
    "Unrecognized enumerated value = <LABELMAP>",
    "SegmentIdentificationSequence(0062,000a)> - Missing attribute",  # not for label maps (PS3.3 A.51.5)
    "with SegmentNumber of 0",
    "SegmentNumber(0062,0004)[1]> - Value is zero",
)


def real(folder):
    if not (REAL / "femur_mask.nii.gz").exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the real scan is not at {REAL}")
    series = read_series(sorted((REAL / "dicom").iterdir()))
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(REAL / "femur_mask.nii.gz"))) > 0
    return series, {Side.LEFT: mask}


@pytest.fixture(params=[*GEOMETRIES, "real"], scope="module")
def case(request, tmp_path_factory):
    """Return the series, its masks, the SEGs written of them by kind, and whether its slices are tilted."""
    folder = tmp_path_factory.mktemp("case")
    fields = GEOMETRIES.get(request.param, {})
    series, masks = real(folder) if request.param == "real" else case_of(folder / "ct", **fields)
    paths = {name: write(series, masks, IDENTITY, folder / f"{name}.dcm") for name, write in WRITERS.items()}
    for name, path in paths.items():
        CHECKS[name](path, series, masks)
    return SimpleNamespace(series=series, masks=masks, paths=paths, tilted="tilt" in fields)


def errors_of(tool, path):
    found = subprocess.run([tool("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
    said = (found.stdout + found.stderr).splitlines()
    assert "Segmentation" in said
    return [line for line in said if line.startswith("Error")]


def test_dciodvfy_finds_no_error(case, tool):
    assert errors_of(tool, case.paths["binary"]) == []


def test_dciodvfy_finds_no_error_in_a_label_map_except_its_sop_class(case, tool, tmp_path):
    seg = dcmread(case.paths["labelmap"])
    seg.SOPClassUID = seg.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    seg.save_as(tmp_path / "known.dcm")
    errors = errors_of(tool, tmp_path / "known.dcm")
    assert [line for line in errors if not any(words in line for words in UNKNOWN_TO_DCIODVFY)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_dcmtk_reads_it(case, tool, kind):
    dump = subprocess.run(
        [tool("dcmdump"), "+P", "SegmentLabel", "+P", "NumberOfFrames", case.paths[kind]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(f"{side.capitalize()} proximal femur" in dump.stdout for side in case.masks)
    assert dump.stderr == ""


@pytest.mark.parametrize("kind", KINDS)
def test_highdicom_gives_the_mask_back(case, kind):
    seg = hd.seg.segread(case.paths[kind])
    assert seg.segment_numbers == list(range(1, len(case.masks) + 1))
    labels, to_patient = from_instances(case, seg) if case.tilted else from_volume(seg)
    for number, side in numbered(case):
        assert seg.get_segment_description(number).segment_label == f"{side.capitalize()} proximal femur"
        assert same_points(case, to_patient(np.argwhere(labels == number)), side)


def from_volume(seg):
    """Return the segment numbers on highdicom's own grid, and its transform to the patient."""
    volume = seg.get_volume(combine_segments=True, rtol=0.2)
    return volume.array, lambda points: (volume.affine @ np.c_[points, np.ones(len(points))].T)[:3].T


def from_instances(case, seg):
    """Return them on the source's grid: highdicom builds no volume from tilted slices, but reads each image."""
    uids = [plane.sop_instance_uid for plane in case.series.slices]
    labels = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    return labels, case.series.geometry.to_patient


@pytest.mark.parametrize("kind", KINDS)
def test_pydicom_and_the_standards_equation_give_the_mask_back(case, kind):
    """PS3.3 C.7.6.2.1.1, frame by frame, from the attributes of the object only."""
    seg = dcmread(case.paths[kind])
    shared = seg.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    points = {number: [] for number, _ in numbered(case)}
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for number in points:
            if kind == "binary" and groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
                continue
            j, i = np.nonzero(frame == (number if kind == "labelmap" else 1))
            points[number].append(corner + np.outer(i * column_mm, row) + np.outer(j * row_mm, column))
    for number, side in numbered(case):
        assert same_points(case, np.concatenate(points[number]), side)


@pytest.mark.parametrize("kind", KINDS)
def test_dcmqi_gives_the_mask_back(case, tmp_path, kind):
    reader = Path(sys.executable).with_name("segimage2itkimage")
    if not reader.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("dcmqi is not installed")
    command = [reader, "--inputDICOM", case.paths[kind], "--outputDirectory", tmp_path, "-t", "nrrd"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if case.tilted:  # dcmqi#430: it supports straight stacks only, and the quality gate warns of that
        assert "outside image geometry" in done.stdout + done.stderr or not everywhere(case, tmp_path, kind)
        return
    assert done.returncode == 0
    described = [
        one for group in json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"] for one in group
    ]
    assert [(one["labelID"], one["SegmentLabel"]) for one in described] == [
        (number, f"{side.capitalize()} proximal femur") for number, side in numbered(case)
    ]
    assert len({tuple(one["recommendedDisplayRGBValue"]) for one in described}) == len(case.masks)
    assert everywhere(case, tmp_path, kind)


def everywhere(case, folder, kind):
    """Tell whether the images of dcmqi have every voxel of every mask at its position."""
    for number, side in numbered(case):
        path = folder / f"{number if kind == 'binary' else 1}.nrrd"
        if not path.exists():
            return False
        image = SimpleITK.ReadImage(str(path))
        filled = np.argwhere(SimpleITK.GetArrayFromImage(image) == number)[:, ::-1].astype(float)
        matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        if not same_points(case, filled @ matrix.T + np.array(image.GetOrigin()), side):
            return False
    return True


def numbered(case):
    return list(enumerate((side for side in Side if side in case.masks), 1))


def same_points(case, points, side):
    """Tell whether points in the patient (LPS mm) are exactly the voxels of the mask."""
    index = case.series.geometry.to_index(points)
    near = np.rint(index).astype(int)
    mask = case.masks[side]
    if np.abs(index - near).max() >= STEP_TOLERANCE or (near < 0).any() or (near >= mask.shape).any():
        return False
    rebuilt = np.zeros_like(mask)
    rebuilt[tuple(near.T)] = True
    return np.array_equal(rebuilt, mask)
