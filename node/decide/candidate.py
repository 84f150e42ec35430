"""A complete series as a plain record for routing and ranking, made from its job and its headers."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TypeVar

from node.decide.scan import ct_images, scan_of
from node.decide.slice_stack import Vector, slice_normal, slice_places
from node.records.instances import Header
from node.records.jobs import Job, series_name

AXIAL_COSINE = 0.8  # between the slices' normal and the long axis of the patient; a gantry tilts by up to 30 degrees

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True)
class Candidate:
    """What routing and ranking know of a series; what its headers do not say is empty or None.

    kernel: Convolution Kernel, several values joined by a backslash. thickness_mm: Slice Thickness, else step_mm, the
    usual distance of neighbours along the normal. contrast: whether any image names an agent. axial: how the slices lie
    in the patient, by geometry. slices: places along the normal, or frames. length_mm: from the first place to the
    last.
    """

    series_uid: str = ""
    called_ae: str = ""
    calling_ae: str = ""
    modality: str = ""
    body_part: str = ""
    study_description: str = ""
    series_description: str = ""
    kernel: str = ""
    image_type: tuple[str, ...] = ()
    thickness_mm: float | None = None
    step_mm: float | None = None
    contrast: bool = False
    axial: bool | None = None
    slices: int = 0
    length_mm: float | None = None

    @classmethod
    def of(cls, job: Job, headers: Sequence[Header]) -> "Candidate":
        """Return the candidate of a job; the ledger's description of the series has precedence over the headers."""
        return replace(
            cls.read(headers),
            series_uid=job.series_uid or "",
            called_ae=job.called_ae,
            calling_ae=job.calling_ae,
            modality=job.modality,
            body_part=job.body_part,
            study_description=job.study_description,
            series_description=job.description,
        )

    @classmethod
    def read(cls, headers: Sequence[Header]) -> "Candidate":
        """Return the candidate that headers alone describe; only the images of the scan among the objects count."""
        if not headers:
            return cls()
        images = list(scan_of(headers).images) or ct_images(headers) or list(headers)
        normal = _normal(images)
        places = [place for place, _ in slice_places(images, normal)] if normal else []
        step = round(median(high - low for low, high in pairwise(places)), 3) if len(places) > 1 else None
        return cls(
            series_uid=headers[0].series_uid,
            modality=_usual(image.modality for image in images) or "",
            body_part=_usual(image.body_part for image in images) or "",
            study_description=_usual(image.study_description for image in images) or "",
            series_description=_usual(image.series_description for image in images) or "",
            kernel=_usual(image.kernel for image in images) or "",
            image_type=_usual(image.image_type for image in images) or (),
            thickness_mm=_usual(image.thickness for image in images) or step,
            step_mm=step,
            contrast=any(image.contrast for image in images),
            axial=None if normal is None else abs(normal[2]) >= AXIAL_COSINE,
            slices=sum(i.frames for i in images) if any(i.frames > 1 for i in images) else len(places) or len(images),
            length_mm=round(places[-1] - places[0], 3) if step else None,
        )

    @property
    def name(self) -> str:
        """The name of the series for people: its description, or its UID if it has none."""
        return series_name(self.series_description, self.series_uid)


def _usual(values: Iterable[Value]) -> Value | None:
    """Return the value most images have; the first of several that are equally common."""
    found = Counter(value for value in values if value)
    return found.most_common(1)[0][0] if found else None


def _normal(images: Sequence[Header]) -> Vector | None:
    """Return the normal most images share, None if none has an orientation."""
    orientation = _usual(image.orientation for image in images)
    return slice_normal(orientation) if orientation is not None and len(orientation) == 6 else None
