"""The Query SCU: asks a peer by C-FIND which objects it has (Study Root, PS3.4 C.6.2)."""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from node.dicom.association_answer import Offer
from node.dicom.pdu import ProtocolError
from node.dicom.stream import ConnectionEndedError
from node.errors import PeerError
from node.scu.association import Association
from node.scu.connection import describe_peer
from node.scu.requestor import open_association
from node.scu.stop_signal import StopSignal
from node.settings.routing import Peer

STUDY_ROOT_FIND: Offer = ("1.2.840.10008.5.1.4.1.2.2.1", str(ImplicitVRLittleEndian))
MAX_MATCHES = 20_000
"""No series has more; a peer that returns more does not stop."""
WHOLE = 10
"""A query as a whole may take so many times as long as one response."""
SUCCESS, PENDING = 0x0000, (0xFF00, 0xFF01)  # PS3.4 C.4.1.1.4


@dataclass(frozen=True)
class ObjectName:
    """The UIDs by which an object is asked for."""

    study_uid: str
    series_uid: str
    sop_uid: str


def count_images(peer: Peer, calling_ae: str, study_uid: str, series_uid: str, timeout: float) -> int | None:
    """Return how many objects of a series a peer has; 0: it does not know the series, None: it does not say.

    Number of Series Related Instances (0020,1209) is an optional key of the SERIES level (PS3.4 table C.6-3); if a
    peer does not return it, the matches at the IMAGE level are counted. timeout: seconds for each response. Raises
    PeerError.
    """
    asked = Dataset()
    asked.StudyInstanceUID, asked.SeriesInstanceUID = study_uid, series_uid
    with open_association(peer, calling_ae, [STUDY_ROOT_FIND], timeout) as association:
        query = _Query(association, peer, time.monotonic() + WHOLE * timeout)
        asked.QueryRetrieveLevel, asked.NumberOfSeriesRelatedInstances = "SERIES", None
        matches = _of_series(query.matches(asked), series_uid)
        if not matches:
            return 0
        number = max(_number(match) for match in matches)
        if number:
            return number
        del asked.NumberOfSeriesRelatedInstances
        asked.QueryRetrieveLevel, asked.SOPInstanceUID = "IMAGE", None
        found = {str(match.get("SOPInstanceUID") or "") for match in _of_series(query.matches(asked), series_uid)}
        return len(found - {""}) or None


def known_objects(
    peer: Peer, calling_ae: str, objects: Collection[ObjectName], timeout: float, stop: StopSignal | None = None
) -> set[str]:
    """Return the SOP Instance UIDs of those objects that a peer has, asked for at the IMAGE level. Raises PeerError."""
    found: set[str] = set()
    with open_association(peer, calling_ae, [STUDY_ROOT_FIND], timeout, stop) as association:
        query = _Query(association, peer, time.monotonic() + WHOLE * timeout)
        for wanted in objects:
            asked = Dataset()
            asked.QueryRetrieveLevel = "IMAGE"
            asked.StudyInstanceUID, asked.SeriesInstanceUID = wanted.study_uid, wanted.series_uid
            asked.SOPInstanceUID = wanted.sop_uid
            if any(str(match.get("SOPInstanceUID") or "") == wanted.sop_uid for match in query.matches(asked)):
                found.add(wanted.sop_uid)
    return found


def _of_series(matches: Iterator[Dataset], series_uid: str) -> list[Dataset]:
    """Return the matches of the series; some peers return all series of the study."""
    return [match for match in matches if str(match.get("SeriesInstanceUID") or series_uid) == series_uid]


@dataclass(frozen=True)
class _Query:
    """Queries over one association, which must have ended at `until` (time.monotonic)."""

    association: Association
    peer: Peer
    until: float

    def matches(self, asked: Dataset) -> Iterator[Dataset]:
        """Yield the matches of a query. Raises PeerError when the peer fails, stops responding or does not end."""
        who = describe_peer(self.peer)
        answers = self.association.find(STUDY_ROOT_FIND, _encoded(asked), self.until)
        try:
            for number, (status, found) in enumerate(answers):
                if status == SUCCESS:
                    return
                if status not in PENDING:
                    raise PeerError(f"{who} answered C-FIND with status 0x{status:04X}")
                if number >= MAX_MATCHES:
                    raise PeerError(f"{who} returns more than {MAX_MATCHES} matches for one series")
                yield _decoded(found)
        except ConnectionEndedError as error:
            raise PeerError(f"{who} did not answer C-FIND in time ({error})", retry=True) from error
        except ProtocolError as error:
            raise PeerError(f"{who} answered C-FIND with something that is not DICOM ({error})", retry=True) from error


def _encoded(asked: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = buffer.is_implicit_VR = True
    write_dataset(buffer, asked)
    return bytes(buffer.getvalue())


def _decoded(content: bytes) -> Dataset:
    """Read an identifier. Raises ProtocolError."""
    try:
        found = read_dataset(BytesIO(content), is_implicit_VR=True, is_little_endian=True)
        found.decode()
    except Exception as error:  # pydicom raises nearly any exception on malformed bytes
        raise ProtocolError(f"a match that cannot be read ({type(error).__name__})") from error
    return found


def _number(match: Dataset) -> int:
    """Return the number in a match, 0 when it is absent or not a number."""
    try:
        return int(match.get("NumberOfSeriesRelatedInstances") or 0)
    except (ValueError, TypeError):
        return 0
