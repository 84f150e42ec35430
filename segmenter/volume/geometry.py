"""The grid of a volume in the patient: shape, spacing, orientation and origin, in DICOM's LPS millimetres."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Geometry:
    """A regular grid of voxels.

    shape: `(z, y, x)` = slices, rows, columns. affine: 4x4, maps homogeneous voxel centres `(k, j, i, 1)`
    (slice, row, column) to LPS mm (PS3.3 C.7.6.2.1.1, with the axes in array order). The axes need not be
    perpendicular: under a tilted gantry the slices are stacked at an angle to their normal.
    """

    shape: tuple[int, int, int]
    affine: Matrix

    @classmethod
    def axial(
        cls,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        origin: tuple[float, float, float],
    ) -> "Geometry":
        """Return an untilted grid along +Z, +Y, +X; spacing `(z, y, x)` mm, origin LPS `(x, y, z)` mm."""
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = spacing
        affine[:, 3] = (*origin, 1.0)
        return cls(shape, affine)

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along the axes `(z, y, x)`, mm.

        Between slices stacked at an angle it is longer than the distance of their planes: see `distances`.
        """
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @cached_property
    def distances(self) -> tuple[float, float, float]:
        """Perpendicular distance between neighbouring planes of voxels `(z, y, x)`, mm; on an untilted grid `spacing`.

        The first is DICOM's Spacing Between Slices (PS3.3 C.7.6.16.2.1: measured along the normal).
        """
        z, y, x = 1 / np.linalg.norm(self.inverse[:3, :3], axis=1)
        return float(z), float(y), float(x)

    @cached_property
    def normals(self) -> Matrix:
        """Unit normals `(3, 3)` of the planes of equal slice, row and column index, towards growing index, LPS."""
        rows: Matrix = self.inverse[:3, :3] * np.array(self.distances)[:, None]
        return rows

    @cached_property
    def tilt_degrees(self) -> float:
        """Angle between the direction in which the slices are stacked and their normal."""
        along = self.affine[:3, 0] / self.spacing[0]
        across = np.linalg.norm(np.cross(along, self.normals[0]))
        return float(np.degrees(np.arctan2(across, along @ self.normals[0])))

    @cached_property
    def inverse(self) -> Matrix:
        """4x4 matrix from homogeneous LPS mm to voxel indices `(k, j, i, 1)`."""
        result: Matrix = np.linalg.inv(self.affine).astype(np.float64)
        return result

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, mm3 (a sheared grid included)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_patient(self, index: NDArray[np.generic]) -> Matrix:
        """Map voxel indices `(..., 3)` in array order to LPS mm `(..., 3)`."""
        result: Matrix = np.asarray(index, float) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return result

    def to_index(self, point: NDArray[np.generic]) -> Matrix:
        """Map LPS mm `(..., 3)` to (fractional) voxel indices `(..., 3)` in array order."""
        result: Matrix = np.asarray(point, float) @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        return result

    def corners(self) -> Matrix:
        """Return the centres of the eight corner voxels in LPS mm, `(8, 3)`."""
        last = np.array(self.shape) - 1
        return self.to_patient(np.array(np.meshgrid(*[(0, n) for n in last])).reshape(3, 8).T)


def box_geometry(low: NDArray[np.float64], high: NDArray[np.float64], step: float) -> Geometry:
    """Return the axial LPS grid with spacing `step` mm that covers the box `low`..`high` (LPS mm)."""
    shape = tuple(int(n) for n in (np.ceil((high - low) / step) + 1)[::-1])
    return Geometry.axial((shape[0], shape[1], shape[2]), (step, step, step), (low[0], low[1], low[2]))
