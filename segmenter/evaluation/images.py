"""NIfTI images as arrays `(z, y, x)` with their grid in the patient; masks laid onto the grid of their scan."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from segmenter.volume.geometry import Geometry
from segmenter.volume.resample import OUTSIDE_HU

SUFFIXES = (".nii.gz", ".nii")
SAME_PLACE = 0.25  # of a voxel: programs round positions and spacings differently


def find_image(folder: Path, name: str) -> Path | None:
    """Return the file `name` with one of the endings of NIfTI in a folder, if there is one."""
    return next((path for end in SUFFIXES if (path := folder / f"{name}{end}").is_file()), None)


def read_geometry(path: Path) -> Geometry:
    """Return the grid of an image from its header alone. Raises ValueError unless it has three axes."""
    reader = _header(path)
    if reader.GetDimension() != 3:
        raise ValueError(f"{path.name} must have three axes, it has {reader.GetDimension()}")
    columns, rows, slices = reader.GetSize()
    affine = np.eye(4)
    direction = np.reshape(reader.GetDirection(), (3, 3)) * np.array(reader.GetSpacing())
    affine[:3, :3] = direction[:, ::-1]  # SimpleITK counts x, y, z; arrays count z, y, x
    affine[:3, 3] = reader.GetOrigin()
    return Geometry((slices, rows, columns), affine)


def read_array(path: Path) -> NDArray[np.generic]:
    """Return the values `(z, y, x)` as stored. Raises ValueError when they cannot be read."""
    _refuse_cut_off(path)
    try:
        array: NDArray[np.generic] = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise ValueError(f"{path.name} cannot be read as an image") from error
    return array


def read_hu(path: Path) -> NDArray[np.generic]:
    """Return a CT volume in HU, int16 or float32, nothing below what lies outside the field (-1024 HU).

    Raises ValueError when no value is as low as air: then it is not in HU.
    """
    values = read_array(path)
    if values.min() > -200:
        raise ValueError(f"{path.name} is not in HU: its lowest value is {values.min():g}, that of air is about -1000")
    whole = np.issubdtype(values.dtype, np.integer)
    limited = np.clip(values, OUTSIDE_HU, np.iinfo(np.int16).max)
    hu: NDArray[np.generic] = limited.astype(np.int16 if whole else np.float32)
    return hu


def laid_on(values: NDArray[np.generic], source: Geometry, target: Geometry) -> NDArray[np.generic]:
    """Return `values` in the order of the target's axes, when both grids hold the same voxels.

    The axes may be permuted and reversed, as NIfTI programs often do. Raises ValueError for different grids.
    """
    steps = target.inverse[:3, :3] @ source.affine[:3, :3]
    turns = np.rint(steps)
    order = np.abs(turns).argmax(axis=1)  # for each axis of the target, the one of the source
    if sorted(order) != [0, 1, 2] or np.abs(turns).sum() != 3:
        raise ValueError("its voxels differ from the scan's in size or direction")
    moved = values.transpose(*order)
    if moved.shape != target.shape:
        raise ValueError(f"it has {_by(moved.shape)} voxels (z, y, x), the scan has {_by(target.shape)}")
    last = np.array(source.shape) - 1
    begin = np.where(turns.sum(axis=0) < 0, last, 0)
    reached = target.to_index(source.to_patient(np.stack([begin, last - begin])))
    offset = np.abs(reached - [np.zeros(3), np.array(target.shape) - 1]).max(axis=0)
    if offset.max() > SAME_PLACE:
        raise ValueError(f"it is up to {(offset * target.spacing).max():.2f} mm off the scan")
    return moved[tuple(slice(None, None, int(turns[axis, order[axis]])) for axis in range(3))]


def _header(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"{path.name} cannot be read as an image") from error
    return reader


def _refuse_cut_off(path: Path) -> None:
    """Raise ValueError for a file that ends too early: the reader would fill the rest with zeros."""
    header, found = _header(path), 0
    bits = math.prod(header.GetSize()) * int(header.GetMetaData("bitpix"))
    wanted = int(float(header.GetMetaData("vox_offset"))) + bits // 8
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            while part := stream.read(1 << 20):
                found += len(part)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged or cut off: copy it again") from error
    if found < wanted:
        raise ValueError(f"{path.name} is cut off, it holds {found} of {wanted} bytes: copy it again")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
