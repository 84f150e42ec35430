"""A folder of cases: what it may look like, masks in any order of axes, and every fault said at once."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from segmenter.errors import Reason, SegmenterError
from segmenter.evaluation.cases import load, read_cases
from segmenter.evaluation.images import laid_on, read_geometry
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

GRID = Geometry.axial((24, 16, 20), (2.5, 2.0, 2.0), (-20.0, -16.0, 300.0))


def write(path: Path, values: np.ndarray, grid: Geometry = GRID, orientation: str = "LPS") -> None:
    """Write values on an axial grid as NIfTI, stored in another order of axes where one is named."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin(tuple(grid.affine[:3, 3]))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(path))


def volume() -> np.ndarray:
    values = np.full(GRID.shape, -1000, np.int16)
    values[:, 3:13, 2:18] = 40
    return values


def blob(x: slice, label: int = 1, grid: Geometry = GRID) -> np.ndarray:
    mask = np.zeros(grid.shape, np.uint8)
    mask[4:20, 5:9, x] = label
    return mask


def listing(folder: Path, *rows: str, columns: str = "case,sex") -> None:
    (folder / "cases.csv").write_text("\n".join([columns, *rows]) + "\n")


def nifti_case(folder: Path, name: str) -> Path:
    write(folder / name / "ct.nii.gz", volume())
    write(folder / name / "truth" / "left.nii.gz", blob(slice(14, 18)))
    write(folder / name / "truth" / "right.nii.gz", blob(slice(2, 6)))
    return folder / name


def faults(folder: Path) -> list[str]:
    with pytest.raises(SegmenterError) as caught:
        read_cases(folder)
    assert caught.value.reason is Reason.CASES
    return str(caught.value).splitlines()


def test_every_column_is_read_and_a_case_without_a_group_is_its_own(tmp_path: Path):
    for name in ("a", "b", "c"):
        nifti_case(tmp_path, name)
    rows = ["b, f,twins,thin,yes", "a,M,twins,,", "c,F,,thick,no"]
    listing(tmp_path, *rows, columns="case,sex,group,stratum,synthetic")
    said: list[int] = []
    cases = {case.name: case for case in read_cases(tmp_path, said.append)}
    assert list(cases) == ["a", "b", "c"]
    assert said == [1, 2, 3]
    assert (cases["b"].listed.sex, cases["b"].listed.stratum, cases["b"].listed.synthetic) == ("F", "thin", True)
    assert cases["a"].listed.group == cases["b"].listed.group != cases["c"].listed.group
    assert cases["a"].sides == (Side.LEFT, Side.RIGHT)
    assert not cases["c"].listed.synthetic


def test_a_scan_has_hu_and_masks_on_its_grid(tmp_path: Path):
    nifti_case(tmp_path, "a")
    listing(tmp_path, "a,F")
    scan = load(read_cases(tmp_path)[0])
    assert scan.volume.dtype == np.int16
    assert scan.volume.min() == -1000
    assert scan.geometry.affine == pytest.approx(GRID.affine)
    assert scan.geometry.to_patient(np.argwhere(scan.truth[Side.LEFT])).mean(axis=0)[0] > 0


def test_one_file_of_labels_does_as_well_as_one_per_side(tmp_path: Path):
    write(tmp_path / "a" / "ct.nii.gz", volume())
    write(tmp_path / "a" / "truth.nii.gz", blob(slice(14, 18), 1) + blob(slice(2, 6), 2))
    write(tmp_path / "b" / "ct.nii.gz", volume())
    write(tmp_path / "b" / "truth.nii.gz", blob(slice(2, 6), 2))
    listing(tmp_path, "a,F", "b,M")
    both, right = read_cases(tmp_path)
    assert (both.sides, right.sides) == ((Side.LEFT, Side.RIGHT), (Side.RIGHT,))
    assert np.array_equal(load(both).truth[Side.RIGHT], blob(slice(2, 6)) > 0)


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "PIR", "SAL"])
def test_a_mask_in_any_order_of_axes_lands_on_its_scan(tmp_path: Path, orientation: str):
    write(tmp_path / "a" / "ct.nii.gz", volume())
    write(tmp_path / "a" / "truth" / "left.nii.gz", blob(slice(14, 18)), orientation=orientation)
    listing(tmp_path, "a,F")
    assert np.array_equal(load(read_cases(tmp_path)[0]).truth[Side.LEFT], blob(slice(14, 18)) > 0)


def test_a_scan_stored_in_another_order_keeps_its_place_in_the_patient(tmp_path: Path):
    write(tmp_path / "ct.nii.gz", volume(), orientation="PIR")
    geometry = read_geometry(tmp_path / "ct.nii.gz")
    assert geometry.shape != GRID.shape
    corners = geometry.corners()
    assert corners.min(axis=0) == pytest.approx(GRID.corners().min(axis=0), abs=1e-3)
    assert corners.max(axis=0) == pytest.approx(GRID.corners().max(axis=0), abs=1e-3)
    assert np.array_equal(laid_on(volume(), GRID, geometry).shape, geometry.shape)


def test_a_dicom_series_is_a_scan(tmp_path: Path, ct: ModuleType):
    spec = ct.CtSpec()
    ct.write_ct(tmp_path / "a" / "dicom", spec)
    from segmenter.read.folder import find_series
    from segmenter.read.series import read_series

    geometry = read_series(find_series(tmp_path / "a" / "dicom")).geometry
    mask = np.zeros(geometry.shape, np.uint8)
    mask[2:5, 3:6, 3:6] = 1
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetDirection((geometry.affine[:3, :3] / geometry.spacing)[:, ::-1].ravel())
    image.SetOrigin(tuple(geometry.affine[:3, 3]))
    (tmp_path / "a" / "truth").mkdir()
    sitk.WriteImage(image, str(tmp_path / "a" / "truth" / "left.nii.gz"))
    listing(tmp_path, "a,M")
    scan = load(read_cases(tmp_path)[0])
    assert scan.volume.shape == geometry.shape
    assert np.array_equal(scan.truth[Side.LEFT], mask > 0)


def test_all_faults_are_said_at_once(tmp_path: Path):
    for name in ("ok", "swapped", "empty", "moved", "coarse", "labels", "unlisted"):
        nifti_case(tmp_path, name)
    write(tmp_path / "swapped" / "truth" / "left.nii.gz", blob(slice(0, 1)))
    write(tmp_path / "empty" / "truth" / "right.nii.gz", blob(slice(0, 0)))
    moved = Geometry.axial(GRID.shape, GRID.spacing, (-20.0, -16.0, 302.5))
    write(tmp_path / "moved" / "truth" / "left.nii.gz", blob(slice(14, 18)), moved)
    coarse = Geometry.axial((24, 16, 10), (2.5, 2.0, 4.0), (-20.0, -16.0, 300.0))
    write(tmp_path / "coarse" / "truth" / "left.nii.gz", blob(slice(7, 9), grid=coarse), coarse)
    for path in (tmp_path / "labels" / "truth").iterdir():
        path.unlink()
    write(tmp_path / "labels" / "truth.nii.gz", blob(slice(2, 4), 3) + blob(slice(10, 12), 1))
    (tmp_path / "bare").mkdir()
    listed = ["ok", "swapped", "empty", "moved", "coarse", "labels", "bare", "absent"]
    listing(tmp_path, *(f"{name},F" for name in listed), "ok,F", "odd,X", "../out,M")
    found = {line.partition(": ")[0]: line.partition(": ")[2] for line in faults(tmp_path)}
    assert set(found) == {*listed, "unlisted", "odd", "../out"}
    for name, words in {
        "ok": "lists it twice, again in line 10",
        "swapped": "the left femur's mask must lie at the greater x",
        "empty": "the mask right.nii.gz is empty",
        "moved": "left.nii.gz does not lie on the grid of the scan: it is up to 2.50 mm off the scan",
        "coarse": "differ from the scan's in size or direction",
        "labels": "may hold the labels 0, 1 (left) and 2 (right), it holds 3",
        "bare": "expected one scan, dicom/ or ct.nii.gz, found neither",
        "absent": "its folder is missing",
        "unlisted": "cases.csv does not list this folder",
        "odd": "sex must be F or M, it is 'X'",
        "../out": "must be the name of a folder",
    }.items():
        assert words in found[name], name


@pytest.mark.parametrize(
    ("columns", "words"),
    [("case,age", "it lacks sex"), ("case,sex,colour", "unknown column 'colour'"), ("case,sex", "lists no cases")],
)
def test_a_list_that_is_none_is_said_so(tmp_path: Path, columns: str, words: str):
    listing(tmp_path, columns=columns)
    assert words in "\n".join(faults(tmp_path))


def test_without_a_list_the_columns_it_needs_are_told(tmp_path: Path):
    assert faults(tmp_path) == [f"cases.csv is missing in {tmp_path}: it needs the columns case and sex"]


def test_a_volume_that_is_not_in_hu_is_refused(tmp_path: Path):
    nifti_case(tmp_path, "a")
    write(tmp_path / "a" / "ct.nii.gz", (volume() + 1000).astype(np.int16))
    listing(tmp_path, "a,F")
    (said,) = faults(tmp_path)
    assert said.startswith("a: ct.nii.gz is not in HU: its lowest value is 0")


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "truth/left.nii.gz"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, name: str):
    case = nifti_case(tmp_path, "a")
    if name == "ct.nii":
        (case / "ct.nii.gz").unlink()
        write(case / name, volume())
    content = (case / name).read_bytes()
    (case / name).write_bytes(content[:-9])
    listing(tmp_path, "a,F")
    (said,) = faults(tmp_path)
    assert Path(name).name in said
    assert "cut off" in said
    assert "copy it again" in said


def test_both_femurs_in_one_mask_are_no_left_femur(tmp_path: Path):
    wide = Geometry.axial((24, 16, 20), (2.5, 2.0, 15.0), (-150.0, -16.0, 300.0))
    write(tmp_path / "a" / "ct.nii.gz", volume(), wide)
    write(tmp_path / "a" / "truth.nii.gz", blob(slice(14, 18)) + blob(slice(2, 6)), wide)
    listing(tmp_path, "a,F")
    assert faults(tmp_path) == [
        "a: the left femur's mask is 225 mm wide: if it holds both, label the left one 1 and the right one 2"
    ]


def test_the_digest_follows_scan_and_truth(tmp_path: Path):
    case = nifti_case(tmp_path, "a")
    listing(tmp_path, "a,F")
    digests = {read_cases(tmp_path)[0].digest, read_cases(tmp_path)[0].digest}
    assert len(digests) == 1
    write(case / "truth" / "left.nii.gz", blob(slice(14, 17)))
    digests.add(read_cases(tmp_path)[0].digest)
    write(case / "ct.nii.gz", volume() + np.int16(1))
    digests.add(read_cases(tmp_path)[0].digest)
    assert len(digests) == 3
