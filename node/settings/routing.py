"""Peers and routes, the sections of the settings that may stand several times."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from node.settings.types import AETitle, Patterns, Port, Section


class Peer(Section):
    """Somebody who may call us and whom we may call.

    results: what it is sent: segmentation, structured report, Secondary Capture; an archive may not take all of them.
    segmentation: the kind of SEG it is sent; every viewer shows "binary", "labelmap" is for who asks for it.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    ae_title: AETitle
    host: Annotated[str, Field(min_length=1)]
    port: Port
    maximum_associations: PositiveInt | None = None  # of this peer at one time; absent = as many as there are
    results: tuple[Literal["seg", "sr", "sc"], ...] = ("seg", "sr", "sc")
    segmentation: Literal["binary", "labelmap"] = "binary"

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of results it is sent, a label map by its own name."""
        named = {"seg": "labelmap"} if self.segmentation == "labelmap" else {}
        return frozenset(named.get(kind, kind) for kind in self.results)


class Route(Section):
    r"""Which series it is for and what happens to them; every stated condition must hold.

    Conditions are lists of shell patterns (`*hip*`, case does not matter) of which one must match.
    image_type: matched against the values joined by a backslash (`*\AXIAL*`). slice thickness: both ends included.
    model: folder of other weights than `[segmenter] model`. destinations: names of peers; absent = all peers.
    priority: the higher goes first.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    called_ae: Patterns = ()
    calling_ae: Patterns = ()
    modality: Patterns = ()
    body_part: Patterns = ()
    study_description: Patterns = ()
    series_description: Patterns = ()
    kernel: Patterns = ()
    image_type: Patterns = ()
    min_slice_thickness_mm: NonNegativeFloat | None = None
    max_slice_thickness_mm: PositiveFloat | None = None
    contrast: bool | None = None
    action: Literal["segment", "decline", "hold"] = "segment"
    model: str = ""
    destinations: tuple[str, ...] | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0

    @model_validator(mode="after")
    def _in_order(self) -> "Route":
        thin, thick = self.min_slice_thickness_mm, self.max_slice_thickness_mm
        if thin is not None and thick is not None and thin > thick:
            raise ValueError("min_slice_thickness_mm must not be above max_slice_thickness_mm")
        return self
