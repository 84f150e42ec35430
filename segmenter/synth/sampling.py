"""Draw a synthetic patient: anatomy sampled from the atlas, posed, with its tissues, lesions, metal and table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from segmenter.synth.artefacts import artefacts
from segmenter.synth.atlas import Body, FloatArray, Tissue, load_atlas
from segmenter.synth.calibration_phantom import CalibrationPhantom
from segmenter.synth.calibration_phantom_models import SLAB, PhantomModel
from segmenter.synth.femur_field import FemurField, femur_field, place
from segmenter.synth.implants import Implant, implanted
from segmenter.synth.inclusions import Capsule, belly, beside, lesions, prosthesis, resected, roughened, screws, vessels
from segmenter.synth.layers import FloatVolume, Layer, noise_layer, signed_distance
from segmenter.synth.patient import Patient
from segmenter.synth.posture import Leg, draw_swings, pose_layers
from segmenter.synth.tissues import Tissues
from segmenter.synth.wear import sclerosis, worn, worn_joint
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

POSED_MM = (3.0, 3.0, 3.0)  # grid of the posed distances, which are smooth
SHAPE_SPREAD, SIDE_SPREAD = 0.9, 0.25  # standard deviations of the shape's modes: between people, between two sides
RIGID = (Tissue.HIP_BONE, Tissue.SPINE)


@dataclass(frozen=True)
class PatientOptions:
    """The options of a patient; None is drawn at random.

    sex: "F" or "M". shape: mode weights of the femurs in standard deviations. bone: 0 osteoporotic to 1 dense.
    metal: the side that carries a prosthesis, False for none. prone: the table is in front. phantom: what lies on it.
    implant: what one side was operated with; the patient is otherwise the one without it.
    wear: share of the hips that arthritis has changed; at 0 a patient is the one that was drawn before there was wear.
    """

    sex: str | None = None
    shape: FloatArray | None = None
    bone: float | None = None
    metal: Side | bool | None = None
    screws: bool | None = None
    prone: bool | None = None
    body: int | None = None
    phantom: PhantomModel = SLAB
    wear: float = 0.0
    implant: tuple[Side, Implant] | None = None


def sample_patient(rng: np.random.Generator, options: PatientOptions = PatientOptions()) -> Patient:
    """Draw one patient: a pelvis of the atlas, stretched and turned, two new femurs, tissues, a table."""
    atlas = load_atlas()
    sex = options.sex or str(rng.choice(["F", "M"]))
    body = atlas.bodies[rng.integers(len(atlas.bodies)) if options.body is None else options.body]
    mirrored = bool(rng.random() < 0.5)
    to_patient = draw_frame(rng, body, sex, mirrored)
    shape = rng.normal(0, SHAPE_SPREAD, len(atlas.femur.modes)) if options.shape is None else options.shape
    extent = Geometry(body.tissue.shape, to_patient @ body_grid(body).affine).corners()
    low, high = extent.min(axis=0), extent.max(axis=0)
    femurs, legs = sample_femurs(rng, body, to_patient, shape, mirrored=mirrored)
    low[1] -= max(0.0, *(110.0 * leg.matrix[1, 2] for leg in legs))  # bent legs come forward
    soft = posed_body(rng, body, to_patient, legs, (low, high))
    tissues = Tissues.sample(rng, options.bone)
    femurs = {side: roughened(femur, rng) for side, femur in femurs.items()}
    dense: list[Capsule] = []
    if options.wear:
        (own,) = rng.spawn(1)  # the patient's other dice fall as they did
        hips = {side: femur for side, femur in femurs.items() if own.random() < options.wear}
        tissues = worn_joint(tissues, own)
        dense = [capsule for femur in hips.values() for capsule in sclerosis(own, tissues, femur.landmarks)]
        femurs |= {side: worn(femur, own) for side, femur in hips.items()}
    replaced, metal = draw_metal(rng, options, femurs)
    femurs = {side: resected(femur) if side in replaced else femur for side, femur in femurs.items()}
    if options.implant:
        side, kind = options.implant
        femurs[side], parts = implanted(kind, rng.spawn(1)[0], femurs[side])
        metal += parts
        replaced |= {side} if kind is Implant.PROSTHESIS else set()
    noise = (
        noise_layer(rng, rng.uniform(7, 14), low - 20, high + 20),
        noise_layer(rng, rng.uniform(1.8, 3.5), low - 20, high + 20),
    )
    capsules = [*dense, *draw_contents(rng, tissues, femurs, (low, high)), *metal]
    table = draw_table(rng, soft[Tissue.AIR], options, (low, high))
    patient = Patient(sex, shape, tissues, soft, femurs, noise, low, high, table, tuple(capsules), replaced)
    return with_artefacts(patient, rng, bool(metal))


def draw_frame(rng: np.random.Generator, body: Body, sex: str, mirrored: bool) -> FloatArray:
    """Return the 4x4 matrix from the atlas body to the patient (LPS mm): size by sex, stretch, tilt, mirror."""
    size = rng.normal(0.95 if sex == "F" else 1.04, 0.045)
    wide = rng.uniform(0.98, 1.07) if sex == "F" else rng.uniform(0.94, 1.02)
    stretch = np.clip(size, 0.84, 1.15) * np.array([wide, rng.uniform(0.93, 1.07), rng.uniform(0.95, 1.05)])
    mirror = np.array([-1.0 if mirrored else 1.0, 1.0, 1.0])
    tilt = Rotation.from_rotvec(np.radians(rng.normal(0, [6.0, 2.0, 3.0]))).as_matrix()
    middle = body.origin + np.array(body.spacing[::-1]) * np.array(body.tissue.shape[::-1]) / 2
    frame = np.eye(4)
    frame[:3, :3] = tilt @ np.diag(stretch * mirror)
    frame[:3, 3] = -frame[:3, :3] @ middle + rng.uniform(-15, 15, 3)
    return frame


def body_grid(body: Body) -> Geometry:
    """Return the grid of an atlas body."""
    return Geometry.axial(body.tissue.shape, body.spacing, tuple(body.origin))


def sample_femurs(
    rng: np.random.Generator, body: Body, to_patient: FloatArray, shape: FloatArray, *, mirrored: bool
) -> tuple[dict[Side, FemurField], list[Leg]]:
    """Return one new femur per side, alike but not equal, in the body's own hips, and how the legs were moved."""
    model = load_atlas().femur
    lowest = float((to_patient @ np.array([*body.origin, 1.0]))[2])
    femurs, legs = {}, []
    for side, pose, swing in zip(Side, (body.left, body.right), draw_swings(rng), strict=True):
        weights = shape + rng.normal(0, SIDE_SPREAD, len(shape))
        vertices = place(model, pose, weights, swing, rng.uniform(0.97, 1.02))
        mirror = np.diag([1.0 if side is Side.LEFT else -1.0, 1.0, 1.0])
        vertices = vertices @ mirror @ to_patient[:3, :3].T + to_patient[:3, 3]
        other = Side.RIGHT if side is Side.LEFT else Side.LEFT
        own = other if mirrored else side
        femurs[own] = femur_field(vertices, model, lowest)
        frame = to_patient[:3, :3] @ mirror
        moved = frame @ Rotation.from_rotvec(swing).as_matrix() @ np.linalg.inv(frame)
        legs.append(Leg(femurs[own].landmarks.head_centre, moved, 1.0 if own is Side.LEFT else -1.0))
    return {side: femurs[side] for side in Side}, legs


def posed_body(
    rng: np.random.Generator,
    body: Body,
    to_patient: FloatArray,
    legs: list[Leg],
    extent: tuple[FloatArray, FloatArray],
) -> dict[Tissue, Layer]:
    """Return the signed distance to every tissue in the patient. Stretching errs by some percent far from borders."""
    low, high = extent
    nodes = np.ceil((high - low)[::-1] / POSED_MM).astype(int) + 1
    grid = Geometry.axial((int(nodes[0]), int(nodes[1]), int(nodes[2])), POSED_MM, (low[0], low[1], low[2]))
    source = Geometry(body.tissue.shape, to_patient @ body_grid(body).affine)
    maps = tissue_distances(body.name)
    posed = pose_layers([Layer(v, source) for v in maps.values()], [t in RIGID for t in maps], legs, grid, rng)
    return dict(zip(maps, posed, strict=True))


@cache
def tissue_distances(name: str) -> dict[Tissue, FloatVolume]:
    """Return signed distances (mm) of every tissue of one body; the key AIR holds the distance to the skin."""
    body = next(b for b in load_atlas().bodies if b.name == name)
    maps = {Tissue.AIR: signed_distance(body.tissue != Tissue.AIR, body.spacing)}
    for tissue in (Tissue.MUSCLE, Tissue.CAVITY, Tissue.HIP_BONE, Tissue.SPINE):
        maps[tissue] = signed_distance(body.tissue == tissue, body.spacing)
    return maps


def draw_metal(
    rng: np.random.Generator, options: PatientOptions, femurs: Mapping[Side, FemurField]
) -> tuple[frozenset[Side], list[Capsule]]:
    """Decide on prostheses and screws; returns the replaced sides and all metal."""
    dice, which, mended = rng.random(), Side.LEFT if rng.random() < 0.5 else Side.RIGHT, rng.random() < 0.04
    if options.metal is None:
        replaced = frozenset(Side) if dice < 0.01 else frozenset({which}) if dice < 0.1 else frozenset()
    else:
        replaced = frozenset({options.metal}) if isinstance(options.metal, Side) else frozenset()
    mended = mended if options.screws is None else options.screws
    metal = [c for side in sorted(replaced) for c in prosthesis(rng, femurs[side].landmarks)]
    if mended and which not in replaced:
        metal += screws(rng, femurs[which].landmarks)
    return replaced, metal


def draw_contents(
    rng: np.random.Generator, t: Tissues, femurs: Mapping[Side, FemurField], extent: tuple[FloatArray, FloatArray]
) -> list[Capsule]:
    """Return what else there is: vessels, bladder, bowel, lesions, a forearm."""
    heads = np.array([femur.landmarks.head_centre for femur in femurs.values()])
    found = [*belly(rng, t, heads, extent[1][2]), *beside(rng, *extent)]
    for femur in femurs.values():
        found += [*vessels(rng, t, femur.landmarks), *lesions(rng, t, femur.landmarks)]
    return found


def draw_table(
    rng: np.random.Generator, skin: Layer, options: PatientOptions, extent: tuple[FloatArray, FloatArray]
) -> CalibrationPhantom:
    """Return table and calibration phantom under the patient, who lies on the back unless asked otherwise."""
    prone = rng.random() < 0.1 if options.prone is None else options.prone
    rows = np.where((skin.values < 0).any(axis=(0, 2)))[0]
    row = rows.min() if prone else rows.max()
    at = float(skin.geometry.to_patient(np.array([0, row, 0]))[1])
    table = CalibrationPhantom.sample(
        rng, top_mm=at + (-4.0 if prone else 4.0), low_mm=float(extent[0][2]), high_mm=float(extent[1][2]), prone=prone
    )
    return replace(table, model=options.phantom)


def with_artefacts(patient: Patient, rng: np.random.Generator, metal: bool) -> Patient:
    """Return the patient with the scanner's beam hardening, computed once on a grid of its own."""
    step = 3.0 if metal else 5.0
    size = np.ceil((patient.high - patient.low)[::-1] / (4.0, step, step)).astype(int) + 1
    grid = Geometry.axial((int(size[0]), int(size[1]), int(size[2])), (4.0, step, step), tuple(patient.low))
    hu = patient.render(grid).hu
    band, star = rng.uniform(0, 40), rng.uniform(60, 450)
    dense = np.clip(hu - 150, 0, 1500).astype(np.float32)
    values = artefacts(dense, (hu > 2200).astype(np.float32), step, (band, star), rng)
    return replace(patient, artefact=Layer(values, grid, 0.0))
