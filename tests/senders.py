"""Associations and arrivals as the ledger records them, for tests that record them without a network."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from node.dicom.association_request import ProposedContext
from node.dicom.negotiation import AnsweredContext
from node.files.received_files import content_digest
from node.records.instances import Arrival, Association, Header


def association(calling_ae: str = "SCANNER", host: str = "127.0.0.1", receiver: str = "scp@test:1") -> Association:
    """Return a new association that has just begun."""
    return Association(uuid4().hex, receiver, calling_ae, "QCTNODE", host, datetime.now(UTC))


def accepted(abstract_syntax: str, transfer_syntax: str = "1.2.840.10008.1.2.1", number: int = 1) -> AnsweredContext:
    """Return an accepted presentation context."""
    return AnsweredContext(ProposedContext(number, abstract_syntax, (transfer_syntax,)), 0, transfer_syntax)


def arrival_of_a_slice(data: Path, header: Header | None = None) -> Arrival:
    """Write a minimal CT object of a new series into the inbox and return its arrival."""
    header = header or Header(generate_uid(), generate_uid(), generate_uid(), CTImageStorage, modality="CT")
    ct = Dataset()
    ct.SOPClassUID, ct.SOPInstanceUID = CTImageStorage, header.sop_uid
    ct.StudyInstanceUID, ct.SeriesInstanceUID = header.study_uid, header.series_uid
    ct.file_meta = FileMetaDataset()
    ct.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    key = f"inbox/{header.study_uid}/{header.series_uid}/{header.sop_uid}.dcm"
    (data / key).parent.mkdir(parents=True, exist_ok=True)
    ct.save_as(data / key, enforce_file_format=True)
    found = content_digest(data / key)
    assert found is not None
    syntax, digest, size = found
    return Arrival(header, syntax, key, digest, size, association())
