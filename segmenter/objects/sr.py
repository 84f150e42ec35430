"""Write the findings as a structured report (TID 1500): every number with unit, site, algorithm and calibration."""

from pathlib import Path

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from segmenter.measure.findings import Findings
from segmenter.objects import codes as own
from segmenter.objects.common import (
    MAX_LENGTH,
    PRODUCT,
    VERSION,
    ResultIdentity,
    device_uid,
    new_object,
    reference_to,
    source_references,
)
from segmenter.objects.earlier import EarlierResult
from segmenter.objects.labels import NOTICE
from segmenter.objects.plain_text import plain
from segmenter.objects.sr_groups import Source, measurement_groups, sentence
from segmenter.objects.uids import derive_uid
from segmenter.read.series import Series

CONTAINS = RelationshipTypeValues.CONTAINS
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
CT_PROCEDURE = codes.LN.CTUnspecifiedBodyRegion  # CID 100


def write_sr(series: Series, identity: ResultIdentity, findings: Findings, seg: Path | None, path: Path) -> Path:
    """Write one Comprehensive 3D SR (PS3.3 A.35.13) with a TID 1500 tree; return the path.

    seg: the segmentation that was measured; None only when no femur was found, which the report then states.
    """
    segmentation = dcmread(seg, stop_before_pixels=True) if seg else None
    report = new_object(series, identity, Comprehensive3DSRStorage, "SR", "Femur measurements")
    del report.FrameOfReferenceUID, report.PositionReferenceIndicator  # the segmentation has them, not the report
    report.CodingSchemeIdentificationSequence = [_scheme()]
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    # Complete as the output of the algorithm; not yet verified by a person.
    report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    report.CurrentRequestedProcedureEvidenceSequence = [_evidence(series, segmentation)]
    predecessors = identity.replaced(Comprehensive3DSRStorage)
    if predecessors:
        report.PredecessorDocumentsSequence = [_predecessor(series, earlier) for earlier in predecessors]
    report.update(_root(Source(series, identity, segmentation), findings))
    report.save_as(path, enforce_file_format=True)
    return path


def _root(source: Source, findings: Findings) -> ContainerContentItem:
    """Return the root of the tree (TID 1500)."""
    root = ContainerContentItem(codes.DCM.ImagingMeasurementReport, is_content_continuous=False, template_id="1500")
    root.ContentSequence = ContentSequence()
    root.ContentSequence.extend(LanguageOfContentItemAndDescendants(CodedConcept.from_code(ENGLISH)))
    root.ContentSequence.extend(_observer(source.identity))
    root.ContentSequence.append(
        CodeContentItem(
            codes.DCM.ProcedureReported, _procedure(source.series.header), RelationshipTypeValues.HAS_CONCEPT_MOD
        )
    )
    groups = [item for group in measurement_groups(source, findings) for item in group]
    root.ContentSequence.append(_container(codes.DCM.ImagingMeasurements, groups))
    outcome = CodeContentItem(own.OUTCOME, own.FOUND if findings.measurements.femurs else own.NOT_FOUND, CONTAINS)
    remarks = [sentence(own.WARNING, warning) for warning in findings.remarks]
    items = [outcome, sentence(own.INTENDED_USE, NOTICE), *remarks]
    root.ContentSequence.append(_container(QUALITATIVE_EVALUATIONS, items))
    return root


def _container(name: Code, items: list[ContentItem]) -> ContainerContentItem:
    container = ContainerContentItem(name, is_content_continuous=False, relationship_type=CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container


def _observer(identity: ResultIdentity) -> ObservationContext:
    """Return the observer, a device (TID 1004): no person has verified the report."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(identity),
        name=PRODUCT,
        manufacturer_name=PRODUCT,
        model_name=plain(identity.model_name),
        serial_number=f"{VERSION} {plain(identity.model_version)}",
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _procedure(header: Dataset) -> CodedConcept:
    """Return the imaging procedure as coded in the source, otherwise the code of a CT (CID 100)."""
    for item in header.get("ProcedureCodeSequence") or []:
        value, scheme = (str(item.get(keyword) or "") for keyword in ("CodeValue", "CodingSchemeDesignator"))
        meaning = str(item.get("CodeMeaning") or "")
        fits = max(len(value), len(scheme)) <= MAX_LENGTH["SH"] and len(meaning) <= MAX_LENGTH["LO"]
        if value and scheme and meaning and fits:
            return CodedConcept(value, scheme, meaning, item.get("CodingSchemeVersion") or None)
    return CodedConcept.from_code(CT_PROCEDURE)


def _scheme() -> Dataset:
    """Return the description of the private coding scheme (PS3.3 C.12.1.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = own.SCHEME
    item.CodingSchemeUID = derive_uid("coding scheme")
    item.CodingSchemeName = own.SCHEME_NAME
    item.CodingSchemeVersion = VERSION
    item.CodingSchemeResponsibleOrganization = PRODUCT
    return item


def _predecessor(series: Series, earlier: EarlierResult) -> Dataset:
    """Return the reference to a report that this one replaces (PS3.3 C.17.2.2)."""
    reference = reference_to(earlier.sop_uid, earlier.sop_class_uid)
    reference.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.ReplacedReport)]
    of_series = Dataset()
    of_series.SeriesInstanceUID, of_series.ReferencedSOPSequence = earlier.series_uid, [reference]
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = series.study_uid, [of_series]
    return study


def _evidence(series: Series, segmentation: Dataset | None) -> Dataset:
    """Return the evidence of the report: the segmentation and every image of the scan (PS3.3 C.17.2)."""
    parts = [(series.series_uid, source_references(series.slices))]
    if segmentation is not None:
        reference = reference_to(segmentation.SOPInstanceUID, segmentation.SOPClassUID)
        parts.insert(0, (segmentation.SeriesInstanceUID, [reference]))
    study = Dataset()
    study.StudyInstanceUID = series.study_uid
    study.ReferencedSeriesSequence = []
    for series_uid, references in parts:
        item = Dataset()
        item.SeriesInstanceUID = series_uid
        item.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(item)
    return study
