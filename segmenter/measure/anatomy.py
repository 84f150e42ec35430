"""The anatomy of a femur found from its shape: head, shaft, lesser trochanter, neck."""

from dataclasses import dataclass

from segmenter.measure.axes import Head, Shaft, find_head, find_shaft, triple
from segmenter.measure.neck import find_neck
from segmenter.measure.records import Landmarks, Neck
from segmenter.measure.surface import Body, body_of
from segmenter.measure.trochanter import Trochanter, find_lesser_trochanter
from segmenter.volume.femur import Femur
from segmenter.volume.geometry import Geometry

SMALL = "the head is smaller than an adult's ({:.0f} mm across): the networks and the regions are made for adults"


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one femur; None where one was not found.

    no_trochanter: why no lesser trochanter was found. doubts: sentences about parts not found or uncertain.
    """

    body: Body
    head: Head | None = None
    shaft: Shaft | None = None
    trochanter: Trochanter | None = None
    neck: Neck | None = None
    no_trochanter: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def landmarks(self) -> Landmarks | None:
        """The landmarks as a record; None without a head."""
        if self.head is None:
            return None
        return Landmarks(
            triple(self.head.centre),
            self.head.radius,
            self.head.residual_mm,
            triple(self.shaft.point) if self.shaft else None,
            triple(self.shaft.down) if self.shaft else None,
            self.shaft.length_mm if self.shaft else 0.0,
            triple(self.trochanter.tip) if self.trochanter else None,
        )


def find_anatomy(femur: Femur, geometry: Geometry) -> Anatomy:
    """Find the parts of a femur whose mask, not empty, lies on `geometry`."""
    body = body_of(femur.mask, geometry)
    head = find_head(body)
    open_above = bool((body.surface.vertices[body.cut, 2] > head.centre[2]).any())  # then the ball may be no head
    doubts = [SMALL.format(2 * head.radius)] if head.small and not open_above else []
    if head.problems:
        doubts.append(f"the head was not recognised ({', '.join(head.problems)}): no total region, no neck region")
        return Anatomy(body, doubts=tuple(doubts))
    shaft = find_shaft(body, head)
    if shaft is None:
        return Anatomy(body, head, doubts=(*doubts, "no shaft is visible: no total region, no neck region"))
    trochanter = find_lesser_trochanter(body, head, shaft, femur.side)
    neck = find_neck(body, head, shaft, femur.side)
    if not shaft.sure:
        doubts.append(f"the shaft's direction is uncertain: only {shaft.length_mm:.0f} mm of it are visible")
    if neck.problems:
        doubts.append(f"no neck region: {', '.join(neck.problems)}")
    if isinstance(trochanter, str):
        return Anatomy(body, head, shaft, None, neck, trochanter, tuple(doubts))
    return Anatomy(body, head, shaft, trochanter, neck, "", tuple(doubts))
