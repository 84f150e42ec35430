"""Find one phantom of the settings in a scan, verify it and measure its rods, or return the reason why not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.density.joining import join
from segmenter.density.placement import Placement, settle
from segmenter.density.rods import (
    AROUND,
    Cylinder,
    Edge,
    RodSlices,
    by_slice,
    core_radius,
    cylinder,
    find_edge,
    slice_step,
)
from segmenter.density.row_search import SPARE_FROM, Candidate, candidates, make_discs
from segmenter.density.settings import PhantomSettings
from segmenter.density.template import FloatArray, Template
from segmenter.density.thick_slabs import Blocks
from segmenter.volume.geometry import Geometry

EDGE_HU = 30.0  # contrast from which a rod's edge is detected
CLEAR_HU = 100.0  # contrast from which its overshoot is measured
EDGES = 2  # rods that must have an edge: a row of uniform tissue has none
EDGE_SHARE, EDGE_MM = 0.12, 1.0  # of the radius, or mm: tolerance of the edge's position
MOST_SCALE = 0.06  # of the spacing: a row that differs more is another phantom
ROUND_SHARE = 0.25  # of the radius: tolerance for further rods in the row
SLAB_HU, SLAB_SPREAD_HU = (-300.0, 400.0), 80.0  # range and spread of HU between the rods of a slab
LEAST_GAP_MM = 4.0  # between rods, to measure the HU there

Sample = Callable[[FloatArray, float], Cylinder]


@dataclass(frozen=True, eq=False)
class Found:
    """A phantom in the scan. rods: in the order of `form`, which lists them from the lowest LPS x.

    overshoot: at the rods' edges, as a share of their contrast; caused by a sharp kernel.
    """

    template: Template
    placement: Placement
    form: Template
    rods: tuple[RodSlices, ...]
    overshoot: float = 0.0


def find_phantom(volume: NDArray[Any], geometry: Geometry, blocks: Blocks, settings: PhantomSettings) -> Found | str:
    """Return the phantom with its rods measured, or the reason why it was not found."""
    return find_phantoms(volume, geometry, blocks, settings)[0]


def find_phantoms(
    volume: NDArray[Any], geometry: Geometry, blocks: Blocks, settings: PhantomSettings
) -> tuple[Found | str, Found | None]:
    """Return the phantom with its rods measured, or the reason why it was not found, and a second one elsewhere."""
    template = Template.of(settings)
    places = candidates(blocks, make_discs(blocks, template.radius), template)

    def best(among: list[Candidate]) -> Found | str:
        # A row with all rods visible first: evenly spaced rods, shifted by one, look like a row with one hidden.
        found: Found | str = _no_row(template)
        for some, spare in (([place for place in among if place.whole], False), (among, template.count >= SPARE_FROM)):
            if joined := join(some, blocks):
                found = _measured(volume, geometry, settle(joined, blocks, template, spare), template)
                if isinstance(found, Found):
                    break
        return found

    first = best(places)
    if isinstance(first, str):
        return first, None
    second = best([place for place in places if _elsewhere(place, first, blocks)])
    return first, None if isinstance(second, str) else second


def _no_row(template: Template) -> str:
    few = template.count < SPARE_FROM
    return "no row of rods was found" + (
        "; an air bubble or metal in one of so few rods hides all of them" if few else ""
    )


def _elsewhere(place: Candidate, found: Found, blocks: Blocks) -> bool:
    """Return whether a candidate is no part of a phantom that was found."""
    height = float(blocks.z(np.array(place.block)))
    return apart(found, np.array([place.x_mm, place.y_mm]), height)


def apart(found: Found, at: FloatArray, height: float) -> bool:
    """Return whether a row with its middle `at` (LPS x, y, mm) at this height lies beside a phantom that was found."""
    placement, template = found.placement, found.template
    away = at - placement.middle - height * placement.drift
    turn = np.radians(placement.turn_deg)
    along = float(away @ (np.cos(turn), np.sin(turn)))
    across = float(away @ (-np.sin(turn), np.cos(turn)))
    length = float(np.ptp(template.offsets)) + 2 * template.radius
    return abs(across) > 2 * template.radius or abs(along) > length


def _measured(volume: NDArray[Any], geometry: Geometry, placement: Placement, template: Template) -> Found | str:
    if not (core := core_radius(geometry, placement, template.radius)):
        return f"the voxels are too large for rods of {2 * template.radius:g} mm"

    def sample(point: FloatArray, reach: float) -> Cylinder:
        return cylinder(volume, geometry, placement, point, reach)

    if abs(placement.scale - 1) > MOST_SCALE:
        return f"the rods lie {100 * (placement.scale - 1):+.0f} % farther apart than the settings say"
    form = placement.form(template)
    around = [sample(point, AROUND * template.radius) for point in placement.axes(template)]
    edges = [find_edge(voxels, template.radius, _outer(template)) for voxels in around]
    clear = [edge.overshoot for edge in edges if abs(edge.contrast) >= CLEAR_HU]
    overshoot = float(np.median(clear)) if clear else 0.0
    against = _edges_against(edges, template) or _slab_against(sample, placement, template, core)
    if not against:
        against = _more_rods(sample, placement, template, core)
    if against:
        return against
    step, origin = slice_step(geometry), geometry.affine[2, 3]
    first, last = ((height - origin) / step for height in (placement.low_mm, placement.high_mm))
    numbers = np.arange(int(np.ceil(first)), int(np.ceil(last)))
    core = core_radius(geometry, placement, template.radius, overshoot)
    rods = tuple(by_slice(voxels, core, numbers) for voxels in around)
    return Found(template, placement, form, rods, overshoot)


def _outer(template: Template) -> float:
    """Return the distance from an axis up to which the surroundings of a rod belong to it, mm."""
    return min(AROUND * template.radius, template.radius + max(0.7 * template.gap, 0.25 * template.radius))


def _edges_against(edges: list[Edge], template: Template) -> str:
    """Return what is wrong with the rods' edges, empty if nothing: none visible, or another diameter."""
    radii = [edge.radius for edge in edges if abs(edge.contrast) >= EDGE_HU and np.isfinite(edge.radius)]
    if len(radii) < EDGES:
        return "the objects in the row have no sharp edges"
    allowed = max(EDGE_SHARE * template.radius, EDGE_MM)
    right = [radius for radius in radii if abs(radius - template.radius) <= allowed]
    if len(right) < 0.7 * len(radii):
        if max(radii) - min(radii) > 2 * allowed:
            span = f"{2 * min(radii):.0f} to {2 * max(radii):.0f} mm"
            return (
                f"the edges in the row have diameters of {span}, in the settings it is {2 * template.radius:g} mm: "
                "an air bubble, metal, or no rods at all"
            )
        return (
            f"the rods' diameter is about {2 * float(np.median(radii)):.0f} mm, "
            f"in the settings it is {2 * template.radius:g} mm"
        )
    return ""


def _slab_against(sample: Sample, placement: Placement, template: Template, core: float) -> str:
    """Return what is wrong between the rods of a slab, empty if nothing."""
    if template.settings.layout != "slab" or template.gap < LEAST_GAP_MM:
        return ""
    offsets = placement.form(template).offsets
    middles = placement.axes(template, (offsets[:-1] + offsets[1:]) / 2)
    reach = min(0.3 * template.gap, core)
    values = [float(np.median(voxels.hu)) for point in middles if len((voxels := sample(point, reach)).hu)]
    low, high = SLAB_HU
    if not values or min(values) < low or max(values) > high or max(values) - min(values) > SLAB_SPREAD_HU:
        return "there is no slab between the rods"
    return ""


def _more_rods(sample: Sample, placement: Placement, template: Template, core: float) -> str:
    """Return a sentence if there are further rods, which means another phantom; empty if not."""
    offsets = placement.form(template).offsets
    step = float(np.diff(offsets).mean())
    places = [offsets[0] - step, offsets[-1] + step]
    if template.gap > 2 * template.radius:
        places += list((offsets[:-1] + offsets[1:]) / 2)
    for point in placement.axes(template, places):
        voxels = sample(point, AROUND * template.radius)
        inside = voxels.hu[voxels.distance <= core]
        edge = find_edge(voxels, template.radius, _outer(template))
        solid = len(inside) > 0 and inside.mean() > SLAB_HU[0]
        rod_like = abs(edge.radius - template.radius) <= ROUND_SHARE * template.radius
        if solid and rod_like and abs(edge.contrast) > EDGE_HU:
            return "the row has more rods than the settings name"
    return ""
