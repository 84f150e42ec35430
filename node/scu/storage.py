"""The Storage SCU: sends files unchanged and reports in plain words what the peer answered.

The one exception: for a peer that accepts only Implicit VR Little Endian, an Explicit VR file is converted.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset
from pynetdicom.status import code_to_category

from node.dicom.association_answer import Offer
from node.dicom.pdu import ProtocolError
from node.dicom.stream import ConnectionEndedError
from node.dicom.uids import valid_uid
from node.scu.association import AbortedError, Association, UnansweredError
from node.scu.connection import describe_peer
from node.scu.requestor import open_association
from node.scu.stop_signal import StopSignal
from node.settings.routing import Peer

MAX_KINDS = 64  # a kind needs up to two of the 128 contexts: the context id is an odd byte (PS3.8 9.3.2.2)
PROCESSING_FAILURE = 0x0110  # PS3.7 annex C.5
DUPLICATE_SOP_INSTANCE = 0x0111  # PS3.7 C.5.5
OUT_OF_RESOURCES = range(0xA700, 0xA800)  # PS3.4 B.2.3


@dataclass(frozen=True)
class SendOutcome:
    """The outcome for one file.

    ok: the peer has it. retry: the peer does not have it, but may accept it later. unanswered: it was sent whole, and
    no response came, so the peer may have it.
    """

    path: Path
    sop_uid: str
    ok: bool
    retry: bool = False
    reason: str = ""
    unanswered: bool = False


@dataclass(frozen=True)
class _Item:
    path: Path
    sop_uid: str
    context: Offer


@dataclass(frozen=True)
class Patience:
    """How long to wait for the response to an object, in seconds, and the signal that ends the sending."""

    answer_seconds: float
    stop: StopSignal


OnEach = Callable[[SendOutcome], None]


def send_files(
    peer: Peer,
    files: Sequence[Path],
    calling_ae: str,
    on_each: OnEach | None = None,
    timeout: float = 30,
    patience: Patience | None = None,
) -> list[SendOutcome]:
    """Store files at a peer, each in its own transfer syntax, over as few associations as their kinds allow.

    on_each: called after each file. timeout: seconds to connect and for each step; patience: for the response to an
    object, if that may take longer. Returns one outcome per file, in order. Raises PeerError when no association can be
    established (with `retry` where waiting can help).
    """
    tell = on_each or (lambda _sent: None)
    outcomes: dict[Path, SendOutcome] = {}

    def note(sent: SendOutcome) -> None:
        outcomes[sent.path] = sent
        tell(sent)

    items = []
    for path in files:
        item = _inspect(path)
        if isinstance(item, SendOutcome):
            note(item)
        else:
            items.append(item)
    for group in _groups(items):
        kinds = dict.fromkeys(item.context for item in group)
        offers = dict.fromkeys(offer for kind in kinds for offer in _offers(kind))
        with open_association(
            peer, calling_ae, tuple(offers), timeout, patience.stop if patience else None
        ) as association:
            association.answer_seconds = patience.answer_seconds if patience else timeout
            for item in group:
                note(_store(association, peer, item))
    return [outcomes[path] for path in files]


def _inspect(path: Path) -> _Item | SendOutcome:
    try:
        meta = read_file_meta_info(path)
        sop_uid = str(meta.MediaStorageSOPInstanceUID)
        context = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
        if not all(valid_uid(uid) for uid in context):
            return SendOutcome(
                path, "", ok=False, reason="cannot be sent: its file meta information has an invalid UID"
            )
        return _Item(path, sop_uid, context)
    except (InvalidDicomError, AttributeError):
        return SendOutcome(path, "", ok=False, reason="not a DICOM file")
    except OSError as error:
        return SendOutcome(path, "", ok=False, reason=f"cannot be read: {error.strerror}")


def _groups(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """Split the items so that no association needs more presentation contexts than there are."""
    kinds = list(dict.fromkeys(item.context for item in items))
    for start in range(0, len(kinds), MAX_KINDS):
        chosen = set(kinds[start : start + MAX_KINDS])
        yield [item for item in items if item.context in chosen]


def _offers(kind: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the contexts a kind of file is offered in, the best first; Implicit VR is the default (PS3.5 10.1)."""
    sop_class, syntax = kind
    return [kind, (sop_class, ImplicitVRLittleEndian)] if syntax == ExplicitVRLittleEndian else [kind]


def _in_implicit(path: Path) -> bytes:
    """Return an Explicit VR Little Endian file's data set in Implicit VR Little Endian; the file stays as it is.

    Raises ValueError, without the values at fault, when its data set cannot be encoded so.
    """
    encoded = DicomBytesIO()
    encoded.is_little_endian = encoded.is_implicit_VR = True
    try:
        dataset = dcmread(path)
        for _ in dataset.iterall():  # an element that is not decoded would be written unchanged
            pass
        write_dataset(encoded, dataset)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"it does not convert to Implicit VR Little Endian ({type(error).__name__})") from None
    return bytes(encoded.getvalue())


@contextmanager
def _data_set(item: _Item, accepted_as: Offer) -> Iterator[tuple[BinaryIO, int]]:
    """Open the data set of a file in the accepted transfer syntax; yield it with its size in bytes."""
    if accepted_as != item.context:
        content = _in_implicit(item.path)
        yield BytesIO(content), len(content)
        return
    _, start = split_dataset(item.path)
    with item.path.open("rb") as file:
        file.seek(start)
        yield file, item.path.stat().st_size - start


def _store(association: Association, peer: Peer, item: _Item) -> SendOutcome:
    def failed(reason: str, *, retry: bool = True, unanswered: bool = False) -> SendOutcome:
        return SendOutcome(item.path, item.sop_uid, ok=False, retry=retry, reason=reason, unanswered=unanswered)

    if not association.is_open:
        return failed("the association was lost before it")
    accepted_as = next((offer for offer in _offers(item.context) if offer in association.accepted), None)
    who = describe_peer(peer)
    if accepted_as is None:
        sop_class, syntax = item.context
        return failed(f"{who} does not accept {UID(sop_class).name} in {UID(syntax).name}", retry=False)
    try:
        with _data_set(item, accepted_as) as (data, size):
            return _judge(item, peer, association.store(accepted_as, item.sop_uid, data, size))
    except ValueError as error:
        return failed(f"cannot be sent: {error}", retry=False)
    except (ConnectionEndedError, ProtocolError, OSError) as error:
        if association.is_open:
            association.abort()
        unanswered = isinstance(error, UnansweredError | ProtocolError)
        return failed(f"{who} {_told(error, association.answer_seconds)}", unanswered=unanswered)


def _told(error: Exception, waited: float) -> str:
    """Return what a peer did instead of answering."""
    if isinstance(error, UnansweredError) and not isinstance(error.__cause__, AbortedError):
        return f"did not answer C-STORE: {error} (limit {waited:g} s, see [delivery] timeout_seconds)"
    if isinstance(error, UnansweredError | AbortedError):
        return str(error)
    if isinstance(error, ProtocolError):
        return f"answered C-STORE with something that is not DICOM: {error}"
    return f"did not take the whole object: {error}"  # or the file cannot be read


def _judge(item: _Item, peer: Peer, status: int) -> SendOutcome:
    """Judge a C-STORE status: success and warnings mean stored, out of resources is temporary (PS3.4 B.2.3).

    The peer's Error Comment is not used: it may contain patient data.
    """
    category = code_to_category(status)
    if category in {"Success", "Warning"}:
        return SendOutcome(item.path, item.sop_uid, ok=True, reason="" if status == 0 else f"warning 0x{status:04X}")
    if status == DUPLICATE_SOP_INSTANCE:  # sent before, and the response was lost: one UID means one object
        return SendOutcome(item.path, item.sop_uid, ok=True, reason="it has this instance already")
    said = f"{describe_peer(peer)} answered 0x{status:04X}"
    if status in OUT_OF_RESOURCES:
        return SendOutcome(item.path, item.sop_uid, ok=False, retry=True, reason=f"{said}: it is out of resources")
    if status == PROCESSING_FAILURE:
        return SendOutcome(
            item.path, item.sop_uid, ok=False, retry=True, reason=f"{said}: it could not process this object"
        )
    return SendOutcome(item.path, item.sop_uid, ok=False, reason=f"{said}: it does not accept this object")
