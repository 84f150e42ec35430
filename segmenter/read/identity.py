"""Whose image it is: the attributes of patient and study that all images of one series must share."""

from collections.abc import Sequence
from typing import NamedTuple

from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError
from segmenter.read.header_values import INVALID_VALUE


class Identity(NamedTuple):
    """Patient and study of one image, each value in a form in which equal ones compare equal; empty if absent."""

    PatientID: str = ""
    IssuerOfPatientID: str = ""
    PatientName: str = ""
    PatientBirthDate: str = ""
    StudyInstanceUID: str = ""
    StudyDate: str = ""


OF_PATIENT = Identity._fields[:4]


def read_identity(header: Dataset) -> Identity:
    """Read the identity of an image."""
    return Identity(*(_comparable(header, keyword) for keyword in Identity._fields))


def _comparable(header: Dataset, keyword: str) -> str:
    """Return a value without padding, case and the empty components at the end of a person's name."""
    try:
        value = str(header.get(keyword) or "")
    except INVALID_VALUE:  # its VR may be wrong: two images with the same bytes are still the same
        value = repr(getattr(header.get_item(keyword), "value", b""))
    return value.strip("\0 ").rstrip("^= ").casefold()


def require_one_patient(identities: Sequence[Identity]) -> None:
    """Raise SegmenterError when the images are not all of one patient and one study.

    The message names the attributes that differ, never their values.
    """
    differing = [
        keyword for keyword, found in zip(Identity._fields, zip(*identities, strict=True), strict=True)
        if len(set(found)) > 1
    ]  # fmt: skip
    if not differing:
        return
    counts = sorted((identities.count(one) for one in set(identities)), reverse=True)
    parts = " and ".join(map(str, counts[:4])) + (" and more" if len(counts) > 4 else "")
    of_patient = any(keyword in OF_PATIENT for keyword in differing)
    raise SegmenterError(
        Reason.MIXED_PATIENT if of_patient else Reason.MIXED_STUDY,
        f"the images of the series belong to different {'patients' if of_patient else 'studies'} ({parts} images): "
        f"they differ in {', '.join(differing)}; find out whose images they are, and send those of each "
        f"{'patient' if of_patient else 'study'} under a Series Instance UID of their own",
    )
