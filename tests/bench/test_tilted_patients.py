"""The effect of gantry tilt: the shipped networks on one synthetic patient, scanned straight and tilted."""

from pathlib import Path

import numpy as np
import pytest

from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.synth.patient import Patient
from segmenter.synth.sampling import sample_patient
from segmenter.synth.scanner import noise, reconstructed
from segmenter.synth.series.framing import scan_geometry
from segmenter.synth.series.header import SliceWriter
from segmenter.synth.series.options import SyntheticSeriesOptions
from segmenter.synth.series.writer import SEED
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models
from segmenter.volume.geometry import Geometry

OPTIONS = SyntheticSeriesOptions(seed=1003, size=256, slices=90)
LAYERS = 2  # per slice; their mean simulates the slice thickness


def tilted(straight: Geometry, degrees: float) -> Geometry:
    """Return the grid of the same table and gantry, tilted about the patient's x axis; the table moves along z."""
    angle = np.radians(degrees)
    affine = straight.affine.copy()
    _, y, x = straight.spacing
    affine[:3, 1] = [0, y * np.cos(angle), y * np.sin(angle)]
    affine[:3, 2] = [x, 0, 0]
    middle = (np.array(straight.shape) - 1) / 2
    affine[:3, 3] = straight.to_patient(middle) - affine[:3, :3] @ middle
    return Geometry(straight.shape, affine)


def scan(patient: Patient, geometry: Geometry, folder: Path) -> dict[str, np.ndarray]:
    """Write a scan of the patient on any grid; return the true masks `(z, y, x)` by side."""
    folder.mkdir()
    protocol, rng = OPTIONS.protocol(), np.random.default_rng(SEED)
    write = SliceWriter(OPTIONS, geometry, patient.sex)
    truth = {str(side): np.zeros(geometry.shape, bool) for side in patient.femurs}
    for k in range(geometry.shape[0]):
        affine = geometry.affine.copy()
        affine[:3, 0] /= LAYERS
        affine[:3, 3] = geometry.to_patient(np.array([k - (LAYERS - 1) / 2 / LAYERS, 0, 0]))
        rendering = patient.render(Geometry((LAYERS, *geometry.shape[1:]), affine))
        image = reconstructed(rendering.hu.mean(axis=0)[None], geometry.distances, protocol)
        image += noise(image.shape, geometry.distances, protocol, rng)
        dataset = write.dataset(k, image[0], None)
        axes = geometry.affine[:3, [2, 1]] / np.array(geometry.spacing)[[2, 1]]
        dataset.ImageOrientationPatient = [f"{value:.8f}" for value in axes.T.ravel()]
        dataset.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
        for side, distance in rendering.distance.items():
            truth[str(side)][k] = distance.mean(axis=0) < 0
    return truth


@pytest.mark.parametrize("degrees", [0.0, -10.0, 15.0, 28.0])
def test_a_tilted_patient(tmp_path: Path, degrees: float):
    rng = np.random.default_rng([SEED, OPTIONS.seed])
    patient = sample_patient(rng, OPTIONS.patient_options(rng))
    truth = scan(patient, tilted(scan_geometry(patient, OPTIONS), degrees), tmp_path / "ct")
    series = read_series(sorted((tmp_path / "ct").iterdir()))
    assert series.geometry.tilt_degrees == pytest.approx(abs(degrees), abs=0.01)
    femurs = segment_femurs(read_volume(series), series.geometry, load_models())
    assert len(femurs) == 2
    for femur in femurs:
        expected = truth[str(femur.side)]
        dice = 2 * (femur.mask & expected).sum() / (femur.mask.sum() + expected.sum())
        found_ml, true_ml = (mask.sum() * series.geometry.voxel_volume_mm3 / 1000 for mask in (femur.mask, expected))
        print(f"tilt {degrees:5.1f}  {femur.side:5}  Dice {dice:.4f}  {found_ml:.1f} ml, truly {true_ml:.1f} ml")
        assert dice > 0.95
