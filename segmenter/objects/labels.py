"""The name, codes and colour of each femur, the same in every result."""

from dataclasses import dataclass
from types import MappingProxyType

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from segmenter.volume.femur import Side

NOTICE = "for investigational use"
LIMITS = (
    "made for adults; children, fractures, tumours of the bone and femurs with metal in them are outside of its use"
)

ANATOMICAL_STRUCTURE = codes.SCT.AnatomicalStructure  # 91723000, CID 7150
PROXIMAL_FEMUR = codes.SCT.ProximalFemur  # 310651003, CID 7304


@dataclass(frozen=True)
class Label:
    """Name, laterality code (CID 244) and colour of one side; rgb 0-255."""

    text: str
    laterality: Code
    rgb: tuple[int, int, int]


# Orange and sky blue of Okabe and Ito's palette: distinct for colour-blind readers, and visible on bone.
LABELS = MappingProxyType(
    {
        Side.LEFT: Label("Left proximal femur", codes.SCT.Left, (230, 159, 0)),
        Side.RIGHT: Label("Right proximal femur", codes.SCT.Right, (86, 180, 233)),
    }
)
