"""What other people's programs make of our SEG: dciodvfy, DCMTK, highdicom and dcmqi."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from ct_factory import ORIENTATIONS, CtSpec, write_ct, write_enhanced

from segmenter.dicom_common import ResultIdentity
from segmenter.dicom_seg import write_seg
from segmenter.femur import Side
from segmenter.readback import check_seg
from segmenter.series import read_series
from segmenter.stacking import STEP_TOLERANCE

IDENTITY = ResultIdentity("femur-vnet", "1.2.3", "ab" * 32, "cd" * 32, datetime(2024, 5, 2, 8, 9, 10))
REAL = Path(__file__).parents[3] / "shared" / "data" / "ct" / "STS_020"


def synthetic(folder, write=write_ct, sides=tuple(Side), **fields):
    spec = CtSpec(**fields)
    series = read_series(write(folder, spec))
    masks = dict(zip(Side, spec.balls(), strict=True))
    return series, {side: masks[side] for side in sides}


def rounded(folder, spec):
    """Write positions with one decimal, as some scanners do: steps of 0.625 mm become 0.6 and 0.7."""

    def edit(index, ds):
        ds.ImagePositionPatient = [f"{float(value):.1f}" for value in ds.ImagePositionPatient]

    return write_ct(folder, spec, edit)


def real(folder):
    if not (REAL / "femur_mask.nii.gz").exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the real scan is not at {REAL}")
    series = read_series(sorted((REAL / "dicom").iterdir()))
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(REAL / "femur_mask.nii.gz"))) > 0
    return series, {Side.LEFT: mask}


CASES = {name: {"orientation": axes} for name, axes in ORIENTATIONS.items()} | {
    "left-only": {"sides": (Side.LEFT,)},
    "right-only-oblique": {"sides": (Side.RIGHT,), "orientation": ORIENTATIONS["oblique"]},
    "enhanced": {"write": write_enhanced},
    "thin-slices": {"shape": (70, 40, 44), "spacing": (0.625, 1.3, 1.7)},
    "rounded-positions": {"write": rounded, "shape": (70, 40, 44), "spacing": (0.625, 1.3, 1.7)},
    "odd-pixel-count": {"shape": (20, 23, 27)},
}


@pytest.fixture(params=[*CASES, "real"], scope="module")
def case(request, tmp_path_factory):
    """Return the series, its masks and the SEG written of them."""
    folder = tmp_path_factory.mktemp("case")
    make = real(folder) if request.param == "real" else synthetic(folder / "ct", **CASES[request.param])
    series, masks = make
    path = write_seg(series, masks, IDENTITY, folder / "seg.dcm")
    check_seg(path, series, masks)
    return series, masks, path


def test_dciodvfy_finds_no_error(case, tool):
    found = subprocess.run([tool("dciodvfy"), "-new", case[2]], capture_output=True, text=True, check=False)
    said = (found.stdout + found.stderr).splitlines()
    assert "Segmentation" in said
    assert [line for line in said if line.startswith("Error")] == []


def test_dcmtk_reads_it(case, tool):
    dump = subprocess.run(
        [tool("dcmdump"), "+P", "SegmentLabel", "+P", "NumberOfFrames", case[2]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(f"{side.capitalize()} proximal femur" in dump.stdout for side in case[1])
    assert dump.stderr == ""


def test_highdicom_gives_the_mask_back(case):
    series, masks, path = case
    seg = hd.seg.segread(path)
    for number, side in enumerate((side for side in Side if side in masks), 1):
        volume = seg.get_volume(segment_numbers=[number], combine_segments=True, rtol=0.2)
        points = np.argwhere(volume.array > 0)
        # highdicom's indices are (slice, row, column) as ours; both go through the patient.
        found = (volume.affine @ np.c_[points, np.ones(len(points))].T)[:3].T
        assert same_points(series.geometry, found, masks[side])


def test_dcmqi_gives_the_mask_back(case, tmp_path):
    series, masks, path = case
    reader = Path(sys.executable).with_name("segimage2itkimage")
    if not reader.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("dcmqi is not installed")
    subprocess.run(
        [reader, "--inputDICOM", path, "--outputDirectory", tmp_path, "-t", "nrrd"], capture_output=True, check=True
    )
    assert len(list(tmp_path.glob("*.nrrd"))) == len(masks)
    for number, side in enumerate((side for side in Side if side in masks), 1):
        image = SimpleITK.ReadImage(str(tmp_path / f"{number}.nrrd"))
        filled = np.argwhere(SimpleITK.GetArrayFromImage(image) > 0)[:, ::-1].astype(float)
        matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        found = filled @ matrix.T + np.array(image.GetOrigin())
        assert same_points(series.geometry, found, masks[side])


def same_points(geometry, points, mask):
    """Tell whether points in the patient (LPS mm) are exactly the voxels of the mask."""
    index = geometry.to_index(points)
    near = np.rint(index).astype(int)
    assert np.abs(index - near).max() < STEP_TOLERANCE
    rebuilt = np.zeros_like(mask)
    rebuilt[tuple(near.T)] = True
    return np.array_equal(rebuilt, mask)
