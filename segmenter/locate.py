"""Stage one: where the hips are, and whose side each is."""

from enum import IntEnum

from segmenter.femur import Side


class CoarseClass(IntEnum):
    """What the coarse network says of a voxel."""

    BACKGROUND = 0
    LEFT_PROXIMAL = 1
    LEFT_SHAFT = 2
    RIGHT_PROXIMAL = 3
    RIGHT_SHAFT = 4

    @classmethod
    def proximal(cls, side: Side) -> "CoarseClass":
        """Return the class of head, neck and trochanters."""
        return cls.LEFT_PROXIMAL if side is Side.LEFT else cls.RIGHT_PROXIMAL

    @classmethod
    def shaft(cls, side: Side) -> "CoarseClass":
        """Return the class of the shaft below the lesser trochanter."""
        return cls.LEFT_SHAFT if side is Side.LEFT else cls.RIGHT_SHAFT
