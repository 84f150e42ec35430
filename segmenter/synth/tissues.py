"""The tissues of one patient: HU of every tissue and dimensions of bone, from osteoporotic to dense."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissues:
    """HU and bone dimensions (mm) of one patient; ranges are those of CT at 100-140 kVp.

    head, tensile, metaphysis: trabecular bone in the compressive group, in the tensile arc and between the groups;
    marrow: where no trabeculae are, from fatty to red. texture, scar, dome: strength of grain, epiphyseal scar and the
    dense roof of the acetabulum.
    """

    fat: float
    muscle: float
    organ: float
    bowel: float
    gas: float
    vessel: float
    joint: float
    cortex: float
    pelvis_cortex: float
    pelvis_inner: float
    pelvis_cortex_mm: float
    dome: float
    head: float
    tensile: float
    metaphysis: float
    marrow: float
    shaft_cortex_mm: float
    thin_cortex_mm: float
    calcar_mm: float
    joint_mm: float
    socket_mm: float
    scar: float
    texture: float
    wall_mm: float
    marbling: float

    @classmethod
    def sample(cls, rng: np.random.Generator, bone: float | None = None) -> "Tissues":
        """Draw one patient; `bone` (0 osteoporotic to 1 dense, None: drawn) moves all bone values together."""
        if bone is None:
            bone = float(rng.beta(1.3, 1.3))
        around = rng.uniform
        enhanced = rng.random() < 0.3  # intravenous contrast medium
        oral = rng.random() < 0.25
        return cls(
            fat=around(-120, -85),
            muscle=around(35, 80),
            organ=around(10, 60),
            bowel=around(150, 600) if oral else around(10, 60),
            gas=around(0.9, 2.4),
            vessel=around(110, 380) if enhanced else around(30, 65),
            joint=around(-40, 130),
            cortex=around(950, 1300) + 500 * bone,
            pelvis_cortex=around(380, 750) + 550 * bone,
            pelvis_inner=around(0, 120) + 220 * bone,
            pelvis_cortex_mm=around(0.7, 1.6) + 0.9 * bone,
            dome=around(0.2, 1.0),
            head=around(110, 220) + 330 * bone,
            tensile=around(40, 120) + 220 * bone,
            metaphysis=around(-50, 60) + 150 * bone,
            marrow=around(-100, 20) + 40 * bone,
            shaft_cortex_mm=around(2.2, 4.2) + 4.0 * bone,
            thin_cortex_mm=around(0.35, 0.8) + 0.8 * bone,
            calcar_mm=around(0.8, 2.0) + 1.5 * bone,
            joint_mm=around(1.2, 4.2),
            socket_mm=around(3.0, 9.0),
            scar=rng.choice([0.0, around(0.2, 1.0)]),
            texture=around(0.2, 1.0),
            wall_mm=around(20, 45),
            marbling=around(0.9, 2.2),
        )
