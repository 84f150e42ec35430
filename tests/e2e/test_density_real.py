"""CT scans without a calibration phantom: none is found in them, and their HU scale, which is right, is not doubted."""

import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from qct_factory import MODELS, phantom_settings

from segmenter.density.calibrate import by_phantom
from segmenter.density.calibration import CalibrationMode
from segmenter.density.settings import read_density_settings
from segmenter.density.tissue_check import contradicts_certificate, doubts_of_phantom, find_tissues
from segmenter.evaluation.images import read_geometry, read_hu
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.image_kind import Beam
from segmenter.read.series import read_series
from segmenter.volume.geometry import Geometry

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct"
SAMPLE = Path(str(resources.files("segmenter") / "data/phantoms/calibration.toml"))
# A complete hip, and two scans with false positives of a search that ignored the edges of the rods and their gaps.
SCANS = ["STS_020/dicom", "STS_003/ct.nii.gz", "negatives/STS_002.nii.gz"]


@pytest.fixture(scope="module")
def real() -> Path:
    if not REAL.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the real scans are not at {REAL}")
    return REAL


def read_scan(path: Path) -> tuple[np.ndarray, Geometry]:
    if not path.is_dir():
        return read_hu(path), read_geometry(path)
    files = [f for f in find_series(path) if dcmread(f, specific_tags=["Modality"]).Modality == "CT"]
    series = read_series(files)
    return read_volume(series), series.geometry


@pytest.mark.parametrize("name", SCANS)
def test_no_calibration_phantom_is_found_in_scans_without_one(real: Path, name: str):
    volume, geometry = read_scan(real / name)
    phantoms = (*read_density_settings(SAMPLE).phantoms, phantom_settings(MODELS["slab"]))
    # Without the masks of the femurs the whole body is searched.
    calibration = by_phantom(volume, geometry, [], phantoms)
    assert calibration.mode is CalibrationMode.NONE
    assert calibration.warnings[0].startswith("no calibration phantom was found (Mindways Model 3 CT: ")


def test_the_hu_scale_of_a_real_scan_is_not_doubted_and_a_shift_is_found(real: Path):
    images = [path for path in real.rglob("*.nii.gz") if "mask" not in path.name]
    scans = sorted([*images, *{path.parent for path in real.rglob("*.dcm")}])
    assert len(scans) >= 23
    found = 0
    for path in scans:
        volume, geometry = read_scan(path)
        tissues = find_tissues(volume, geometry)
        assert contradicts_certificate(tissues, Beam.POLYCHROMATIC) == "", path
        assert doubts_of_phantom(tissues, 0.0) == "", path
        for shift in (24, 40):
            found += find_tissues(volume + np.int16(shift), geometry).offset == pytest.approx(shift, abs=15)
    assert found >= 2 * len(scans) - 4  # three scans show hardly any air: a shift of 24 HU is not certain there
