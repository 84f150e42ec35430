"""The options of a synthetic patient and its scan."""

from dataclasses import dataclass, field, fields
from enum import StrEnum

import numpy as np

from segmenter.synth.calibration_phantom_models import MODELS, PhantomModel
from segmenter.synth.cohort import family_shape
from segmenter.synth.sampling import PatientOptions
from segmenter.synth.scanner import Protocol
from segmenter.volume.femur import Side

WHOLE_BODY_MM, ONE_HIP_MM = 420.0, 200.0  # fields of view
CLEAN_HU = 20.0  # noise below which there are no streaks, which come from photon starvation


class Position(StrEnum):
    """How the patient lies in the gantry (PS3.3 C.7.3.1.1.2): head or feet first, supine or prone."""

    HFS = "HFS"
    HFP = "HFP"
    FFS = "FFS"
    FFP = "FFP"

    @property
    def prone(self) -> bool:
        """Whether the patient lies prone."""
        return self in (Position.HFP, Position.FFP)

    @property
    def signs(self) -> tuple[int, int, int]:
        """Directions of slices, rows, columns along the patient's z, y, x, as seen when facing the gantry.

        Slices follow row x column direction, as every reader of the series counts them (PS3.3 C.7.6.2.1.1).
        """
        to_back = -1 if self.prone else 1
        to_left = 1 if self in (Position.HFS, Position.FFP) else -1
        return to_back * to_left, to_back, to_left


class Kernel(StrEnum):
    """Reconstruction kernels."""

    SOFT = "soft"
    STANDARD = "standard"
    SHARP = "sharp"


class Crop(StrEnum):
    """What a badly planned scan leaves out: the top of the heads, or all below the lesser trochanters."""

    HEAD = "head"
    SHAFT = "shaft"


BLUR_SHARPEN_GRAIN = {  # mm, share, mm
    Kernel.SOFT: (0.8, 0.0, 0.9),
    Kernel.STANDARD: (0.5, 0.0, 0.6),
    Kernel.SHARP: (0.3, 1.2, 0.45),
}


@dataclass(frozen=True)
class SyntheticSeriesOptions:
    """One synthetic patient and its scan; None is drawn by the seed. Lengths in mm.

    field_of_view_mm: width of the image, None is the whole body, or one hip with `hip`. noise_hu: standard deviation in
    a slice. sex: "F" or "M". bone: 0 osteoporotic to 1 dense. metal: the side with a prosthesis. hip: the only side in
    the image, in a round field of view. family: number of a held-out shape family (`segmenter.synth.cohort`).
    calibration: key of `calibration_phantom_models.MODELS`. drift_percent: how much more HU a density gives than the
    scanner's own line says, as at another tube voltage. beam_hardening: whether dense bone and rods bend the line.
    """

    seed: int = 1
    slices: int = 72
    size: int = 512
    field_of_view_mm: float | None = None
    slice_step_mm: float = 2.5
    noise_hu: float = 12.0
    kernel: Kernel = Kernel.STANDARD
    position: Position = Position.HFS
    sex: str | None = None
    bone: float | None = None
    metal: Side | None = None
    crop: Crop | None = None
    hip: Side | None = None
    family: int | None = None
    calibration: str = field(default="slab", repr=False)
    drift_percent: float = field(default=0.0, repr=False)
    beam_hardening: bool = field(default=True, repr=False)

    @property
    def name(self) -> str:
        """The text that the UIDs of the scan derive from; the later options count only if they are not the default."""
        # The UIDs of series already written depend on the former name of this class.
        first = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        later = [
            f"-{name}={getattr(self, name)}"
            for name in ("calibration", "drift_percent", "beam_hardening")
            if getattr(self, name) != getattr(type(self), name)
        ]
        return f"phantom-PhantomOptions({first}){''.join(later)}"

    @property
    def model(self) -> PhantomModel:
        """The calibration phantom under the patient."""
        return MODELS[self.calibration]

    @property
    def drift(self) -> float:
        """Drift of the HU scale as a share."""
        return self.drift_percent / 100

    @property
    def field_mm(self) -> float:
        """Width of the image."""
        return self.field_of_view_mm or (ONE_HIP_MM if self.hip else WHOLE_BODY_MM)

    @property
    def pixel_mm(self) -> float:
        """Distance between pixel centres."""
        return round(self.field_mm / self.size, 6)

    def patient_options(self, rng: np.random.Generator) -> PatientOptions:
        """Return the options of the patient; a member of a family is drawn."""
        shape = None if self.family is None else family_shape(rng, self.family)
        metal: Side | bool = self.metal or False
        prone = self.position.prone
        return PatientOptions(self.sex, shape, self.bone, metal, screws=False, prone=prone, phantom=self.model)

    def protocol(self) -> Protocol:
        """Return the scan's protocol; its slices are contiguous."""
        blur, sharpen, grain = BLUR_SHARPEN_GRAIN[self.kernel]
        return Protocol(
            blur_mm=blur,
            sharpen=sharpen,
            thickness_mm=self.slice_step_mm,
            step_mm=self.slice_step_mm,
            noise_hu=self.noise_hu,
            grain_mm=grain,
            streak=max(0.0, self.noise_hu - CLEAN_HU) / CLEAN_HU,
            scale=1.0,
            offset_hu=0.0,
        )
