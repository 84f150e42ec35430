"""Scans without a proximal femur, of which nothing may be claimed: a pelvis alone, a head under a tilted gantry."""

import numpy as np
import pytest
from bench.no_femurs import head, pelvis

from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models


def test_a_pelvis_whose_femurs_are_soft_tissue_has_none():
    volume, geometry = pelvis(np.random.default_rng([1, 2]))
    assert (volume > 700).sum() * geometry.voxel_volume_mm3 > 20_000  # it does hold bone
    assert segment_femurs(volume, geometry, load_models(device="cpu")) == []


@pytest.mark.parametrize("tilt", [0.0, 22.0, -25.0])
def test_a_head_has_none_whatever_the_tilt_of_the_gantry(tilt: float):
    volume, geometry = head(np.random.default_rng(4), tilt)
    assert geometry.tilt_degrees == pytest.approx(abs(tilt), abs=0.01)
    assert segment_femurs(volume, geometry, load_models(device="cpu")) == []
