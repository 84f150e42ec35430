"""The Query SCU: asks a peer by C-FIND how many images a series has (Study Root, PS3.4 C.6.2)."""

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from node.errors import PeerError
from node.scu.requestor import describe_peer, open_association
from node.settings.routing import Peer

STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
MAX_MATCHES = 20_000
"""No series has more; a peer that returns more does not stop."""


def count_images(peer: Peer, calling_ae: str, study_uid: str, series_uid: str, timeout: float) -> int | None:
    """Return how many objects of a series a peer has; 0: it does not know the series, None: it does not say.

    Number of Series Related Instances (0020,1209) is an optional key of the SERIES level (PS3.4 table C.6-3); if a
    peer does not return it, the matches at the IMAGE level are counted. timeout: seconds for each response. Raises
    PeerError.
    """
    asked = Dataset()
    asked.StudyInstanceUID, asked.SeriesInstanceUID = study_uid, series_uid
    with open_association(peer, calling_ae, [build_context(STUDY_ROOT_FIND)], timeout) as association:
        asked.QueryRetrieveLevel, asked.NumberOfSeriesRelatedInstances = "SERIES", None
        matches = _matches(association, peer, asked)
        if not matches:
            return 0
        number = max(_number(match) for match in matches)
        if number:
            return number
        del asked.NumberOfSeriesRelatedInstances
        asked.QueryRetrieveLevel, asked.SOPInstanceUID = "IMAGE", None
        found = {str(match.get("SOPInstanceUID") or "") for match in _matches(association, peer, asked)}
        return len(found - {""}) or None


def _matches(association: Association, peer: Peer, asked: Dataset) -> list[Dataset]:
    """Return the matches of the series; some peers return all series of the study."""
    series_uid = str(asked.SeriesInstanceUID)
    answers = _answers(association, peer, asked)
    return [match for match in answers if str(match.get("SeriesInstanceUID") or series_uid) == series_uid]


def _answers(association: Association, peer: Peer, asked: Dataset) -> Iterator[Dataset]:
    """Yield the matches of a query. Raises PeerError when the peer fails, stops responding or does not end."""
    if not association.is_established:
        raise PeerError(f"{describe_peer(peer)} ended the association before it answered", retry=True)
    for number, (status, match) in enumerate(association.send_c_find(asked, STUDY_ROOT_FIND)):
        if "Status" not in status:
            raise PeerError(f"{describe_peer(peer)} did not answer C-FIND in time", retry=True)
        category = code_to_category(status.Status)
        if category == "Success":
            return
        if category != "Pending":
            raise PeerError(f"{describe_peer(peer)} answered C-FIND with status 0x{status.Status:04X}")
        if number >= MAX_MATCHES:
            raise PeerError(f"{describe_peer(peer)} returns more than {MAX_MATCHES} matches for one series")
        if match is not None:
            yield match


def _number(match: Dataset) -> int:
    """Return the number in a match, 0 when it is absent or not a number."""
    try:
        return int(match.get("NumberOfSeriesRelatedInstances") or 0)
    except (ValueError, TypeError):
        return 0
