"""The overlay picture of a run that knows no more than volume and mean HU: the page without what it has not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.femur import Femur
from segmenter.findings import Findings
from segmenter.geometry import Geometry
from segmenter.measure.records import FemurMeasurements, Measurements, Region
from segmenter.page.files import save_png
from segmenter.page.sheet import Subject, draw_page
from segmenter.report import FemurReport


def draw_overlay(
    volume: NDArray[Any], geometry: Geometry, femurs: Sequence[Femur], rows: Sequence[FemurReport], path: Path
) -> Path:
    """Write the page as PNG. volume: HU `(z, y, x)` on `geometry`; rows: what was measured of each femur."""
    measured = tuple(_measured(volume, femur, row) for femur, row in zip(femurs, rows, strict=True))
    subject = Subject(volume, geometry, femurs, Findings(Measurements(measured)), "", "")
    return save_png(draw_page(subject), path)


def _measured(volume: NDArray[Any], femur: Femur, row: FemurReport) -> FemurMeasurements:
    sd = float(np.std(volume[femur.mask], dtype=np.float64))
    whole = Region("integral", row.volume_ml, row.voxels, row.mean_hu, sd)
    return FemurMeasurements(row.side, row.complete, row.incomplete_reasons, (whole,))
