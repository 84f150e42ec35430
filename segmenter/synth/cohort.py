"""Shapes of femurs for training and for held-out patients: families that no training patient resembles.

A family is a point in the space of the shape model's modes; its members differ from it by `MEMBER_SPREAD` only. The
held-out families are fixed; a training shape within `APART` standard deviations of one of them is drawn again.
"""

from functools import cache

import numpy as np

from segmenter.synth.atlas import FloatArray, load_atlas
from segmenter.synth.sampling import SHAPE_SPREAD

HELD_OUT_FAMILIES = 24
MEMBER_SPREAD = 0.15
APART = 1.2  # least distance of a training patient's shape from the centre of a held-out family


@cache
def held_out_families() -> FloatArray:
    """Return the mode weights `(24, m)` of the held-out families, in standard deviations."""
    modes = len(load_atlas().femur.modes)
    families: FloatArray = np.random.default_rng(20201122).normal(0, SHAPE_SPREAD, (HELD_OUT_FAMILIES, modes))
    return families


def training_shape(rng: np.random.Generator) -> FloatArray:
    """Return mode weights `(m,)` of a patient to train on, apart from every held-out family."""
    families = held_out_families()
    while True:
        shape: FloatArray = rng.normal(0, SHAPE_SPREAD, (families.shape[1],))
        if np.linalg.norm(families - shape, axis=1).min() > APART:
            return shape


def family_shape(rng: np.random.Generator, family: int) -> FloatArray:
    """Return mode weights `(m,)` of a member of a held-out family."""
    middle = held_out_families()[family % HELD_OUT_FAMILIES]
    shape: FloatArray = middle + rng.normal(0, MEMBER_SPREAD, middle.shape)
    return shape
