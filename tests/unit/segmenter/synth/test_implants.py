"""The implants: where their metal lies in the femur."""

import numpy as np
import pytest

from segmenter.synth.femur_field import Landmarks
from segmenter.synth.implants import PARTS, Implant
from segmenter.synth.inclusions import METAL_HU, Place

NECK = np.array([0.77, 0.0, -0.64])
MARKS = Landmarks(
    head_centre=np.zeros(3),
    head_radius=24.0,
    neck_base=54 * NECK,
    shaft=np.array([52.0, 0.0, -98.0]),
    neck=NECK,
    down=np.array([0.0, 0.0, -1.0]),
    medial=np.array([-1.0, 0.0, 0.0]),
)
IN_THE_HEAD, IN_THE_NECK = -8 * NECK, 30 * NECK
IN_THE_SHAFT = MARKS.shaft + 40 * MARKS.down
BESIDE_THE_SHAFT = MARKS.shaft - 17 * MARKS.medial
HOLDS = {  # of each implant: points in its metal, and points that are free of it
    Implant.SCREWS: ([IN_THE_NECK + 7.5 * MARKS.medial], [IN_THE_SHAFT, BESIDE_THE_SHAFT]),
    Implant.SLIDING_SCREW: ([IN_THE_HEAD, IN_THE_NECK, BESIDE_THE_SHAFT], [IN_THE_SHAFT]),
    Implant.NAIL: ([IN_THE_HEAD, IN_THE_NECK, IN_THE_SHAFT], [BESIDE_THE_SHAFT]),
    Implant.PLATE: ([BESIDE_THE_SHAFT], [IN_THE_HEAD, IN_THE_NECK]),
}


@pytest.mark.parametrize("kind", PARTS)
def test_metal_lies_where_a_surgeon_puts_it(kind: Implant):
    parts = PARTS[kind](MARKS)
    assert {(part.place, part.hu) for part in parts} == {(Place.METAL, METAL_HU)}
    inside, outside = HOLDS[kind]
    for point in inside:
        assert min(part.distance(point) for part in parts) < 0, point
    for point in outside:
        assert min(part.distance(point) for part in parts) > 3, point


def test_every_kind_but_the_prosthesis_leaves_the_bone_as_it_is():
    assert set(PARTS) == set(Implant) - {Implant.PROSTHESIS}
