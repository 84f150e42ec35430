"""What all result objects share: equipment, UIDs, and the patient and study modules."""

import logging
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from types import MappingProxyType

from highdicom import ContributingEquipment
from highdicom.base import SOPClass
from highdicom.sr import CodedConcept
from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM, validate_value

from segmenter.objects.codes import REPLACED
from segmenter.objects.earlier import EarlierResult
from segmenter.objects.labels import NOTICE
from segmenter.objects.plain_text import plain
from segmenter.objects.uids import derive_uid
from segmenter.read.header_values import as_texts
from segmenter.read.series import Series
from segmenter.read.slices import Slice, number_of

log = logging.getLogger(__name__)

PRODUCT = "qct-node"
VERSION = version(PRODUCT)
IMPLEMENTATION_UID = UID(derive_uid("implementation"))
# Added to the source's number: stable, above the numbers of a scanner, and different for each kind of result.
SERIES_NUMBER_BASES = MappingProxyType({"SEG": 5000, "SR": 6000, "OT": 7000})
LARGEST_IS = 2**31 - 1
SERIES_NUMBER_REST = 1_000_000  # of a number that leaves no room above it, its last digits are kept
MAX_LENGTH = MappingProxyType({"SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240, "AE": 16})  # PS3.5 6.2
# UI is not included: a changed UID would put the result into another study.
# Type 1C attributes of the patient module (PS3.3 C.7.1.1): absent or not empty.
METHODS = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
METHOD_NOT_STATED = "not stated by the source"
NEVER_EMPTY = frozenset({
    *METHODS, "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "ResponsiblePersonRole",
})  # fmt: skip
UTF_8 = "ISO_IR 192"
CHARACTERS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # whose text the character set is for (PS3.5 6.1)
TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UT"})


@dataclass(frozen=True)
class ResultIdentity:
    """The identity of a result: two runs with the same identity and source give the same bytes.

    digests: SHA-256, hexadecimal. replaces: earlier results of the series. created: written as wall-clock time,
    converted to the source's time zone when both are known.
    """

    model_name: str
    model_version: str
    model_digest: str
    settings_digest: str
    created: datetime
    replaces: tuple[EarlierResult, ...] = ()

    def uid(self, series: Series, what: str) -> str:
        """Return the UID of one item of this result of the series.

        An archive that corrects a patient sends the same source UIDs again, but the result is another object then.
        """
        return derive_uid(
            what, series.series_uid, *series.instance_uids, *series.slices[0].identity, self.model_digest,
            self.settings_digest, VERSION, *(earlier.sop_uid for earlier in self.replaces),
        )  # fmt: skip

    def replaced(self, sop_class: str) -> list[EarlierResult]:
        """Return the replaced objects of a kind."""
        return [earlier for earlier in self.replaces if earlier.sop_class_uid == sop_class]


def device_uid(identity: ResultIdentity) -> str:
    """Return the device UID of this release with this model; another model is another device."""
    return derive_uid("device", identity.model_digest, VERSION)


def new_object(series: Series, identity: ResultIdentity, sop_class: str, modality: str, description: str) -> SOPClass:
    """Return an object with patient, study, series, equipment and SOP modules, in a new series."""
    kind = f"{modality} {sop_class}"
    created = _in_source_zone(identity.created, series.header)
    result = SOPClass(
        study_instance_uid=series.study_uid,
        series_instance_uid=identity.uid(series, f"{kind} series"),
        series_number=_series_number(series.header, modality),
        sop_instance_uid=identity.uid(series, f"{kind} instance"),
        sop_class_uid=sop_class,
        instance_number=1,
        modality=modality,
        manufacturer=PRODUCT,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=_describe(description, identity, len(identity.replaced(sop_class))),
        manufacturer_model_name=PRODUCT,
        software_versions=VERSION,
        device_serial_number="not applicable",  # type 1 (C.7.5.2), and software has none
        content_date=created.date(),
        content_time=created.time().replace(tzinfo=None),
        series_date=created.date(),
        series_time=created.time().replace(tzinfo=None),
    )
    # Both, type 3, would be the time of this run, but the same identity must give the same bytes.
    del result.InstanceCreationDate, result.InstanceCreationTime
    result.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    result.file_meta.ImplementationVersionName = f"QCT_NODE_{VERSION.replace('.', '_')}"[:16]
    copy_patient_and_study(series.header, result)
    result.ContributingEquipmentSequence = [_algorithm_item(identity)]
    if identity.replaces and modality != "SR":  # a report has a sequence of its own for its predecessors
        result.ReferencedInstanceSequence = [_replaced_item(earlier) for earlier in identity.replaces]
    return result


def _replaced_item(earlier: EarlierResult) -> Dataset:
    """Return the item that names an object this one replaces (PS3.3 C.12.4)."""
    item = reference_to(earlier.sop_uid, earlier.sop_class_uid)
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(REPLACED)]
    return item


def _series_number(header: Dataset, modality: str) -> int:
    """Return the number of a result's series: a fixed distance above the source's, within what IS holds (PS3.5 6.2)."""
    number = SERIES_NUMBER_BASES[modality] + max(0, int(number_of(header, "SeriesNumber") or 0))
    return number if number <= LARGEST_IS else SERIES_NUMBER_BASES[modality] + number % SERIES_NUMBER_REST


def _algorithm_item(identity: ResultIdentity) -> ContributingEquipment:
    """Return the item that names the model (PS3.3 C.12.1.1.5); IHE AI Results asks for one per algorithm."""
    item = ContributingEquipment(
        manufacturer=PRODUCT,
        purpose_of_reference=codes.DCM.ProcessingEquipment,  # CID 7005
        manufacturer_model_name=plain(identity.model_name, MAX_LENGTH["LO"]),
        software_versions=[plain(identity.model_version, MAX_LENGTH["LO"]), f"{PRODUCT} {VERSION}"],
        contribution_description=f"Algorithm, {NOTICE}, model SHA-256 {identity.model_digest}",
    )
    item.DeviceUID = device_uid(identity)
    return item


def _describe(what: str, identity: ResultIdentity, earlier: int) -> str:
    """Return a Series Description that ends with model and version; the model's name is cut to fit.

    earlier: number of results of this kind that this one replaces; a list of series then shows which is the last.
    """
    what = f"{what} (result {earlier + 1})" if earlier else what
    room = max(MAX_LENGTH["LO"] - len(f"{what}, {NOTICE},  {identity.model_version}"), 0)
    return f"{what}, {NOTICE}, {identity.model_name[:room]} {identity.model_version}"


def copy_patient_and_study(header: Dataset, target: SOPClass) -> None:
    """Copy the patient, study and frame of reference modules; values that the source lacks stay empty.

    A value that violates its VR (PS3.5 6.2) is repaired: text is cut to the length allowed, anything else is
    emptied. Attributes that must not be empty are left out where the source has them empty. Text is written in UTF-8
    where the source names no character set that could hold it. The log names the repaired attributes, never their
    values.
    """
    # pydicom's warning about an invalid value quotes it: this could put a birth date into the log.
    with config.disable_value_validation():
        clean, repaired, unreadable = _repaired(header)
        target.copy_patient_and_study_information(clean)
        if clean.get("TimezoneOffsetFromUTC"):
            target.add(clean["TimezoneOffsetFromUTC"])
        _set_character_set(clean, target)
        target.FrameOfReferenceUID = clean.FrameOfReferenceUID
        target.PositionReferenceIndicator = clean.get("PositionReferenceIndicator")
    for tag in repaired:
        if tag in target:
            log.warning("repaired %s, whose value violates its VR", keyword_for_tag(tag))
    for tag in unreadable:
        log.warning("left out %s, whose value cannot be read", keyword_for_tag(tag) or tag)


def _repaired(header: Dataset) -> tuple[Dataset, list[BaseTag], list[BaseTag]]:
    """Return a header with valid values, the tags of those that were repaired, and of those that cannot be read."""
    clean, repaired, unreadable = Dataset(), [], []
    for tag in header.keys():  # noqa: SIM118 - a data set iterates its values
        try:
            element = deepcopy(header[tag])
        except (ValueError, TypeError, OverflowError, NotImplementedError, BytesLengthException):
            unreadable.append(tag)
            continue
        if element.keyword in NEVER_EMPTY and not element.value:
            continue
        if _repair(element):
            repaired.append(tag)
        clean.add(element)
    if clean.get("PatientIdentityRemoved") == "YES" and not any(keyword in clean for keyword in METHODS):
        clean.DeidentificationMethod = METHOD_NOT_STATED
    return clean, repaired, unreadable


def _set_character_set(source: Dataset, target: Dataset) -> None:
    """Copy the character set; take UTF-8 where the source's is invalid, or missing although it is needed."""
    terms = as_texts(source.get("SpecificCharacterSet"))
    texts = (str(element.value) for element in target.iterall() if element.VR in CHARACTERS)
    if not all(term in python_encoding for term in terms) or (not terms and not all(map(str.isascii, texts))):
        target.SpecificCharacterSet = UTF_8
    elif terms:
        target.add(source["SpecificCharacterSet"])


def _repair(element: DataElement) -> bool:
    """Make an element valid in place; return whether it changed. The items of sequences are repaired, too."""
    if element.VR == "SQ":
        return sum(_repair(inner) for item in element.value for inner in item) > 0
    values = list(element.value) if element.VM > 1 else [element.value]
    valid = [_valid(element.VR, value) for value in values]
    if len(valid) > 1:  # a backslash in a text makes it several values, and a value that is left out must not be None
        valid = [value for value in valid if value is not None] or [None]
    if element.keyword == "PatientSex" and element.value not in (None, "", "M", "F", "O"):  # PS3.3 C.7.1.1
        valid = [None]
    if valid == values:
        return False
    element.value = valid if len(valid) > 1 else valid[0]
    return True


def _valid(vr: str, value: object) -> object:
    """Return the value, the beginning of it that is allowed, or None if it cannot be made valid."""
    text = str(value)
    if value is None or not text or vr not in TEXT_VRS:
        return value
    for candidate in (text, text[: MAX_LENGTH.get(vr, len(text))].rstrip()):
        try:
            validate_value(vr, candidate, config.RAISE)
        except ValueError:
            continue
        return value if candidate == text else candidate
    return None


def source_references(slices: Iterable[Slice]) -> list[Dataset]:
    """Return a reference to every image of the slices, once each: an enhanced object holds many slices."""
    once = {plane.sop_instance_uid: plane.sop_class_uid for plane in slices}
    return [reference_to(uid, sop_class) for uid, sop_class in once.items()]


def reference_to(sop_instance_uid: str, sop_class_uid: str) -> Dataset:
    """Return the item that refers to one object (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def add_lossy_history(result: Dataset, header: Dataset) -> None:
    """Record a lossy compression of the source, which cannot be undone (PS3.3 C.7.6.1.1.5)."""
    lossy = header.get("LossyImageCompression") == "01"
    result.LossyImageCompression = "01" if lossy else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod") if lossy else ():
        if keyword in header:
            result.add(header[keyword])


def source_time(series: Series) -> datetime | None:
    """Return the content, acquisition, series or study date and time of the source, the first that is valid."""
    for kind in ("Content", "Acquisition", "Series", "Study"):
        try:
            date, time = (
                DA(series.header.get(f"{kind}Date")),
                TM(series.header.get(f"{kind}Time") or "000000"),
            )
        except ValueError:
            continue
        if date and time:
            return datetime.combine(date, time)
    return None


def _in_source_zone(created: datetime, header: Dataset) -> datetime:
    """Return `created` in the time zone of the copied study date and time (PS3.3 C.12.1.1.8)."""
    offset = str(header.get("TimezoneOffsetFromUTC") or "")
    if created.tzinfo is None or not offset:
        return created
    try:
        return created.astimezone(datetime.strptime(offset, "%z").tzinfo)
    except ValueError:
        return created
