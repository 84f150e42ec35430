"""The codes used in the results: from SNOMED CT, DICOM and UCUM, or from a private scheme where these have none.

The private scheme is described in docs/reference/sr.md; a test compares the two.
"""

from types import MappingProxyType

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from segmenter.density.calibration import CalibrationMode, Material
from segmenter.volume.femur import Level

SCHEME = "99QCTNODE"
SCHEME_NAME = "Codes of qct-node for quantitative CT of the hip"

NECK_OF_FEMUR = Code("29627003", "SCT", "Neck of femur")
PERCENT = codes.UCUM.Percent
MG_PER_CM3 = codes.UCUM.MilligramsPerCubicCentimeter
GRAM = Code("g", "UCUM", "gram")
HU_PER_MG_PER_CM3 = Code("[hnsf'U].cm3/mg", "UCUM", "HU per mg/cm3")
KILOVOLT = Code("kV", "UCUM", "kilovolt")
MILLIMETER = Code("mm", "UCUM", "millimeter")


def _own(value: str, meaning: str) -> Code:
    """Return a code of the private scheme; value at most 16, meaning at most 64 characters (PS3.3 8.8)."""
    return Code(value, SCHEME, meaning)


REPLACED = _own("REPLACED", "Result replaced by this one")
# Two materials, two concepts: software that shows only names and numbers cannot confuse them.
VBMD = MappingProxyType(
    {
        Material.K2HPO4: _own("VBMD-K2HPO4", "Volumetric bone mineral density, K2HPO4 equivalent"),
        Material.HA: _own("VBMD-HA", "Volumetric bone mineral density, hydroxyapatite equivalent"),
    }
)
BMC = MappingProxyType(
    {
        Material.K2HPO4: _own("BMC-K2HPO4", "Bone mineral content, K2HPO4 equivalent"),
        Material.HA: _own("BMC-HA", "Bone mineral content, hydroxyapatite equivalent"),
    }
)
EQUIVALENT_MATERIAL = _own("EQ-MATERIAL", "Equivalent material of density")
MATERIALS = MappingProxyType(
    {
        Material.K2HPO4: _own("K2HPO4", "Dipotassium hydrogen phosphate"),
        Material.HA: Code("256579008", "SCT", "Calcium Hydroxyapatite"),  # CID 300
    }
)

CALIBRATION_METHOD = codes.DCM.CalibrationMethod
CALIBRATION_METHODS = MappingProxyType(
    {
        CalibrationMode.PHANTOM: _own("CAL-PHANTOM", "Phantom in the scan"),
        CalibrationMode.ASYNCHRONOUS: _own("CAL-ASYNC", "Asynchronous, by certificate of the scanner"),
        CalibrationMode.NONE: _own("CAL-NONE", "Not calibrated: HU only"),
    }
)
SLOPE = _own("CAL-SLOPE", "Slope of the calibration line")
INTERCEPT = _own("CAL-INTERCEPT", "Intercept of the calibration line")
R2 = _own("CAL-R2", "Coefficient of determination of the calibration line")
ROD_HU = _own("CAL-ROD-HU", "Mean attenuation of a calibration rod")
ROD_DENSITY = _own("CAL-ROD-DENSITY", "Certified density of a calibration rod")
CERTIFICATE_DATE = _own("CAL-CERT-DATE", "Date of the calibration certificate")

REGIONS = MappingProxyType(
    {
        "integral": codes.SCT.ProximalFemur,
        "total": _own("TOTAL-FEMUR", "Total proximal femur, cut at a defined plane"),
        "neck": NECK_OF_FEMUR,
        "cortical": _own("CORTICAL", "Cortical compartment of proximal femur"),
        "trabecular": _own("TRABECULAR", "Trabecular compartment of proximal femur"),
    }
)
SITES = MappingProxyType({"neck": NECK_OF_FEMUR})  # where the site is not the whole proximal femur
REGION_RULE = _own("REGION-RULE", "Rule by which the region is cut")
NECK_SHAFT_ANGLE = _own("NECK-SHAFT", "Femoral neck-shaft angle")
NECK_AREA = _own("NECK-AREA", "Smallest cross-sectional area of femoral neck")

ASYMMETRY_VOLUME = _own("ASYM-VOLUME", "Volume, left minus right, over their mean")
ASYMMETRY_HU = _own("ASYM-HU", "Mean attenuation, left minus right")
ASYMMETRY_VBMD = _own("ASYM-VBMD", "Volumetric bone mineral density, left minus right, over mean")
ASYMMETRY_BMC = _own("ASYM-BMC", "Bone mineral content, left minus right, over their mean")

COMPLETENESS = _own("COMPLETENESS", "Proximal femur in the scan")
COMPLETE = _own("COMPLETE", "Whole proximal femur in the scan")
INCOMPLETE = codes.DCM.AnatomyCoverageIncomplete
CONFIDENCE = _own("CONFIDENCE", "Confidence of the algorithm in its outline")
CONFIDENCE_LEVELS = MappingProxyType(
    {
        Level.HIGH: codes.SCT.High,
        Level.MEDIUM: codes.SCT.Medium,
        Level.LOW: codes.SCT.Low,
    }
)
OUTLINE_WIDTH = _own("OUTLINE-WIDTH", "Width of the zone in which the outline is uncertain")
METAL_SUSPECTED = _own("METAL", "Metal or implant suspected")
CONTRAST_SUSPECTED = _own("CONTRAST", "Contrast agent suspected")
OUTCOME = _own("OUTCOME", "Outcome of the search for femora")
FOUND = _own("FOUND", "Proximal femur found")
NOT_FOUND = _own("NOT-FOUND", "No proximal femur found in the scan")
WARNING = _own("WARNING", "Warning")
INTENDED_USE = _own("USE", "Intended use")


def own_codes() -> dict[str, str]:
    """Return all codes of the private scheme with their meanings, in the order of this module."""
    found: dict[str, str] = {}
    for thing in globals().values():
        for code in thing.values() if isinstance(thing, MappingProxyType) else (thing,):
            if isinstance(code, Code) and code.scheme_designator == SCHEME:
                found[code.value] = code.meaning
    return found
