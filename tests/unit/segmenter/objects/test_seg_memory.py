"""Writing and checking a long scan's segmentation must not take its masks several times over in memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from seg_factory import CHECKS, IDENTITY, WRITERS, case_of

from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

SIZE = 384
# Of both masks together: a bit per voxel is an eighth and is held once; a label map is half of them, and held twice.
WRITING = {"binary": 0.4, "labelmap": 1.3}
CHECKING = 0.15


@pytest.fixture
def long_scan(tmp_path):
    """A series as if its slices were large, with masks on nearly all of them."""
    series, _ = case_of(tmp_path / "ct", shape=(90, 24, 28), spacing=(0.6, 2.5, 2.0))
    geometry = Geometry((90, SIZE, SIZE), series.geometry.affine)
    slices = tuple(replace(plane, rows=SIZE, columns=SIZE) for plane in series.slices)
    masks = {side: np.zeros(geometry.shape, bool) for side in Side}
    masks[Side.LEFT][2:88, 100:200, 200:300] = True
    masks[Side.RIGHT][1:87, 100:200, 50:150] = True
    return replace(series, slices=slices, geometry=geometry), masks


def peak_of(call, *args):
    tracemalloc.start()
    call(*args)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("kind", WRITERS)
def test_neither_writing_nor_checking_holds_several_copies(tmp_path, long_scan, kind):
    series, masks = long_scan
    held = sum(mask.nbytes for mask in masks.values())
    path = tmp_path / kind
    WRITERS[kind](series, masks, IDENTITY, path)  # what is loaded once, such as dictionaries of codes, does not count
    assert peak_of(WRITERS[kind], series, masks, IDENTITY, path) < WRITING[kind] * held
    assert peak_of(CHECKS[kind], path, series, masks) < CHECKING * held
