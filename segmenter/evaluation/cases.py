"""A folder of cases: scans with the true outline of one or both proximal femurs, and `cases.csv` that describes them.

One sub-folder per case holds the scan, `dicom/` (one CT series) or `ct.nii.gz` (HU), and its truth on the same grid:
`truth/left.nii.gz` and `truth/right.nii.gz`, or one of them, or one `truth.nii.gz` with 1 = left and 2 = right.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.evaluation.images import find_image, laid_on, read_array, read_geometry, read_hu
from segmenter.evaluation.listing import Listed, read_listing
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

LABELS = {1: Side.LEFT, 2: Side.RIGHT}
WIDEST_MM = 220.0  # from left to right; a femur turned outwards is about 150 mm

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """One scan in its folder: its row of the list, the sides with known truth, SHA-256 of scan and truth."""

    name: str
    folder: Path
    listed: Listed
    sides: tuple[Side, ...]
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Scan:
    """The scan of a case: HU and the true masks, all `(z, y, x)` on `geometry`."""

    volume: NDArray[np.generic]
    geometry: Geometry
    truth: Mapping[Side, Mask]


def read_cases(folder: Path, on_case: Callable[[int], None] = lambda _: None) -> list[Case]:
    """Check all cases of a folder and return them in the order of their names.

    Raises SegmenterError(CASES) that lists all faults at once, one sentence per line.
    """
    listing, faults = read_listing(folder)
    found = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    faults += [
        f"{name}: cases.csv lists this case, but its folder is missing" for name in sorted(listing.keys() - found)
    ]
    faults += [f"{name}: cases.csv does not list this folder" for name in sorted(found - listing.keys())]
    cases = []
    for done, name in enumerate(sorted(listing.keys() & found), 1):
        try:
            scan = _scan(folder / name)
            cases.append(Case(name, folder / name, listing[name], tuple(scan.truth), _digest(scan)))
        except (ValueError, SegmenterError) as error:
            faults.append(f"{name}: {error}")
        on_case(done)
    if not faults and not cases:
        faults = ["cases.csv lists no cases"]
    if faults:
        raise SegmenterError(Reason.CASES, "\n".join(faults), Verdict.FAILED)
    return cases


def load(case: Case) -> Scan:
    """Return scan and truth of a case. Raises SegmenterError when its pixels cannot be read."""
    try:
        return _scan(case.folder)
    except (ValueError, SegmenterError) as error:
        raise SegmenterError(Reason.CASES, f"{case.name}: {error}", Verdict.FAILED) from error


def _scan(folder: Path) -> Scan:
    image, dicom = find_image(folder, "ct"), folder / "dicom"
    if (image is not None) == dicom.is_dir():
        state = "both" if image is not None else "neither"
        raise ValueError(f"expected one scan, dicom/ or ct.nii.gz, found {state}")
    if image is not None:
        geometry, volume = read_geometry(image), read_hu(image)
    else:
        series = read_series(find_series(dicom))
        geometry, volume = series.geometry, read_volume(series)
    return Scan(volume, geometry, _truth(folder, geometry))


def _digest(scan: Scan) -> str:
    found = hashlib.sha256(scan.volume.tobytes())
    for side, mask in scan.truth.items():
        found.update(side.encode() + np.packbits(mask).tobytes())
    return found.hexdigest()


def _truth(folder: Path, scan: Geometry) -> dict[Side, Mask]:
    """Return the true masks on the grid of the scan, left first. Raises ValueError for every fault."""
    single = {side: path for side in Side if (path := find_image(folder / "truth", side)) is not None}
    both = find_image(folder, "truth")
    if (both is not None) == bool(single):
        raise ValueError(
            "expected one truth, truth/left.nii.gz and truth/right.nii.gz or truth.nii.gz, "
            f"found {'both' if single else 'neither'}"
        )
    if both is not None:
        truth = _labelled(both, scan)
    else:
        truth = {side: _on_scan(path, scan) != 0 for side, path in single.items()}
        for side, mask in truth.items():
            if not mask.any():
                raise ValueError(f"the mask {single[side].name} is empty")
    for side, mask in truth.items():
        across = np.ptp(scan.to_patient(np.argwhere(mask))[:, 0])
        if across > WIDEST_MM:
            raise ValueError(
                f"the {side} femur's mask is {across:.0f} mm wide: if it holds both, label the left "
                "one 1 and the right one 2"
            )
    _refuse_swapped(truth, scan)
    return truth


def _labelled(path: Path, scan: Geometry) -> dict[Side, Mask]:
    labels = _on_scan(path, scan)
    values = set(np.unique(labels).tolist())
    if not values & LABELS.keys():
        raise ValueError(f"the mask {path.name} is empty: expected the labels 1 (left) and 2 (right)")
    if strange := values - {0, *LABELS}:
        raise ValueError(f"{path.name} may hold the labels 0, 1 (left) and 2 (right), it holds {min(strange):g}")
    return {side: labels == label for label, side in LABELS.items() if label in values}


def _on_scan(path: Path, scan: Geometry) -> NDArray[np.generic]:
    try:
        return laid_on(read_array(path), read_geometry(path), scan)
    except ValueError as error:
        raise ValueError(f"{path.name} does not lie on the grid of the scan: {error}") from error


def _refuse_swapped(truth: Mapping[Side, Mask], scan: Geometry) -> None:
    if len(truth) < 2:
        return
    left, right = (scan.to_patient(np.argwhere(truth[side]).mean(axis=0))[0] for side in (Side.LEFT, Side.RIGHT))
    if left <= right:
        raise ValueError(
            "left and right are the patient's: the left femur's mask must lie at the greater x (LPS), "
            f"it lies at {left:.0f} mm and the right one's at {right:.0f} mm"
        )
