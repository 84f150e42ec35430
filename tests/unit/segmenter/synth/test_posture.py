"""Bent legs: the flesh follows the bone, the sockets stay where they are."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segmenter.synth.layers import Layer
from segmenter.synth.posture import (
    RIGID_MM,
    SUPPLE_MM,
    Leg,
    deformation,
    draw_swings,
    follow,
    node_grid,
    pose_layers,
)
from segmenter.volume.geometry import Geometry

HEADS = {1.0: np.array([90.0, 5.0, 10.0]), -1.0: np.array([-88.0, 4.0, 12.0])}
GRID = Geometry.axial((60, 50, 70), (6.0, 6.0, 6.0), (-210.0, -150.0, -250.0))


def legs(degrees: float) -> list[Leg]:
    turn = Rotation.from_euler("x", -degrees, degrees=True).as_matrix()
    return [Leg(centre, turn, outward) for outward, centre in HEADS.items()]


@pytest.mark.parametrize("outward", [1.0, -1.0])
@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_the_flesh_of_a_thigh_is_found_where_it_was_before_the_leg_was_bent(outward: float, degrees: float):
    bent = legs(degrees)
    leg = next(leg for leg in bent if leg.outward == outward)
    rest = leg.centre + np.random.default_rng(0).uniform([-30, -40, -220], [30, 40, -75], (50, 3))
    posed = leg.centre + (rest - leg.centre) @ leg.matrix.T
    assert follow(posed, bent) == pytest.approx(rest, abs=1e-6)


def test_flexion_brings_the_thigh_forward():
    (leg, _) = legs(40)
    knee = leg.centre + leg.matrix @ np.array([0, 0, -200.0])
    assert knee[1] < leg.centre[1] - 100  # forward is -y
    assert knee[2] > leg.centre[2] - 160


def test_what_is_above_and_behind_the_heads_stays():
    points = np.random.default_rng(1).uniform([-120, 5, 30], [120, 90, 120], (100, 3))
    assert follow(points, legs(45)) == pytest.approx(points)


def test_one_leg_does_not_draw_the_other_along():
    left, right = legs(40)
    still = Leg(right.centre, np.eye(3), right.outward)
    points = right.centre + np.random.default_rng(2).uniform([-40, -40, -200], [20, 40, 20], (50, 3))
    assert follow(points, [left, still]) == pytest.approx(points)


def test_the_body_is_deformed_but_not_around_the_sockets():
    nodes = node_grid(GRID)
    points = nodes.to_patient(np.stack(np.meshgrid(*map(np.arange, nodes.shape), indexing="ij"), axis=-1))
    shift = np.linalg.norm(deformation(points, legs(0), nodes, np.random.default_rng(3)), axis=-1)
    away = np.minimum(*(np.linalg.norm(points - centre, axis=-1) for centre in HEADS.values()))
    assert (shift[away < RIGID_MM] == 0).all()
    assert 0.1 < shift[away > SUPPLE_MM].mean() < 10


def test_the_nodes_cover_the_grid():
    nodes = node_grid(GRID).corners()
    assert (nodes.min(axis=0) <= GRID.corners().min(axis=0)).all()
    assert (nodes.max(axis=0) >= GRID.corners().max(axis=0)).all()


def test_soft_tissue_follows_a_bent_leg_and_bone_does_not():
    _, _, z = np.meshgrid(*(np.arange(n) * 6.0 for n in (60, 50, 70)), indexing="ij")
    y = np.broadcast_to((np.arange(50) * 6.0 - 150.0)[None, :, None], GRID.shape).astype(np.float32)
    layers = [Layer(y, GRID)] * 2
    soft, stiff = pose_layers(layers, [False, True], legs(40), GRID, np.random.default_rng(4))
    k, j, i = np.rint(GRID.to_index(HEADS[1.0] + [0, -100, -120])).astype(int)
    assert z.shape == soft.values.shape
    assert stiff.values[k, j, i] == pytest.approx(y[k, j, i], abs=12)
    assert soft.values[k, j, i] > stiff.values[k, j, i] + 60  # what is there now lay further back


def test_most_people_lie_straight_and_nobody_bends_backwards_far():
    rng = np.random.default_rng(5)
    flexion = np.degrees([-swing[0] for _ in range(300) for swing in draw_swings(rng)])
    assert 0.4 < (np.abs(flexion) < 12).mean() < 0.8
    assert flexion.min() > -25
    assert 40 < flexion.max() < 62
