"""The total proximal femur: the bone above a plane perpendicular to the shaft."""

from dataclasses import dataclass

from segmenter.measure.anatomy import Anatomy
from segmenter.measure.axes import triple
from segmenter.measure.options import MeasureOptions, TotalRule
from segmenter.measure.records import Plane
from segmenter.volume.coverage import FIELD_CUT, HEAD_CUT

SLACK_MM = 1.0  # tolerance within which the bone's end reaches the plane


@dataclass(frozen=True)
class Total:
    """The plane and its rule in words; without a plane there is no total region, and the warnings give the reason."""

    rule: str = ""
    plane: Plane | None = None
    warnings: tuple[str, ...] = ()


def total_of(anatomy: Anatomy, reasons: tuple[str, ...], how: MeasureOptions) -> Total:
    """Return the total region's plane; reasons: why the scan does not hold all of the femur."""
    head, shaft = anatomy.head, anatomy.shaft
    if head is None or shaft is None:
        return Total()  # the doubts of the anatomy include the reason
    centre = float(head.centre @ shaft.down)
    warnings: tuple[str, ...] = ()
    if how.total_rule is TotalRule.TROCHANTER and anatomy.trochanter:
        rule = f"{how.below_trochanter_mm:g} mm below the tip of the lesser trochanter"
        end = centre + anatomy.trochanter.below_head_mm + how.below_trochanter_mm
    else:
        rule = f"{how.total_length_mm:g} mm below the top of the head"
        end = centre - head.radius + how.total_length_mm
        if how.total_rule is TotalRule.TROCHANTER:
            warnings = (f"the lesser trochanter was not found ({anatomy.no_trochanter}): the total region ends {rule}",)
    if missing := _missing(anatomy, reasons, end):
        return Total(warnings=(f"no total region ({rule}): {missing}",))
    point = shaft.point + (end - shaft.point @ shaft.down) * shaft.down
    return Total(rule, Plane(triple(point), triple(shaft.down)), warnings)


def _missing(anatomy: Anatomy, reasons: tuple[str, ...], end: float) -> str:
    """Return what part of the bone above a plane, at `end` along the shaft, is missing; empty if nothing."""
    assert anatomy.shaft is not None
    if cut := [reason for reason in reasons if reason in (HEAD_CUT, FIELD_CUT)]:
        return ", ".join(cut)
    along = anatomy.body.surface.vertices @ anatomy.shaft.down
    reached = along.max()
    if (ended := anatomy.body.cut & (along < end - SLACK_MM)).any():
        reached = min(reached, along[ended].min())
    gap = end - reached
    return f"the bone is visible only down to {gap:.0f} mm above this plane" if gap > SLACK_MM else ""
