"""Whether the anatomy lies as the header says: the coarse network looks at the scan in each way a label can be wrong.

A wrong Patient Position turns the patient and never mirrors. So a scan that shows far more of the hips when it is
turned was labelled the wrong way round, and its left and right may be exchanged.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.errors import Reason, SegmenterError
from segmenter.vnet.coarse import CoarseClass, CoarseView, coarse_view
from segmenter.vnet.grids import COARSE_MM
from segmenter.vnet.network import probabilities
from segmenter.vnet.weights import Models
from segmenter.volume.geometry import Geometry
from segmenter.volume.resample import OUTSIDE_HU

Image = NDArray[np.float32]

LEAST_PROXIMAL_ML, LEAST_SHAFT_ML, LEAST_SURE = 85.0, 20.0, 0.82
CLEARLY, CLEARLY_OVER, CLEARLY_WITHOUT_SHAFT = 1.4, 1.05, 2.0
"""So many times more of the hips must be seen in another view (over: rolled by half a turn, with the head up). Real
scans labelled rightly: at most 1.04, 0.56 and 1.29; synthetic ones labelled wrongly: at least 2, 1.15 and 3. An upended
knee looks like 68 mL of proximal femur."""
PLAIN_ML = 180.0  # seen as the header says: only half a turn can show more; in any other view it is below 150
DEGREES, ROLLS = (0, 90, 180, 270), (45, -45)
TURNED = {0: "", 90: "rolled by a quarter turn", 180: "rolled by half a turn", 270: "rolled by a quarter turn"}


@dataclass(frozen=True)
class View:
    """A way to turn the patient: about the front-back axis by 180 degrees if upended, then about the long axis.

    proximal_ml, shaft_ml, sure: what the coarse network sees in it, and how sure it is of the bone on average.
    """

    upended: bool
    degrees: int
    proximal_ml: float = 0.0
    shaft_ml: float = 0.0
    sure: float = 0.0

    @property
    def score(self) -> float:
        """How much of the hips is seen, less where the network is unsure."""
        return self.proximal_ml * self.sure**2

    def shows_more(self, other: "View") -> bool:
        """Whether hips are clearly seen in this view, and far more of them than in the other."""
        usual = CLEARLY_OVER if (self.upended, self.degrees) == (False, 180) else CLEARLY
        factor = usual if self.shaft_ml >= LEAST_SHAFT_ML else CLEARLY_WITHOUT_SHAFT
        clear = self.proximal_ml >= LEAST_PROXIMAL_ML and self.sure >= LEAST_SURE
        return clear and self.score > factor * other.score

    @property
    def described(self) -> str:
        """How the patient is turned against the header."""
        return " and ".join(filter(None, ["upended" if self.upended else "", TURNED[self.degrees]]))


def require_orientation(
    volume: NDArray[np.generic], geometry: Geometry, models: Models, coarse: CoarseView | None = None
) -> Geometry:
    """Return the grid on which the patient lies straight: the given one, unless the patient was rolled half-way.

    volume: HU `(z, y, x)` on `geometry`; coarse: the scan's coarse view, if there is one already. Raises
    SegmenterError(ORIENTATION) when the anatomy contradicts the header.
    """
    roll = require_view(coarse or coarse_view(volume, geometry, models), models)
    return about_long_axis(geometry, roll) if roll else geometry


def require_view(coarse: CoarseView, models: Models) -> int:
    """Return the angle by which the patient must be rolled to lie straight, 0 or 45 degrees to either side.

    Raises SegmenterError(ORIENTATION) as `require_orientation` does.
    """
    image = coarse.hu
    given, best = counted(View(False, 0), coarse.probability), seen(image, View(False, 180), models)
    if given.proximal_ml < PLAIN_ML:
        ways = [way for way in product((False, True), DEGREES) if way not in ((False, 0), (False, 180))]
        best = max(best, *(seen(image, View(*way), models) for way in ways), key=lambda view: view.score)
    if not best.shows_more(given):
        return 0
    rolled = max((seen(image, View(False, angle), models) for angle in ROLLS), key=lambda view: view.score)
    if rolled.score > best.score:
        return rolled.degrees
    raise SegmenterError(
        Reason.ORIENTATION,
        f"the anatomy contradicts the header: the hips are seen clearly only with the patient {best.described} "
        f"({best.proximal_ml:.0f} mL of proximal femur, {given.proximal_ml:.0f} mL as the header says), so that left "
        "and right may be exchanged; find out how the patient lay, correct Patient Position and the image orientation, "
        "and send the series again under new UIDs",
    )


def seen(image: Image, view: View, models: Models) -> View:
    """Return a view with what the coarse network sees in it."""
    return counted(view, probabilities(models.coarse, np.ascontiguousarray(turned(image, view))))


def counted(view: View, certain: NDArray[np.float32]) -> View:
    """Return a view with what is seen in it; certain: probabilities of the coarse classes `(5, z, y, x)`."""
    classes, millilitres = certain.argmax(axis=0), COARSE_MM**3 / 1000
    bone = classes != CoarseClass.BACKGROUND
    proximal = np.isin(classes, (CoarseClass.LEFT_PROXIMAL, CoarseClass.RIGHT_PROXIMAL))
    sure = float(certain.max(axis=0)[bone].mean()) if bone.any() else 0.0
    proximal_ml, shaft_ml = (float(part.sum()) * millilitres for part in (proximal, bone & ~proximal))
    return View(view.upended, view.degrees, proximal_ml, shaft_ml, sure)


def turned(image: Image, view: View) -> Image:
    """Return an image `(z, y, x)` with the patient turned."""
    upright = image[::-1, :, ::-1] if view.upended else image
    if view.degrees in DEGREES:
        return np.rot90(upright, view.degrees // 90, axes=(1, 2))
    result: Image = ndimage.rotate(upright, view.degrees, axes=(1, 2), order=1, cval=OUTSIDE_HU)
    return result


def about_long_axis(geometry: Geometry, degrees: float) -> Geometry:
    """Return the grid turned about the patient's long axis through its middle, as `turned` turns an image."""
    angle = np.radians(degrees)
    # Axes (1, 2) are y and x: a positive angle turns +y towards +x.
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    middle = geometry.corners().mean(axis=0)
    affine = geometry.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = turn @ (affine[:3, 3] - middle) + middle
    return Geometry(geometry.shape, affine)
