"""A synthetic QCT patient as a CT series on disk, with the truth beside it.

`OUT/dicom/*.dcm` is the series (CT Image Storage, PS3.3 A.3); `OUT/truth/` holds one mask per femur on the same grid
(`left.nii.gz`, `right.nii.gz`) and `truth.json` with volumes, densities and the rods of the calibration phantom.
`OUT/calibration.toml` describes the phantom as a site's settings would.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmenter.synth.patient import Patient
from segmenter.synth.sampling import sample_patient
from segmenter.synth.scanner import drifted, noise, reconstructed
from segmenter.synth.series.calibration_file import calibration_file
from segmenter.synth.series.framing import circle, scan_geometry, stored, stored_grid
from segmenter.synth.series.header import SliceWriter
from segmenter.synth.series.options import SyntheticSeriesOptions
from segmenter.synth.series.truth import Truth
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

SUB_STEP_MM = 1.25  # slices are averaged from layers at most this thick
SEED = 20260101  # together with the patient's own: apart from the seeds of training


def write_synthetic_series(
    options: SyntheticSeriesOptions, out: Path, on_slice: Callable[[int], None] = lambda _: None
) -> Path:
    """Write series and truth below `out`; return the folder of the series. The same options give the same bytes."""
    rng = np.random.default_rng([SEED, options.seed])
    patient = sample_patient(rng, options.patient_options(rng))
    return write_scan(patient, options, rng, out, on_slice)


def write_scan(
    patient: Patient,
    options: SyntheticSeriesOptions,
    rng: np.random.Generator,
    out: Path,
    on_slice: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write a scan of a patient on the table; see `write_synthetic_series`."""
    table = replace(patient.table, with_rods=True, drift=options.drift)
    patient = replace(patient, table=table, artefact=patient.artefact if options.beam_hardening else None)
    folder = prepare_folder(out)
    geometry, protocol = scan_geometry(patient, options), options.protocol()
    shown = circle(geometry) if options.hip else None
    truth = Truth(patient, geometry, np.ones(geometry.shape[1:], bool) if shown is None else shown)
    write = SliceWriter(options, stored_grid(geometry, options.position), patient.sex)
    for k, (hu, inside) in enumerate(render_slices(patient, geometry)):
        truth.add(k, hu, inside)
        image = drifted(reconstructed(hu[None], geometry.spacing, protocol), options.drift)
        image += noise(image.shape, geometry.spacing, protocol, rng)
        at = k if options.position.signs[0] > 0 else geometry.shape[0] - 1 - k
        dataset = write.dataset(at, stored(image[0], options.position), shown)
        dataset.save_as(folder / f"{at + 1:04d}.dcm", enforce_file_format=True)
        on_slice(k + 1)
    truth.write(out / "truth", options.position)
    (out / "calibration.toml").write_text(calibration_file(options.model))
    return folder


def prepare_folder(out: Path) -> Path:
    """Return the folder of the series after removing an earlier synthetic series and its truth.

    Raises ValueError when it holds files that this module did not write.
    """
    folder, truth = out / "dicom", out / "truth"
    if folder.is_dir() and any(folder.iterdir()) and not (truth / "truth.json").exists():
        raise ValueError(f"{folder} holds files that this command did not write: choose another folder")
    for path in (*folder.glob("*.dcm"), *truth.glob("*.nii.gz")):
        path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def render_slices(
    patient: Patient, geometry: Geometry
) -> Iterator[tuple[NDArray[np.float32], dict[Side, NDArray[np.bool_]]]]:
    """Yield HU `(y, x)` and the femur masks of every slice; a slice is the mean of thinner layers."""
    layers = max(1, round(geometry.spacing[0] / SUB_STEP_MM))
    thin = geometry.spacing[0] / layers
    for k in range(geometry.shape[0]):
        affine = geometry.affine.copy()
        affine[:3, 0] *= thin / geometry.spacing[0]
        affine[2, 3] += k * geometry.spacing[0] - (layers - 1) / 2 * thin
        rendering = patient.render(Geometry((layers, *geometry.shape[1:]), affine))
        # An odd number of layers has one in the slice's middle plane; of an even number the two inner ones straddle it.
        inner = slice((layers - 1) // 2, layers // 2 + 1)
        inside = {side: d[inner].mean(axis=0) < 0 for side, d in rendering.distance.items()}
        yield rendering.hu.mean(axis=0), inside
