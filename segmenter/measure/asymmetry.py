"""Left against right, region by region."""

from collections.abc import Sequence

from segmenter.measure.records import Asymmetry, FemurMeasurements, Region
from segmenter.volume.femur import Side


def asymmetry(femurs: Sequence[FemurMeasurements]) -> tuple[Asymmetry, ...]:
    """Return the differences between the regions of two complete femurs; empty unless both are complete.

    A region that only one of them has, or a total region cut by another rule, is not compared.
    """
    sides = {femur.side: femur for femur in femurs if femur.complete}
    left, right = sides.get(str(Side.LEFT)), sides.get(str(Side.RIGHT))
    if left is None or right is None:
        return ()
    found = []
    for region in left.regions:
        other = right.region(region.name)
        if other is not None and (region.name != "total" or left.total_rule == right.total_rule):
            found.append(_compared(region, other))
    return tuple(found)


def _compared(left: Region, right: Region) -> Asymmetry:
    volume = percent(left.volume_ml, right.volume_ml)
    assert volume is not None
    return Asymmetry(
        left.name,
        volume,
        left.mean_hu - right.mean_hu,
        percent(left.vbmd_mg_cm3, right.vbmd_mg_cm3),
        percent(left.bmc_g, right.bmc_g),
    )


def percent(left: float | None, right: float | None) -> float | None:
    """Return 100 * (left - right) / mean; None unless both are above zero: densities may be negative."""
    if left is None or right is None or min(left, right) <= 0:
        return None
    return 100 * (left - right) / ((left + right) / 2)
