"""Make `segmenter/data/atlas.npz` from public label maps and a femur shape model; run once, the result is shipped.

Usage: python -m segmenter.synth.build_atlas SHARED_DATA OUT.npz

Sources and licences are in `segmenter/data/LICENSES.md`. The label maps become five tissue classes on a 2 x 2 x 3 mm
grid with the femurs taken out; the shape model is cut to the proximal femur and posed into every hip it was fitted to.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial import ConvexHull, Delaunay
from scipy.spatial.transform import Rotation

from segmenter.synth.atlas import Tissue

SUBJECTS = ("001", "002", "004", "005")
PROXIMAL_LENGTH_MM = 270.0
MODES = 6
PELVIS, FEMUR, SACRUM, SPINE, FIRST_MUSCLE = 1, 2, 3, 4, 5


def read_shape_model(folder: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return mean vertices `(v, 3)` LPS mm, modes per standard deviation `(m, v, 3)` and faces, proximal part."""
    model = np.load(folder / "femur.pc.npz", allow_pickle=True, encoding="latin1")
    mean = model["mean"].reshape(-1, 3)
    deviation = model["projectedWeights"].std(axis=1, ddof=1)[:MODES]
    modes = model["modes"][:, :MODES].T.reshape(MODES, -1, 3) * deviation[:, None, None]
    lines = (folder / "femur_mean.ply").read_text().split("end_header\n")[1].splitlines()[len(mean) :]
    faces = np.array([[int(n) for n in line.split()[1:]] for line in lines if line])
    keep = mean[:, 2] > mean[:, 2].max() - PROXIMAL_LENGTH_MM
    index = np.cumsum(keep) - 1
    faces = index[faces[keep[faces].all(axis=1)]]
    return mean[keep], modes[:, keep], faces


def signed_distance(inside: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float32]:
    """Return the signed distance in mm, negative inside, lightly smoothed against the voxel staircase."""
    outer = ndimage.distance_transform_edt(~inside, sampling=spacing)
    inner = ndimage.distance_transform_edt(inside, sampling=spacing)
    smooth: NDArray[np.float32] = ndimage.gaussian_filter((outer - inner).astype(np.float32), 0.7)
    return smooth


def fit_femur(
    distance: NDArray[np.float32],
    origin: NDArray[Any],
    spacing: tuple[float, ...],
    model: tuple[Any, Any, Any],
) -> tuple[NDArray[Any], float]:
    """Fit pose, scale and modes of the left model to a femur's distance map; return them and the median error, mm."""
    mean, modes, _ = model
    top = mean[:, 2].max()
    proximal = np.flatnonzero(mean[:, 2] > top - 200)[::4]
    pivot = mean[mean[:, 2] > top - 60].mean(axis=0)
    inside = np.argwhere(distance < 0)
    points = origin + inside[:, ::-1] * np.array(spacing[::-1])
    target = points[points[:, 2] > points[:, 2].max() - 60].mean(axis=0)

    def residuals(p: NDArray[Any]) -> NDArray[Any]:
        vertices = mean[proximal] + np.tensordot(p[7:], modes[:, proximal], 1)
        moved = Rotation.from_rotvec(p[:3]).apply(vertices - pivot) * np.exp(p[6]) + pivot + p[3:6]
        index = ((moved - origin) / np.array(spacing[::-1]))[:, ::-1].T
        value = ndimage.map_coordinates(distance, index, order=1, mode="nearest")
        return np.concatenate([np.where(index[0] < 1, 0, value), 0.7 * p[7:]])

    start = np.zeros(7 + MODES)
    start[3:6] = target - pivot
    solution = optimize.least_squares(
        residuals, start, loss="soft_l1", f_scale=2.0, x_scale=[0.1] * 3 + [5] * 3 + [0.1] + [1] * MODES
    )
    parameters = np.concatenate([solution.x, pivot])
    return parameters, float(np.median(np.abs(residuals(solution.x)[: len(proximal)])))


def convex_fill(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the convex hull of every slice: what lies between the bones is the pelvic cavity."""
    out = np.zeros_like(mask)
    for k, plane in enumerate(mask):
        points = np.argwhere(plane)
        if len(points) > 10 and np.ptp(points, axis=0).min() > 2:
            hull = Delaunay(points[ConvexHull(points).vertices])
            grid = np.argwhere(np.ones_like(plane))
            out[k] = (hull.find_simplex(grid) >= 0).reshape(plane.shape)
    return out


def tissues(label: NDArray[Any], body: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Reduce the label map to tissue classes; femurs are replaced by their nearest neighbour tissue."""
    classes = np.full(label.shape, Tissue.AIR, np.uint8)
    classes[body] = Tissue.FAT
    bone = np.isin(label, (PELVIS, SACRUM, SPINE))
    classes[convex_fill(bone) & body & (label == 0)] = Tissue.CAVITY
    classes[label >= FIRST_MUSCLE] = Tissue.MUSCLE
    classes[label == PELVIS] = Tissue.HIP_BONE
    classes[np.isin(label, (SACRUM, SPINE))] = Tissue.SPINE
    soft = classes.copy()
    soft[bone | (label == FEMUR)] = 255
    nearest = ndimage.distance_transform_edt(
        soft == 255, sampling=(3, 2, 2), return_distances=False, return_indices=True
    )
    filled = classes[tuple(nearest)]
    classes[label == FEMUR] = filled[label == FEMUR]
    return classes


def read_subject(folder: Path, model: tuple[Any, Any, Any]) -> dict[str, NDArray[Any]]:
    """Return one subject's tissue map, grid and the fitted pose of both femurs."""
    image = sitk.ReadImage(str(folder / "label.mhd"))
    label = sitk.GetArrayFromImage(image)[:, ::2, ::2]
    body = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask.mhd")))[:, ::2, ::2] > 0
    body |= label > 0
    spacing, origin = (3.0, 2.0, 2.0), np.array(image.GetOrigin())
    poses = {}
    pieces, _ = ndimage.label(label == FEMUR)
    biggest = np.argsort(np.bincount(pieces.ravel())[1:])[-2:] + 1
    centre = {n: ndimage.center_of_mass(pieces == n)[2] for n in biggest}
    for side, piece in zip(("right", "left"), sorted(biggest, key=lambda n: centre[n]), strict=True):
        femur, at = pieces == piece, origin
        if side == "right":  # seen in a mirror: x -> -x
            femur, at = femur[:, :, ::-1], np.array([-(origin[0] + 2.0 * (label.shape[2] - 1)), *origin[1:]])
        poses[side], error = fit_femur(signed_distance(femur, spacing), at, spacing, model)
        sys.stderr.write(
            f"{folder.name} {side}: median surface error {error:.2f} mm, scale {np.exp(poses[side][6]):.3f}\n"
        )
    z, y, x = (slice(max(a.min() - 2, 0), a.max() + 3) for a in np.where(body))
    corner = origin + np.array([x.start * 2.0, y.start * 2.0, z.start * 3.0])
    return {
        "tissue": tissues(label, body)[z, y, x],
        "origin": corner,
        "left": poses["left"],
        "right": poses["right"],
    }


def main() -> None:
    """Write the atlas; see the module's first lines for the usage."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    model = read_shape_model(source / "femora" / "ssm")
    mean, modes, faces = model
    content: dict[str, NDArray[Any]] = {
        "femur_mean": np.round(mean * 50).astype(np.int32),
        "femur_modes": np.round(modes * 50).astype(np.int16),
        "femur_faces": faces.astype(np.uint16),
    }
    for name in SUBJECTS:
        for key, value in read_subject(source / "labelmaps/pelvic-annotation" / f"Pelvic-Ref-{name}", model).items():
            content[f"body_{name}_{key}"] = value
    np.savez_compressed(out, **content)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
