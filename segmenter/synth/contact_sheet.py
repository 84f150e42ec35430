"""A picture of various synthetic patients in three views, in a bone window.

Usage: python -m segmenter.synth.contact_sheet OUT.png
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segmenter.synth.patient import Patient
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.scanner import Protocol, noise, reconstructed
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

STEP_MM = 1.25
WIDTH_MM, DEPTH_MM, HEIGHT_MM, HIP_MM = 390.0, 290.0, 220.0, 200.0
ABOVE_HEAD_MM, UNDER_MM = 60.0, 45.0
LOW_HU, HIGH_HU, GREYS = -450.0, 1050.0, 48
CAPTION_PX, GAP_PX = 13, 4
PLAIN = Protocol(
    blur_mm=0.5, sharpen=0.0, thickness_mm=STEP_MM, step_mm=STEP_MM, noise_hu=12.0, grain_mm=0.6, streak=0.0,
    scale=1.0, offset_hu=0.0,
)  # fmt: skip
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Panel:
    """One patient on the sheet."""

    seed: int
    options: PatientOptions
    protocol: Protocol = PLAIN


PANELS = (
    Panel(13, PatientOptions(metal=False, screws=False, prone=False)),
    Panel(2, PatientOptions(sex="F", bone=0.0, metal=False, screws=False, prone=False)),
    Panel(3, PatientOptions(sex="M", bone=1.0, metal=False, screws=False, prone=False)),
    Panel(4, PatientOptions(metal=False, screws=False, prone=True)),
    Panel(5, PatientOptions(metal=Side.LEFT, screws=False, prone=False)),
    Panel(10, PatientOptions(metal=False, screws=True, prone=False)),
    Panel(6, PatientOptions(metal=False, screws=False), replace(PLAIN, thickness_mm=5.0, step_mm=5.0, blur_mm=0.8)),
    Panel(
        8,
        PatientOptions(metal=False, screws=False, prone=False),
        replace(PLAIN, noise_hu=45.0, streak=1.2, sharpen=0.8),
    ),
)


def views(patient: Patient) -> tuple[Geometry, Geometry, Geometry]:
    """Return the grids of a coronal, an axial and a sagittal plane through the left head."""
    head = patient.femurs[Side.LEFT].landmarks.head_centre
    other = patient.femurs[Side.RIGHT].landmarks.head_centre
    table = patient.table
    front = table.top_mm - UNDER_MM if table.prone else table.top_mm + UNDER_MM - DEPTH_MM
    x = (head[0] + other[0] - WIDTH_MM) / 2
    low = head[2] + ABOVE_HEAD_MM - HEIGHT_MM
    size = {name: round(mm / STEP_MM) for name, mm in (("x", WIDTH_MM), ("y", DEPTH_MM), ("z", HEIGHT_MM))}
    hip = round(HIP_MM / STEP_MM)
    grid = (STEP_MM,) * 3
    return (
        Geometry.axial((size["z"], 1, size["x"]), grid, (x, head[1], low)),
        Geometry.axial((1, size["y"], size["x"]), grid, (x, front, head[2])),
        Geometry.axial((size["z"], hip, 1), grid, (head[0], head[1] - HIP_MM / 2, low)),
    )


def seen(patient: Patient, geometry: Geometry, protocol: Protocol, rng: np.random.Generator) -> Plane:
    """Return a plane as scanned, HU, top row first."""
    hu = patient.render(geometry).hu
    rows = round(protocol.step_mm / STEP_MM)
    if len(hu) > 1:
        hu = hu[: len(hu) // rows * rows].reshape(-1, rows, *hu.shape[1:]).mean(axis=1)
    image = reconstructed(hu, geometry.spacing, protocol)
    image += noise(image.shape, geometry.spacing, protocol, rng)
    plane: Plane = image[0] if len(image) == 1 else image.repeat(rows, axis=0)[::-1].squeeze()
    return plane


def caption(patient: Patient, protocol: Protocol) -> str:
    """Return a description of the patient and the scan."""
    bent = [np.degrees(np.arctan2(-f.landmarks.down[1], -f.landmarks.down[2])) for f in patient.femurs.values()]
    parts = [
        patient.sex,
        f"head {patient.tissues.head:.0f} HU",
        f"cortex {patient.tissues.shaft_cortex_mm:.1f} mm",
        f"hips bent {max(bent):.0f} deg" if max(bent) > 15 else "",
        "contrast" if patient.tissues.vessel > 100 else "",
        *(f"{side} prosthesis" for side in sorted(patient.replaced)),
        "prone" if patient.table.prone else "",
        f"{protocol.step_mm:g} mm slices" if protocol.step_mm > STEP_MM else "",
        f"noise {protocol.noise_hu:.0f} HU" if protocol.noise_hu > PLAIN.noise_hu else "",
    ]
    return ", ".join(part for part in parts if part)


def grey(plane: Plane) -> NDArray[np.uint8]:
    """Return a plane in the bone window; few greys keep the file small."""
    share = np.clip((plane - LOW_HU) / (HIGH_HU - LOW_HU), 0, 1)
    levels: NDArray[np.uint8] = (np.round(share * (GREYS - 1)) * (255 / (GREYS - 1))).astype(np.uint8)
    return levels


def strip(panel: Panel) -> Image.Image:
    """Return the three views of one patient beside each other, with the caption below."""
    rng = np.random.default_rng(panel.seed)
    patient = sample_patient(rng, panel.options)
    planes = [grey(seen(patient, geometry, panel.protocol, rng)) for geometry in views(patient)]
    height = max(len(plane) for plane in planes)
    image = Image.new("L", (sum(p.shape[1] + GAP_PX for p in planes), height + CAPTION_PX + GAP_PX))
    left = 0
    for plane in planes:
        image.paste(Image.fromarray(plane), (left, (height - len(plane)) // 2))
        left += plane.shape[1] + GAP_PX
    ImageDraw.Draw(image).text((2, height + 1), caption(patient, panel.protocol), fill=255)
    return image


def sheet(panels: tuple[Panel, ...], columns: int = 2) -> Image.Image:
    """Return all strips on one page."""
    strips = [strip(panel) for panel in panels]
    width, height = strips[0].size
    page = Image.new("L", (columns * width, -(-len(strips) // columns) * height))
    for number, image in enumerate(strips):
        page.paste(image, (number % columns * width, number // columns * height))
    return page


if __name__ == "__main__":
    sheet(PANELS).save(Path(sys.argv[1]), optimize=True)
