"""The score of the demo: Dice between a DICOM-SEG and a mask file, in patient space."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

SCORE = Path(__file__).parents[3] / "deploy/demo/score.py"
# A grid no axis of which is the patient's, with unequal steps: row direction, column direction, normal.
ROTATION = np.array(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix()).reshape(3, 3)
ORIGIN = np.array([-35.0, 12.5, 240.0])
STEP_XYZ = (0.8, 1.3, 2.5)
SHAPE = (6, 9, 11)


@pytest.fixture(scope="module")
def score():
    spec = importlib.util.spec_from_file_location("demo_score", SCORE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mask():
    """Two blocks that touch no border: left in the low columns, right in the high ones."""
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[1:4, 2:6, 1:4] = True
    right[2:5, 3:8, 6:10] = True
    return {"left": left, "right": right}


def write_truth(path, array, step=STEP_XYZ, origin=ORIGIN):
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(step)
    image.SetOrigin(origin.tolist())
    image.SetDirection(ROTATION.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def sequence_item(**attributes):
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def write_seg(path, masks):
    """Write the attributes of a segmentation object that place and name its voxels, frames shuffled."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, generate_uid()
    ds.Rows, ds.Columns = SHAPE[1:]
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 1, 0
    ds.PixelRepresentation, ds.PhotometricInterpretation = 0, "MONOCHROME2"
    codes = {"left": "7771000", "right": "24028007"}
    ds.SegmentSequence = [
        sequence_item(
            SegmentNumber=number,
            SegmentLabel=f"{side} femur",
            SegmentedPropertyTypeCodeSequence=[
                sequence_item(
                    CodeValue="310651003",
                    SegmentedPropertyTypeModifierCodeSequence=[sequence_item(CodeValue=codes[side])],
                )
            ],
        )
        for number, side in enumerate(masks, start=1)
    ]
    ds.SharedFunctionalGroupsSequence = [
        sequence_item(
            PixelMeasuresSequence=[
                sequence_item(
                    PixelSpacing=[STEP_XYZ[1], STEP_XYZ[0]],
                    SliceThickness=1.0,  # not the distance of the slices
                    SpacingBetweenSlices=STEP_XYZ[2],
                )
            ],
            PlaneOrientationSequence=[
                sequence_item(ImageOrientationPatient=[f"{v:.10f}" for v in ROTATION[:, :2].T.ravel()])
            ],
        )
    ]
    frames = [(n, k, m[k]) for n, m in enumerate(masks.values(), start=1) for k in range(SHAPE[0])]
    frames = [frames[i] for i in np.random.default_rng(3).permutation(len(frames))]
    ds.NumberOfFrames = len(frames)
    ds.PerFrameFunctionalGroupsSequence = [
        sequence_item(
            PlanePositionSequence=[
                sequence_item(ImagePositionPatient=[f"{v:.9f}" for v in ORIGIN + ROTATION[:, 2] * STEP_XYZ[2] * k])
            ],
            SegmentIdentificationSequence=[sequence_item(ReferencedSegmentNumber=number)],
        )
        for number, k, _ in frames
    ]
    ds.PixelData = pack_bits(np.stack([frame for _, _, frame in frames]).astype(np.uint8))
    ds.save_as(path, enforce_file_format=True)
    return path


def test_sides_volumes_and_places_are_read_from_the_object(score, mask, tmp_path):
    segments = score.read_segments(write_seg(tmp_path / "seg.dcm", mask))
    assert [segment.side for segment in segments] == ["left", "right"]
    assert [segment.label for segment in segments] == ["left femur", "right femur"]
    voxel_ml = np.prod(STEP_XYZ) / 1000
    assert [s.volume_ml for s in segments] == pytest.approx([m.sum() * voxel_ml for m in mask.values()])
    centre = ORIGIN + ROTATION @ (np.array([2.0, 3.5, 2.0]) * STEP_XYZ)  # of the left block, index x, y, z
    assert segments[0].points.mean(axis=0) == pytest.approx(centre, abs=1e-6)


def test_equal_masks_have_dice_one_on_an_oblique_grid(score, mask, tmp_path):
    segments = score.read_segments(write_seg(tmp_path / "seg.dcm", mask))
    for segment in segments:
        truth = write_truth(tmp_path / "truth.nii.gz", mask[segment.side])
        assert score.dice([segment], truth) == pytest.approx(1.0)


def test_dice_counts_the_overlap(score, mask, tmp_path):
    segments = score.read_segments(write_seg(tmp_path / "seg.dcm", mask))
    shifted = np.roll(mask["left"], 1, axis=2)  # two of three columns overlap
    assert score.dice(segments[:1], write_truth(tmp_path / "t.nii.gz", shifted)) == pytest.approx(2 / 3)
    assert score.dice(segments[1:], write_truth(tmp_path / "t.nii.gz", mask["left"])) == 0.0


def test_a_mask_without_sides_is_compared_with_all_segments(score, mask, tmp_path):
    segments = score.read_segments(write_seg(tmp_path / "seg.dcm", mask))
    both = write_truth(tmp_path / "both.nii.gz", mask["left"] | mask["right"])
    assert score.dice(segments, both) == pytest.approx(1.0)
    assert score.dice(segments[:1], both) < 0.7


def test_a_mask_on_another_grid_is_met_in_the_patient(score, mask, tmp_path):
    segments = score.read_segments(write_seg(tmp_path / "seg.dcm", mask))
    finer = np.repeat(mask["left"], 3, axis=2)[:, :, 2:]  # a third of the step, and the first two columns cut off
    step = (STEP_XYZ[0] / 3, *STEP_XYZ[1:])
    origin = ORIGIN + ROTATION[:, 0] * (step[0] * (2 - 1))
    truth = write_truth(tmp_path / "finer.nii.gz", finer, step, origin)
    assert score.dice(segments[:1], truth) == pytest.approx(1.0)
