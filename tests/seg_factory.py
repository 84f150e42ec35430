"""A series, its masks and the objects written from them, for the tests of segmentations."""

from datetime import datetime

import numpy as np
from ct_factory import ORIENTATIONS, CtSpec, write_ct, write_enhanced

from segmenter.objects.common import ResultIdentity
from segmenter.objects.seg import write_labelmap, write_seg
from segmenter.objects.seg_check import check_labelmap, check_seg
from segmenter.read.series import read_series
from segmenter.volume.femur import Side

IDENTITY = ResultIdentity("femur-vnet", "1.2.3", "ab" * 32, "cd" * 32, datetime(2024, 5, 2, 8, 9, 10, 250000))
WRITERS = {"binary": write_seg, "labelmap": write_labelmap}
CHECKS = {"binary": check_seg, "labelmap": check_labelmap}


def rounded(folder, spec):
    """Write positions with one decimal, as some scanners do: steps of 0.625 mm become 0.6 and 0.7."""

    def edit(index, ds):
        ds.ImagePositionPatient = [f"{float(value):.1f}" for value in ds.ImagePositionPatient]

    return write_ct(folder, spec, edit)


def position(name):
    return {"PatientPosition": name}


THIN = {"shape": (70, 40, 44), "spacing": (0.625, 1.3, 1.7)}
# Arguments of case_of for every kind of grid that scanners and reformations produce.
GEOMETRIES = {name: {"orientation": axes} for name, axes in ORIENTATIONS.items()} | {
    "prone": {"orientation": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), "tags": position("HFP")},
    "feet-first": {"orientation": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "tags": position("FFS")},
    "feet-first-prone": {"orientation": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), "tags": position("FFP")},
    "decubitus": {"orientation": (0.0, 1.0, 0.0, -1.0, 0.0, 0.0), "tags": position("HFDR")},
    "columns-before-rows": {"orientation": (0.0, 1.0, 0.0, 1.0, 0.0, 0.0)},
    "seen-from-the-right": {"orientation": (0.0, -1.0, 0.0, 0.0, 0.0, -1.0)},
    "slightly-oblique": {"orientation": (0.9999619, 0.0087265, 0.0, -0.0087265, 0.9999619, 0.0)},
    "left-only": {"sides": (Side.LEFT,)},
    "right-only-oblique": {"sides": (Side.RIGHT,), "orientation": ORIENTATIONS["oblique"]},
    "enhanced": {"write": write_enhanced},
    "enhanced-oblique": {"write": write_enhanced, "orientation": ORIENTATIONS["oblique"]},
    "enhanced-head-down": {"write": write_enhanced, "orientation": ORIENTATIONS["head-down"]},
    "thin-slices": THIN,
    "rounded-positions": {"write": rounded} | THIN,
    "thick-slices": {"shape": (10, 48, 56), "spacing": (5.0, 1.2, 1.2)},
    "five-slices": {"shape": (5, 24, 28), "spacing": (9.0, 2.5, 2.0)},
    "big-field-of-view": {"shape": (20, 128, 120), "spacing": (3.0, 5.5, 5.5)},
    "odd-pixel-count": {"shape": (20, 23, 27)},
    "far-from-the-origin": {"centre": (1234.567891, -2345.678912, -1987.654321)},
    "cut-by-the-scan": {"cut": True},
    "cut-by-the-scan-coronal": {"cut": True, "orientation": ORIENTATIONS["coronal"]},
    "tilted": {"tilt": 18.0},
    "tilted-back": {"tilt": -30.0},
}


def cut_off(masks):
    """Move one mask two slices out of the first slice and the other out of the last: the ends of the scan cut them."""
    moved = {}
    for side, mask in masks.items():
        filled = np.flatnonzero(mask.any(axis=(1, 2)))
        by = filled[0] + 2 if side is Side.LEFT else filled[-1] - len(mask) - 1
        before, after = (0, by) if by > 0 else (-by, 0)
        moved[side] = np.pad(mask, ((before, after), (0, 0), (0, 0)))[after : after + len(mask)]
    return moved


def masks_of(spec, sides=tuple(Side)):
    """The balls of the spec: one towards the patient's left, one towards the right."""
    return {side: ball for side, ball in zip(Side, spec.balls(), strict=True) if side in sides}


def case_of(folder, write=write_ct, sides=tuple(Side), cut=False, **fields):
    """Write a CT of a spec with these fields; return the series as read, and masks on its grid."""
    spec = CtSpec(**fields)
    masks = masks_of(spec, sides)
    return read_series(write(folder, spec)), cut_off(masks) if cut else masks
