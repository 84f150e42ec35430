"""Cases as the trainer's pool: each hip on the fine grid, right ones mirrored, with each voxel's share of bone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmenter.evaluation.cases import Case, Scan, load
from segmenter.training.pool import save
from segmenter.vnet.grids import FINE_MARGIN_MM, FINE_MM
from segmenter.volume.femur import Side
from segmenter.volume.geometry import box_geometry
from segmenter.volume.resample import OUTSIDE_HU, FloatVolume, reduce

AROUND_MM = FINE_MARGIN_MM + 10.0  # inference keeps FINE_MARGIN_MM around the coarse femur
WHOLE = 255  # label of a voxel entirely inside


def fill_pool(cases: Sequence[Case], folder: Path, on_case: Callable[[int], None] = lambda _: None) -> dict[str, Path]:
    """Write the hips of every case below `folder`; return the cases' pool folders by name. Existing ones are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for done, case in enumerate(cases, 1):
        path = folder / case.name
        if not path.exists():
            scan = load(case)
            temporary = folder / f".{case.name}.part"
            temporary.mkdir(exist_ok=True)
            for side in case.sides:
                save(temporary / f"{side}.npz", *hip(scan, side))
            temporary.rename(path)
        on_case(done)
    return {case.name: folder / case.name for case in cases}


def hip(scan: Scan, side: Side) -> tuple[FloatVolume, NDArray[np.uint8]]:
    """Return HU and label (0 outside the femur .. 255 inside) of one hip on the fine grid, as a left hip."""
    mask = scan.truth[side]
    points = scan.geometry.to_patient(np.argwhere(mask))
    fine = box_geometry(points.min(axis=0) - AROUND_MM, points.max(axis=0) + AROUND_MM, FINE_MM)
    hu = reduce(scan.volume, scan.geometry, fine, OUTSIDE_HU)
    share = reduce(mask.astype(np.float32), scan.geometry, fine, 0.0)
    label = np.round(WHOLE * np.clip(share, 0, 1)).astype(np.uint8)
    flip = -1 if side is Side.RIGHT else 1
    return hu[:, :, ::flip], label[:, :, ::flip]
