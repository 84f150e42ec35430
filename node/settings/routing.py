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
    """A scanner or an archive: it may send to the node, and the node may send results to it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    """Name by which routes and commands refer to the peer; each peer needs its own."""
    ae_title: AETitle
    """AE title of the peer: 1 to 16 printable ASCII characters, no backslash."""
    host: Annotated[str, Field(min_length=1)]
    """Address or host name: results are sent there, and the peer is recognised only when it calls from there."""
    port: Port
    """DICOM port of the peer."""
    maximum_associations: PositiveInt | None = None
    """Associations of this peer at one time; not set: as many as `intake.maximum_associations` allows."""
    results: tuple[Literal["seg", "sr", "sc"], ...] = ("seg", "sr", "sc")
    """Results the peer is sent: segmentation, structured report, Secondary Capture."""
    segmentation: Literal["binary", "labelmap"] = "binary"
    """Kind of segmentation the peer is sent; few viewers show label maps (docs/reference/seg.md)."""

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of results it is sent, a label map by its own name."""
        named = {"seg": "labelmap"} if self.segmentation == "labelmap" else {}
        return frozenset(named.get(kind, kind) for kind in self.results)


class Route(Section):
    r"""Which series it applies to and what happens to them; every condition that is set must hold.

    Conditions on text are lists of shell patterns (`*hip*`, upper and lower case alike), of which one must match.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Name of the route; each route needs its own."""
    called_ae: Patterns = ()
    """AE title the sender called."""
    calling_ae: Patterns = ()
    """AE title of the sender."""
    modality: Patterns = ()
    """Modality."""
    body_part: Patterns = ()
    """Body Part Examined."""
    study_description: Patterns = ()
    """Study Description."""
    series_description: Patterns = ()
    """Series Description."""
    kernel: Patterns = ()
    """Convolution Kernel."""
    image_type: Patterns = ()
    r"""Image Type: its values joined by a backslash (`*\AXIAL*`)."""
    min_slice_thickness_mm: NonNegativeFloat | None = None
    """Thinnest slices, included. Not above `max_slice_thickness_mm`."""
    max_slice_thickness_mm: PositiveFloat | None = None
    """Thickest slices, included."""
    contrast: bool | None = None
    """`true`: an image names a contrast agent; `false`: none does."""
    action: Literal["segment", "decline", "hold"] = "segment"
    """What happens to a series to which the route applies."""
    model: str = ""
    """Folder of other weights than `segmenter.model`. A relative path starts at the settings file."""
    destinations: tuple[str, ...] | None = None
    """Names of the peers that receive the results; not set: all peers; `[]`: none."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Jobs with a higher priority run first."""

    @model_validator(mode="after")
    def _in_order(self) -> "Route":
        thin, thick = self.min_slice_thickness_mm, self.max_slice_thickness_mm
        if thin is not None and thick is not None and thin > thick:
            raise ValueError("min_slice_thickness_mm must not be above max_slice_thickness_mm")
        return self
