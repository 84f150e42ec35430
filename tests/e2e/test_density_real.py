"""CT scans without a calibration phantom: none of the shipped phantoms may be found in them."""

import os
from importlib import resources
from pathlib import Path

import pytest
from pydicom import dcmread
from qct_factory import MODELS, phantom_settings

from segmenter.density.calibrate import by_phantom
from segmenter.density.calibration import CalibrationMode
from segmenter.density.settings import read_density_settings
from segmenter.evaluation.images import read_geometry, read_hu
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct"
SAMPLE = Path(str(resources.files("segmenter") / "data/phantoms/calibration.toml"))
# A complete hip, and two scans with false positives of a search that ignored the edges of the rods and their gaps.
SCANS = ["STS_020/dicom", "STS_003/ct.nii.gz", "negatives/STS_002.nii.gz"]


@pytest.fixture(scope="module")
def real() -> Path:
    if not REAL.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the real scans are not at {REAL}")
    return REAL


@pytest.mark.parametrize("name", SCANS)
def test_no_calibration_phantom_is_found_in_scans_without_one(real: Path, name: str):
    path = real / name
    if path.is_dir():
        files = [f for f in find_series(path) if dcmread(f, specific_tags=["Modality"]).Modality == "CT"]
        series = read_series(files)
        volume, geometry = read_volume(series), series.geometry
    else:
        volume, geometry = read_hu(path), read_geometry(path)
    phantoms = (*read_density_settings(SAMPLE).phantoms, phantom_settings(MODELS["slab"]))
    # Without the masks of the femurs the whole body is searched.
    calibration = by_phantom(volume, geometry, [], phantoms)
    assert calibration.mode is CalibrationMode.NONE
    assert calibration.warnings[0].startswith("no calibration phantom was found (Mindways Model 3 CT: ")
