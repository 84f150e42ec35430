"""The measurement groups of a TID 1500 report: one per region and per comparison, and one for the calibration."""

from collections.abc import Iterator
from dataclasses import dataclass

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from segmenter.density.calibration import Calibration
from segmenter.measure.findings import Findings
from segmenter.measure.records import Asymmetry, FemurMeasurements
from segmenter.objects import codes as own
from segmenter.objects.common import PRODUCT, ResultIdentity
from segmenter.objects.labels import ANATOMICAL_STRUCTURE, LABELS, PROXIMAL_FEMUR
from segmenter.objects.plain_text import plain
from segmenter.objects.sr_numbers import (
    asymmetry_numbers,
    calibration_numbers,
    confidence_numbers,
    neck_numbers,
    region_numbers,
)
from segmenter.read.series import Series
from segmenter.volume.femur import Side

Group = VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations

BOUNDED_BY = codes.SCT.BoundedBy  # CID 219


@dataclass(frozen=True)
class Source:
    """What the groups refer to: the scan, the algorithm, and the segmentation (None = no femur was found)."""

    series: Series
    identity: ResultIdentity
    segmentation: Dataset | None


@dataclass(frozen=True)
class _Content:
    """The content of one group: numbers, coded answers, and sentences."""

    numbers: tuple[Measurement, ...] = ()
    answers: tuple[QualitativeEvaluation, ...] = ()
    remarks: tuple[TextContentItem, ...] = ()

    def __add__(self, other: "_Content") -> "_Content":
        return _Content(self.numbers + other.numbers, self.answers + other.answers, self.remarks + other.remarks)


def measurement_groups(source: Source, findings: Findings) -> Iterator[Group]:
    """Yield a group for every region of every femur (TID 1411), for every comparison and the calibration (TID 1501).

    Without a femur there is one group, which states that none was found.
    """
    femurs = findings.measurements.femurs
    for femur in femurs:
        for name, content in _contents(femur, findings.calibration).items():
            yield _region_group(source, Side(femur.side), name, content)
    for asymmetry in findings.measurements.asymmetry:
        yield _asymmetry_group(source, asymmetry, findings.calibration)
    yield _calibration_group(source, findings.calibration) if femurs else _nothing_found_group(source, findings)


def sentence(name: Code, value: str) -> TextContentItem:
    """Return a sentence as a content item, in ASCII."""
    return TextContentItem(name, plain(value), RelationshipTypeValues.CONTAINS)


def _contents(femur: FemurMeasurements, calibration: Calibration) -> dict[str, _Content]:
    """Return the content of each region; that of the integral region includes the content about the whole femur."""
    contents = {region.name: _Content(tuple(region_numbers(region, calibration))) for region in femur.regions}
    contents["integral"] += _whole_content(femur)
    if femur.total_rule and "total" in contents:
        contents["total"] += _Content(remarks=(sentence(own.REGION_RULE, femur.total_rule),))
    if femur.neck:
        remarks = tuple(sentence(own.WARNING, f"femoral neck: {problem}") for problem in femur.neck.problems)
        contents["neck"] = contents.get("neck", _Content()) + _Content(neck_numbers(femur.neck), remarks=remarks)
    return contents


def _whole_content(femur: FemurMeasurements) -> _Content:
    """Return the content about a whole femur: completeness, confidence, suspected metal and contrast, warnings."""
    yes_no = {True: codes.SCT.Yes, False: codes.SCT.No}
    warnings = [f"incomplete: {reason}" for reason in femur.incomplete_reasons] + list(femur.warnings)
    return _confidence_content(femur) + _Content(
        answers=(
            QualitativeEvaluation(own.COMPLETENESS, own.COMPLETE if femur.complete else own.INCOMPLETE),
            QualitativeEvaluation(own.METAL_SUSPECTED, yes_no[femur.metal_suspected]),
            QualitativeEvaluation(own.CONTRAST_SUSPECTED, yes_no[femur.contrast_suspected]),
        ),
        remarks=tuple(sentence(own.WARNING, warning) for warning in warnings),
    )


def _confidence_content(femur: FemurMeasurements) -> _Content:
    """Return how sure the outline is; empty from a method that does not say."""
    if femur.confidence is None:
        return _Content()
    level = QualitativeEvaluation(own.CONFIDENCE, own.CONFIDENCE_LEVELS[femur.confidence.level])
    return _Content(tuple(confidence_numbers(femur.confidence)), (level,))


def _region_group(source: Source, side: Side, name: str, content: _Content) -> Group:
    """Return a volumetric group (TID 1411) that refers to the side's segment.

    The integral region is the segment and shares its tracking identifiers; the others lie within it, as the geometric
    purpose "bounded by" states.
    """
    segmentation = source.segmentation
    assert segmentation is not None, "measurements of a femur need its segmentation"
    segment = _segment(segmentation, side)
    whole = name == "integral"
    identifier = TrackingIdentifier(
        segment.TrackingUID if whole else source.identity.uid(source.series, f"tracking {side} {name}"),
        segment.TrackingID if whole else f"{PRODUCT} {side} proximal femur, {name}",
    )
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=identifier,
        referenced_segment=ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            int(segment.SegmentNumber),
            source_series=SourceSeriesForSegmentation(source.series.series_uid),
        ),
        finding_category=ANATOMICAL_STRUCTURE,
        finding_type=own.REGIONS[name],
        finding_sites=[FindingSite(own.SITES.get(name, PROXIMAL_FEMUR), laterality=LABELS[side].laterality)],
        algorithm_id=_algorithm(source.identity),
        measurements=content.numbers,
        qualitative_evaluations=content.answers,
        geometric_purpose=None if whole else BOUNDED_BY,
    )
    group[0].ContentSequence.extend(content.remarks)
    return group


def _segment(segmentation: Dataset, side: Side) -> Dataset:
    """Return the segment of a side, identified by its modifier code."""
    laterality = LABELS[side].laterality.value
    for segment in segmentation.SegmentSequence:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        if kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == laterality:
            found: Dataset = segment
            return found
    raise AssertionError(f"the segmentation has no {side} femur")


def _asymmetry_group(source: Source, asymmetry: Asymmetry, calibration: Calibration) -> Group:
    """Return the comparison of left and right in one region (TID 1501: it has no single segment)."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            source.identity.uid(source.series, f"tracking asymmetry {asymmetry.region}"),
            f"{PRODUCT} left against right proximal femur, {asymmetry.region}",
        ),
        finding_category=ANATOMICAL_STRUCTURE,
        finding_type=own.REGIONS[asymmetry.region],
        finding_sites=[FindingSite(own.SITES.get(asymmetry.region, PROXIMAL_FEMUR), laterality=codes.SCT.Bilateral)],
        algorithm_id=_algorithm(source.identity),
        measurements=list(asymmetry_numbers(asymmetry, calibration)),
    )


def _calibration_group(source: Source, calibration: Calibration) -> Group:
    """Return the calibration and the acquisition (TID 1501), also when nothing was calibrated."""
    answers = [QualitativeEvaluation(own.CALIBRATION_METHOD, own.CALIBRATION_METHODS[calibration.mode])]
    if calibration.material is not None:
        answers.append(QualitativeEvaluation(own.EQUIVALENT_MATERIAL, own.MATERIALS[calibration.material]))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            source.identity.uid(source.series, "tracking calibration"), f"{PRODUCT} density calibration"
        ),
        finding_type=codes.DCM.Calibration,
        measurements=list(calibration_numbers(calibration, source.series)),
        qualitative_evaluations=answers,
    )
    for name, value in (
        (codes.DCM.CalibrationObject, calibration.phantom),
        (codes.DCM.DeviceSerialNumber, calibration.serial),
        (own.CERTIFICATE_DATE, calibration.certificate_date),
        (codes.DCM.ReconstructionAlgorithm, source.series.kernel.replace("\\", " ")),
        *((own.WARNING, warning) for warning in calibration.warnings),
    ):
        if value:
            group[0].ContentSequence.append(sentence(name, value))
    return group


def _nothing_found_group(source: Source, findings: Findings) -> Group:
    """Return a group that states that no femur was found and what was, for readers that evaluate groups only."""
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            source.identity.uid(source.series, "tracking search"), f"{PRODUCT} search for proximal femora"
        ),
        finding_category=ANATOMICAL_STRUCTURE,
        finding_type=PROXIMAL_FEMUR,
        algorithm_id=_algorithm(source.identity),
        qualitative_evaluations=[QualitativeEvaluation(own.OUTCOME, own.NOT_FOUND)],
    )
    group[0].ContentSequence.extend(sentence(own.WARNING, str(refusal)) for refusal in findings.refused)
    return group


def _algorithm(identity: ResultIdentity) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=plain(identity.model_name),
        version=plain(identity.model_version),
        parameters=[f"sha256={identity.model_digest}", f"settings={identity.settings_digest}"],
        family=codes.cid7162.ArtificialIntelligence,
    )
